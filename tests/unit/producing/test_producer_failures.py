"""A producer whose events cannot be written: a bug, and yet its stream has an end.

Strategy: a lone surrogate, which no translator may let through, cannot be encoded; a patched
encoder stands for a bug that spares nothing.
"""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs
from tests.unit.producing import pens, scripted
from tests.unit.producing.answering import answering

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.testing import simulated

BROKEN = scripted.content("\ud83d")
INTERNAL = events.Error("internal", "This stream could not be written.", False)


@pytest.mark.parametrize("done", [False, True])
@simulated.timed
async def test_what_cannot_be_written_ends_the_stream(done: bool) -> None:
    async with answering() as play:
        exchange = await play.open()
        exchange.say(scripted.content("a"))
        await simulated.idle()
        with capture_logs() as logs:
            exchange.say(BROKEN, done=done)
            assert await play.terminal() == INTERNAL
        assert [line["event"] for line in logs] == ["writer_failed"]
        assert await play.bodies() == [scripted.content("a"), INTERNAL]
        assert exchange.released if done else exchange.aborted


@simulated.timed
async def test_it_hurts_no_other_stream() -> None:
    async with answering() as play:
        exchange = await play.open()
        other = pens.Pen(*await play.log.begin(), play.ticker, play.log)
        with capture_logs():
            exchange.say(BROKEN)
            other.write("a")
            assert await play.terminal() == INTERNAL
        assert other.results == [base.Ok()]
        assert await other.written() == ["a"]


@simulated.timed
async def test_a_stop_that_came_first_is_still_the_end() -> None:
    async with answering() as play:
        exchange = await play.open()
        exchange.say(BROKEN)
        play.producer.stop(errors.Cancelled())
        with capture_logs():
            terminal = await play.terminal()
        assert terminal == events.failure(errors.Cancelled())
        assert await play.bodies() == [terminal]


@simulated.timed
async def test_an_end_that_cannot_be_written_is_replaced() -> None:
    async with answering() as play:
        exchange = await play.open()
        gate = asyncio.Event()
        play.log.script.append(gate)
        exchange.say(scripted.content("a"))
        await simulated.idle()
        exchange.say(BROKEN)
        exchange.say(done=True)
        await simulated.idle()  # its end waits behind what cannot be written
        gate.set()
        with capture_logs():
            assert await play.terminal() == INTERNAL
        assert await play.bodies() == [scripted.content("a"), INTERNAL]


@simulated.timed
async def test_what_spares_nothing_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def draft(body: events.Body) -> events.Draft:
        raise KeyError("x")

    async with answering() as play:
        play.ended = False
        exchange = await play.open()
        monkeypatch.setattr(events, "draft", draft)
        exchange.say(scripted.content("a"))
        with capture_logs() as logs, pytest.raises(KeyError):
            await play.terminal()
        monkeypatch.undo()
        assert [line["event"] for line in logs] == ["writer_failed", "writer_failed"]
        assert await play.bodies() == []


@simulated.timed
async def test_what_spares_nothing_spares_the_ticker(monkeypatch: pytest.MonkeyPatch) -> None:
    def draft(body: events.Body) -> events.Draft:
        raise KeyError("x")

    async with answering() as play:
        play.ended = False
        exchange = await play.open()
        gate = asyncio.Event()
        play.log.script.append(gate)
        exchange.say(scripted.content("a"))
        await simulated.idle()
        monkeypatch.setattr(events, "draft", draft)
        exchange.say(done=True)
        await simulated.idle()
        play.task.cancel()
        await asyncio.gather(play.task, return_exceptions=True)
        gate.set()
        with capture_logs():
            await simulated.idle()
        monkeypatch.undo()
        assert not play.ticking.done()
        play.producer.failed(KeyError("again"))

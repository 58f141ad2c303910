"""PROTOCOL 6, ends and refusals: what a clean end means, and how a reader is sent away.

Strategy: every way in which a response can end is brought about, and the last chunk of the body is
looked for. After each the account of slots is even. The log of `Away` goes away when it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.integration import asking, harness

from holdfast import errors, events
from holdfast.eventlog import base, memory

QUIET = {"heartbeat_interval": "4m", "connection_timeout": "1h"}
"""No word that nobody asked for."""


class Away(memory.MemoryLog):
    """A log that goes away: `writing` and `reading` say for what."""

    writing = reading = False

    def _refuse_if(self, away: bool) -> None:
        if away:
            raise errors.LogUnavailable("The log is away.")

    async def create(
        self,
        stream: events.StreamId,
        header: base.Header,
        drafts: tuple[events.Draft, ...],
        ts: int,
    ) -> base.Life | base.Exists:
        self._refuse_if(self.writing)
        return await super().create(stream, header, drafts, ts)

    async def append(self, tick: base.Tick) -> list[base.Result]:
        self._refuse_if(self.writing)
        return await super().append(tick)

    async def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        self._refuse_if(self.reading)
        return await super().stat(stream)

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        self._refuse_if(self.reading)
        return await super().read(stream, after, limit)


@contextlib.asynccontextmanager
async def serving_away() -> AsyncIterator[tuple[harness.Running, Away]]:
    log = Away()
    async with harness.running_on(log, harness.configured(server=QUIET), 0.05) as server:
        yield server, log


def path(of: harness.Reader | harness.Response) -> str:
    return f"/v1/streams/{harness.stream_of(of)}/events"


def goodbye(answer: harness.Response) -> tuple[str, bool]:
    """The reason in the last block, and whether the end was clean."""
    block = answer.blocks[-1]
    assert block.startswith(b"event: reconnect\nretry: ")
    return block.split(b'"reason":"')[1].split(b'"')[0].decode(), answer.clean


async def knock(server: harness.Running, of: harness.Response) -> list[harness.Response]:
    """The three ways to read a stream that is there."""
    id, target = harness.position(of.blocks[0]) or "", path(of)
    return [
        await harness.ask(server.port, "GET", target),
        await harness.ask(server.port, "GET", target, {"Last-Event-ID": id}),
        await harness.ask(server.port, "POST", "/v1/streams", {"Last-Event-ID": id}, b"x"),
    ]


async def create(server: harness.Running) -> harness.Response:
    body = asking.demo("tokens=1")
    return await harness.ask(server.port, "POST", "/v1/streams", asking.SSE, body)


def check_refused(answer: harness.Response, code: str) -> None:
    assert (answer.status, answer.json()["code"]) == (503, code)
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.clean


# 6.1


@pytest.mark.parametrize("options", ["tokens=3", "error_at=1", "status=500", "refuse=1"])
async def test_6_1_the_end_after_the_terminal_event_is_clean(options: str) -> None:
    async with harness.running(harness.configured()) as server:
        whole = await asking.finished(server.port, options)
        assert whole.clean
        assert asking.kinds(whole.body)[-1] in ("error", "complete")
        assert (await harness.ask(server.port, "GET", path(whole))).clean
        await asking.idle(server)


@pytest.mark.parametrize("at", [0, 2], ids=["before the first chunk", "in the middle"])
async def test_6_1_a_server_that_stops_ends_uncleanly(at: int) -> None:
    async with harness.running(harness.configured(server=QUIET)) as server:
        readers = [await asking.stalled(server.port, at) for _ in range(3)]
    for reader in readers:
        assert goodbye(await reader.rest()) == ("draining", False)
    assert len(server.service.connections) == 0
    assert server.service.supervisor.names == []


async def test_6_1_a_log_that_fails_in_mid_answer_ends_uncleanly() -> None:
    async with serving_away() as (server, log):
        readers = [await asking.stalled(server.port) for _ in range(2)]
        log.reading = True
        for connection in server.service.connections.all():
            connection.wake()
        for reader in readers:
            assert goodbye(await reader.rest()) == ("log_unavailable", False)
        log.reading = False
        for reader in readers:
            await asking.end(server, reader)


async def test_6_1_a_log_that_takes_no_tick_sends_readers_away() -> None:
    async with serving_away() as (server, log):
        reader = await asking.stalled(server.port)
        log.writing = True
        body = asking.demo("tokens=3", flush_interval_ms=0)
        log.writing = False
        other = await harness.begin(server.port, asking.demo("tokens=100 rate=20"))
        await other.until(asking.has(3))
        log.writing = True
        for one in (reader, other):
            assert goodbye(await one.rest()) == ("log_unavailable", False)
        log.writing = False
        for one in (reader, other):
            await asking.end(server, one)
        assert (await harness.begin(server.port, body)).status == 200


async def test_6_1_a_stream_that_expires_under_a_reader_ends_uncleanly() -> None:
    async with harness.running(harness.configured(server=QUIET)) as server:
        reader = await asking.stalled(server.port)
        log = server.service.log
        assert isinstance(log, memory.MemoryLog)
        log._streams.drop(harness.stream_of(reader))
        for connection in server.service.connections.all():
            connection.wake()
        assert goodbye(await reader.rest()) == ("stream_not_found", False)
        await asking.until(lambda: len(server.service.connections) == 0)


# 6.2


async def test_6_2_over_the_limit_a_reader_is_sent_away_and_takes_no_slot() -> None:
    config = harness.configured(server={**QUIET, "max_connections": 2})
    async with harness.running(config) as server:
        whole = await asking.finished(server.port, "tokens=3", flush_interval_ms=0)
        await asking.idle(server)
        held = [await asking.stalled(server.port) for _ in range(2)]
        for answer in await knock(server, whole):
            assert asking.sent_away(answer).data["reason"] == "too_many_connections"
            assert len(server.service.connections) == 2
        listed = await harness.ask(server.port, "GET", "/v1/connections?")
        assert len(listed.json()["connections"]) == 3  # with the one that finished
        for reader in held:
            await reader.close()
        await asking.until(lambda: len(server.service.connections) == 0)
        for answer in await knock(server, whole):
            assert answer.clean
        for reader in held:
            await asking.end(server, reader)


async def test_6_2_over_the_limit_a_post_that_would_create_is_503() -> None:
    config = harness.configured(server={**QUIET, "max_connections": 1})
    async with harness.running(config) as server:
        held = await asking.stalled(server.port)
        check_refused(await create(server), "too_many_connections")
        listed = await harness.ask(server.port, "GET", "/v1/streams")
        assert len(listed.json()["streams"]) == 1
        made = await harness.ask(server.port, "POST", "/v1/streams", None, asking.demo("tokens=1"))
        assert made.status == 201  # who does not read takes no connection
        await asking.end(server, held)


async def test_6_2_a_race_for_the_last_slot_is_lost_with_the_stream_s_name() -> None:
    """Both POSTs find a slot free, one takes it; the other's stream is written all the same."""
    config = harness.configured(server={**QUIET, "max_connections": 1})
    async with harness.running(config) as server:
        body = asking.demo("tokens=2 stall_at=1")
        readers = await asyncio.gather(*(harness.begin(server.port, body) for _ in range(8)))
        made = [reader for reader in readers if reader.status == 200]
        for reader in made:
            await reader.until(asking.has(1))
        lost = [reader for reader in made if b"event: reconnect" in reader.body]
        assert len(made) == len(lost) + 1
        for reader in lost:
            assert goodbye(await reader.rest()) == ("too_many_connections", False)
            target = path(reader).removesuffix("/events")
            assert (await harness.ask(server.port, "GET", target)).status == 200
        for reader in readers:
            await reader.close()
        for reader in made:
            await asking.end(server, reader)


async def test_6_2_while_the_server_drains() -> None:
    async with harness.running(harness.configured(server=QUIET)) as server:
        whole = await asking.finished(server.port, "tokens=3", flush_interval_ms=0)
        await asking.idle(server)
        server.service.drain()
        for answer in await knock(server, whole):
            assert asking.sent_away(answer).data["reason"] == "draining"
            assert len(server.service.connections) == 0
        check_refused(await create(server), "draining")
        last = {"Last-Event-ID": asking.last_id(whole.body)}
        assert (await harness.ask(server.port, "GET", path(whole), last)).status == 204


async def test_6_2_while_the_log_cannot_be_read() -> None:
    async with serving_away() as (server, log):
        whole = await asking.finished(server.port, "tokens=3", flush_interval_ms=0)
        await asking.idle(server)
        log.reading = True
        for answer in await knock(server, whole):
            assert asking.sent_away(answer).data["reason"] == "log_unavailable"
            assert len(server.service.connections) == 0
        shown = await harness.ask(server.port, "GET", path(whole).removesuffix("/events"))
        check_refused(shown, "log_unavailable")
        log.reading = False
        for answer in await knock(server, whole):
            assert answer.clean


async def test_6_2_while_the_log_cannot_be_written() -> None:
    async with serving_away() as (server, log):
        whole = await asking.finished(server.port, "tokens=3", flush_interval_ms=0)
        held = await asking.stalled(server.port)
        log.writing = True
        check_refused(await create(server), "log_unavailable")
        await harness.ask(server.port, "POST", path(held).replace("/events", "/cancel"))
        await asking.until(lambda: server.service.log_failing)
        for answer in await knock(server, whole):
            assert asking.sent_away(answer).data["reason"] == "log_unavailable"
        assert goodbye(await held.rest())[0] == "log_unavailable"
        log.writing = False
        await asking.idle(server)
        for answer in await knock(server, whole):
            assert answer.clean


async def test_6_2_each_reader_is_given_another_delay() -> None:
    async with harness.running(harness.configured(server=QUIET)) as server:
        lead = await asking.stalled(server.port)
        readers = [lead]
        readers += [await harness.Reader.open(server.port, "GET", path(lead)) for _ in range(19)]
        for reader in readers:
            await reader.until(asking.has(3))
        server.service.drain()
        answers = [await reader.rest() for reader in readers]
        answers += [await harness.ask(server.port, "GET", path(lead)) for _ in range(20)]
    delays = [asking.retry(answer.blocks[-1]) for answer in answers]
    for answer, delay in zip(answers, delays, strict=True):
        assert b'"retry_ms":%d,' % delay in answer.blocks[-1]
        assert not answer.clean
    assert len(set(delays)) > 20
    assert 500 <= min(delays) < max(delays) <= 5000

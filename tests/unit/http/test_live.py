"""Frames for those who watch: made while somebody does, the same for all, and none held up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from holdfast import errors, service, settings, sse
from holdfast.eventlog import memory
from holdfast.http import frames, live, neighbours
from holdfast.providers import registry
from holdfast.testing import simulated


@asynccontextmanager
async def shown() -> AsyncIterator[live.Live]:
    async with service.Service(
        memory.MemoryLog(), registry.Registry(), settings.Settings()
    ) as running:
        yield live.Live(running)


def frame(data: bytes) -> frames.Frame:
    (found,) = sse.Parser().feed(data)
    assert (found.event, found.id) == ("snapshot", "")
    return msgspec.json.decode(found.data, type=frames.Frame)


@simulated.timed
async def test_a_watcher_gets_a_frame_a_second() -> None:
    woken = []
    async with shown() as found:
        with found.watched(lambda: woken.append(1)) as watcher:
            assert watcher.take() == b""
            seen = []
            for _ in range(4):
                await asyncio.sleep(1.0)
                seen.append(frame(watcher.take()))
                assert watcher.take() == b""
    assert len(woken) >= 4
    assert seen[0].history is None or len(seen[0].history) <= 2
    assert all(one.history is None for one in seen[1:])
    assert [one.nodes[0].id for one in seen] == ["this"] * 4


@simulated.timed
async def test_a_slow_watcher_misses_frames_and_gets_the_latest() -> None:
    async with shown() as found:
        with found.watched(lambda: None) as watcher:
            await asyncio.sleep(1.5)
            watcher.take()
            await asyncio.sleep(10.0)
            assert watcher.take() == found.latest
            assert watcher.take() == b""


@simulated.timed
async def test_who_comes_later_is_told_what_was_shown_before_once() -> None:
    async with shown() as found:
        with found.watched(lambda: None):
            await asyncio.sleep(400.5)
        with found.watched(lambda: None) as second:
            first = frame(second.take())
            assert first.history is not None
            assert len(first.history) == live.HISTORY
            assert first.history[-1] == first.now
            await asyncio.sleep(1.0)
            assert frame(second.take()).history is None


@simulated.timed
async def test_nothing_is_asked_where_nobody_watches_any_more() -> None:
    async with shown() as found:
        with found.watched(lambda: None):
            await asyncio.sleep(1.0)
        await asyncio.sleep(live.LINGER + 5)
        number = found.number
        await asyncio.sleep(50.0)
        assert found.number == number
        with found.watched(lambda: None) as again:
            await asyncio.sleep(1.5)
            assert found.number > number
            assert again.take()


@simulated.timed
async def test_where_others_cannot_be_asked_this_node_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def totals(*args: object) -> object:
        raise errors.LogUnavailable

    monkeypatch.setattr(neighbours, "totals_of_all", totals)
    async with shown() as found:
        with found.watched(lambda: None) as watcher:
            await asyncio.sleep(1.5)
            assert [one.id for one in frame(watcher.take()).nodes] == ["this"]


@simulated.timed
async def test_more_than_so_many_do_not_watch() -> None:
    async with shown() as found, AsyncExitStack() as stack:
        for _ in range(live.WATCHERS):
            stack.enter_context(found.watched(lambda: None))
        with pytest.raises(errors.Overloaded), found.watched(lambda: None):
            pass


@simulated.timed
@pytest.mark.parametrize("before", [0.05, 0.5, 0.95])
async def test_who_comes_as_it_is_about_to_stop_is_shown_all_the_same(before: float) -> None:
    async with shown() as found:
        with found.watched(lambda: None):
            await asyncio.sleep(1.0)
        await asyncio.sleep(live.LINGER - before)
        with found.watched(lambda: None) as late:
            await asyncio.sleep(3.0)
            number = found.number
            assert late.take()
            await asyncio.sleep(2.0)
            assert found.number > number

"""What was read once is read for ever the same: from memory, from its record, after a restart.

Strategy: every recorded answer is read while it is generated, when it has ended, and by another
server on the same file; the raw frames, the pages of `?include=events` with their times, and
the view of the stream must be equal. PROTOCOL 2.3, 2.8 and 4.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.integration import conftest, harness, replaying
from tests.integration.stepped_answer import SteppedAnswer

from holdfast import events
from holdfast.eventlog import base, reader
from holdfast.testing import recordings

LIMIT = 120.0
"""Seconds for all recordings of a folder; it takes some ten."""


class Copy(msgspec.Struct, frozen=True):
    """All that the routes show of a stream."""

    frames: bytes
    shown: bytes
    pages: list[dict[str, Any]]


async def copy(port: int, stream: events.StreamId) -> Copy:
    path = f"/v1/streams/{stream}"
    frames = await harness.ask(port, "GET", f"{path}/events")
    shown = await harness.ask(port, "GET", path)
    assert (frames.status, frames.clean, shown.status) == (200, True, 200)
    pages, after = list[dict[str, Any]](), ""
    while True:
        page = (await harness.ask(port, "GET", f"{path}?include=events{after}")).json()
        pages += page["events"]
        if page.get("next_after") is None:
            return Copy(frames.body, shown.body, pages)
        after = f"&after={page['next_after']}"


def playable(folder: Path, label: str) -> list[replaying.Part]:
    cut = recordings.FRAGMENTATIONS[label]
    found = recordings.load_recordings(folder)
    played = [each for each in found if replaying.why_not(each) is None]
    return [replaying.Part(each, label, cut(each.wire)) for each in played]


async def read_again_after_a_restart(folder: Path, file: Path) -> int:
    """Each answer live, when it has ended, and twice from other servers; how many."""
    parts = playable(folder, "per event")
    live: dict[events.StreamId, bytes] = {}
    async with asyncio.timeout(LIMIT), replaying.playing(parts) as provider:
        config = replaying.configured(parts, provider.url, f"sqlite:///{file}")
        async with harness.running(config) as server:
            for part in parts:
                answer = await replaying.play(server, part, flush_interval_ms=0)
                live[harness.stream_of(answer)] = answer.body
            ended = {stream: await copy(server.port, stream) for stream in live}
        assert {stream: kept.frames for stream, kept in ended.items()} == live
        for _ in range(2):
            async with harness.running(config) as server:
                again = {stream: await copy(server.port, stream) for stream in live}
                listed = (await harness.ask(server.port, "GET", "/v1/streams?limit=200")).json()
            assert again == ended
            assert {row["id"] for row in listed["streams"]} == set(live)
    return len(live)


async def test_ended_streams_read_the_same_after_a_restart(tmp_path: Path) -> None:
    assert await read_again_after_a_restart(conftest.FIXTURES, tmp_path / "log.db") > 50


async def test_ended_streams_of_the_shared_recordings_read_the_same_after_a_restart(
    shared: Path, tmp_path: Path
) -> None:
    folder = shared / "recordings"
    assert await read_again_after_a_restart(folder, tmp_path / "log.db") == 73


def long_one() -> SteppedAnswer:
    found = recordings.load_recordings(conftest.FIXTURES / "compatible")
    return SteppedAnswer(next(each for each in found if each.name == "azure-long"))


async def all_pages(log: base.EventLog, stream: events.StreamId) -> list[events.Event]:
    """The stream's events, times and all, as the log has them now."""
    source, position, found = reader.LogSource(log, stream), events.BEGIN, list[events.Event]()
    while True:
        page = await source.read(position)
        found += page.events
        position = page.position
        if not page.more:
            return found


@pytest.mark.parametrize("share", [1, 2, 3])
async def test_a_stream_in_memory_and_its_record_are_the_same(share: int, tmp_path: Path) -> None:
    """Held at a part of its way the stream is read from memory; later from its record."""
    held = long_one()
    async with asyncio.timeout(LIMIT), replaying.playing([held.part]) as provider:
        config = replaying.configured([held.part], provider.url, f"sqlite:///{tmp_path}/log.db")
        async with harness.running(config) as server:
            lead = await harness.begin(server.port, held.part.request(flush_interval_ms=0))
            stream, log = harness.stream_of(lead), server.service.log
            stop = held.left * share // 4
            while held.given < stop:
                await held.step(lead)
            early, frames = await all_pages(log, stream), bytes(lead.body)
            while held.left:
                await held.step(lead)
            whole = await lead.rest()
            late = await all_pages(log, stream)
            kept = await copy(server.port, stream)
        async with harness.running(config) as server:
            again = await all_pages(server.service.log, stream)
    assert 1 < len(early) < len(late)
    assert late[: len(early)] == early
    assert again == late
    assert whole.body.startswith(frames)
    assert kept.frames == whole.body


async def test_an_open_stream_goes_on_in_another_life_and_keeps_its_positions(
    tmp_path: Path,
) -> None:
    """The server goes in mid-answer: every position of its life stays good in the next one."""
    held = long_one()
    async with asyncio.timeout(LIMIT), replaying.playing([held.part]) as provider:
        config = replaying.configured([held.part], provider.url, f"sqlite:///{tmp_path}/log.db")
        async with harness.running(config) as server:
            alone = held.part.request(flush_interval_ms=0, fallback={"mode": "none"})
            lead = await harness.begin(server.port, alone)
            while held.given < 40:
                await held.step(lead)
            stream = harness.stream_of(lead)
            before = lead.blocks
        cut_off = await lead.rest()
        async with harness.running(config) as server:
            path = f"/v1/streams/{stream}/events"
            whole = await harness.ask(server.port, "GET", path)
            for index, block in enumerate(before):
                id = harness.position(block)
                assert id is not None
                rest = await (await harness.resume(server.port, id, "header")).rest()
                assert rest.body == b"".join(whole.blocks[index + 1 :])
    assert not cut_off.clean
    assert harness.said(cut_off.body)[-1].event == "reconnect"
    assert harness.durable(cut_off.body) == b"".join(before)
    assert whole.clean
    assert whole.blocks[: len(before)] == before
    adopted, end = harness.said(whole.body)[len(before) :]
    assert (adopted.event, adopted.data["type"]) == ("metadata", "adopted")
    assert (end.event, end.data["code"]) == ("error", "interrupted")

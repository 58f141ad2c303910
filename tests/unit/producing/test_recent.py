"""What a log forgets is written again by the one who wrote it.

Strategy: a node on a memory log whose streams lose their tails, as a replica that takes over has
not heard of them; in simulated time, so that the answer is under way when it happens.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from holdfast import answer, events, request, service, settings
from holdfast.eventlog import base, memory
from holdfast.producing import recent
from holdfast.providers import registry
from holdfast.testing import simulated

TOKENS = 60
ASKED = request.Request("demo", [request.Message("user", f"Hi\n/demo tokens={TOKENS} rate=10")])


class Log(memory.MemoryLog):
    """`forget` is what an engine's failover does."""

    def __init__(self) -> None:
        super().__init__()
        self.forgets = True
        self.gone: set[events.StreamId] = set()

    def forget(self, stream: events.StreamId, last: int) -> None:
        """The stream loses what follows this seq; 0 is all of it."""
        if not last:
            self._streams.drop(stream)
            self.gone.add(stream)
            return
        found = self._streams.get(stream)
        assert found is not None
        found.data = found.data[: found.ends[last - 1]]
        found.ends, found.times = found.ends[:last], found.times[:last]
        found.kinds, found.last = found.kinds[:last], last
        found.runs = tuple(run for run in found.runs if run[0] <= last)
        found.epoch = found.runs[-1][1]

    async def append(self, tick: base.Tick) -> list[base.Result]:
        results = await super().append(tick)
        for at, batch in enumerate(tick):
            if batch.stream in self.gone:
                results[at] = base.Lost(0)
        return results

    async def create(
        self,
        stream: events.StreamId,
        header: base.Header,
        drafts: tuple[events.Draft, ...],
        ts: int,
    ) -> base.Life | base.Exists:
        self.gone.discard(stream)
        return await super().create(stream, header, drafts, ts)


async def forgotten(log: Log, kept: Sequence[int]) -> tuple[answer.Answer, list[events.Event]]:
    """An answer in whose course the log forgets what follows each of these seqs, one a second
    from the second second on, counted from the head where they are negative."""
    async with service.Service(log, registry.Registry(), settings.Settings()) as running:
        made = await running.create(ASKED)
        await asyncio.sleep(1.0)
        for last in kept:
            await asyncio.sleep(1.0)
            [head] = await log.heads([made.stream])
            assert head is not None
            log.forget(made.stream, last if last >= 0 else head.seq + last)
        await asyncio.sleep(60.0)
        whole = await running.get(made.stream)
        page = await log.read(made.stream, events.BEGIN)
    return whole, list(page.events)


async def unbroken() -> answer.Answer:
    whole, _ = await forgotten(Log(), [])
    return whole


@pytest.mark.parametrize("kept", [[-1], [-5], [-3, -7, -2], [2], [1], [0], [0, -2]], ids=str)
@simulated.timed
async def test_readers_get_the_whole_answer_all_the_same(kept: list[int]) -> None:
    expected = await unbroken()
    with capture_logs() as logs:
        whole, found = await forgotten(Log(), kept)
    assert whole.status == "completed"
    assert whole.choice().content == expected.choice().content
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    assert [event.kind for event in found].count("complete") == 1
    assert found[0].kind == "start"
    bodies = [event.body for event in found]
    assert len([body for body in bodies if isinstance(body, events.Chunk)]) == TOKENS
    assert not any(isinstance(body, events.Attempt) for body in bodies)  # nobody was asked again
    assert len({event.epoch for event in found}) > (kept != [0])
    assert [line["event"] for line in logs].count("log_forgot") == len(kept)


@pytest.mark.parametrize(("kept", "size"), [([-8], 200), ([-4, 0], 65536)])
@simulated.timed
async def test_what_is_forgotten_from_further_back_is_an_orphan(
    monkeypatch: pytest.MonkeyPatch, kept: list[int], size: int
) -> None:
    """It is asked for again, from where it is there."""
    monkeypatch.setattr(recent, "RECENT_BYTES", size)
    whole, found = await forgotten(Log(), kept)
    assert whole.status == "completed"
    bodies = [event.body for event in found]
    assert len([body for body in bodies if isinstance(body, events.Attempt)]) == 1
    assert [event.kind for event in found].count("complete") == 1


@simulated.timed
async def test_a_gap_in_a_log_that_forgets_nothing_is_an_orphan_too() -> None:
    """There can be none but by a bug; the stream has its end all the same."""
    log = Log()
    log.forgets = False
    with capture_logs() as logs:
        whole, found = await forgotten(log, [-1])
    assert whole.status == "completed"
    assert [event.kind for event in found].count("complete") == 1
    assert "log_forgot" in [line["event"] for line in logs]


def draft(number: int) -> events.Draft:
    return events.draft(events.Chunk("content", f"{number:010}"))


def test_recent_events_are_those_after_a_seq() -> None:
    kept = recent.Recent(4)
    drafts = [draft(number) for number in range(6)]
    kept.add(drafts[:2], 100)
    kept.add(drafts[2:], 100)
    for last in range(4, 11):
        assert kept.since(last) == drafts[last - 4 :]
    assert kept.since(3) is None
    assert kept.since(11) is None
    kept.move(20)
    assert kept.since(20) == []
    assert kept.since(19) is None


def test_recent_events_are_so_many_bytes() -> None:
    kept, size = recent.Recent(0), len(draft(0).data)
    room = recent.RECENT_BYTES // size
    for number in range(3 * room):
        kept.add([draft(number)], size)
    found = kept.since(3 * room - room)
    assert found is not None
    assert len(found) == room
    assert kept.since(3 * room - room - 1) is None


def kept() -> int:
    gc.collect()
    return sum(isinstance(one, recent.Recent) for one in gc.get_objects())


@pytest.mark.parametrize("forgets", [True, False])
@simulated.timed
async def test_nothing_is_kept_for_a_log_that_forgets_nothing(forgets: bool) -> None:
    """A long answer would be in memory twice."""
    log, before = Log(), kept()
    log.forgets = forgets
    async with service.Service(log, registry.Registry(), settings.Settings()) as running:
        await running.create(ASKED)
        await asyncio.sleep(2.0)
        assert kept() - before == forgets

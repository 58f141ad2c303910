"""The wall clock jumps by an hour, again and again: order, positions and durations do not care.

Strategy: `time.time` and `time.time_ns` of this process are moved back and forth between any two
events of an answer, and between two lives of a server on one file; the monotonic clock goes on
as it does under a real jump. Readers stay, leave, and come back with their position; what they
get is compared with what the log holds. `ts` may show the jumps: it is for people only.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import pytest
from tests.integration import asking, harness

from holdfast.testing import provider as replay

HOUR = 3600.0
WORDS = [f"{number} " for number in range(16)]


class Clock:
    """The wall clock, off by so much."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off = 0.0
        real, real_ns = time.time, time.time_ns
        monkeypatch.setattr(time, "time", lambda: real() + self.off)
        monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(self.off * 1e9))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def held() -> tuple[list[asyncio.Event], replay.Answer]:
    """A gate before each word, and one before the end."""
    gates = [asyncio.Event() for _ in (*WORDS, asking.STOP)]
    said = (*map(asking.chunk, WORDS), asking.STOP)
    return gates, replay.Answer(body=tuple(itertools.chain(*zip(gates, said, strict=True))))


def numbers(body: bytes) -> list[int]:
    """The sequence numbers of a body's events."""
    ids = [harness.position(block) for block in harness.blocks(body)]
    return [int(id.rpartition("-")[2]) for id in ids if id is not None]


@pytest.mark.case("1.23")
async def test_order_positions_and_durations_are_of_another_clock(
    clock: Clock, tmp_path: Path
) -> None:
    gates, answer = held()
    jumps = itertools.cycle((HOUR, -HOUR, 0.0, 25 * HOUR, -25 * HOUR))
    log = {"url": f"sqlite:///{tmp_path}/log.db"}
    async with asking.vendor(answer, log=log) as on:
        lead = await harness.begin(on.server.port, harness.wanted("vendor/m", flush_interval_ms=0))
        stream = harness.stream_of(lead)
        for number, gate in enumerate(gates[:-1]):
            clock.off = next(jumps)
            gate.set()
            await lead.until(asking.has(2 + number))
            # One that comes back with each position so far, and has all up to the newest.
            last = asking.last_id(bytes(lead.body))
            id = harness.position(lead.blocks[number])
            assert id is not None
            back = await harness.resume(on.server.port, id, "header")
            await back.until(lambda reader, last=last: last.encode() in reader.body)  # type: ignore[misc]
            assert numbers(bytes(back.body)) == [number + 2]
            await back.close()
        gates[-1].set()
        whole = await lead.rest()
        assert whole.clean
        told = harness.said(whole.body)[-1]
        assert numbers(whole.body) == list(range(1, len(whole.blocks) + 1))
        assert asking.content(whole.body) == "".join(WORDS)
        assert told.event == "complete"
        assert 0 <= told.data["duration_ms"] < 1000 * harness.PATIENCE
        target = f"/v1/streams/{stream}/events"
        assert (await harness.ask(on.server.port, "GET", target)).body == whole.body


@pytest.mark.case("1.23")
@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
async def test_a_server_that_starts_at_another_time_goes_on_where_it_was(
    clock: Clock, jump: float, tmp_path: Path
) -> None:
    """Its streams keep their positions, and one that had not ended ends, in order."""
    config = harness.configured(f"sqlite:///{tmp_path}/log.db")
    async with harness.running(config) as server:
        done = await asking.finished(server.port)
        open_one = await asking.stalled(server.port)
        stream, before = harness.stream_of(open_one), bytes(open_one.body)
        await open_one.close()
    clock.off = jump
    async with harness.running(config) as server:
        again = await harness.ask(
            server.port, "GET", f"/v1/streams/{harness.stream_of(done)}/events"
        )
        assert again.body == done.body
        back = await harness.resume(server.port, asking.last_id(before), "header")
        await back.until(lambda reader: b'"adopted"' in reader.body)
        await harness.ask(server.port, "POST", f"/v1/streams/{stream}/cancel")
        rest = await back.rest()
        assert rest.clean
        both = harness.durable(before) + harness.durable(rest.body)
        assert numbers(both) == list(range(1, len(numbers(both)) + 1))
        assert asking.kinds(both)[-1] == "error"
        fresh = await asking.finished(server.port)
        assert 0 <= harness.said(fresh.body)[-1].data["duration_ms"] < 1000 * harness.PATIENCE


@pytest.mark.case("1.23")
async def test_nobody_is_sent_away_or_late_by_a_jump(clock: Clock) -> None:
    """Not the reader, and not the provider, though the jump is longer than any patience; that
    they were looked at is seen by the heartbeats, which come of the same look."""
    gates, answer = held()
    short = {"first_byte": "30s", "first_content": "30s", "between_contents": "30s"}
    patience = {"heartbeat_interval": "50ms", "connection_timeout": "30s"}
    streaming = {"abandon_after": "30s"}
    async with asking.vendor(answer, deadlines=short, server=patience, streaming=streaming) as on:
        reader = await harness.begin(on.server.port, harness.wanted("vendor/m"))
        gates[0].set()
        await reader.until(asking.has(2))
        for jump in (HOUR, -HOUR, 10 * HOUR, 0.0):
            clock.off = jump
            seen = len(reader.blocks)
            await reader.until(asking.has(seen + 3))
            assert asking.kinds(bytes(reader.body))[seen:].count("heartbeat") >= 3
        for gate in gates:
            gate.set()
        whole = await reader.rest()
        assert (whole.clean, asking.kinds(whole.body)[-1]) == (True, "complete")
        assert asking.content(whole.body) == "".join(WORDS)

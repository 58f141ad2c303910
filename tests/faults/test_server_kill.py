"""A server that is killed while it writes: what a reader had received is in the log, in place.

Strategy: a real process with a SQLite log writes 100 answers, each read off the socket by a raw
reader of its own. When the readers together have some random number of events, the process is
killed; another one starts on the same file. Then every byte of every whole event that a reader
had must stand at the same place of the stream, and every stream, also one whose reader never
heard its name, must end once. `make kill ROUNDS=20` does it as often as it says.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest
from tests.integration import asking, harness, processes

ROUNDS = int(os.environ.get("HOLDFAST_ROUNDS", "1"))
STREAMS = 100
TOKENS, RATE = 600, 100
"""Of each answer: pieces, and pieces a second."""

MOST = STREAMS * TOKENS // 6
"""Events until the kill at most: far fewer than all, as no answer may be whole before."""

LIMIT = 120.0
"""Seconds for a round; it takes about seven."""


class Readers:
    """All readers of a round. `events` counts what they have; `told` holds what each got."""

    def __init__(self, kill_at: int) -> None:
        self.events = 0
        self.enough = asyncio.Event()
        self.told: dict[str, bytes] = {}
        self._kill_at = kill_at

    async def read(self, port: int, number: int) -> None:
        """Asks for an answer and reads until the connection breaks."""
        prompt = f"Number {number}\n/demo tokens={TOKENS} rate={RATE} unicode=1"
        messages = [{"role": "user", "content": prompt}]
        try:
            # However busy the node is, each piece is an event.
            wanted = harness.wanted("demo", messages=messages, flush_interval_ms=0)
            reader = await harness.begin(port, wanted)
        except (OSError, asyncio.IncompleteReadError):
            return
        stream = harness.stream_of(reader)
        seen = 0
        while await reader.more():
            self.events += (now := reader.body.count(b"\n\n")) - seen
            seen = now
            if self.events >= self._kill_at:
                self.enough.set()
        await reader.close()
        assert not reader.clean
        self.told[stream] = harness.durable(bytes(reader.body))


async def all_streams(port: int) -> list[str]:
    page = await harness.ask(port, "GET", "/v1/streams?limit=200")
    return [entry["id"] for entry in page.json()["streams"]]


def check_ended_once(whole: harness.Response) -> None:
    assert (whole.status, whole.clean) == (200, True)
    events = asking.kinds(whole.body)
    assert [event for event in events if event in ("error", "complete")] == [events[-1]]
    numbers = [int(event.id.rpartition("-")[2]) for event in harness.said(whole.body) if event.id]
    assert numbers == list(range(1, len(events) + 1))


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_what_any_reader_had_is_in_the_log_and_every_stream_ends_once(
    seed: int, tmp_path: Path
) -> None:
    kill_at = random.Random(seed).randint(1, MOST)
    readers = Readers(kill_at)
    log = ("--log-url", f"sqlite:///{tmp_path}/log.db")
    async with asyncio.timeout(LIMIT):
        async with (
            processes.serving(*log, folder=tmp_path) as server,
            asyncio.TaskGroup() as group,
        ):
            for number in range(STREAMS):
                group.create_task(readers.read(server.port, number))
            await readers.enough.wait()
            server.process.send_signal(signal.SIGKILL)
        async with processes.serving(*log, folder=tmp_path) as server:
            streams = await all_streams(server.port)
            assert set(readers.told) <= set(streams)
            for stream in streams:
                whole = await harness.ask(server.port, "GET", f"/v1/streams/{stream}/events")
                assert whole.body.startswith(readers.told.get(stream, b""))
                check_ended_once(whole)
            assert (await server.end(signal.SIGTERM)).code == 0
    assert sum(told.count(b"\n\n") for told in readers.told.values()) >= kill_at

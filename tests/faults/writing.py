"""A process that writes a log until it is killed, and says what was acknowledged.

    python -m tests.faults.writing FILE SEED CHECKPOINT_BYTES [on | off]

Strategy: 100 streams at a time, in ticks of some; ended ones are replaced, orphans of the
process before are claimed, some streams are asked to be cancelled, old ones expire, others
are read. With sealing on what is plain is resealed meanwhile, step by step. Each line on the
standard output is written after the log has said yes:

    + STREAM EPOCH SEQ OPEN    events up to SEQ are in the log; OPEN is 0 after the terminal one
    r STREAM EPOCH SEQ         a reader has seen this event
    c STREAM                   the stream is to be cancelled
    x TS                       streams that ended before TS are gone

What an event says follows from its place (`text`), so that its reader needs no copy of it.
The time of an event is the number of its tick.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import zlib
from pathlib import Path

import structlog

from holdfast import events
from holdfast.eventlog import base
from holdfast.eventlog.sqlite import engine
from holdfast.sealing import ring, sealer
from holdfast.testing.eventlog.parts import COMPLETE, chunk, header

STREAMS = 100
KEPT_TICKS = 150
KEY = ring.RingKey("0" * 16, b"k" * 32, 0)


def text(stream: str, epoch: int, seq: int) -> str:
    place = f"{stream} {epoch} {seq} "
    return place + "x" * (zlib.crc32(place.encode()) % 400)


class Open:
    """A stream that this process writes."""

    def __init__(self, stream: events.StreamId, life: base.Life) -> None:
        self.stream, self.epoch, self.last = stream, life.epoch, life.last

    def batch(self, count: int, ends: bool, ts: int) -> base.Batch:
        seqs = range(self.last + 1, self.last + count + 1)
        drafts = [chunk(text(self.stream, self.epoch, seq)) for seq in seqs]
        if ends:
            drafts.append(COMPLETE)
        return base.Batch(self.stream, self.epoch, self.last + len(drafts), ts, tuple(drafts))


class Process:
    def __init__(self, log: engine.SqliteLog, dice: random.Random, ts: int) -> None:
        self.log, self.dice, self.ts = log, dice, ts
        self.open: list[Open] = []
        self.after = ""

    async def adopt(self) -> None:
        for stream in await self.log.orphans(10 * STREAMS):
            life = await self.log.claim(stream, self.ts)
            if life is not None:
                self.open.append(Open(stream, life))
                say([f"+ {stream} {life.epoch} {life.last} 1"])

    async def create(self) -> None:
        stream = events.new_stream_id()
        life = await self.log.create(stream, header(self.ts), (chunk("first"),), self.ts)
        assert isinstance(life, base.Life)
        self.open.append(Open(stream, life))
        say([f"+ {stream} {life.epoch} 1 1"])

    async def tick(self) -> None:
        self.ts += 1
        chosen = self.dice.sample(self.open, min(40, len(self.open)))
        tick = tuple(
            pen.batch(self.dice.randint(1, 3), self.dice.random() < 0.05, self.ts) for pen in chosen
        )
        results = await self.log.append(tick)
        lines = []
        for pen, batch, result in zip(chosen, tick, results, strict=True):
            assert isinstance(result, base.Ok)
            pen.last = batch.last
            closed = batch.drafts[-1] is COMPLETE
            if closed:
                self.open.remove(pen)
            lines.append(f"+ {pen.stream} {pen.epoch} {pen.last} {int(not closed)}")
        say(lines)

    async def read(self) -> None:
        pen = self.dice.choice(self.open)
        page = await self.log.read(pen.stream, events.BEGIN)
        say([f"r {pen.stream} {page.position.epoch} {page.position.seq}"])

    async def cancel(self) -> None:
        pen = self.dice.choice(self.open)
        if await self.log.request_cancel(pen.stream):
            say([f"c {pen.stream}"])

    async def expire(self) -> None:
        before = self.ts - KEPT_TICKS
        if before > 0 and await self.log.expire(before, 1000) < 1000:
            say([f"x {before}"])

    async def reseal(self) -> None:
        self.after = (await self.log.reseal(self.after, 5)).after or ""

    async def run(self) -> None:
        await self.adopt()
        while True:
            missing = STREAMS - len(self.open)
            others = [self.create() for _ in range(missing)]
            if self.open:
                others += [self.read(), self.cancel(), self.expire(), self.reseal()]
            await asyncio.gather(*others)
            await self.tick()


def say(lines: list[str]) -> None:
    """One write, so that lines are not mixed; what a pipe has taken outlives the process."""
    data = "".join(f"{line}\n" for line in lines).encode()
    while data:
        data = data[os.write(1, data) :]


def sealing(how: str) -> sealer.Sealer:
    """`on` or `off` with a ring, or nothing."""
    return sealer.Sealer(ring.Ring((KEY,)), on=how == "on") if how else sealer.OFF


async def main(path: Path, seed: int, checkpoint_bytes: int, how: str) -> None:
    log = engine.SqliteLog(
        path, checkpoint_bytes=checkpoint_bytes, cache_bytes=100_000, sealer=sealing(how)
    )
    await log.start()
    newest = await log.find(base.Query(limit=1))
    # Later than all that the processes before have written, as a clock would be.
    ts = (newest[0].header.created_at if newest else 0) + 10_000
    await Process(log, random.Random(seed), ts).run()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), "".join(sys.argv[4:])))

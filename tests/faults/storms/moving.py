"""Readers by the thousand in a process of their own, who go on at another node when theirs ends.

    python -m tests.faults.storms.moving

Strategy: a line of JSON on its input says where to read what (`Plan`); each further line has a
number of readers of the last node who are to leave for good, and is answered with a line of JSON
(`Account`). Such lines tell by themselves that all have their first event, and that all is over.
All readers of a stream are in one process, so that it knows the newest event that anybody has seen:
whoever comes back must get at least that far to have caught up. What they got is compared as in
`reading`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from typing import cast

import msgspec
from tests.faults.storms import aside, crowd, reading

CUT_PAUSE = (0.02, 0.2)
"""Seconds before a reader comes back who was told nothing."""

LOOK = 0.05
"""Seconds between two looks at how late this process's own loop is."""


CANCELLED = b'event: error\ndata: {"code":"cancelled",'


class Plan(msgspec.Struct, frozen=True):
    """`readers`: of each stream at each of the ports."""

    ports: list[int]
    streams: list[str]
    readers: int


class Way(msgspec.Struct, frozen=True, array_like=True):
    """The way back, in seconds: from the end of a response to having all that anybody had when the
    next one was asked for (`whole`); of that, how long the server had asked to stay away (`told`);
    and from then on until the head of the next response came (`begun`). `missed`: events that were
    to be caught up with."""

    whole: float
    told: float
    begun: float
    missed: int

    @property
    def since_due(self) -> float:
        """Without what the server had asked for."""
        return self.whole - self.told


class Account(msgspec.Struct):
    """`late`: how late this process's own loop was at most, in seconds. `untold`: how often a
    reader had to come back without a `reconnect` that said when."""

    reading: int = 0
    ended: int = 0
    events: int = 0
    untold: int = 0
    late: float = 0.0
    ways: list[Way] = []
    wrong: list[str] = []


class Stream(reading.Stream):
    """One that may be cancelled, which is its end too."""

    def take(self, seq: int, epoch: int, block: bytes) -> None:
        if seq > len(self.blocks) and block.startswith(CANCELLED) and not self.ended:
            self.blocks.append(block)
            self.ended = True
            return
        super().take(seq, epoch, block)


class Mover(reading.Reader):
    """A reader who remembers for how long to stay away, and since when."""

    def __init__(self, stream: reading.Stream) -> None:
        super().__init__(stream)
        self.told = self.gone = 0.0

    def take(self, block: bytes) -> None:
        super().take(block)
        if block.startswith(b"event: reconnect\n"):
            found = re.search(rb"^retry: (\d+)$", block, re.MULTILINE)
            if found is None:
                raise reading.Wrong(f"{block!r} does not say when to come back")
            self.told = int(found[1]) / 1000


class Response(reading.Response):
    """One response. `served` is done with its reader's first event, or at its end; a reader who
    came back is noted in `ways` once it has caught up."""

    def __init__(self, reader: Mover, ways: list[Way]) -> None:
        super().__init__(reader)
        self._ways: list[Way] | None = ways if reader.gone else None
        self.served = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._mover, self._gone, self._told = reader, reader.gone, reader.told
        self._wanted = len(reader.stream.blocks)
        self._missed = self._wanted - reader.seq
        self._begun = 0.0
        reader.told = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports have no class in common with asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.reader.request())

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        seq = self._mover.seq
        if seq and not self.served.is_set():
            self.served.set()
        if self._ways is not None and not self._in_head:
            now = self._loop.time()
            self._begun = self._begun or now
            if seq >= self._wanted:
                begun = self._begun - self._gone - self._told
                self._ways.append(Way(now - self._gone, self._told, begun, self._missed))
                self._ways = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._mover.gone = self._loop.time()
        self.served.set()
        super().connection_lost(exc)


class Crowd:
    """All readers of a process."""

    def __init__(self, plan: Plan) -> None:
        self.account = Account()
        self._ports = plan.ports
        streams = [Stream(stream) for stream in plan.streams]
        self._readers = [
            [Mover(stream) for _ in range(plan.readers) for stream in streams] for _ in plan.ports
        ]
        self._places = asyncio.Semaphore(crowd.AT_ONCE)
        self._tasks: dict[Mover, asyncio.Task[None]] = {}

    async def until_all_read(self, group: asyncio.TaskGroup) -> None:
        """Starts all of them; returns when each has an event."""
        begun = []
        for at, some in enumerate(self._readers):
            for reader in some:
                has_begun = asyncio.Event()
                begun.append(has_begun)
                self._tasks[reader] = group.create_task(self._follow(reader, at, has_begun))
        for one in begun:
            await one.wait()

    def leave(self, count: int) -> None:
        """So many readers of the last node go for good."""
        for reader in self._readers[-1][:count]:
            self._tasks.pop(reader).cancel()
        del self._readers[-1][:count]

    async def _follow(self, reader: Mover, at: int, has_begun: asyncio.Event) -> None:
        """Reads to the stream's end, after each response at the next node."""
        account = self.account
        while True:
            response = Response(reader, account.ways)
            await self._read(response, self._ports[at % len(self._ports)], has_begun)
            if reader.wrong is not None:
                account.wrong.append(str(reader.wrong)[:300])
            if reader.ended or reader.wrong is not None:
                break
            account.untold += not reader.told
            at += 1
            await asyncio.sleep(reader.told or random.uniform(*CUT_PAUSE))
        has_begun.set()
        account.ended += reader.ended

    async def _read(self, response: Response, port: int, has_begun: asyncio.Event) -> None:
        """One response to its end. The first ones are asked for so many at a time."""
        loop, transport = asyncio.get_running_loop(), None
        async with contextlib.AsyncExitStack() as stack:
            if not has_begun.is_set():
                await stack.enter_async_context(self._places)
            try:
                transport, _ = await loop.create_connection(lambda: response, "127.0.0.1", port)
                await response.served.wait()
            except OSError:
                return
            finally:
                if transport is not None and not response.served.is_set():
                    transport.abort()
        has_begun.set()
        try:
            await response.over
        finally:
            response.transport.abort()

    async def look(self) -> None:
        """Never returns: notes how late the loop is."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK
            await asyncio.sleep(LOOK)
            self.account.late = max(self.account.late, loop.time() - due)

    def tell(self) -> None:
        account = self.account
        account.reading = sum(not task.done() for task in self._tasks.values())
        account.events = sum(reader.seq for reader in self._tasks)
        aside.tell(account)


async def _read_all(moving: Crowd) -> None:
    async with asyncio.TaskGroup() as group:
        await moving.until_all_read(group)
        moving.account.late = 0.0
        moving.tell()
    moving.tell()


async def _obey(lines: asyncio.StreamReader, moving: Crowd) -> None:
    """Does what further lines say, to their end."""
    while line := await lines.readline():
        moving.leave(int(line))
        moving.tell()


async def move() -> None:
    lines = await aside.heard()
    moving = Crowd(msgspec.json.decode(await lines.readline(), type=Plan))
    work = asyncio.create_task(_read_all(moving))
    others = [asyncio.create_task(moving.look()), asyncio.create_task(_obey(lines, moving))]
    await asyncio.wait([work, *others], return_when=asyncio.FIRST_COMPLETED)
    for task in (work, *others):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work


if __name__ == "__main__":
    aside.run(move())

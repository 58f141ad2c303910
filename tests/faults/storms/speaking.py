"""A provider that speaks to a thousand streams, and asks for the next one where one has ended.

    python -m tests.faults.storms.speaking

Strategy: a process of its own, so that a node that is measured has its core for itself. A line of
JSON on its input says how much (`Load`), and it answers with the port at which it speaks; the next
line is the node's port, and streams begin, one after the other over the time that one takes, so
that their ends are spread too. The end of its input is the end of asking: when all streams have
ended, a line of JSON tells what there was (`Said`). Who speaks is the bench's: a token is a frame,
a chunk and a write.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
from bench import simulator
from tests.faults.storms import aside
from tests.integration import harness

from holdfast import events

AGAIN = 0.2
"""Seconds before a node is asked again that did not take a stream."""

HEADERS = {"Content-Type": "application/json"}


class Load(msgspec.Struct, frozen=True):
    """`streams` at once, each of so many `tokens`, `rate` a second."""

    streams: int
    tokens: int
    rate: int

    @property
    def seconds(self) -> float:
        """How long a stream takes."""
        return self.tokens / self.rate


class Said(msgspec.Struct):
    """`refused`: how often the node did not take a stream. `asked`: seconds that the slowest POST
    took."""

    streams: list[events.StreamId] = []
    refused: int = 0
    asked: float = 0.0


class Speaker(simulator.Connection):
    """Calls `ended` when an answer is over."""

    def __init__(self, pace: simulator.Pace, ended: Callable[[], None]) -> None:
        super().__init__(pace)
        self._ended = ended

    def say(self) -> bool:
        more = super().say()
        if not more:
            self._ended()
        return more


class Asker:
    """Keeps so many streams under way as were begun, until it is told to stop."""

    def __init__(self, port: int) -> None:
        self.said = Said()
        self.stopped = False
        self._port, self._under_way = port, 0
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        self._under_way += 1
        task = asyncio.create_task(self._ask(len(self.said.streams) + self._under_way))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def ended(self) -> None:
        self._under_way -= 1
        if not self.stopped:
            self.begin()
        elif self._under_way <= 0:
            self._over.set()

    async def until_over(self) -> None:
        self.stopped = True
        if self._under_way > 0:
            await self._over.wait()
        await asyncio.gather(*self._tasks)

    async def _ask(self, number: int) -> None:
        body = harness.wanted("sim/sim", messages=[{"role": "user", "content": f"{number}"}])
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            with contextlib.suppress(OSError):
                made = await harness.ask(self._port, "POST", "/v1/streams", HEADERS, body)
                self.said.asked = max(self.said.asked, loop.time() - begun)
                if made.status == 201:
                    self.said.streams.append(made.json()["id"])
                    return
            self.said.refused += 1
            await asyncio.sleep(AGAIN)


async def speak() -> None:
    loop, lines = asyncio.get_running_loop(), await aside.heard()
    load = msgspec.json.decode(await lines.readline(), type=Load)
    pace = simulator.Pace(loop, load.tokens, 1 / load.rate)
    askers: list[Asker] = []
    listening = await loop.create_server(
        lambda: Speaker(pace, askers[0].ended), "127.0.0.1", backlog=simulator.BACKLOG
    )
    async with listening:
        aside.tell(listening.sockets[0].getsockname()[1])
        asker = Asker(int(await lines.readline()))
        askers.append(asker)
        end = asyncio.ensure_future(lines.read())
        for _ in range(load.streams):
            if end.done():
                break
            asker.begin()
            await asyncio.sleep(load.seconds / load.streams)
        await end
        await asker.until_over()
    aside.tell(asker.said)


if __name__ == "__main__":
    aside.run(speak())

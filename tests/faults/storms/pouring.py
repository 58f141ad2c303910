"""A crowd that asks a node for more than it can do, and the provider that speaks to it.

    python -m tests.faults.storms.pouring

Strategy: one process beside the node's plays both ends, so that one clock stamps a token and sees
it come. It has to do less than the node: some tokens go in one write, and of an answer only the
stamps are looked at. A line of JSON on its input says how much (`Load`), and it answers with the
port at which the provider listens; the next line is the node's port, and so many streams a second
are asked for, whoever is refused. When all that were taken have ended, a line tells what was seen
(`Seen`). Whatever is not as it must be is in `wrong`, in words.
"""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections import deque

import msgspec
from tests.faults.storms import aside
from tests.integration import harness

from holdfast.telemetry import histogram

BACKLOG = 4096

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
STAMP = re.compile(rb"(\d+)@(\d+);")
SECOND = 1_000_000  # microseconds

PRIORITIES = ("low", "normal", "high")
KEPT_WRONG = 20


class Load(msgspec.Struct, frozen=True):
    """`rate` streams a second are asked for, in turn of each priority, for `seconds`. Each is
    `writes` writes, one every `interval` seconds, of `tokens` tokens."""

    rate: float
    seconds: float
    writes: int
    interval: float
    tokens: int


class Seen(msgspec.Struct):
    """Streams that were taken and had their end, and those refused, by priority; what
    `Retry-After` said; how late tokens came; the share of its core that this process took."""

    ended: dict[str, int]
    refused: dict[str, int]
    retry_after: dict[str, int]
    delay: histogram.Histogram = histogram.EMPTY
    busy: float = 0.0
    wrong: list[str] = []


class Pouring:
    """What both ends share. Speakers have one pace, so the one that spoke longest ago is next."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.seen = Seen(dict.fromkeys(PRIORITIES, 0), dict.fromkeys(PRIORITIES, 0), {})
        self.delay = histogram.Recorder()
        self.left = 0
        self.over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._due: deque[tuple[float, Speaker]] = deque()

    def wrong(self, what: str) -> None:
        if len(self.seen.wrong) < KEPT_WRONG:
            self.seen.wrong.append(what)

    def join(self, speaker: Speaker) -> None:
        self._due.append((self._loop.time() + self.load.interval, speaker))

    async def speak(self) -> None:
        """Whoever is due says its next words. Never returns."""
        while True:
            now = self._loop.time()
            while self._due and self._due[0][0] <= now:
                due, speaker = self._due.popleft()
                if speaker.say():
                    self._due.append((due + self.load.interval, speaker))
            await asyncio.sleep(0.002)

    async def ask(self, port: int) -> None:
        """One after the other, and each when it is due."""
        count = int(self.load.rate * self.load.seconds)
        self.left, begun = count, self._loop.time()
        tasks = []
        for number in range(count):
            wait = begun + number / self.load.rate - self._loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            priority = PRIORITIES[number % len(PRIORITIES)]
            made = functools.partial(Reader, self, priority, number)
            opening = self._loop.create_connection(made, "127.0.0.1", port)
            tasks.append(asyncio.create_task(opening))
        await asyncio.gather(*tasks)
        await self.over.wait()

    def done(self) -> None:
        """One of those that ask knows all that it will."""
        self.left -= 1
        if not self.left:
            self.over.set()


class Speaker(asyncio.Protocol):
    """One call of the node's."""

    def __init__(self, pouring: Pouring) -> None:
        self._pouring = pouring
        self._request = b""
        self._said = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._request += data
        head, found, body = self._request.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
        if found and length and len(body) >= int(length[1]) and not self._said:
            self._transport.write(HEAD)  # type: ignore[attr-defined]  # uvloop's has no class
            self.say()
            self._pouring.join(self)

    def say(self) -> bool:
        """False where that was the end."""
        load, transport = self._pouring.load, self._transport
        if transport.is_closing():
            return False
        if self._said == load.writes:
            transport.write(_chunk(STOP) + b"0\r\n\r\n")  # type: ignore[attr-defined]
            return False
        first, now = self._said * load.tokens, time.monotonic_ns() // 1000
        self._said += 1
        frames = b"".join(
            b'data: {"choices":[{"index":0,"delta":{"content":"%d@%d;"}}]}\n\n' % (number, now)
            for number in range(first, first + load.tokens)
        )
        transport.write(_chunk(frames))  # type: ignore[attr-defined]
        return True


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Reader(asyncio.Protocol):
    """One stream that is asked for, and read if it is taken."""

    def __init__(self, pouring: Pouring, priority: str, number: int) -> None:
        self._pouring, self._priority, self._number = pouring, priority, number
        self._status = b""
        self._rest = b""
        self._next = 0
        self._clean = self._complete = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        metadata = {"priority": self._priority}
        messages = [{"role": "user", "content": f"{self._number}"}]
        body = harness.wanted("sim/sim", messages=messages, metadata=metadata)
        head = (
            "POST /v1/streams HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        transport.write(head.encode() + body)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if not self._status:
            head, found, rest = self._rest.partition(b"\r\n\r\n")
            if not found:
                return
            self._status, self._rest = head, rest
        if not self._status.startswith(b"HTTP/1.1 200"):
            return
        whole, found, rest = self._rest.rpartition(b"\n\n")
        if found:
            self._take(whole)
            self._rest = rest
        self._clean = self._rest.endswith(b"\r\n0\r\n\r\n")

    def _take(self, blocks: bytes) -> None:
        now, add = time.monotonic_ns() // 1000, self._pouring.delay.add
        for number, stamp in STAMP.findall(blocks):
            if int(number) != self._next:
                self._pouring.wrong(f"stream {self._number}: {int(number)} after {self._next - 1}")
            self._next = int(number) + 1
            add(now - int(stamp))
        self._complete = self._complete or b"event: complete\n" in blocks

    def connection_lost(self, exc: Exception | None) -> None:
        seen, load = self._pouring.seen, self._pouring.load
        if self._status.startswith(b"HTTP/1.1 503"):
            said = re.search(rb"(?i)\nretry-after: *(\d+)", self._status)
            wait = said[1].decode() if said else "none"
            seen.retry_after[wait] = seen.retry_after.get(wait, 0) + 1
            seen.refused[self._priority] += 1
            if b'"overloaded"' not in self._rest:
                self._pouring.wrong(f"stream {self._number}: {self._rest[-200:]!r}")
        elif self._next == load.writes * load.tokens and self._complete and self._clean:
            seen.ended[self._priority] += 1
        else:
            told = (self._status[:40], self._next, self._complete, self._clean, self._rest[-200:])
            self._pouring.wrong(f"stream {self._number} did not end as it should: {told}")
        self._pouring.done()


async def pour() -> None:
    loop, lines = asyncio.get_running_loop(), await aside.heard()
    pouring = Pouring(msgspec.json.decode(await lines.readline(), type=Load))
    listening = await loop.create_server(lambda: Speaker(pouring), "127.0.0.1", backlog=BACKLOG)
    async with listening:
        aside.tell(listening.sockets[0].getsockname()[1])
        port = int(await lines.readline())
        speaking = asyncio.create_task(pouring.speak())
        wall, cpu = time.monotonic(), time.process_time()
        await pouring.ask(port)
        pouring.seen.busy = (time.process_time() - cpu) / (time.monotonic() - wall)
        speaking.cancel()
    pouring.seen.delay = pouring.delay.histogram()
    aside.tell(pouring.seen)


if __name__ == "__main__":
    aside.run(pour())

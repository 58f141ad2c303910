"""The load's client in Python: holds so many streams open, and reads the stamps of their tokens.

Run as `python -m bench.load PORT PATH STREAMS SECONDS BODY [HEADER ...]`; it prints a line of JSON
with the fields of the load pair's client (`sseload`), and some more.

Strategy: one loop a core and one protocol a stream. A read costs one search for the stamps in it,
whatever the events around them look like, so one client serves all relays; only an answer that is
gzip is parsed, to be unpacked. Waits are counted in steps of 64 µs, not kept. Each process tells
what share of its core it took: over 85 % its waits may be its own, and there is no figure.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import gc
import json
import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import httptools
import uvloop

STAMP = re.compile(rb"@(\d+):(\d+);")
STAMP_BYTES = 32
"""More than the longest stamp has."""

STEP = 6
"""Waits are counted in steps of 2 to the power of that, microseconds."""

END = b"0\r\n\r\n"
SETTLED = 0.3
"""Of the run: before that, streams are being opened, and tokens do not count for tokens/s."""

TURN, BURST = 0.005, 64
"""Seconds between two looks at what is to be opened; how many at a time."""

COUNTS = ("peak", "opened", "done", "failed", "bad_status", "gaps", "tokens", "settled_tokens")
BYTES = ("reads", "bytes", "unpacked")
TIMES = ("heads", "firsts", "again", "waits")
"""To the head of the answer, to the first token, the same of streams that were opened where one
had ended; of a token."""


class Ask(NamedTuple):
    """What is asked of whom, and how often. `ramp`: streams opened a second; `once`: each stream
    once, until all have ended."""

    port: int
    request: bytes
    streams: int
    seconds: float
    ramp: float
    once: bool


class Tally:
    """What all streams of a process came to; times are by their step."""

    def __init__(self) -> None:
        self.counts: dict[str, float] = dict.fromkeys((*COUNTS, *BYTES), 0)
        self.times = {name: collections.Counter[int]() for name in TIMES}
        self.share = self.seconds = 0.0

    def dump(self) -> dict[str, object]:
        """As JSON can have it."""
        times = {name: list(counted.items()) for name, counted in self.times.items()}
        return {**self.counts, **times, "share": self.share, "seconds": self.seconds}


def micros() -> int:
    """The clock of the stamps."""
    return time.monotonic_ns() // 1000


class Reader(asyncio.Protocol):
    """One stream, from its request to its end."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd, self._tally = crowd, crowd.tally
        self._begun, self._status, self._next = micros(), 0, 0
        self._again = number > crowd.ask.streams
        self._head = self._rest = self._tail = b""
        self._parser: httptools.HttpResponseParser | None = None
        self._unpack: Any = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has no class in common
        self._transport.write(self._crowd.ask.request)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._ended()

    def data_received(self, data: bytes) -> None:
        now, counts = micros(), self._tally.counts
        counts["bytes"] += len(data)
        if not self._status:
            data = self._begin(data, now)
        if self._parser is not None:
            self._parser.feed_data(data)
        else:
            self._scan(data, now)
        self._tail = (self._tail + data)[-len(END) :] if len(data) < len(END) else data[-5:]
        if self._tail == END and self._transport is not None:
            self._transport.abort()
            self._ended()

    def on_body(self, body: bytes) -> None:
        """Of an answer that is packed."""
        plain = self._unpack.decompress(body)
        self._tally.counts["unpacked"] += len(plain)
        self._scan(plain, micros())

    def _begin(self, data: bytes, now: int) -> bytes:
        """The answer from its beginning, once its head is whole; before, nothing."""
        self._head += data
        head, found, _ = self._head.partition(b"\r\n\r\n")
        if not found:
            return b""
        self._status = int(head[9:12])
        self._tally.times["heads"][(now - self._begun) >> STEP] += 1
        self._tally.counts["bad_status"] += self._status != 200
        if re.search(rb"(?i)\ncontent-encoding: gzip\r?", head):
            self._unpack = zlib.decompressobj(31)
            self._parser = httptools.HttpResponseParser(self)
        return self._head

    def _scan(self, data: bytes, now: int) -> None:
        text = self._rest + data
        found = STAMP.findall(text)
        if found:
            counts, waits, after = self._tally.counts, self._tally.times["waits"], self._next
            if not after:
                step = (now - self._begun) >> STEP
                self._tally.times["firsts"][step] += 1
                if self._again:
                    self._tally.times["again"][step] += 1
            for said, at in found:
                number = int(said)
                if number != after:
                    counts["gaps"] += 1
                after = number + 1
                waits[(now - int(at)) >> STEP] += 1
            self._next = after
            counts["tokens"] += len(found)
            counts["reads"] += 1
        cut = text.rfind(b"@", -STAMP_BYTES)
        self._rest = text[cut:] if cut >= 0 and b";" not in text[cut:] else b""

    def _ended(self) -> None:
        self._transport = None
        counts = self._tally.counts
        counts["done" if self._status == 200 and self._next else "failed"] += 1
        self._crowd.live -= 1


class Crowd:
    """All streams of one process."""

    def __init__(self, ask: Ask) -> None:
        self.ask, self.tally, self.live, self.opened = ask, Tally(), 0, 0
        self._opening: set[asyncio.Task[None]] = set()

    async def run(self) -> Tally:
        """Until the time is over, or with `once` all streams have ended."""
        counts = self.tally.counts
        begun, used = time.monotonic(), time.process_time()
        settled, before = 0.0, 0.0
        while (passed := time.monotonic() - begun) < self.ask.seconds:
            wanted = min(self.ask.streams, int(passed * self.ask.ramp) + 1)
            missing = wanted - (self.opened if self.ask.once else self.live)
            if self.ask.once and self.opened == self.ask.streams and not self.live:
                break
            for _ in range(min(missing, BURST)):
                self.opened += 1
                self._open(self.opened)
            counts["peak"] = max(counts["peak"], self.live)
            if not settled and passed > self.ask.seconds * SETTLED:
                settled, before = passed, counts["tokens"]
            await asyncio.sleep(TURN)
        passed = time.monotonic() - begun
        counts["opened"] = self.opened
        counts["settled_tokens"] = counts["tokens"] - before
        self.tally.seconds = passed - settled
        self.tally.share = (time.process_time() - used) / passed
        return self.tally

    def _open(self, number: int) -> None:
        self.live += 1
        task = asyncio.create_task(self._connect(number))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: Reader(self, number), "127.0.0.1", self.ask.port)
        except OSError:
            self.live -= 1
            self.tally.counts["failed"] += 1


def merged(dumps: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """What several processes came to, with the fields of `sseload`."""
    total = {name: sum(int(one[name]) for one in dumps) for name in (*COUNTS, *BYTES)}
    times = {name: collections.Counter[int]() for name in TIMES}
    for one in dumps:
        for name, counted in times.items():
            counted.update(dict(one[name]))
    return total | {
        "conns": total["peak"],
        "tok_per_s": sum(one["settled_tokens"] / one["seconds"] for one in dumps),
        "MB": total["bytes"] / 1e6,
        "head_ms": [at(times["heads"], share) for share in (0.5, 0.99)],
        "ttft_ms": [at(times["firsts"], share) for share in (0.5, 0.95, 0.99)],
        "again": sum(times["again"].values()),
        "again_ms": [at(times["again"], share) for share in (0.5, 0.99)],
        "lat_ms": [at(times["waits"], share) for share in (0.5, 0.95, 0.99)],
        "share": max(one["share"] for one in dumps),
        "processes": len(dumps),
    }


def at(counted: Mapping[int, int], share: float) -> float:
    """The milliseconds that this share of the counted did not exceed; 0 of none."""
    left = sum(counted.values()) * share
    for step in sorted(counted):
        left -= counted[step]
        if left <= 0:
            return (step + 0.5) * (1 << STEP) / 1000
    return 0.0


def request(method: str, path: str, body: bytes, headers: Sequence[str]) -> bytes:
    """As the load pair asks."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: text/event-stream"]
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += ["Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + (body if method == "POST" else b"")


def _split(given: argparse.Namespace, argv: Sequence[str], cores: Sequence[int]) -> list[Any]:
    """The same in a process for each core, with its part of the streams."""
    running = []
    for number, core in enumerate(cores):
        part = given.streams // len(cores) + (number < given.streams % len(cores))
        more = ["--part", str(part), "--ramp", str(given.ramp / len(cores))]
        command = ["taskset", "-c", str(core), sys.executable, "-m", "bench.load", *argv, *more]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE))
    return [json.loads(one.communicate()[0]) for one in running]


def main() -> None:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.load")
    add = parser.add_argument
    add("port", type=int)
    add("path")
    add("streams", type=int)
    add("seconds", type=float)
    add("body", type=Path)
    add("header", nargs="*")
    add("--ramp", type=float, default=4000, help="streams opened a second")
    add("--once", action="store_true", help="open each stream once")
    add("--get", action="store_true", help="send a GET")
    add("--part", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if given.part is None and len(cores) > 1:
        found = _split(given, sys.argv[1:], cores)
    else:
        body, method = given.body.read_bytes(), "GET" if given.get else "POST"
        asked = request(method, given.path, body, given.header)
        streams = given.streams if given.part is None else given.part
        gc.disable()  # nothing here is left in a cycle, and a pause would count as a wait
        ask = Ask(given.port, asked, streams, given.seconds, given.ramp, given.once)
        found = [uvloop.run(Crowd(ask).run()).dump()]
        if given.part is not None:
            print(json.dumps(found[0]))
            return
    print(json.dumps(merged(found)))


if __name__ == "__main__":
    main()

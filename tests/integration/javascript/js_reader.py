"""Our JavaScript client on Node, told what to do (`tests/peers/reader.mjs`).

Strategy: a command goes out as a line of JSON; what happens comes back as lines, in their order,
and is kept by the name of the answer it is about. A test waits for what is to be told and never
for a time. The process sees what an application would: an address, and maybe a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
from tests.integration import harness, peers

from holdfast import sse

Told = dict[str, Any]


class Reader:
    """A running process, or one page of it, whose name stands before that of each answer there;
    `told` is what it told, by the name of the answer."""

    def __init__(self, process: asyncio.subprocess.Process, page: str = "") -> None:
        self.process, self._page = process, page
        self.told: defaultdict[str, list[Told]] = defaultdict(list)

    def do(self, command: str, of: str, **more: Any) -> None:
        assert self.process.stdin is not None
        line = msgspec.json.encode({"command": command, "of": self._page + of, **more})
        self.process.stdin.write(line + b"\n")

    def stream(self, of: str, url: str, prompt: str, **use: Any) -> None:
        """A client, and a new answer of the demo's by it, piece by piece."""
        self.do("client", of, options={"url": url}, storage=use.pop("storage", None))
        messages = [{"role": "user", "content": prompt}]
        asked = {"model": "demo", "messages": messages, "flush_interval_ms": 0}
        self.do("stream", of, request=asked, use=use)

    async def until(self, of: str, true: Callable[[list[Told]], bool]) -> list[Told]:
        """What was told of this answer, once that is true; fails where the process ends."""
        assert self.process.stdout is not None
        async with asyncio.timeout(harness.PATIENCE):
            while not true(self.told[of]):
                line = await self.process.stdout.readline()
                assert line, "the process has ended"
                told = msgspec.json.decode(line)
                if told["of"].startswith(self._page):  # another page may still be heard
                    told["of"] = told["of"].removeprefix(self._page)
                    self.told[told["of"]].append(told)
        return self.told[of]

    async def first(self, of: str, kind: str) -> Told:
        """The first line of this kind."""
        told = await self.until(of, lambda told: any(one["kind"] == kind for one in told))
        return next(one for one in told if one["kind"] == kind)

    async def end(self, of: str) -> Told:
        """How the answer ended: `final`, or `failed`."""
        ends = ("final", "failed")
        told = await self.until(of, lambda told: any(one["kind"] in ends for one in told))
        return next(one for one in told if one["kind"] in ends)

    async def pieces(self, of: str, count: int) -> list[Told]:
        """What was told once so many chunks came."""
        return await self.until(of, lambda told: kinds(told).count("chunk") >= count)

    async def waiting(self, of: str, count: int) -> None:
        """Returns when it waits for the next try, so many times by then."""
        await self.until(of, lambda told: len(waits(told)) >= count)


def kinds(told: list[Told]) -> list[str]:
    """The events that were given out, by name."""
    return [one["event"]["type"] for one in told if one["kind"] == "event"]


def ids(told: list[Told]) -> list[str]:
    return [one["event"]["id"] for one in told if one["kind"] == "event"]


def asked(told: list[Told]) -> list[tuple[str, str | None]]:
    """Method and `Last-Event-ID` of each request."""
    return [
        (one["method"], one["headers"].get("last-event-id"))
        for one in told
        if one["kind"] == "asked"
    ]


def waits(told: list[Told]) -> list[float]:
    """The delays in ms that were waited out."""
    waiting = [one for one in told if one["kind"] == "connection" and one["state"] == "waiting"]
    return [one["delay"] for one in waiting]


def came(told: list[Told]) -> bytes:
    """All bodies, as they came."""
    return "".join(one["text"] for one in told if one["kind"] == "came").encode()


async def written(server: harness.Running, stream: str) -> bytes:
    """The whole answer, as a reader of the raw bytes has it."""
    return (await harness.ask(server.port, "GET", f"/v1/streams/{stream}/events")).body


def given(told: list[Told]) -> list[sse.Frame]:
    """The events that were given out, data as it was written."""
    events = [one["event"] for one in told if one["kind"] == "event"]
    return [sse.Frame(one["type"], plain(one["data"]), one["id"]) for one in events]


def plain(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True).encode()


def frames(body: bytes) -> list[sse.Frame]:
    return [
        sse.Frame(frame.event, plain(json.loads(frame.data)), frame.id)
        for frame in sse.Parser().feed(body)
    ]


def wanted(prompt: str, model: str = "demo") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}]}


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Reader]:
    """The process, until the block ends. The packages of `tests/peers` are to be installed."""
    async with peers.by_line("reader.mjs") as process:
        reader = Reader(process)
        ready = await reader.first("", "ready")
        assert ready["node"] == peers.node_version()
        yield reader


@contextlib.asynccontextmanager
async def page(process: asyncio.subprocess.Process, name: str) -> AsyncIterator[Reader]:
    """A page of a process that has others before and after it; at its end it reads nothing more."""
    found = Reader(process, f"{name}: ")
    yield found
    found.do("forget", "all")
    await found.first("all", "forgotten")


async def killed(reader: Reader) -> None:
    """It dies at once, as a page does whose tab is closed."""
    reader.process.kill()
    await reader.process.wait()


def client_folder() -> Path:
    return peers.FOLDER.parent.parent / "clients" / "js"

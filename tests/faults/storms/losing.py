"""A service that loses what stands behind it: who speaks, who reads, and what is seen meanwhile.

Strategy: a vendor in this process speaks for as long as a test lets it, so a loss lasts until it
has said so much more, and never for a time; it writes down every word before it leaves. Readers
take the bytes off their sockets, are held to the order of events, come back when they are told to,
and have in the end just what was said. Nothing of our client is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from tests.faults import served
from tests.integration import asking, harness

from holdfast.testing import listening

PATIENCE = 60.0
"""Seconds until what a loss stopped goes on; a failover and a busy machine fit."""

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)
SETTINGS = """
[streaming]
log_patience = "{patience:g}s"

[log]
live = "{live:g}s"

[providers.sim]
kind = "openai_chat"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "sk-sim"
models = ["sim"]
"""
JSON = {"Content-Type": "application/json"}


class Vendor(listening.Listener):
    """Speaks to whoever calls, `rate` words a second, until `finish` is called. `said` has the
    words by the label that a call is about, which is its first message; `calls` counts calls, and
    `speaking` those that are listened to."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.said: dict[str, list[str]] = {}
        self.calls = self.speaking = 0
        self._rate, self._over = rate, asyncio.Event()
        self._moved = asyncio.Condition()

    def finish(self) -> None:
        """All say their last word, who calls from now on after a few."""
        self._over.set()

    def text(self, label: str) -> str:
        return "".join(self.said[label])

    async def have_said(self, more: int) -> None:
        """Returns when each that speaks now has said so many words more."""
        wanted = {label: len(words) + more for label, words in self.said.items()}
        await self._until(
            lambda: all(len(self.said[label]) >= count for label, count in wanted.items()),
            more / self._rate,
        )

    async def be_left(self) -> None:
        """Returns when nobody listens any more."""
        await self._until(lambda: not self.speaking)

    async def _until(self, seen: Callable[[], bool], seconds: float = 0) -> None:
        async with asyncio.timeout(PATIENCE + seconds), self._moved:
            await self._moved.wait_for(seen)

    async def _move(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].split("\r\n")[0])
        body = msgspec.json.decode(await reader.readexactly(length))
        self.calls += 1
        words = self.said.setdefault(str(body["messages"][0]["content"]), [])
        self.speaking += 1
        try:
            await self._speak(words, writer)
        finally:
            self.speaking -= 1
            await self._move()

    async def _speak(self, words: list[str], writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while not self._over.is_set() or len(words) < 3:
            self._say(words, writer)
            await self._move()
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1 / self._rate):
                    await self._over.wait()
        self._say(words, writer)
        writer.write(_framed(asking.STOP) + b"0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    def _say(self, words: list[str], writer: asyncio.StreamWriter) -> None:
        words.append(f"wört{len(words)} ")
        writer.write(_framed(asking.chunk(words[-1])))


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Away(NamedTuple):
    """A reader was asked to come back: after so many ms, and why."""

    retry: int
    reason: str


class Reader:
    """Somebody who reads a stream to its end. `text` is what it has since the last `rewind`, `ends`
    the terminal events that it got."""

    def __init__(
        self, stream: str, headers: Mapping[str, str] | None = None, soonest: bool = True
    ) -> None:
        """`soonest`: comes back sooner than it is told to, so that a test takes less time."""
        self.stream, self.ends = stream, list[harness.Said]()
        self.away: list[Away] = []
        self.rewinds = self.seq = self.responses = 0
        self.came_back = asyncio.Event()
        self._headers, self._soonest = dict(headers or {}), soonest
        self._words: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._words)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    async def read(self, where: Callable[[], int]) -> None:
        """To the terminal event, at the port that `where` says each time."""
        while not self.ends:
            try:
                response = await harness.Reader.open(
                    where(), "GET", f"/v1/streams/{self.stream}/events", self._headers
                )
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.05)  # nobody listens there now
                continue
            self.responses += 1
            try:
                await self._take_all(response)
            finally:
                await response.close()
            if not self.ends:
                pause = self.away[-1].retry / 1000
                await asyncio.sleep(min(pause, 0.3) if self._soonest else pause)

    async def _take_all(self, response: harness.Reader) -> None:
        """One response. A clean end has everything, any other one begins with a goodbye."""
        assert response.status == 200, response.status
        goodbyes, taken, more = len(self.away), 0, True
        while more:
            more = await response.more()
            whole = response.body.rfind(b"\n\n") + 2
            if whole > taken + 1:
                for block in harness.blocks(bytes(response.body[taken:whole])):
                    self._take(block)
                taken = whole
        assert response.clean == bool(self.ends)
        assert self.ends or len(self.away) == goodbyes + 1

    def _take(self, block: bytes) -> None:
        (said,) = harness.said(block)
        if said.id is None:
            if said.event == "reconnect":
                assert asking.retry(block) == said.data["retry_ms"]
                self.away.append(Away(said.data["retry_ms"], said.data["reason"]))
            elif said.event == "rewind":
                self._forget()
                self.seq = 0
            else:
                assert said.event == "heartbeat", said
            return
        assert not self.ends, said
        place = said.id.rpartition("-")[2]
        assert int(place) == self.seq + 1, f"{said.id} came after event {self.seq}"
        self.seq, self._headers["Last-Event-ID"] = self.seq + 1, said.id
        if said.event == "chunk" and said.data["type"] == "content":
            self._words.append(said.data["delta"])
        elif said.event == "rewind":
            self._forget()
        elif said.event in ("complete", "error"):
            self.ends.append(said)

    def _forget(self) -> None:
        self.rewinds += 1
        self._words.clear()


def configure(folder: Path, vendor: Vendor, *, patience: float, live: float = 600.0) -> None:
    """The settings of nodes that start in this folder."""
    said = SETTINGS.format(patience=patience, port=vendor.port, live=live)
    (folder / "holdfast.toml").write_text(said)


async def create(
    server: served.Server, label: str, headers: Mapping[str, str] | None = None
) -> str:
    """The id of a new stream, which the vendor is to speak about."""
    answer = await post(server, label, headers)
    assert answer.status == 201, answer
    return str(answer.json()["id"])


async def post(
    server: served.Server, label: str, headers: Mapping[str, str] | None = None
) -> harness.Response:
    body = harness.wanted("sim", messages=[{"role": "user", "content": label}], flush_interval_ms=0)
    return await harness.ask(server.port, "POST", "/v1/streams", {**JSON, **(headers or {})}, body)


def refused(answer: harness.Response, code: str = "log_unavailable") -> None:
    """A 503 that says when to come again, as problem details."""
    assert answer.status == 503, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    told = answer.json()
    assert (told["status"], told["code"]) == (503, code), told
    assert told["type"] == f"urn:holdfast:error:{code}"


async def until(seen: Callable[[], bool]) -> None:
    """Asks again until it is so; what a reader raises ends the block of its task group."""

    async def asked() -> bool:
        return seen()

    await served.until(asked)


async def readiness(server: served.Server) -> int:
    return (await harness.ask(server.port, "GET", "/readyz")).status


async def until_ready(server: served.Server, status: int = 200) -> None:
    """Waits until `/readyz` answers so; `/healthz` is 200 whatever is lost."""

    async def ready() -> bool:
        return await readiness(server) == status

    await served.until(ready)
    assert (await harness.ask(server.port, "GET", "/healthz")).status == 200


async def _whole(
    server: served.Server, target: str, headers: Mapping[str, str] | None
) -> harness.Response:
    """The stream, for who comes now. A node that has its log again since a moment may send a reader
    away once more; then it says so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await harness.ask(server.port, "GET", target, headers)
            if answer.clean and answer.status == 200:
                return answer
            told = asking.kinds(answer.body)[-1:]
            assert answer.status == 503 or told == ["reconnect"], (answer.status, told)
            await asyncio.sleep(0.05)


async def check_stream(
    server: served.Server,
    stream: str,
    text: str,
    readers: Sequence[Reader],
    headers: Mapping[str, str] | None = None,
) -> None:
    """All readers have this text, and so has who comes now; it ends once, and in `complete`."""
    whole = await _whole(server, f"/v1/streams/{stream}/events", headers)
    kinds = asking.kinds(whole.body)
    assert [kind for kind in kinds if kind in ("complete", "error")] == kinds[-1:] == ["complete"]
    end = harness.said(whole.body)[-1].data
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert (end["sha256"], end["length"]) == (digest, len(text.encode()))
    for reader in readers:
        assert reader.sha256 == digest, (reader.text, text)
        assert [one.data for one in reader.ends] == [end]

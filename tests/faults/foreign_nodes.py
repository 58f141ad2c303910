"""Nodes of which one is killed, and the stock clients of other APIs that read at it.

Strategy: on Valkey the other node is there before the kill, on SQLite it is started after. The demo
tells its answer again; the scripted provider goes on behind what it is shown, and stands still in
the second half of that until whoever comes back is there. A reader keeps what it had.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import openai
from tests.integration import asking, harness, peers, processes
from tests.integration.dialects import messages, stock_openai
from tests.integration.dialects.ai_sdk import chat_pages

from holdfast.testing import provider as replay

WORDS = [f"tide{number} " for number in range(40)]
HALF = 12
"""Words that the scripted provider says before it stands still."""

CONFIG = """
[log]
url = "{log}"
lease = 1
[providers.vendor]
kind = "openai"
base_url = "{vendor}/v1"
api_key = "k"
[fallback]
delay = 0.01
"""


class Answer(msgspec.Struct, frozen=True):
    """What is asked for, and what it is: its whole text, and the begin that readers wait for."""

    model: str
    question: str
    whole: str
    half: str

    @property
    def asked(self) -> Any:
        return [{"role": "user", "content": self.question}]


SCRIPTED = Answer("vendor/m", "Say it.", "".join(WORDS), "".join(WORDS[:HALF]))


class Vendor:
    """The scripted provider. `go_on` lets it say all of the rest."""

    def __init__(self) -> None:
        self.server = replay.ReplayServer(self._answer)
        self._gate = asyncio.Event()
        self.go_on = self._gate.set

    def _answer(self, asked: replay.Request) -> replay.Answer:
        said = [one["content"] for one in asked.json()["messages"] if one["role"] == "assistant"]
        if not said:
            return replay.Answer(body=tuple(map(asking.chunk, WORDS[:HALF])), ending="stall")
        rest = SCRIPTED.whole.removeprefix(said[-1])
        pieces = asking.chunk(rest[:9]), self._gate, asking.chunk(rest[9:])
        return replay.Answer(body=(*pieces, asking.STOP))


class Stage(msgspec.Struct):
    """The node that dies, and the other one; `there` is None until that is started."""

    vendor: Vendor
    pages: peers.Peer
    folder: Path
    stack: contextlib.AsyncExitStack
    here: processes.Server
    there: processes.Server | None = None

    async def start(self) -> processes.Server:
        return await self.stack.enter_async_context(processes.serving(folder=self.folder))

    async def kill(self) -> processes.Server:
        """Gives the other node, once this one is dead."""
        self.here.process.send_signal(signal.SIGKILL)
        await self.here.process.wait()
        self.there = self.there or await self.start()
        return self.there

    async def openai(self, node: processes.Server) -> openai.AsyncOpenAI:
        return await self.stack.enter_async_context(stock_openai.client(f"{node.url}/v1"))

    async def page(
        self, node: processes.Server, version: int, answer: Answer, **more: Any
    ) -> chat_pages.Page:
        """A page of the chat that is named after its version."""
        wanted = {"api": f"{node.url}/api/chat", "body": {"model": answer.model}}
        return await chat_pages.opened(self.pages, version, f"chat-{version}", wanted, **more)


@contextlib.asynccontextmanager
async def staged(pages: peers.Peer, folder: Path, valkey: str | None) -> AsyncIterator[Stage]:
    """Two nodes on this Valkey, or one with its log in a file."""
    vendor = Vendor()
    async with vendor.server as server, contextlib.AsyncExitStack() as stack:
        config = CONFIG.format(log=valkey or "sqlite:///log.db", vendor=server.url)
        (folder / "holdfast.toml").write_text(config)
        here = await stack.enter_async_context(processes.serving(folder=folder))
        stage = Stage(vendor, pages, folder, stack, here)
        if valkey:
            stage.there = await stage.start()
        yield stage


class Reader:
    """A stock client that reads. `had` is its text so far."""

    def __init__(self, stream: str, pieces: AsyncIterator[str]) -> None:
        self.stream, self._pieces, self.had = stream, pieces, ""

    async def until(self, begin: str) -> None:
        while len(self.had) < len(begin):
            self.had += await anext(self._pieces)

    async def rest(self) -> None:
        async for piece in self._pieces:
            self.had += piece


def reader(source: Any, pieces: AsyncIterator[str]) -> Reader:
    return Reader(source.response.headers["x-stream-id"], pieces)


async def by_chat(stage: Stage, answer: Answer) -> Reader:
    stock = await stage.openai(stage.here)
    source: Any = await stock.chat.completions.create(
        model=answer.model, messages=answer.asked, stream=True
    )
    return reader(source, (one.choices[0].delta.content or "" async for one in source))


async def by_messages(stage: Stage, answer: Answer) -> Reader:
    stock = await stage.stack.enter_async_context(messages.client(stage.here.url))
    asked = messages.asked(answer.model, messages=answer.asked, max_tokens=1_000)
    source = await stock.messages.create(**asked, stream=True)
    told = (one.delta.text async for one in source if one.type == "content_block_delta")
    return reader(source, told)


async def by_responses(stage: Stage, answer: Answer, said: list[Any]) -> Reader:
    """Its events are put down in `said`."""
    stock = await stage.openai(stage.here)
    source: Any = await stock.responses.create(model=answer.model, input=answer.asked, stream=True)
    return reader(source, deltas(source, said))


async def deltas(source: Any, said: list[Any]) -> AsyncIterator[str]:
    """The text in the events of a response, which are put down."""
    async for event in source:
        said.append(event)
        yield event.delta if event.type == "response.output_text.delta" else ""


class Behind:
    """Who comes to a response with the number of the last event that it has."""

    def __init__(self, node: processes.Server, had: list[Any]) -> None:
        self._node, self._had = node, list(had)
        self.said: list[Any] = []
        self.id = had[0].response.id

    async def begin(self, stage: Stage) -> Reader:
        last = self._had[-1].sequence_number
        stock = await stage.openai(self._node)
        source = await stock.responses.retrieve(self.id, stream=True, starting_after=last)
        self._reader = reader(source, deltas(source, self.said))
        return self._reader

    async def check(self, whole: str, claim: int) -> None:
        """Exactly the rest comes, to a clean end, and with it what was read is the answer."""
        await self._reader.rest()
        all = [*self._had, *self.said]
        end = self.said[-1]
        assert (end.type, end.response.output_text) == ("response.completed", whole)
        assert "".join(o.delta for o in all if o.type == "response.output_text.delta") == whole
        numbers = [one.sequence_number for one in all]
        first = [number for number in numbers if number < claim << 32]
        assert first == list(range(len(first)))
        assert len(self._had) <= len(first) < len(all)
        assert numbers[len(first) :] == [(claim << 32) + n for n in range(len(all) - len(first))]
        target = f"/v1/responses/{self.id}?stream=true"
        frames = await framed(self._node, target)
        assert [one["sequence_number"] for one in map(data, frames)] == numbers
        for at in (0, len(self._had) - 1, len(first) - 1, len(first), len(all) - 2):
            rest = await framed(self._node, f"{target}&starting_after={numbers[at]}")
            assert rest == frames[at + 1 :]


async def framed(node: processes.Server, target: str) -> list[bytes]:
    """The frames of a whole answer, without heartbeats."""
    read = await harness.ask(node.port, "GET", target)
    assert (read.status, read.clean) == (200, True)
    return harness.blocks(read.body.replace(b": ping\n", b""))


def data(frame: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(frame.partition(b"data: ")[2])
    return found

"""Pages of three versions of the AI SDK, a running server, and a provider under the test's hand.

Strategy: the pages run in one Node process (`tests/peers/chats.mjs`), each with the stock `Chat`
and transport of its version. The provider says what the test has put down for it, question by
question, and stands still where an event is among the pieces.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

import msgspec
from tests.integration import asking, harness, peers

from holdfast.testing import provider as replay

VERSIONS = (5, 6, 7)

Data = dict[str, Any]

CALLS: list[Data] = [
    {"index": 0, "id": "c0", "function": {"name": "tide", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"at":'}},
    {"index": 1, "id": "c1", "function": {"name": "wind", "arguments": "{}"}},
    {"index": 0, "function": {"arguments": "7}"}},
]
"""Two calls side by side, in pieces."""


def delta(**fields: Any) -> bytes:
    """One chunk of an answer in the provider's format."""
    choice = {"index": 0, "delta": fields}
    return b"data: %b\n\n" % msgspec.json.encode({"choices": [choice]})


def saying(*pieces: str | bytes | asyncio.Event, finish: str = "stop") -> replay.Answer:
    """An answer of these pieces of text, frames, and places to stand still at."""
    ended = {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    counted = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}
    ends = [b"data: %b\n\n" % msgspec.json.encode(end) for end in (ended, counted)]
    body = [delta(content=one) if isinstance(one, str) else one for one in pieces]
    return replay.Answer(body=(*body, *ends, b"data: [DONE]\n\n"))


class Vendor:
    """The provider: `answers` are played in turn; `asked` are the bodies that came."""

    def __init__(self) -> None:
        self.answers: list[replay.Answer] = []
        self.server = replay.ReplayServer(self._next)

    def _next(self, asked: replay.Request) -> replay.Answer:
        return self.answers.pop(0)

    def will_say(self, *pieces: str | bytes | asyncio.Event, finish: str = "stop") -> None:
        self.answers.append(saying(*pieces, finish=finish))

    @property
    def asked(self) -> list[Data]:
        return [asked.json() for asked in self.server.requests]


class Page(msgspec.Struct, frozen=True):
    """One page; what it tells is what it shows then."""

    port: int
    number: int

    async def tell(self, op: str, **fields: Any) -> Data:
        found = await _told(self.port, {"op": op, "on": self.number, **fields})
        assert isinstance(found, dict)
        return found

    async def send(self, text: str = "Why?", **fields: Any) -> Data:
        """Asks, and waits for the end."""
        return await self.tell("call", method="sendMessage", args=[{"text": text, **fields}])

    async def ask(self, text: str = "Why?") -> Self:
        """Asks, and waits for nothing."""
        await self.tell("begin", method="sendMessage", args=[{"text": text}])
        return self

    async def resume(self) -> Self:
        """Comes back, and waits for nothing."""
        await self.tell("begin", method="resumeStream")
        return self

    async def until(self, text: str = "", status: str | None = None) -> Data:
        """Waits until it shows this, and has this status."""
        wanted = {"text": text} if status is None else {"text": text, "status": status}
        return await self.tell("until", **wanted)

    async def seen(self) -> Data:
        return await self.tell("seen")


async def _told(port: int, command: Data) -> Any:
    answer = await harness.ask(port, "POST", "/", {}, msgspec.json.encode(command))
    assert answer.status == 200, answer.json()["error"]
    return answer.json()


async def opened(
    pages: peers.Peer,
    version: int,
    chat: str,
    transport: Data,
    *,
    messages: list[Data] | None = None,
    **more: Any,
) -> Page:
    """A new page of this chat, with the messages that it has kept."""
    init = {"id": chat, "messages": messages or []}
    told = {"op": "open", "version": version, "chat": init, "transport": transport, **more}
    return Page(pages.port, await _told(pages.port, told))


class Stage(msgspec.Struct, frozen=True):
    """All three."""

    server: harness.Running
    vendor: Vendor
    pages: peers.Peer

    async def page(
        self, version: int, chat: str, messages: list[Data] | None = None, **more: Any
    ) -> Page:
        """A new page of this chat, with the messages that it has kept; `transport` are options of
        its transport."""
        transport = {"api": f"{self.server.url}/api/chat", **more.pop("transport", {})}
        return await opened(self.pages, version, chat, transport, messages=messages, **more)

    async def call(self, method: str, target: str, **headers: str) -> harness.Response:
        """A request of the test's own."""
        body = b"" if method == "POST" else None
        async with asyncio.timeout(harness.PATIENCE):  # heartbeats put no wait off
            return await harness.ask(self.server.port, method, f"/api/chat{target}", headers, body)

    async def idle(self) -> None:
        """Nothing is left over."""
        left, self.vendor.answers = self.vendor.answers, []
        assert left == [], "they would be told to the next test"
        await asking.idle(self.server)


@contextlib.asynccontextmanager
async def stage(pages: peers.Peer, **tables: Any) -> AsyncIterator[Stage]:
    """A server whose usual model is the provider's, with a heartbeat each 100 ms."""
    vendor = Vendor()
    async with vendor.server as provider:
        row = {"kind": "openai_chat", "base_url": f"{provider.url}/v1", "models": ["m"]}
        tables = {"server": {"heartbeat_interval": 0.1}, **tables}
        config = harness.configured(providers={"vendor": row}, **tables)
        async with harness.running(config) as server:
            yield Stage(server, vendor, pages)


@contextlib.contextmanager
def browser() -> Iterator[peers.Peer]:
    """The process that the pages are in."""
    with peers.running("chats.mjs", {}) as peer:
        yield peer


def answer(seen: Data) -> Data:
    """The last message of a page, which is the assistant's."""
    last = seen["messages"][-1]
    assert last["role"] == "assistant", seen
    assert isinstance(last, dict)
    return last


def parts(seen: Data) -> list[Any]:
    """The parts of the answer, in short: texts, thoughts, and calls with their state."""
    found: list[Any] = []
    for part in answer(seen)["parts"]:
        match part["type"]:
            case "text" | "reasoning":
                found.append((part["type"], part["text"], part["state"]))
            case "step-start":
                found.append("step")
            case kind:
                found.append((kind, part.get("state"), part.get("input")))
    return found

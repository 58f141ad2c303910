"""A dialect that says little, on all routes of other APIs: to see how their calls are answered.

Strategy: a body names its model and what is asked, and what is special about it. A frame is
the kind of an event and, of a chunk, its text; nothing is padded, numbered or translated, so that
a test sees in the answer what the rim has made of it. `PATH` is a route that makes answers.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.types import ASGIApp
from tests.integration import harness

from holdfast import app, errors, events, request, service, storage
from holdfast.dialects import base, bodies, native
from holdfast.http import calls, feed, limits, live, mounted, routes, shared

PATH = "/v1/chat/completions"
GONE = b"data: gone "
"""How the frame begins that a reader gets before an unclean end."""


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """`bug`: parsing fails as no parser should. `terms` are kept for the rendering."""

    model: str = "demo"
    ask: str = "Why?"
    stream: bool = False
    detached: bool = False
    bug: bool = False
    fields: dict[str, Any] = {}
    terms: str = ""


class Fold:
    """Begins with the terms of its stream."""

    padded = False

    def __init__(self, header: storage.Header) -> None:
        self._begin = b"data: %b\n\n" % header.terms if header.terms else b""
        self.ended = self.failed = False

    def render(self, event: events.Event) -> bytes:
        if self.ended:
            return b""
        self.failed = event.kind in ("error", "rewind")
        self.ended = self.failed or event.kind == "complete"
        body = event.body
        said = f" {body.delta}" if isinstance(body, events.Chunk) else ""
        begin, self._begin = self._begin, b""
        return begin + f"data: {event.kind}{said}\n\n".encode()

    def rewind(self, reason: str) -> bytes:
        self.ended = self.failed = True
        return f"data: {reason}\n\n".encode()


class Whole:
    def __init__(self) -> None:
        self._text, self._last = "", ""

    def add(self, event: events.Event) -> None:
        body = event.body
        self._text += body.delta if isinstance(body, events.Chunk) else ""
        self._last = event.kind

    def body(self) -> bytes:
        return msgspec.json.encode({"text": self._text, "last": self._last})


class Dialect:
    headers: tuple[tuple[bytes, bytes], ...] = ((b"x-plain", b"1"),)

    def __init__(self, name: str) -> None:
        self.name = name

    def heartbeat(self, now: str) -> bytes:
        return b": ping\n"

    def reconnect(self, retry_ms: int, reason: str) -> bytes:
        return b"%b%b\n\n" % (GONE, reason.encode())

    def stream_of(self, id: str) -> str:
        return id

    def parse(self, body: bytes) -> base.Asked:
        said = bodies.decoded(body, msgspec.json.Decoder(Body).decode)
        if said.bug:
            raise KeyError(said.ask)
        asked = request.Request(
            said.model,
            [request.Message("user", said.ask)],
            foreign=request.Foreign("openai_chat", said.fields),
        )
        return base.Asked(asked, said.stream, said.terms.encode(), said.detached)

    def fold(self, stream: events.StreamId, header: storage.Header) -> Fold:
        return Fold(header)

    def whole(self, stream: events.StreamId, header: storage.Header) -> Whole:
        return Whole()

    def refusal(self, error: errors.HoldfastError, request_id: str) -> tuple[int, bytes]:
        said = {"plain": error.code, "message": error.message, "id": request_id}
        return error.status, msgspec.json.encode(said)


def surface(made: service.Service) -> ASGIApp:
    """The calls of a service, whose foreign routes all speak so."""
    names = {row.dialect for row in routes.ROWS if row.dialect}
    spoken: dict[str, base.Foreign] = {name: Dialect(name) for name in names}
    feeds = feed.Feeds(made.log, made.watch)
    bodies_: shared.Shared[limits.Body] = shared.Shared(limits.BODIES)
    return routes.application(
        calls.Node(made, feeds, bodies_, native.Native(), spoken, live.Live(made), app.alerts(made))
    )


def node(**tables: Any) -> mounted.App:
    """A node with these settings, without a limit of tokens a day."""
    tables["quota"] = {"tokens_per_day": 0, **tables.get("quota", {})}
    made = app.asgi(harness.configured(**tables))
    made.calls = surface(made.service)
    return made


@contextlib.asynccontextmanager
async def serving(**tables: Any) -> AsyncIterator[harness.Running]:
    """This node, served as the command line serves it."""
    async with harness.serving(node(**tables)) as server:
        yield server


def wanted(ask: str = "Why?", **fields: Any) -> bytes:
    return msgspec.json.encode({"ask": ask, **fields})


def demo(options: str = "", **fields: Any) -> bytes:
    """A body for an answer of the demo's, fast where nothing is said."""
    return wanted(f"What is a holdfast?\n/demo rate=10000 {options}", **fields)


async def ask(
    port: int, body: bytes, headers: harness.Headers | None = None, path: str = PATH
) -> harness.Response:
    """One call and its whole answer."""
    return await (await begin(port, body, headers, path)).rest()


async def begin(
    port: int, body: bytes, headers: harness.Headers | None = None, path: str = PATH
) -> harness.Reader:
    """The same, as soon as the head of its answer is there."""
    sent = {"Content-Type": "application/json", **(headers or {})}
    return await harness.Reader.open(port, "POST", path, sent, body)


def frames(body: bytes) -> list[str]:
    """What the frames of a body say, without heartbeats."""
    lines = body.decode().split("\n")
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

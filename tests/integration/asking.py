"""What the tests of the protocol ask for, and how they wait for a server to be done.

Strategy: the demo provider is scripted through the prompt, and a replayed provider through the
pieces of text that it is to say; both hold still where a test needs that. `idle` is the account
that must be even after every test: no slot, no producer and no feed is left over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, MutableSequence
from typing import Any

import msgspec
from tests.integration import harness

from holdfast.testing import provider as replay

SSE = {"Accept": "text/event-stream"}
JOBS = ("create ", "produce ", "deliver ", "listen ", "adopt ")
"""How the tasks begin that are about one stream or one reader."""


def demo(options: str = "", prompt: str = "What is a holdfast?", **fields: Any) -> bytes:
    """The body of `POST /v1/streams` for an answer of the demo's, fast where nothing is said."""
    said = f"{prompt}\n/demo rate=10000 {options}"
    messages = [{"role": "user", "content": said}]
    return harness.wanted("demo", **{"messages": messages, **fields})


STALLED = demo("tokens=3 stall_at=2", flush_interval_ms=0)
"""An answer of two pieces that never ends."""


async def stalled(port: int, at: int = 2, pieces: int = 3) -> harness.Reader:
    """A reader of an answer that stands still after `at` pieces and has been read so far."""
    body = demo(f"tokens={pieces} stall_at={at}", flush_interval_ms=0)
    reader = await harness.begin(port, body)
    return await reader.until(lambda reader: len(content(bytes(reader.body)).split()) >= at)


def content(body: bytes) -> str:
    """The text of choice 0 in the blocks of a body."""
    return "".join(
        block.data["delta"]
        for block in harness.said(body)
        if block.event == "chunk" and block.data["type"] == "content"
        if "choice" not in block.data
    )


async def finished(port: int, options: str = "tokens=5", **fields: Any) -> harness.Response:
    """An answer of the demo's that has ended, read from its first event."""
    reader = await harness.begin(port, demo(options, **fields))
    whole = await reader.rest()
    assert whole.clean
    return whole


def kinds(body: bytes) -> list[str]:
    """The events of a body by name."""
    return [block.event for block in harness.said(body)]


def last_id(body: bytes) -> str:
    """The id of the last durable event in a body."""
    found = [harness.position(block) for block in harness.blocks(body)]
    return next(id for id in reversed(found) if id is not None)


ENDLESS = ("/v1/metrics/live",)
"""Paths of calls whose answers have no end."""


async def answered(
    port: int, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None
) -> harness.Response:
    """The answer to a request; of one without an end its head."""
    reader = await harness.Reader.open(port, method, target, headers, body)
    path = target.partition("?")[0]
    if method != "GET" or reader.status != 200 or not path.endswith(ENDLESS):
        return await reader.rest()
    await reader.close()
    return harness.Response(reader.status, reader.headers, b"", clean=False)


async def until(true: Callable[[], bool]) -> None:
    """Returns when it is true; what makes it true runs in this loop."""
    async with asyncio.timeout(harness.PATIENCE):
        while not true():  # noqa: ASYNC110  # nobody tells: that is what is asked
            await asyncio.sleep(0)


async def idle(server: harness.Running) -> None:
    """Returns when no reader has a slot and no stream is written."""
    service = server.service
    await until(lambda: len(service.connections) == 0)
    await until(lambda: not any(name.startswith(JOBS) for name in service.supervisor.names))


def expected(logged: MutableSequence[Any], *events: str) -> None:
    """Takes these errors out of what was logged; each has to be there."""
    for event in events:
        told = [entry for entry in logged if entry["event"] == event]
        assert told, f"{event} was not logged"
        for entry in told:
            logged.remove(entry)


async def end(server: harness.Running, *readers: harness.Reader) -> None:
    """Cancels the streams that these read, and waits until all is quiet."""
    for reader in readers:
        stream = harness.stream_of(reader)
        await reader.close()
        await harness.ask(server.port, "POST", f"/v1/streams/{stream}/cancel")
    await idle(server)


def sent_away(answer: harness.Response) -> harness.Said:
    """The `reconnect` that is all a reader got, before an unclean end."""
    assert (answer.status, answer.clean) == (200, False)
    (said,) = harness.said(b"".join(without_retry(block) for block in answer.blocks))
    assert said.event == "reconnect"
    return said


def retry(block: bytes) -> int:
    """The `retry:` of a block."""
    (line,) = [line for line in block.split(b"\n") if line.startswith(b"retry: ")]
    return int(line.removeprefix(b"retry: "))


def without_retry(block: bytes) -> bytes:
    return b"\n".join(line for line in block.split(b"\n") if not line.startswith(b"retry: "))


def chunk(text: str, **delta: Any) -> bytes:
    """An event of an OpenAI chat stream that says a piece of content."""
    body = {"choices": [{"index": 0, "delta": {"content": text, **delta}}]}
    return b"data: %b\n\n" % msgspec.json.encode(body)


STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
"""How an OpenAI chat stream ends."""


class Vendor(msgspec.Struct, frozen=True):
    """A server with one provider, called `vendor`, that a replay server plays."""

    server: harness.Running
    provider: replay.ReplayServer


@contextlib.asynccontextmanager
async def vendor(*answers: replay.Answer, **tables: Any) -> AsyncIterator[Vendor]:
    """These answers in turn, whatever is asked."""
    async with replay.ReplayServer(answers) as provider:
        row = {"kind": "openai", "base_url": f"{provider.url}/v1", "api_key": KEY}
        config = harness.configured(providers={"vendor": row}, **tables)
        async with harness.running(config) as server:
            yield Vendor(server, provider)


KEY = "sk-a-key-that-nobody-may-see"


def has(count: int) -> Callable[[harness.Reader], bool]:
    """Whether a reader has so many blocks."""
    return lambda reader: len(reader.blocks) >= count


def seen(piece: bytes) -> Callable[[harness.Reader], bool]:
    """Whether these bytes came."""
    return lambda reader: piece in reader.body

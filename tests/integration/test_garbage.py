"""What is over is freed at once: no stream and no connection waits for the garbage collector.

Strategy: the collector of a server looks rarely, and what it finds late makes holes that the
process keeps; so nothing that exists once for a stream or a connection may be part of a cycle.
Each row does one thing some times with the collector switched off and then lets it tell what it
found. Only objects of ours and of our HTTP server count: the test's own client makes cycles. A
timer that still waits holds a connection too, so that none may be left when it is lost.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator

import pytest
from tests.integration import asking, harness, node_with_keys, raw_sockets

from holdfast.http.server import protocol
from holdfast.testing import provider as replay

TIMES = 5
OURS = ("holdfast.", "uvicorn.")

ANSWERS = (
    replay.Answer(body=(asking.chunk("one"), asking.STOP)),
    replay.Answer(status=500, body=(b"{}",)),
    replay.Answer(body=(asking.chunk("one"),), ending="rst"),
)

Deed = Callable[[asking.Vendor], Awaitable[None]]


@contextlib.contextmanager
def collected() -> Iterator[collections.Counter[str]]:
    """The classes of what only the collector could free, when the block is over."""
    found: collections.Counter[str] = collections.Counter()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        kinds = [type(each) for each in gc.garbage]
        names = [f"{kind.__module__}.{kind.__qualname__}" for kind in kinds]
        found.update(name for name in names if name.startswith(OURS))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def whole(on: asking.Vendor) -> None:
    await asking.finished(on.server.port)


async def relayed(on: asking.Vendor) -> None:
    """The provider is whole, refuses and breaks off in turn."""
    for _ in ANSWERS:
        reader = await harness.begin(on.server.port, harness.wanted("vendor/m"))
        await reader.rest()


async def counted(on: asking.Vendor) -> None:
    """An answer by a key, which has a meter."""
    key = await node_with_keys.made(on.server, tokens_per_minute=1000)
    reader = await node_with_keys.begin(on.server, key, asking.demo("tokens=5"))
    await reader.rest()


async def left(on: asking.Vendor) -> None:
    """A reader goes in mid-answer; another one cancels."""
    reader = await asking.stalled(on.server.port)
    await reader.close()
    await harness.ask(on.server.port, "POST", f"/v1/streams/{harness.stream_of(reader)}/cancel")


async def refused(on: asking.Vendor) -> None:
    await harness.ask(
        on.server.port, "POST", "/v1/streams", {"Content-Type": "application/json"}, b"{"
    )


async def unknown(on: asking.Vendor) -> None:
    await harness.ask(on.server.port, "GET", "/v1/nothing")


async def silent(on: asking.Vendor) -> None:
    """A client connects and goes without a word."""
    _, writer = await asyncio.open_connection("127.0.0.1", on.server.port)
    writer.close()
    await writer.wait_closed()


async def cut(on: asking.Vendor) -> None:
    """A connection that has been answered is reset while it is kept open."""
    asked = b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    await raw_sockets.reset(on.server.port, asked, b"\r\n\r\n")


async def pipelined(on: asking.Vendor) -> None:
    """Requests that came too early, of a client that goes meanwhile."""
    waiting = await asking.stalled(on.server.port)
    path = f"/v1/streams/{harness.stream_of(waiting)}/events"
    reader, writer = await asyncio.open_connection("127.0.0.1", on.server.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 3)
    while await reader.read(harness.READ):  # until the server has had enough of it
        pass
    writer.close()
    await writer.wait_closed()
    await waiting.close()
    await harness.ask(on.server.port, "POST", f"/v1/streams/{harness.stream_of(waiting)}/cancel")


DEEDS = [whole, relayed, counted, left, refused, unknown, silent, cut, pipelined]


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[protocol.Protocol]]:
    """The connections that were lost."""
    found: list[weakref.ref[protocol.Protocol]] = []
    connection_lost = protocol.Protocol.connection_lost

    def note(self: protocol.Protocol, exc: Exception | None) -> None:
        connection_lost(self, exc)
        found.append(weakref.ref(self))

    monkeypatch.setattr(protocol.Protocol, "connection_lost", note)
    return found


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
async def test_what_is_over_is_freed_without_the_collector(
    deed: Deed, lost: list[weakref.ref[protocol.Protocol]]
) -> None:
    async with asking.vendor(*ANSWERS * (TIMES + 1)) as on:
        await deed(on)  # what is made once is made now
        await asking.idle(on.server)
        with collected() as found:
            for _ in range(TIMES):
                await deed(on)
            await asking.idle(on.server)
            await asking.until(lambda: len(lost) > TIMES)
            for _ in range(10):
                await asyncio.sleep(0)
            assert not [each for each in lost if each() is not None]
        assert not found, "\n" + "\n".join(map(str, found.items()))

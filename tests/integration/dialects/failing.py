"""How an answer is made to fail or to end under its reader, and what holds for every client then.

Strategy: the clients of the dialects raise exceptions of their own, so each test says which; what
is done to the server, and what is looked at there, is the same for all and stands here.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any

import pytest
from tests.integration import asking, harness, node_with_keys, processes
from tests.integration.dialects import answers

Raised = type[Exception] | tuple[type[Exception], ...]

STALLS = "Hi\n/demo tokens=9 stall_at=4 rate=10000"
"""Asks the demo for an answer that stands still in its middle."""

SHORT = "Hi\n/demo tokens=3 rate=10000"


class Waits:
    """What the client waits before it asks again; nobody really does."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def asked_again(
    stage: answers.Stage, waits: Waits, ask: Callable[[str], Awaitable[Any]], raised: Raised
) -> None:
    """What may pass is asked again, twice by a client that may, and what stays is not."""
    for name, times in (("refuse-429", 3), ("refuse-401", 1), ("refuse-400", 1)):
        before = len(stage.provider.requests)
        with pytest.raises(raised):
            await ask(f"vendor/{name}")
        asked = len(stage.provider.requests) - before
        assert asked == times, f"{name}: {asked} times, not {times}"
    assert waits.seconds == [3.0, 3.0], f"{waits.seconds}, and the provider said 3"


async def cancelled(stage: answers.Stage) -> None:
    """Cancels the one answer that is read, by the native route."""
    newest = next(iter(stage.server.service.connections.all()))
    path = f"/v1/streams/{newest.stream}/cancel"
    assert (await harness.ask(stage.server.port, "POST", path, {}, b"")).status in (200, 202)


async def dismissed(stage: answers.Stage) -> None:
    """The node drains."""
    stage.server.service.connections.dismiss("draining")


async def cut(stage: answers.Stage) -> None:
    """Without a word, as when the process is killed."""
    next(iter(stage.server.service.connections.all())).cut()


ENDS = ((cancelled, "cancelled", 499), (dismissed, "draining", 503))
"""Ends under a reader, with the code that it is told and the status of who waits for the whole."""


async def goes_on(stage: answers.Stage, stream: str) -> None:
    """The one reader of `paused` has left, and its answer is said to the end all the same."""
    await asking.until(lambda: len(stage.server.service.connections) == 0)
    stage.gate.set()
    await asking.idle(stage.server)
    shown = await harness.ask(stage.server.port, "GET", f"/v1/streams/{stream}")
    assert shown.json()["content"] == answers.READ["text"]["text"], shown.json()


async def read_until_killed(
    server: processes.Server,
    stream: AsyncIterable[Any],
    raised: Raised,
    begun: Callable[[Any], bool] = lambda _: True,
) -> list[Any]:
    """What is read of a stream whose server is killed at the first event that is `begun`."""
    got: list[Any] = []

    async def read() -> None:
        async for one in stream:
            if not any(map(begun, got)) and begun(one):
                server.process.send_signal(signal.SIGKILL)
            got.append(one)

    with pytest.raises(raised):
        await asyncio.wait_for(read(), harness.PATIENCE)
    assert any(map(begun, got)), got
    return got


# Access


def token(key: node_with_keys.Key) -> str:
    """What a client is given as its key."""
    return key.headers["Authorization"].removeprefix("Bearer ")


async def nobody_elses(server: harness.Running, stream: str, other: node_with_keys.Key) -> None:
    """The stream is not there for another one, and nobody is answered without a key."""
    for headers, status in ((other.headers, 404), ({}, 401)):
        found = await harness.ask(server.port, "GET", f"/v1/streams/{stream}", headers)
        assert found.status == status, f"{found.status}, not {status}"

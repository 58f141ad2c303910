"""Keys on a running node, and what their holders use.

Strategy: a node is built as the command line builds it, on a log of the test's where it brings one.
A key is made in the archive of the node itself, which is told of it, so that the next request may
come with it. What the meters take for the time is a number where a test wants that. What was used
is counted from what the log holds, by the letter of PROTOCOL 12.3, and by nothing that the meters
say.

    async with node_with_keys.serving(quota={"streams": 1}) as server:
        key = await node_with_keys.made(server, "acme", tokens_per_minute=100)
        answer = await harness.ask(server.port, "GET", "/v1/streams", key.headers)
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from tests.integration import asking, harness
from tests.unit.metering import counting

from holdfast import app, events
from holdfast.access import keys
from holdfast.archive.base import Quota
from holdfast.eventlog import base
from holdfast.metering import account, meter


class Key(msgspec.Struct, frozen=True):
    """A key that is valid; `headers` bring it."""

    id: str
    tenant: str
    user: str
    headers: dict[str, str]


async def made(
    server: harness.Running,
    tenant: str = "acme",
    *,
    user: str = "",
    scopes: tuple[str, ...] = ("generate", "read"),
    **quota: int,
) -> Key:
    """A new key with this quota of its own; costs in millionths."""
    assert server.service.access is not None
    keyring = server.service.access.keyring
    now = int(time.time() * 1000)
    token, kept = keys.new(
        keyring.archive.secret,
        "test",
        tenant,
        user=user,
        scopes=scopes,
        quota=Quota(**quota),
        now=now,
    )
    await keyring.archive.add(kept)
    await keyring.ask()
    return Key(kept.id, tenant, user, {"Authorization": f"Bearer {token}"})


@contextlib.asynccontextmanager
async def serving(
    log: str | base.EventLog = "memory://", clock: counting.Clock | None = None, **tables: Any
) -> AsyncIterator[harness.Running]:
    """A node with these settings, on a log of the test's or at this URL; a limit that is not named
    is none."""
    tables["quota"] = {"tokens_per_day": 0, **tables.get("quota", {})}
    named, brought = (log, None) if isinstance(log, str) else ("memory://", log)
    fatal: list[str] = []
    node = app.asgi(harness.configured(named, **tables), log=brought, fatal=fatal.append)
    if clock is not None:
        node.service.accounts._clock = clock
    async with harness.serving(node) as server:
        yield server
    assert fatal == []


async def create(server: harness.Running, key: Key, body: bytes, **more: str) -> harness.Response:
    """Asks for a stream, and not for its events."""
    headers = {"Content-Type": "application/json", **key.headers, **more}
    return await harness.ask(server.port, "POST", "/v1/streams", headers, body)


async def begin(server: harness.Running, key: Key, body: bytes, **more: str) -> harness.Reader:
    """Asks for a stream and reads its events."""
    return await harness.begin(server.port, body, [*key.headers.items(), *more.items()])


async def read(server: harness.Running, key: Key, stream: str, **more: str) -> harness.Reader:
    """Reads the events of a stream that is there."""
    target = f"/v1/streams/{stream}/events"
    return await harness.Reader.open(server.port, "GET", target, {**key.headers, **more})


async def stalled(server: harness.Running, key: Key) -> str:
    """A stream of this key's that never ends by itself."""
    answer = await create(server, key, asking.STALLED)
    assert answer.status == 201, answer.body
    return str(answer.json()["id"])


def passes(server: harness.Running, clock: counting.Clock, seconds: float) -> None:
    """Time passes for the meters, which count what was used before first, as they do each
    second."""
    for one in accounts(server):
        one.settle()
    clock.passes(seconds)


async def cancel(server: harness.Running, key: Key, *streams: str) -> None:
    """Ends these streams, and waits until nobody writes them any more."""
    for stream in streams:
        await harness.ask(server.port, "POST", f"/v1/streams/{stream}/cancel", key.headers, b"")
    await written(server, *streams)


async def written(server: harness.Running, *streams: str) -> None:
    """Returns when nobody writes these streams any more."""
    jobs = {f"produce {stream}" for stream in streams}
    await asking.until(lambda: jobs.isdisjoint(server.service.supervisor.names))


def accounts(server: harness.Running, *names: str) -> list[account.Account]:
    """Those of these names, such as `tenant:acme`, or all."""
    known = server.service.accounts._accounts
    return [known[name] for name in names] if names else list(known.values())


def places(server: harness.Running) -> set[tuple[int, int, int]]:
    """Of all accounts: streams and readers that count, and streams that a limit would end."""
    return {(one.streams, one.connections, len(one.stops)) for one in accounts(server)}


async def logged(server: harness.Running, stream: str) -> list[events.Event]:
    """All that the log holds of a stream that has ended, or will."""
    return [event async for event in server.service.events(events.stream_id(stream))]


def estimated(body: bytes, told: list[events.Event]) -> int:
    """The tokens of a stream: of what was asked, and of what its log holds, piece by piece."""
    asked = sum(len(one["content"].encode()) for one in msgspec.json.decode(body)["messages"])
    pieces = [event.body.delta for event in told if isinstance(event.body, events.Chunk)]
    written = sum(1 if len(piece) <= 16 else len(piece) // 4 for piece in pieces)
    return math.ceil(asked / 4) + written


class Reads:
    """What each read brought to a meter, in pieces, whichever stream it was of."""

    def __init__(self, monkeypatch: Any) -> None:
        self.pieces: list[int] = []
        said = meter.Meter.said

        def recorded(one: meter.Meter, bodies: Any) -> None:
            count = sum(isinstance(body, events.Chunk) for body in bodies)
            if count:
                self.pieces.append(count)
            said(one, bodies)

        monkeypatch.setattr(meter.Meter, "said", recorded)


async def ended(server: harness.Running, stream: str) -> tuple[str, str]:
    """How a stream ended, and with which code."""
    last = (await logged(server, stream))[-1]
    return last.kind, getattr(last.body, "code", "")


def refused(answer: harness.Response, code: str, retry_after: int | None = None) -> None:
    """It is a 429 with this code, and says when to come again."""
    assert answer.status == 429, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert (told["code"], told["status"]) == (code, 429)
    assert told["type"] == f"urn:holdfast:error:{code}"
    assert int(answer.headers["retry-after"]) >= 1
    if retry_after is not None:
        assert int(answer.headers["retry-after"]) == retry_after

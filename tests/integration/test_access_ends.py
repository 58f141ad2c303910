"""Access ends with the right to it, and not with the connection.

Strategy: two callers read one answer, and the right of the first one ends while nothing is said:
his key is revoked or has expired, his token has, its key is withdrawn, his signed URL is over. He
is told to come back, uncleanly, and is a 401 when he does. The other one reads on to the end. What
the gate takes for the time is moved by the test, so that nobody waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration import asking, harness, node_with_callers, raw_sockets
from tests.unit.access import issuers

from holdfast.access import jwks
from holdfast.testing import provider as replay

PEOPLE = {
    "acme": node_with_callers.Who("acme"),
    "alice": node_with_callers.Who("acme", "alice"),
    "brief": node_with_callers.Who("acme", "alice", lasts=3600.0),
}
SERVER = {"heartbeat_interval": "100ms", "write_timeout": "10m"}
BEATS = 3
"""Heartbeats that the other reader gets meanwhile, and stays."""

Act = Callable[["Scene"], Awaitable[None]]


class Scene:
    """One answer under way: `go` lets it end."""

    def __init__(self, stage: node_with_callers.Stage, go: asyncio.Event) -> None:
        self.stage, self.go = stage, go
        self.stream = ""

    @property
    def path(self) -> str:
        return f"/v1/streams/{self.stream}/events"

    async def read(
        self, sent: node_with_callers.Headers, path: str | None = None
    ) -> harness.Reader:
        """A reader who has what is there so far."""
        reader = await harness.Reader.open(self.stage.server.port, "GET", path or self.path, sent)
        assert reader.status == 200
        return await reader.until(asking.seen(b"half of it"))


@contextlib.asynccontextmanager
async def scene(folder: Path, asker: str = "acme", **server: Any) -> AsyncIterator[Scene]:
    """An answer, asked for by this key, whose provider has said half of it."""
    go = asyncio.Event()
    body = (asking.chunk("half of it"), go, asking.chunk(", and the rest"), asking.STOP)
    async with replay.ReplayServer([replay.Answer(body=body)]) as provider:
        row = {"kind": "openai_chat", "base_url": f"{provider.url}/v1", "api_key": asking.KEY}
        tables: dict[str, Any] = {"providers": {"vendor": row}, "server": {**SERVER, **server}}
        async with node_with_callers.staged(folder, PEOPLE, **tables) as stage:
            made = Scene(stage, go)
            headers = stage.key(asker)
            answer = await harness.ask(
                stage.server.port, "POST", "/v1/streams", headers, harness.wanted("vendor/m")
            )
            made.stream = answer.json()["id"]
            try:
                yield made
            finally:
                go.set()


def beats(reader: harness.Reader) -> int:
    return asking.kinds(bytes(reader.body)).count("heartbeat")


async def put_out(scene: Scene, reader: harness.Reader, act: Act) -> str:
    """Lets the right of this reader end and waits until he is put out, while another one reads
    on; the id of the last event that the first one has."""
    other = await scene.read(scene.stage.key("acme"))
    await act(scene)
    async with asyncio.timeout(harness.PATIENCE):  # heartbeats would put it off for ever
        told = await reader.rest()
    assert not told.clean
    said = harness.said(b"".join(asking.without_retry(block) for block in told.blocks))
    assert (said[-1].event, said[-1].data["reason"]) == ("reconnect", "access_ended")
    assert asking.content(b"".join(map(asking.without_retry, told.blocks))) == "half of it"
    had = beats(other)
    await other.until(lambda reader: beats(reader) >= had + BEATS)
    scene.go.set()
    whole = await other.rest()
    assert whole.clean
    assert asking.content(whole.body) == "half of it, and the rest"
    return asking.last_id(b"".join(told.blocks[:-1]))


async def refused(scene: Scene, sent: node_with_callers.Headers, last: str, path: str = "") -> None:
    """Who comes back is a 401, in every way to come back."""
    port, place = scene.stage.server.port, {"Last-Event-ID": last}
    ways = [("GET", path or scene.path, {**sent, **place})]
    ways.append(("GET", path or scene.path, {**sent}))
    if not path:
        ways.append(("POST", "/v1/streams", {**sent, **place}))
        ways.append(("GET", f"/v1/streams/{scene.stream}", {**sent}))
    for method, target, headers in ways:
        answer = await harness.ask(port, method, target, headers, b"")
        assert answer.status == 401, (method, target)
        assert answer.json()["code"] == "unauthorized"


def revoke(name: str) -> Act:
    return lambda scene: scene.stage.revoke(name)


def later(seconds: float) -> Act:
    async def act(scene: Scene) -> None:
        scene.stage.clock.now += seconds

    return act


async def withdraw(scene: Scene) -> None:
    """The issuer shows another key in the place of this one."""
    scene.stage.shown[:] = [issuers.jwk(issuers.private("P-256", "next"), "next")]


@pytest.mark.case("4.3")
async def test_a_revoked_key_ends_its_readers(tmp_path: Path) -> None:
    async with scene(tmp_path, "alice") as on:
        sent = on.stage.key("alice")
        reader = await on.read(sent)
        await refused(on, sent, await put_out(on, reader, revoke("alice")))


@pytest.mark.case("4.3")
async def test_a_key_that_has_expired_ends_its_readers(tmp_path: Path) -> None:
    async with scene(tmp_path, "brief") as on:
        sent = on.stage.key("brief")
        reader = await on.read(sent)
        await refused(on, sent, await put_out(on, reader, later(3601)))


@pytest.mark.case("4.3")
async def test_a_token_that_has_expired_ends_its_readers(tmp_path: Path) -> None:
    async with scene(tmp_path, "alice") as on:
        sent = on.stage.token("acme", "alice", 60)
        reader = await on.read(sent)
        await refused(on, sent, await put_out(on, reader, later(60 + 31)))


@pytest.mark.case("4.3")
async def test_a_key_that_its_issuer_withdrew_ends_the_readers_of_its_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "FRESH_SECONDS", 0.05)
    monkeypatch.setattr(jwks, "AGAIN_SECONDS", 0.05)
    async with scene(tmp_path, "alice") as on:
        sent = on.stage.token("acme", "alice")
        reader = await on.read(sent)
        await refused(on, sent, await put_out(on, reader, withdraw))


@pytest.mark.case("4.3")
async def test_a_signed_url_that_is_over_ends_its_readers(tmp_path: Path) -> None:
    async with scene(tmp_path) as on:
        url = await on.stage.link(on.stream, on.stage.key("acme"))
        reader = await on.read({}, url)
        day = 24 * 3600.0
        await refused(on, {}, await put_out(on, reader, later(day)), url)


@pytest.mark.case("4.3")
async def test_a_signed_url_ends_with_the_key_that_made_it(tmp_path: Path) -> None:
    async with scene(tmp_path, "alice") as on:
        url = await on.stage.link(on.stream, on.stage.key("alice"))
        reader = await on.read({}, url)
        await refused(on, {}, await put_out(on, reader, revoke("alice")), url)


@pytest.mark.case("4.3")
async def test_an_answer_goes_on_without_the_key_that_asked_for_it(tmp_path: Path) -> None:
    """It is its tenant's, who may read it."""
    async with scene(tmp_path, "alice") as on:
        reader = await on.read(on.stage.key("alice"))
        await on.stage.revoke("alice")
        async with asyncio.timeout(harness.PATIENCE):
            assert not (await reader.rest()).clean
        on.go.set()
        whole = await harness.ask(on.stage.server.port, "GET", on.path, on.stage.key("acme"))
        assert whole.clean
        assert asking.content(whole.body) == "half of it, and the rest"


@pytest.mark.case("4.3")
async def test_who_takes_nothing_is_cut(tmp_path: Path) -> None:
    """He hears no goodbye, as what was said before it waits in his way."""
    pieces = [asking.chunk(f"{n} " * 20_000) for n in range(100, 160)]
    answer = replay.Answer(body=(*pieces, asking.chunk("half of it")), ending="stall")
    async with replay.ReplayServer([answer]) as provider:
        row = {"kind": "openai_chat", "base_url": f"{provider.url}/v1", "api_key": asking.KEY}
        server = {**SERVER, "connection_timeout": "10m"}
        tables: dict[str, Any] = {"providers": {"vendor": row}, "server": server}
        async with node_with_callers.staged(tmp_path, PEOPLE, **tables) as stage:
            book, port = stage.server.service.connections, stage.server.port
            wanted, sent = harness.wanted("vendor/m"), stage.key("brief")
            made = await harness.ask(port, "POST", "/v1/streams", sent, wanted)
            path = f"/v1/streams/{made.json()['id']}"
            other = await harness.Reader.open(port, "GET", f"{path}/events", stage.key("acme"))
            head = [f"GET {path}/events HTTP/1.1", "Host: x"]
            head += [f"{name}: {said}" for name, said in sent.items()]
            client = raw_sockets.deaf(port, "\r\n".join([*head, "", ""]).encode())
            await asking.until(lambda: len(book) == 2)
            (still,) = (one for one in book.all() if one.id != other.headers["x-connection-id"])
            await other.until(asking.seen(b"half of it"))
            await asking.until(lambda: still.unsent() > 0)
            await stage.revoke("brief")
            await asking.until(lambda: len(book) == 1)
            said = await raw_sockets.drained(client)
            assert b"half of it" not in said
            assert b"access_ended" not in said
            await harness.ask(port, "POST", f"{path}/cancel", stage.key("acme"), b"")
            await other.rest()

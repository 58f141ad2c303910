"""PROTOCOL 8, connections: what is shown of a reader, while it reads and once it has gone.

Strategy: what the server counted is compared with what came over the wire.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.integration import asking, harness, node_with_keys

from holdfast import connections
from holdfast.access import ids as ids_of
from holdfast.archive import rows
from holdfast.archiving import reporter
from holdfast.http import connections as routes_of
from holdfast.http import views

SHOWN = {
    *("id", "stream_id", "client_id", "user_id", "session_id", "request_id", "status", "provider"),
    *("model", "user_agent", "ip", "connected_at", "last_activity", "bytes_sent", "chunks_sent"),
    *("average_latency_ms", "options", "created_at", "updated_at", "closed_at", "duration_ms"),
    *("reason", "resumed", "missed", "latencies", "network", "encoding", "bytes_saved"),
}
OPTIONS = {"buffer_size", "flush_interval_ms", "compression", "encryption", "heartbeat_interval"}
NAMES = [("X-Client-Id", "c"), ("X-Request-Id", "r"), ("User-Agent", "a test")]


async def get(server: harness.Running, target: str) -> Any:
    answer = await harness.ask(server.port, "GET", target)
    assert answer.status == 200
    return answer.json()


async def show(server: harness.Running, of: harness.Reader | harness.Response) -> Any:
    return await get(server, f"/v1/connections/{of.headers['x-connection-id']}")


async def ids(server: harness.Running, target: str = "/v1/connections") -> list[str]:
    return [one["id"] for one in (await get(server, target))["connections"]]


def id_of(reader: harness.Reader | harness.Response) -> str:
    return reader.headers["x-connection-id"]


async def test_8_an_open_connection_is_shown() -> None:
    async with harness.running(harness.configured(server={"heartbeat_interval": "7s"})) as server:
        labels = {"session_id": "s", "user_id": "u"}
        body = asking.demo("tokens=3 stall_at=2", metadata=labels, flush_interval_ms=30)
        reader = await harness.begin(server.port, body, NAMES)
        await reader.until(asking.has(2))
        shown = await show(server, reader)
        assert set(shown) == SHOWN
        assert set(shown["options"]) == OPTIONS
        assert (shown["id"], shown["stream_id"]) == (id_of(reader), harness.stream_of(reader))
        names = ("client_id", "request_id", "user_agent", "session_id", "user_id", "ip")
        assert [shown[name] for name in names] == ["c", "r", "a test", "s", "u", "127.0.0.1"]
        assert (shown["provider"], shown["model"], shown["status"]) == ("demo", "demo", "streaming")
        assert shown["options"]["heartbeat_interval"] == 7
        assert shown["options"]["flush_interval_ms"] == 30
        assert shown["options"]["buffer_size"] == 8192
        assert shown["options"]["compression"] is shown["options"]["encryption"] is False
        assert (shown["encoding"], shown["bytes_saved"]) == ("identity", 0)
        assert shown["bytes_sent"] == len(reader.body)
        assert shown["chunks_sent"] == asking.kinds(bytes(reader.body)).count("chunk")
        assert shown["average_latency_ms"] >= 0
        assert shown["created_at"] <= shown["last_activity"]
        await asking.end(server, reader)


@pytest.mark.parametrize(
    ("options", "status"), [("tokens=9", "completed"), ("error_at=1", "error")]
)
async def test_8_a_closed_connection_is_shown_too(options: str, status: str) -> None:
    async with harness.running(harness.configured()) as server:
        whole = await asking.finished(server.port, options)
        await asking.idle(server)
        shown = await show(server, whole)
        assert shown["status"] == status
        assert shown["bytes_sent"] == len(whole.body)
        assert shown["chunks_sent"] == asking.kinds(whole.body).count("chunk")


async def test_8_a_reader_that_left_is_disconnected() -> None:
    async with harness.running(harness.configured()) as server:
        reader = await asking.stalled(server.port)
        await reader.close()
        await asking.until(lambda: len(server.service.connections) == 0)
        assert (await show(server, reader))["status"] == "disconnected"
        await asking.end(server, reader)


async def test_8_before_the_first_event_it_is_connected() -> None:
    """Nothing is there after the position: the reader waits."""
    async with harness.running(harness.configured()) as server:
        lead = await asking.stalled(server.port)
        after = asking.last_id(bytes(lead.body))
        reader = await harness.resume(server.port, after, "header")
        shown = await show(server, reader)
        assert shown["status"] == "connected"
        assert (shown["bytes_sent"], shown["chunks_sent"]) == (0, 0)
        assert shown["average_latency_ms"] is None
        await reader.close()
        await asking.end(server, lead)


async def test_8_the_list_has_open_ones_first_and_the_newest_first() -> None:
    async with harness.running(harness.configured()) as server:
        closed = [await asking.finished(server.port) for _ in range(2)]
        await asking.idle(server)
        lead = await asking.stalled(server.port)
        target = f"/v1/streams/{harness.stream_of(lead)}/events"
        second = await harness.Reader.open(server.port, "GET", target)
        closed.append(await asking.finished(server.port))
        await asking.until(lambda: len(server.service.connections) == 2)
        found = await ids(server)
        assert found == [id_of(second), id_of(lead), *map(id_of, reversed(closed))]
        assert await ids(server, target.replace("events", "connections")) == found[:2]
        other = f"/v1/streams/{harness.stream_of(closed[0])}/connections"
        assert await ids(server, other) == [id_of(closed[0])]
        await second.close()
        await asking.end(server, lead)


async def test_8_the_list_has_at_most_200() -> None:
    async with harness.running(harness.configured()) as server:
        whole = await asking.finished(server.port, "tokens=1")
        target = f"/v1/streams/{harness.stream_of(whole)}/events"
        async with asyncio.TaskGroup() as group:
            for _ in range(205):
                group.create_task(harness.ask(server.port, "GET", target))
        await asking.idle(server)
        newest = await asking.finished(server.port, "tokens=1")
        await asking.idle(server)
        found = await ids(server)
        assert len(found) == 200
        assert found[0] == id_of(newest)
        assert id_of(whole) not in found
        assert (await show(server, whole))["status"] == "completed"


async def test_8_the_reader_s_own_names_win_over_the_stream_s() -> None:
    async with harness.running(harness.configured()) as server:
        reader = await harness.begin(server.port, asking.demo("tokens=1"), NAMES)
        whole = await reader.rest()
        target = f"/v1/streams/{harness.stream_of(whole)}/events"
        same = await harness.ask(server.port, "GET", target)
        other = await harness.ask(server.port, "GET", target, {"X-Client-Id": "other"})
        assert (await show(server, same))["client_id"] == "c"
        assert (await show(server, other))["client_id"] == "other"
        assert (await show(server, other))["request_id"] == "r"
        long = await harness.ask(server.port, "GET", target, {"User-Agent": "x" * 5000})
        assert (await show(server, long))["user_agent"] == "x" * 256
        wrong = await harness.ask(server.port, "GET", target, {"X-Client-Id": "a b"})
        assert (wrong.status, wrong.json()["code"]) == (400, "invalid_field")


@pytest.mark.parametrize("name", ["x", "a" * 26, "%00", "..%2f", "x" * 3000])
async def test_8_an_unknown_connection_is_404(name: str) -> None:
    async with harness.running(harness.configured()) as server:
        answer = await harness.ask(server.port, "GET", f"/v1/connections/{name}")
        assert (answer.status, answer.json()["code"]) == (404, "connection_not_found")


async def test_8_the_address_is_the_peer_s_whatever_is_said_of_it() -> None:
    """A client on this machine too, as every proxy on it is; what is said could be any length."""
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server)
        whole = await (await node_with_keys.begin(server, key, asking.demo("tokens=1"))).rest()
        target = f"/v1/streams/{harness.stream_of(whole)}/events"
        for said in ("203.0.113.9", "x" * 60_000):
            headers = {**key.headers, "X-Forwarded-For": said, "X-Forwarded-Proto": "https"}
            read = await harness.ask(server.port, "GET", target, headers)
            shown = await harness.ask(
                server.port, "GET", f"/v1/connections/{id_of(read)}", key.headers
            )
            assert shown.json()["ip"] == "127.0.0.1"


async def test_8_a_user_s_list_costs_nothing_of_what_others_of_the_tenant_have() -> None:
    async with node_with_keys.serving() as server:
        alice, bob = [await node_with_keys.made(server, user=user) for user in ("alice", "bob")]
        readers = [
            await node_with_keys.begin(server, key, asking.demo("tokens=1"))
            for key in (alice, bob, bob)
        ]
        own, *others = [id_of(await reader.rest()) for reader in readers]
        await asking.idle(server)
        assert set(await ids_for(server, alice)) == {own}
        assert set(await ids_for(server, bob)) == set(others)
        for found in server.service.connections.all():
            if found.id != own:
                del found.owner  # to look at it would fail
        assert await ids_for(server, alice) == [own]
        stream = harness.stream_of(readers[0])
        assert await ids_for(server, alice, f"/v1/streams/{stream}/connections") == [own]


async def test_8_a_connection_is_shown_from_the_archive_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its node remembers it no more, and when that has ended."""
    monkeypatch.setattr(connections, "KEPT_CLOSED", 1)
    monkeypatch.setattr(reporter, "EVERY", 0.01)
    config = harness.configured(f"sqlite:///{tmp_path}/log.db")
    async with harness.running(config) as server:
        whole = await asking.finished(server.port)
        await asking.idle(server)
        stream = harness.stream_of(whole)
        target = f"/v1/streams/{stream}/connections"
        shown = await show(server, whole)
        again = await harness.ask(server.port, "GET", f"/v1/streams/{stream}/events")
        await asking.idle(server)
        await asking.until(lambda: server.service.keeper.reporter.waiting == 0)
        assert server.service.connections.find(shown["id"]) is None
        assert await show(server, whole) == shown
        assert await ids(server, target) == [id_of(again), shown["id"]]
        assert await ids(server) == [id_of(again)]
        last = await harness.ask(server.port, "GET", f"/v1/streams/{stream}/events")
        await asking.idle(server)
    async with harness.running(config) as server:
        assert await show(server, whole) == shown
        assert await ids(server, target) == [id_of(last), id_of(again), shown["id"]]
        assert await ids(server) == []
        page = await get(server, target)
        assert page["connections"][-1] == shown
        assert page["archive_answered"] is True


OLD = (
    b'{"id":"a","stream_id":"s","client_id":null,"user_id":null,"session_id":null,'
    b'"request_id":null,"status":"disconnected","provider":"demo","model":"m","user_agent":null,'
    b'"ip":"::1","connected_at":"1970-01-01T00:00:01.000Z",'
    b'"last_activity":"1970-01-01T00:00:02.000Z","bytes_sent":9,"chunks_sent":1,'
    b'"average_latency_ms":1.5,"options":{"buffer_size":8192,"flush_interval_ms":100,'
    b'"compression":false,"encryption":false,"heartbeat_interval":15.0},'
    b'"created_at":"1970-01-01T00:00:01.000Z","updated_at":"1970-01-01T00:00:03.500Z"}'
)


def test_8_what_a_version_kept_that_knew_less_is_shown_and_nothing_is_made_up() -> None:
    row = rows.Connection("a", "s", "", 1000, 3500, OLD, 3500)
    kept = views.kept_connection(row)
    assert (kept.closed_at, kept.duration_ms) == ("1970-01-01T00:00:03.500Z", 2500)
    assert (kept.reason, kept.resumed, kept.network) == (None, None, views.LineView())


async def test_8_an_archive_that_stands_still_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A list is told without its part, and one connection by who remembers it."""
    monkeypatch.setattr(routes_of, "ARCHIVE_SECONDS", 0.01)

    async def silent(*asked: object) -> None:
        await asyncio.Event().wait()

    async with harness.running(harness.configured()) as server:
        for name in ("connection", "connections"):
            monkeypatch.setattr(server.service.keeper.archive, name, silent)
        whole = await asking.finished(server.port)
        await asking.idle(server)
        page = await get(server, f"/v1/streams/{harness.stream_of(whole)}/connections")
        assert [one["id"] for one in page["connections"]] == [id_of(whole)]
        assert page["archive_answered"] is False
        assert (await show(server, whole))["status"] == "completed"
        answer = await harness.ask(server.port, "GET", f"/v1/connections/{'a' * 26}")
        assert (answer.status, answer.json()["code"]) == (503, "archive_unavailable")


async def test_8_what_the_archive_has_is_shown_to_whom_the_stream_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "KEPT_CLOSED", 0)
    monkeypatch.setattr(reporter, "EVERY", 0.01)
    async with node_with_keys.serving() as server:
        alice, bob, acme, other = [
            await node_with_keys.made(server, tenant, user=user)
            for tenant, user in (("acme", "alice"), ("acme", "bob"), ("acme", ""), ("other", ""))
        ]
        root = await node_with_keys.made(server, "ops", scopes=("admin",))
        mine = await node_with_keys.begin(server, alice, asking.demo("tokens=1"))
        stream = harness.stream_of(await mine.rest())
        # Whoever it is that reads.
        id = id_of(await (await node_with_keys.read(server, acme, stream)).rest())
        await asking.idle(server)
        await asking.until(lambda: server.service.keeper.reporter.waiting == 0)
        asked = list[str]()
        archive = server.service.keeper.archive
        looked = archive.connection

        async def connection(name: str) -> rows.Connection | None:
            asked.append(name)
            return await looked(name)

        monkeypatch.setattr(archive, "connection", connection)
        for key, status in ((alice, 200), (acme, 200), (root, 200), (bob, 404), (other, 404)):
            target = f"/v1/connections/{id}"
            answer = await harness.ask(server.port, "GET", target, key.headers)
            assert answer.status == status
        assert asked == 3 * [id]  # who may not see it is known before anything is looked up
        unknown = ids_of.new(server.service.log.secret, "acme/alice")
        answer = await harness.ask(server.port, "GET", f"/v1/connections/{unknown}", alice.headers)
        assert answer.status == 404
        monkeypatch.setattr(ids_of, "may_be", lambda secret, id, asker: True)
        answers = [
            await harness.ask(server.port, "GET", f"/v1/connections/{name}", bob.headers)
            for name in (id, unknown)
        ]
        assert [answer.status for answer in answers] == [404, 404]
        assert answers[0].body == answers[1].body


async def ids_for(
    server: harness.Running, key: node_with_keys.Key, target: str = "/v1/connections"
) -> list[str]:
    answer = await harness.ask(server.port, "GET", target, key.headers)
    assert answer.status == 200
    return [one["id"] for one in answer.json()["connections"]]

"""What nodes report, on one Valkey and one PostgreSQL: seen at any of them, and after their death.

Strategy: one node is in this process, the others are processes of their own, so that they can be
killed, or stand still, as processes do. What PostgreSQL has is read beside the nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, MutableSequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests import postgres_server, redis_servers
from tests.integration import asking, harness, processes

from holdfast.archiving import archiver, reporter
from holdfast.telemetry import counts

PEOPLE = "SELECT count(*), count(DISTINCT id) FROM holdfast.connection"


class Stores(msgspec.Struct, frozen=True):
    """Of all nodes: the log's URL and the archive's, and the server of the latter."""

    log: str
    archive: str
    database: postgres_server.Server

    def config(self) -> Any:
        return harness.configured(self.log, archive={"url": self.archive})

    async def connections(self) -> int:
        """How many there are in PostgreSQL; each is there once."""
        ((all, different),) = await self.database.execute(self.archive, PEOPLE)
        assert all == different
        assert isinstance(all, int)
        return all


@pytest.fixture
async def stores(valkey: redis_servers.Server, postgres: postgres_server.Server) -> Stores:
    log = f"redis://127.0.0.1:{valkey.port}/{redis_servers.next_database()}"
    return Stores(log, await postgres.fresh(), postgres)


@contextlib.asynccontextmanager
async def other(stores: Stores, folder: Path) -> AsyncIterator[processes.Server]:
    """A node in a process of its own."""
    env = {
        "HOLDFAST_LOG__URL": stores.log,
        "HOLDFAST_ARCHIVE__URL": stores.archive,
        "HOLDFAST_MONITORING__LOG_LEVEL": "warning",
    }
    async with processes.serving(folder=folder, env=env) as server:
        yield server


async def get(port: int, target: str) -> Any:
    answer = await harness.ask(port, "GET", target)
    assert answer.status == 200, answer.body
    return answer.json()


async def metrics(port: int, query: str = "") -> Any:
    return await get(port, f"/v1/metrics{query}")


def answered(page: Any) -> list[bool]:
    return sorted(node["answered"] for node in page["nodes"])


async def kept(stores: Stores, count: int) -> None:
    """Returns when so many connections are in PostgreSQL."""
    async with asyncio.timeout(harness.PATIENCE):
        while await stores.connections() < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_connection_is_shown_when_the_node_that_had_it_is_dead(
    stores: Stores, tmp_path: Path
) -> None:
    async with harness.running(stores.config()) as here:
        async with other(stores, tmp_path) as dying:
            whole = await asking.finished(dying.port)
            id = whole.headers["x-connection-id"]
            shown = await get(dying.port, f"/v1/connections/{id}")
            assert (shown["status"], shown["bytes_sent"]) == ("completed", len(whole.body))
            assert await get(here.port, f"/v1/connections/{id}") == shown  # by asking
            await kept(stores, 1)
            path = f"/v1/streams/{harness.stream_of(whole)}"
            story = await get(here.port, f"{path}/timeline")
            assert (answered(story), story["archive_answered"]) == ([True, True], True)
            readers = [one for one in story["entries"] if one["detail"].get("connection_id") == id]
            assert [one["what"] for one in readers] == ["connection_opened", "connection_closed"]
            await dying.end(signal.SIGKILL)
        target = f"{path}/connections"
        assert await get(here.port, f"/v1/connections/{id}") == shown
        page = await get(here.port, target)
        assert (page["connections"], page["archive_answered"]) == ([shown], True)
        own = await harness.ask(here.port, "GET", f"/v1/streams/{harness.stream_of(whole)}/events")
        assert own.body == whole.body
        listed = (await get(here.port, target))["connections"]
        assert [one["id"] for one in listed] == [own.headers["x-connection-id"], id]
        listed = (await get(here.port, "/v1/connections"))["connections"]
        assert [one["id"] for one in listed] == [own.headers["x-connection-id"]]


async def test_metrics_are_those_of_all_nodes_and_who_stands_still_is_told(
    stores: Stores, tmp_path: Path
) -> None:
    async with harness.running(stores.config()) as here, other(stores, tmp_path) as there:
        bodies = [await asking.finished(port) for port in 2 * [here.port] + 3 * [there.port]]
        await asking.idle(here)
        reader = await asking.stalled(there.port)
        for port in (here.port, there.port):
            found = await metrics(port)
            assert answered(found) == [True, True]
            assert (found["streams"]["completed"], found["streams"]["active"]) == (5, 1)
            assert (found["connections"]["opened"], found["connections"]["active"]) == (6, 1)
            sent = sum(len(one.body) for one in bodies) + len(reader.body)
            assert found["performance"]["bytes"] == sent
            period = await metrics(port, "?start=0")
            for name in ("streams", "connections"):
                assert period[name] == found[name]
        there.process.send_signal(signal.SIGSTOP)
        try:
            found = await metrics(here.port)
            assert answered(found) == [False, True]
            (silent,) = (node["id"] for node in found["nodes"] if not node["answered"])
            assert f", node {silent}\n" in there.said  # its first line says which one that is
            assert (found["streams"]["completed"], found["connections"]["opened"]) == (2, 2)
            page = await get(here.port, "/v1/connections")
            assert answered(page) == [False, True]
            assert len(page["connections"]) == 2
        finally:
            there.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(harness.PATIENCE):
            while answered(await metrics(here.port)) != [True, True]:
                pass
        assert (await metrics(here.port))["streams"]["completed"] == 5
        await harness.ask(here.port, "POST", f"/v1/streams/{harness.stream_of(reader)}/cancel")
        await reader.rest()


async def test_what_a_node_counted_that_has_ended_is_counted(
    stores: Stores, tmp_path: Path
) -> None:
    async with other(stores, tmp_path) as gone:
        await asking.finished(gone.port)
        await gone.end(signal.SIGTERM)
    async with harness.running(stores.config()) as here:
        await asking.finished(here.port)
        await asking.idle(here)
        found = await metrics(here.port, "?start=0")
        assert found["streams"]["completed"] == 2
        assert answered(found) == [True]
        assert (await metrics(here.port))["streams"]["completed"] == 1


async def test_minutes_are_counted_that_only_their_own_node_can_read(
    valkey: redis_servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each node has an archive in its memory."""
    monkeypatch.setattr(counts, "MINUTE_MS", 50)
    monkeypatch.setattr(reporter, "EVERY", 0.01)
    log = f"redis://127.0.0.1:{valkey.port}/{redis_servers.next_database()}"
    config = harness.configured(log)
    async with harness.running(config) as here, harness.running(config) as there:
        for server in (here, there, there):
            await asking.finished(server.port)
            await asking.idle(server)
        reports = there.service.keeper.reporter
        begun = reports._begin
        await asking.until(lambda: reports._begin > begun and not reports.waiting)
        for server in (here, there):
            assert (await metrics(server.port, "?start=0"))["streams"]["completed"] == 3


async def test_while_postgresql_is_gone_nothing_waits_and_then_all_is_there_once(
    valkey: redis_servers.Server,
    postgres_programs: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: MutableSequence[Any],
) -> None:
    monkeypatch.setattr(counts, "MINUTE_MS", 100)
    monkeypatch.setattr(reporter, "MAX_CONNECTIONS", 8)
    for module in (reporter, archiver):
        monkeypatch.setattr(module, "EVERY", 0.02)
        monkeypatch.setattr(module, "AGAIN_LAST", 0.1)
    log = f"redis://127.0.0.1:{valkey.port}/{redis_servers.next_database()}"
    with postgres_server.running(postgres_programs) as database:
        stores = Stores(log, await database.fresh(), database)
        async with harness.running(stores.config()) as server:
            reports = server.service.keeper.reporter
            await asking.finished(server.port)
            await kept(stores, 1)
            database.stop()
            for _ in range(10):
                await asking.finished(server.port)
            await asking.idle(server)
            await asking.until(lambda: reports.failure is not None)
            found = (await metrics(server.port))["archive"]
            assert (found["failing"], found["reports_dropped"]) == (True, 2)
            assert found["reports_waiting"] >= 8
            assert found["waiting_since"] is not None
            database.start()
            await asking.until(lambda: reports.failure is None and len(reports._connections) == 0)
            moving = server.service.keeper.archiver
            assert moving is not None
            await asking.until(lambda: moving.kept == 11)
            assert await stores.connections() == 9
            found = await metrics(server.port, "?start=0")
            assert found["streams"]["completed"] == 11
            assert found["archive"]["kept"] == 11
            assert found["archive"]["failing"] is False
    logged.clear()  # an archive that is gone has much said of it

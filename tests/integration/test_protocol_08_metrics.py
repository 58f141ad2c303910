"""PROTOCOL 8, metrics: what is counted, and which minutes a period has.

Strategy: a load is made of which the client writes down everything, and the server's sums must be
the same, at present, over a period and after a restart. Minutes are made short, so that they pass.
"""

from __future__ import annotations

import datetime
from collections.abc import MutableSequence
from pathlib import Path
from typing import Any

import pytest
from tests.integration import asking, harness, node_with_keys

from holdfast.archive import rows
from holdfast.archiving import reporter
from holdfast.telemetry import counts

MS = 50
"""How long a minute is."""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MINUTE_MS", MS)
    monkeypatch.setattr(reporter, "EVERY", MS / 5000)


async def metrics(server: harness.Running, query: str = "") -> Any:
    answer = await harness.ask(server.port, "GET", f"/v1/metrics{query}")
    assert answer.status == 200, answer.body
    return answer.json()


class Seen:
    """What the client saw."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.resumed = 0

    async def load(self, server: harness.Running) -> None:
        """Two answers that are complete, one that fails, one that is cancelled; one reader that
        comes back, one that breaks off."""
        for options in ("tokens=7", "tokens=9 unicode=1", "tokens=3 error_at=1"):
            self.bodies.append((await asking.finished(server.port, options)).body)
        blocks = harness.blocks(self.bodies[0])
        id = next(one for one in map(harness.position, blocks) if one is not None)
        self.bodies.append((await (await harness.resume(server.port, id, "header")).rest()).body)
        self.resumed += 1
        leaving, staying = [await asking.stalled(server.port) for _ in range(2)]
        await leaving.close()
        await asking.until(lambda: len(server.service.connections) == 1)
        self.bodies.append(bytes(leaving.body))
        for reader in (leaving, staying):
            path = f"/v1/streams/{harness.stream_of(reader)}/cancel"
            await harness.ask(server.port, "POST", path)
        self.bodies.append((await staying.rest()).body)
        await asking.idle(server)

    def chunks(self) -> int:
        return sum(one.event == "chunk" for body in self.bodies for one in harness.said(body))

    def size(self) -> int:
        return sum(map(len, self.bodies))


def check(found: Any, seen: Seen, times: int = 1) -> None:
    """These are the sums of so many loads."""
    streams = found["streams"]
    ended = {name: streams[name] for name in ("started", "adopted", "completed")}
    assert ended == {"started": 5 * times, "adopted": 0, "completed": 2 * times}
    assert (streams["error"], streams["cancelled"]) == (times, 2 * times)
    readers = found["connections"]
    assert (readers["opened"], readers["resumed"]) == (6 * times, seen.resumed)
    assert readers["dropped"] == found["network"]["connection_drops"] == times
    assert (found["performance"]["chunks"], found["performance"]["bytes"]) == (
        seen.chunks(),
        seen.size(),
    )
    assert found["performance"]["latency_ms"]["average"] >= 0
    quality = found["quality"]
    assert (quality["error_rate"], quality["completion_rate"]) == (0.2, 0.4)
    assert quality["reconnection_rate"] == round(seen.resumed / (6 * times), 3)
    assert quality["average_duration_ms"] >= 0
    assert found["nodes"] == [{"id": "this", "answered": True}]


def written(found: Any) -> tuple[int, int]:
    return found["streams"]["chunks"], found["streams"]["bytes"]


def texts(*bodies: bytes) -> tuple[int, int]:
    """Pieces and bytes of answers, each as one reader had it from its begin."""
    pieces = [
        block.data["delta"]
        for body in bodies
        for block in harness.said(body)
        if block.event == "chunk"
    ]
    return len(pieces), sum(len(piece.encode()) for piece in pieces)


async def test_8_3_the_sums_are_what_clients_saw() -> None:
    seen = Seen()
    async with harness.running(harness.configured()) as server:
        nothing = await metrics(server)
        assert (nothing["streams"]["started"], nothing["quality"]["error_rate"]) == (0, None)
        await seen.load(server)
        found = await metrics(server)
        check(found, seen)
        whole = [body for number, body in enumerate(seen.bodies) if number != 3]
        # Who broke off, and what it left, have the same pieces.
        assert written(found) == texts(*whole)
        assert (found["streams"]["active"], found["connections"]["active"]) == (0, 0)
        assert (found["start"], found["end"]) == (None, None)
        assert found["performance"]["chunks_per_second"] is None
        for name in ("min", "max", "p95", "p99"):
            assert found["performance"]["latency_ms"][name] >= 0
        assert found["network"]["average_rtt_ms"] > 0
        assert (found["network"]["retransmissions"], found["network"]["packets_lost"]) == (0, 0)
        lead = await asking.stalled(server.port)
        found = await metrics(server)
        assert (found["streams"]["active"], found["connections"]["active"]) == (1, 1)
        await asking.end(server, lead)


@pytest.mark.usefixtures("short")
async def test_8_3_a_period_has_its_minutes_once_and_a_restart_loses_none(tmp_path: Path) -> None:
    config, seen = harness.configured(f"sqlite:///{tmp_path}/log.db"), Seen()
    for life in range(1, 4):
        async with harness.running(config) as server:
            await seen.load(server)
            for _ in range(20):  # whatever of it is written by then
                found = await metrics(server, "?start=0")
                check(found, seen, life)
                assert found["start"] < found["end"]
                assert found["performance"]["bytes_per_second"] > 0
            now = await metrics(server)
            assert now["streams"]["started"] == 5
            minutes = await server.service.keeper.archive.minutes(0, 2**52, rows.MAX_ROWS)
            assert len({row.node for row in minutes} - {server.service.name}) == life - 1
    async with harness.running(config) as server:
        found = await metrics(server, "?start=0")
        check(found, seen, 3)
        check(await metrics(server, f"?start=0&end={10**16 - 1}"), seen, 3)
        edge = min(row.at for row in minutes) + MS
        first, rest = [await metrics(server, f"?{one}") for one in (f"end={edge}", f"start={edge}")]
        assert written(first)[0] + written(rest)[0] == written(found)[0]
        assert first["performance"]["bytes"] + rest["performance"]["bytes"] == seen.size()


async def test_8_3_a_server_that_ends_in_order_loses_nothing(tmp_path: Path) -> None:
    config, seen = harness.configured(f"sqlite:///{tmp_path}/log.db"), Seen()
    async with harness.running(config) as server:
        await seen.load(server)
    async with harness.running(config) as server:
        check(await metrics(server, "?start=0"), seen)
        assert (await metrics(server))["streams"]["started"] == 0


@pytest.mark.usefixtures("short")
async def test_8_3_active_over_a_period_are_the_most_at_the_end_of_a_minute() -> None:
    async with harness.running(harness.configured()) as server:
        readers = [await asking.stalled(server.port) for _ in range(3)]
        reports = server.service.keeper.reporter
        begun = reports._begin
        await asking.until(lambda: reports._begin > begun)
        await asking.end(server, *readers)
        found = await metrics(server, "?start=0")
        assert (found["streams"]["active"], found["connections"]["active"]) == (3, 3)
        assert (await metrics(server))["streams"]["active"] == 0


@pytest.mark.parametrize("end", [None, 2_000_000_000_000, 1_700_000_000_000])
async def test_8_3_a_period_is_a_month_at_most(end: int | None) -> None:
    async with harness.running(harness.configured()) as server:
        query = "?start=0" if end is None else f"?start=0&end={end}"
        found = await metrics(server, query)
        start, end_ = [datetime.datetime.fromisoformat(found[name]) for name in ("start", "end")]
        minute = datetime.timedelta(minutes=1)
        assert -minute < end_ - start - datetime.timedelta(days=31) < minute
        assert (await metrics(server, "?start=5&end=60000"))["start"] == "1970-01-01T00:01:00.000Z"


@pytest.mark.parametrize(
    "query",
    ["start=9999999999999999", "end=0", "start=0&end=0", "start=5&end=4", "start=1&end=60000"],
)
async def test_8_3_a_period_without_minutes_has_nothing(query: str) -> None:
    async with harness.running(harness.configured()) as server:
        await asking.finished(server.port)
        found = await metrics(server, f"?{query}")
        assert (found["streams"]["started"], found["connections"]["opened"]) == (0, 0)
        assert found["start"] <= found["end"]


async def test_8_3_an_archive_that_is_away_is_told(
    tmp_path: Path, logged: MutableSequence[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "EVERY", 0.01)
    archive = tmp_path / "archive.db"
    config = harness.configured(archive={"url": f"sqlite:///{archive}"})
    async with harness.running(config) as server:
        archive.rename(tmp_path / "away.db")
        whole = await asking.finished(server.port)
        await asking.until(lambda: server.service.keeper.reporter.failure is not None)
        found = await metrics(server)
        told = found["archive"]
        assert (told["failing"], told["kept"]) == (True, None)
        assert told["reports_waiting"] in (1, 2)  # a minute may just have passed
        assert told["waiting_since"] is not None
        assert told["lag_seconds"] > 0
        assert found["streams"]["completed"] == 1
        refused = await harness.ask(server.port, "GET", "/v1/metrics?start=0")
        assert (refused.status, refused.json()["code"]) == (503, "archive_unavailable")
        assert str(tmp_path) not in refused.body.decode()
        target = f"/v1/streams/{harness.stream_of(whole)}/connections"
        page = (await harness.ask(server.port, "GET", target)).json()
        assert page["archive_answered"] is False
        assert len(page["connections"]) == 1
        (tmp_path / "away.db").rename(archive)
        await asking.until(lambda: server.service.keeper.reporter.waiting == 0)
        found = await metrics(server)
        assert found["archive"]["failing"] is False
        assert (await metrics(server, "?start=0"))["streams"]["completed"] == 1
    logged.clear()  # the keys were away, too


async def test_8_3_metrics_are_for_admins() -> None:
    async with node_with_keys.serving() as server:
        for scopes, status in ((("generate", "read"), 403), (("admin",), 200)):
            key = await node_with_keys.made(server, scopes=scopes)
            answer = await harness.ask(server.port, "GET", "/v1/metrics", key.headers)
            assert answer.status == status

"""PROTOCOL 10.6: what Prometheus is told, by whom, and who may ask.

Strategy: the load is the one of section 8, of which the client writes down everything, and the page
must have the same, to the last event. Workers of one port are nodes of this process here, which
share a Valkey; real ones are in test_prometheus.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from prometheus_client import parser
from tests import redis_servers
from tests.integration import asking, harness, node_with_keys, test_protocol_08_metrics

from holdfast import app, errors
from holdfast.http import neighbours
from holdfast.telemetry import prometheus, vitals

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scraped(server: harness.Running, **headers: str) -> Series:
    answer = await harness.ask(server.port, "GET", "/metrics", headers)
    assert answer.status == 200, answer.body
    families = parser.text_string_to_metric_families(answer.body.decode())
    every = [one for family in families for one in family.samples]
    return {(one.name, frozenset(one.labels.items())): one.value for one in every}


def value(found: Series, name: str, **labels: str) -> float:
    return found[f"holdfast_{name}", frozenset(labels.items())]


async def test_10_6_the_page_has_what_clients_saw() -> None:
    seen = test_protocol_08_metrics.Seen()
    async with harness.running(harness.configured()) as server:
        nothing = await scraped(server)
        assert value(nothing, "streams_started_total") == 0
        await seen.load(server)
        found = await scraped(server)
        assert value(found, "streams_started_total") == 5
        for status, many in (("completed", 2), ("error", 1), ("cancelled", 2)):
            assert value(found, "streams_ended_total", status=status) == many
        assert sum(v for (name, _), v in found.items() if name == "holdfast_errors_total") == 1
        assert value(found, "connections_total") == 6
        assert value(found, "connections_dropped_total") == 1
        assert value(found, "resumes_total", result="hit") == seen.resumed
        assert value(found, "resumes_total", result="miss") == 0
        assert value(found, "chunks_total") == seen.chunks()
        assert value(found, "bytes_total", encoding="identity") == seen.size()
        assert value(found, "stream_duration_seconds_count") == 2
        assert value(found, "first_chunk_seconds_count") == 5
        assert value(found, "breaker_open", provider="demo") == 0
        assert value(found, "streams_active") == value(found, "connections_active") == 0
        reader = await asking.stalled(server.port)
        found = await scraped(server)
        assert value(found, "streams_active") == value(found, "connections_active") == 1
        await asking.end(server, reader)


async def test_10_6_who_reads_openmetrics_is_told_in_it() -> None:
    async with harness.running(harness.configured()) as server:
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        answer = await harness.ask(server.port, "GET", "/metrics", accept)
        kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert (answer.headers["content-type"], answer.headers["vary"]) == (kind, "Accept")
        plain = await harness.ask(server.port, "GET", "/metrics")
        assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_10_6_a_reader_that_starts_anew_is_a_miss() -> None:
    async with harness.running(harness.configured()) as server:
        whole = await asking.finished(server.port)
        stream = harness.stream_of(whole)
        target = f"/v1/streams/{stream}/events"
        behind = f"{stream}:1-9000"
        answer = await harness.ask(server.port, "GET", target, {"Last-Event-ID": behind})
        assert asking.kinds(answer.body)[0] == "rewind"
        found = await scraped(server)
        assert value(found, "resumes_total", result="hit") == 0
        assert value(found, "resumes_total", result="miss") == 1


@pytest.mark.case("4.21")
async def test_10_6_who_may_ask_and_how_prometheus_does() -> None:
    async with node_with_keys.serving() as server:
        own = await node_with_keys.made(server, scopes=("metrics",))
        for scopes, status in ((("metrics",), 200), (("admin",), 200), (("generate", "read"), 403)):
            key = await node_with_keys.made(server, scopes=scopes)
            answer = await harness.ask(server.port, "GET", "/metrics", key.headers)
            assert answer.status == status
        for target in ("/v1/metrics", "/v1/streams", "/v1/connections"):
            answer = await harness.ask(server.port, "GET", target, own.headers)
            assert answer.status == 403
        for headers in ({}, {"Authorization": "Bearer hfk_x"}):
            refused = await harness.ask(server.port, "GET", "/metrics", headers)
            assert refused.status == 401
            for said in ("--scope metrics`", "`authorization: {credentials_file: FILE}`"):
                assert said in refused.json()["detail"]
            other = await harness.ask(server.port, "GET", "/v1/metrics", headers)
            assert "credentials_file" not in other.json()["detail"]


# Several workers on one port


@pytest.fixture
async def group(valkey: redis_servers.Server) -> AsyncIterator[list[harness.Running]]:
    """Two workers of one group, and one of another on the same log."""
    url = f"redis://127.0.0.1:{valkey.port}/{redis_servers.next_database()}"
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                harness.serving(app.asgi(harness.configured(url), worker=vitals.Worker(*which)))
            )
            for which in (("a", 0), ("a", 7), ("b", 0))
        ]


async def test_10_6_any_worker_tells_of_all_of_its_port(group: list[harness.Running]) -> None:
    for server, many in zip(group, (1, 2, 4), strict=True):
        for _ in range(many):
            await asking.finished(server.port)
    one, other, stranger = [await scraped(server) for server in group]
    for found in (one, other):
        assert value(found, "streams_started_total", worker="0") == 1
        assert value(found, "streams_started_total", worker="7") == 2
        assert {dict(labels).get("worker") for _, labels in found} == {"0", "7"}
    assert one.keys() == other.keys()
    assert value(stranger, "streams_started_total", worker="0") == 4
    assert {dict(labels).get("worker") for _, labels in stranger} == {"0"}


async def test_10_6_a_worker_that_does_not_answer_is_missing(
    group: list[harness.Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, _ = group
    monkeypatch.setattr(neighbours, "WAIT_SECONDS", 0.05)
    nodes = other.service.log.nodes
    assert nodes is not None
    nodes.answer(lambda question: b"\xff")
    found = await scraped(one)
    assert {dict(labels).get("worker") for _, labels in found} == {"0"}


async def test_10_6_a_worker_without_its_log_tells_of_itself(
    group: list[harness.Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*asked: object) -> None:
        raise errors.LogUnavailable("Nobody is there.")

    nodes = group[1].service.log.nodes
    monkeypatch.setattr(nodes, "ask", away)
    found = await scraped(group[1])
    assert {dict(labels).get(prometheus.WORKER) for _, labels in found} == {"7"}

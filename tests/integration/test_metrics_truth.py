"""One load, of which everything is written down, and all that is told of it: the same everywhere.

Strategy: scripted providers answer, fail before the first piece, break off in the middle or fail
for good; readers read whole answers, come back behind an event, come back behind one that never
was, and break off. The truth is what the scripts say and what came over the readers' sockets, byte
by byte; the API, the live frames, Prometheus' page and what a collector of OpenTelemetry gets are
held to it, figure by figure. Latencies are made: what is written is older than it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from prometheus_client import parser
from tests.integration import asking, collector, harness

from holdfast import connections
from holdfast.testing import provider as replay

LATE_MS = 5000
"""So long each piece takes to its reader."""

USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}\n\n'
)
STOP, DONE = asking.STOP.split(b"data: [DONE]")
END = (STOP, USAGE, b"data: [DONE]" + DONE)
FAILED = replay.Answer(status=500, body=(b"{}",))

PIECES = ("kelp ", "wrack ", "dulse ", "laver ")


def answer(asked: replay.Request) -> replay.Answer:
    """What the first provider says, as the prompt wants it."""
    said = asked.json()["messages"][0]["content"]
    pieces = tuple(map(asking.chunk, PIECES))
    if said == "whole":
        return replay.Answer(body=(*pieces, *END))
    if said == "breaks off":
        return replay.Answer(body=pieces[:2], ending="rst")
    if said == "stalls":
        return replay.Answer(body=pieces[:1], ending="stall")
    return FAILED


def other(asked: replay.Request) -> replay.Answer:
    """What the second one says; it goes on from what is written."""
    messages = asked.json()["messages"]
    if messages[0]["content"] == "fails for good":
        return FAILED
    written = "".join(one["content"] for one in messages if one["role"] == "assistant")
    left = "".join(PIECES)[len(written) :]
    return replay.Answer(body=(asking.chunk(left), *END))


class Truth(msgspec.Struct):
    """What was done, and what came."""

    bodies: list[bytes] = []
    written: list[bytes] = []

    @property
    def sent(self) -> tuple[int, int]:
        """Chunks and bytes that readers have."""
        events = [one.event for body in self.bodies for one in harness.said(body)]
        return events.count("chunk"), sum(map(len, self.bodies))

    @property
    def pieces(self) -> tuple[int, int]:
        """Pieces and bytes of the answers, each once."""
        deltas = [
            one.data["delta"]
            for body in self.written
            for one in harness.said(body)
            if one.event == "chunk"
        ]
        return len(deltas), sum(len(one.encode()) for one in deltas)


class Told(msgspec.Struct):
    """What each surface says."""

    api: Any
    frame: Any
    page: dict[tuple[str, tuple[tuple[str, str], ...]], float]
    otlp: dict[str, Any]

    def scraped(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name that have these labels."""
        wanted = set(labels.items())
        found = [
            value for (one, had), value in self.page.items() if one == name and wanted <= {*had}
        ]
        assert found, name
        return sum(found)

    def collected(self, name: str, **attributes: str) -> float:
        """The same of a collector's points."""
        metric = self.otlp[name]
        points = [*metric.sum.data_points, *metric.gauge.data_points]
        return sum(
            float(point.as_int or point.as_double)
            for point in points
            if attributes.items() <= collector.values(point.attributes).items()
        )


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[harness.Running]:
    async with replay.ReplayServer(answer) as first, replay.ReplayServer(other) as second:
        rows = {
            name: {"kind": "openai_chat", "base_url": f"{one.url}/v1", "api_key": "k"}
            for name, one in (("a", first), ("b", second))
        }
        config = harness.configured(
            providers=rows,
            routes={"r": {"targets": ["a/m", "b/m"]}},
            fallback={"attempts": 1, "breaker_failures": 50},
            monitoring={"opentelemetry": True},
        )
        async with harness.running(config) as server:
            yield server


def wanted(prompt: str) -> bytes:
    messages = [{"role": "user", "content": prompt}]
    return harness.wanted("r", messages=messages, flush_interval_ms=0)


async def load(server: harness.Running, truth: Truth) -> None:
    """Four whole answers, three that the other provider brings, two that it continues, one that
    nobody brings, one that is cancelled."""
    prompts = 4 * ["whole"] + 3 * ["fails"] + 2 * ["breaks off"] + ["fails for good"]
    for prompt in prompts:
        read = await (await harness.begin(server.port, wanted(prompt))).rest()
        truth.bodies.append(read.body)
        truth.written.append(read.body)
    ids = [id for block in harness.blocks(truth.bodies[0]) if (id := harness.position(block))]
    stream = ids[0].partition(":")[0]
    for id in (ids[1], ids[2], f"{stream}:99999-2"):
        back = await (await harness.resume(server.port, id, "header")).rest()
        truth.bodies.append(back.body)
    leaving = await harness.begin(server.port, wanted("stalls"))
    await leaving.until(asking.seen(b"kelp"))
    await leaving.close()
    await asking.until(lambda: not server.service.connections)
    truth.bodies.append(bytes(leaving.body))
    stalled = str(harness.stream_of(leaving))
    await harness.ask(server.port, "POST", f"/v1/streams/{stalled}/cancel")
    await asking.idle(server)
    truth.written.append((await harness.ask(server.port, "GET", events_of(stalled))).body)
    truth.bodies.append(truth.written[-1])
    await asking.idle(server)


def events_of(stream: str) -> str:
    return f"/v1/streams/{stream}/events"


async def read(server: harness.Running) -> Told:
    api = (await harness.ask(server.port, "GET", "/v1/metrics")).json()
    watcher = await harness.Reader.open(server.port, "GET", "/v1/metrics/live")
    await watcher.until(asking.has(1))
    (frame,) = (one.data for one in harness.said(bytes(watcher.body)))
    await watcher.close()
    text = (await harness.ask(server.port, "GET", "/metrics")).body.decode()
    page = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
    return Told(api, frame, page, {})


async def test_what_was_done_is_what_every_surface_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = Truth()
    monkeypatch.setattr(connections.Connection, "wrote", late(connections.Connection.wrote))
    async with collector.exporting(monkeypatch) as exported, serving() as server:
        await load(server, truth)
        told = await read(server)
    told.otlp = exported.metrics()
    check_streams(told, truth)
    check_readers(told, truth)
    check_calls(told)
    check_latencies(told)


def late(wrote: Any) -> Any:
    """A connection's `wrote`, to which all that came while it was there came `LATE_MS` before."""

    def later(
        self: connections.Connection, size: int, chunks: int, ts: int, now: float, saved: int = 0
    ) -> None:
        created = self.created_at
        if ts < created:
            wrote(self, size, chunks, ts, now, saved)
            return
        self.created_at = 0
        wrote(self, size, chunks, ts - LATE_MS, now, saved)
        self.created_at = created

    return later


def check_streams(told: Told, truth: Truth) -> None:
    ended = {"completed": 9, "error": 1, "cancelled": 1}
    for streams in (told.api["streams"], told.frame["totals"]["streams"]):
        assert {name: streams[name] for name in ended} == ended
        assert (streams["started"], streams["active"], streams["adopted"]) == (11, 0, 0)
        assert (streams["chunks"], streams["bytes"]) == truth.pieces
        assert streams["fallbacks"] == 5
    for status, many in ended.items():
        assert told.scraped("holdfast_streams_ended_total", status=status) == many
        assert told.collected("holdfast.streams_ended", **{"holdfast.status": status}) == many
    for name, many in (
        ("streams_started", 11),
        ("fallbacks", 5),
        ("written_chunks", truth.pieces[0]),
        ("written_bytes", truth.pieces[1]),
    ):
        assert told.scraped(f"holdfast_{name}_total") == told.collected(f"holdfast.{name}") == many
    assert told.api["errors"] == {"provider_failed": 1}
    assert told.frame["totals"]["errors"] == 1
    assert told.scraped("holdfast_errors_total", kind="provider_failed") == 1
    assert told.collected("holdfast.errors", **{"holdfast.kind": "provider_failed"}) == 1
    assert told.scraped("holdfast_errors_total") == 1
    quality = told.api["quality"]
    assert (quality["error_rate"], quality["completion_rate"]) == (0.091, 0.818)


def check_readers(told: Told, truth: Truth) -> None:
    for readers in (told.api["connections"], told.frame["totals"]["connections"]):
        assert (readers["opened"], readers["active"]) == (15, 0)
        assert (readers["resumed"], readers["missed"], readers["dropped"]) == (3, 1, 1)
    performance = told.api["performance"]
    totals = told.frame["totals"]
    assert (performance["chunks"], performance["bytes"]) == truth.sent
    assert (totals["sent_chunks"], totals["sent_bytes"]) == truth.sent
    assert told.api["network"]["connection_drops"] == 1
    for name, many in (
        ("connections", 15),
        ("connections_dropped", 1),
        ("chunks", truth.sent[0]),
        ("bytes", truth.sent[1]),
    ):
        assert told.scraped(f"holdfast_{name}_total") == told.collected(f"holdfast.{name}") == many
    for result, many in (("hit", 2), ("miss", 1)):
        assert told.scraped("holdfast_resumes_total", result=result) == many
        assert told.collected("holdfast.resumes", **{"holdfast.result": result}) == many
    assert told.api["quality"]["reconnection_rate"] == 0.2


def check_calls(told: Told) -> None:
    """Eleven at the first provider, of which six failed and one was cancelled; six at the other."""
    calls = told.api["calls"]
    shown = {one["name"]: one for one in told.frame["providers"]}
    for name, begun, failed, tokens in (
        ("a", 11, {"provider_failed": 4, "provider_interrupted": 2, "cancelled": 1}, 4),
        ("b", 6, {"provider_failed": 1}, 5),
    ):
        found = calls[f"{name}/m"]
        assert (found["begun"], found["active"], found["errors"]) == (begun, 0, failed)
        assert (found["input_tokens"], found["output_tokens"]) == (11 * tokens, 7 * tokens)
        assert found["duration_ms"]["count"] == begun
        answered = begun - failed["provider_failed"]
        assert found["first_chunk_ms"]["count"] == answered
        frame = shown[name]
        assert (frame["calls"], frame["errors"]) == (begun, sum(failed.values()))
        assert (frame["input_tokens"], frame["output_tokens"]) == (11 * tokens, 7 * tokens)
        of, had = {"provider": name}, {"holdfast.provider": name}
        lasted = "gen_ai_client_operation_duration_seconds_count"
        assert told.scraped(lasted, **of) == begun
        first = "gen_ai_client_operation_time_to_first_chunk_seconds_count"
        assert told.scraped(first, **of) == answered
        for kind, each in (("input", 11), ("output", 7)):
            plain = f"gen_ai_client_inference_usage_{kind}_tokens_total"
            assert told.scraped(plain, **of) == each * tokens
            plain = f"gen_ai.client.inference.usage.{kind}_tokens"
            assert told.collected(plain, **had) == each * tokens
        for code, many in failed.items():
            assert told.scraped("holdfast_provider_errors_total", error_type=code, **of) == many
        assert told.collected("holdfast.provider_errors", **had) == sum(failed.values())


def check_latencies(told: Told) -> None:
    """Each took what was made of it, and what this machine takes, which is far less."""
    found = told.api["performance"]["latency_ms"]
    assert found["count"] == told.scraped("holdfast_chunk_latency_seconds_count") > 20
    for name in ("min", "p50", "p95", "p99", "max", "average"):
        assert LATE_MS <= found[name] < 1.5 * LATE_MS
    assert told.scraped("holdfast_chunk_latency_seconds_bucket", le="2.5") == 0
    assert told.collected("holdfast.chunk_latency.count") == found["count"]
    assert told.collected("holdfast.chunk_latency.bucket", le="2.5") == 0
    assert told.collected("holdfast.chunk_latency.bucket", le="+Inf") == found["count"]
    assert told.collected("holdfast.log_append.count") > 0
    total = told.scraped("holdfast_chunk_latency_seconds_sum")
    assert abs(told.collected("holdfast.chunk_latency.sum") - total) < 0.001
    assert abs(total - found["average"] * found["count"] / 1000) < 0.01
    shares = told.frame["now"]["chunk_latency_ms"]
    assert shares["count"] in (0, found["count"])  # the first frame has nothing before it

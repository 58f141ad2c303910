"""What it costs to be watched: everything that shows a node on, beside everything off.

Strategy: the watched node writes a JSON line for each stream and each request, tells
OpenTelemetry's SDK spans and metrics, has a dashboard open and is scraped each second; the quiet
one does none of that. What a node counts for itself it always counts.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench import relay, report, servers
from bench.scenario import Bench, Result, Scenario, Size

EVERY = 1.0
"""Seconds between two scrapes, and between two tries where nothing answers yet."""

TIMES = 1.05
"""The aim: at most."""

QUIET = '[monitoring]\nlog_level = "error"\ndashboard = false\n'
WATCHED = '[monitoring]\nlog_level = "info"\nlog_format = "json"\naccess_log = true\n'

SDK = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

class Dropped(SpanExporter):
    def export(self, spans):
        return SpanExportResult.SUCCESS

tracers = TracerProvider()
tracers.add_span_processor(BatchSpanProcessor(Dropped()))
trace.set_tracer_provider(tracers)
metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
"""
"""What a process does that has the SDK; where spans go is not ours."""


def quiet(folder: Path) -> servers.Server:
    """A node that tells nothing."""
    return servers.holdfast(folder, more=QUIET)._replace(name="quiet")


def watched(folder: Path) -> servers.Server:
    """A node that tells everything; OpenTelemetry where its SDK is installed."""
    return traced(servers.holdfast(folder, more=table()))._replace(name="watched")


def table() -> str:
    """The table of the configuration that tells everything."""
    return WATCHED + ("opentelemetry = true\n" if _sdk() else "")


def traced(server: servers.Server) -> servers.Server:
    """The same with OpenTelemetry's SDK in its process, where it is installed."""
    python, flag, start, *rest = server.command
    return server._replace(command=(python, flag, f"{SDK if _sdk() else ''}\n{start}", *rest))


def _sdk() -> bool:
    return importlib.util.find_spec("opentelemetry.sdk") is not None


@contextlib.contextmanager
def watching(port: int, headers: Mapping[str, str] | None = None) -> Iterator[None]:
    """One has the dashboard open and one scrapes, from the moment that the node answers."""
    over, sent = threading.Event(), headers or {}
    threads = [
        threading.Thread(target=_again, args=(over, work, port, sent), daemon=True)
        for work in (_watch, _scrape)
    ]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in threads:
            one.join(2 * EVERY)


Work = Callable[[threading.Event, int, Mapping[str, str]], None]


def _again(over: threading.Event, work: Work, port: int, headers: Mapping[str, str]) -> None:
    while not over.is_set():
        with contextlib.suppress(OSError, http.client.HTTPException):
            work(over, port, headers)
        over.wait(EVERY / 10)


def _watch(over: threading.Event, port: int, headers: Mapping[str, str]) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as asked:
        asked.request("GET", "/v1/metrics/live", headers=headers)
        answer = asked.getresponse()
        while not over.is_set() and answer.read1(1 << 16):
            pass


def _scrape(over: threading.Event, port: int, headers: Mapping[str, str]) -> None:
    while not over.is_set():
        begun = time.monotonic()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as asked:
            asked.request("GET", "/metrics", headers=headers)
            asked.getresponse().read()
        over.wait(max(0.0, EVERY - (time.monotonic() - begun)))


def run(bench: Bench) -> Result | None:
    """Both nodes and nginx, in turn."""

    def make(name: str, folder: Path, kept: contextlib.ExitStack) -> servers.Server | None:
        if name == "watched":
            server = watched(folder)
            kept.enter_context(watching(server.port))
            return server
        return quiet(folder) if name == "quiet" else servers.nginx(folder)

    runs = relay.in_turn(bench, ("nginx", "quiet", "watched"), make)
    if not runs:
        return None
    floors = {"watched": "quiet"}
    text, figures = report.sides(runs, floors, TIMES), report.ratios(runs, floors)
    whole = not any(run.gaps for run in runs)
    return Result([run._asdict() for run in runs], text, figures, whole)


SCENARIO = Scenario(
    "watched", "logs, traces, metrics and a dashboard, beside none", run, Size(1000, 5)
)

"""What everything costs that may be switched on, beside all of it off.

Strategy: on are keys and every limit, sealing, a line for each stream and request, spans, a
dashboard and scrapes, and gzip for every reader; off is a node that does none of it. Our client
reads both, as the pair's cannot unpack. Each of these alone is measured by `access`, `sealed`,
`watched` and `compressed`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from bench import relay, report, sealed, servers, watched
from bench.compressed import ACCEPT
from bench.scenario import Bench, Result, Scenario, Size

TIMES = 1.2
"""The aim: at most."""


def on(folder: Path) -> servers.Server:
    """All of it. Raises `servers.Failed`."""
    more = watched.table() + sealed.table(folder)
    server = watched.traced(servers.guarded(folder, more, ("admin", "metrics")))
    return server._replace(name="on", headers=(*server.headers, ACCEPT))


def off(folder: Path) -> servers.Server:
    """None of it."""
    server = servers.holdfast(folder, more=watched.QUIET + "[compression]\nenabled = false\n")
    return server._replace(name="off")


def run(bench: Bench) -> Result | None:
    """Both nodes and nginx, in turn."""

    def make(name: str, folder: Path, kept: contextlib.ExitStack) -> servers.Server | None:
        if name != "on":
            return off(folder) if name == "off" else servers.nginx(folder)
        server = on(folder)
        key = server.headers[0].partition(": ")[2]
        kept.enter_context(watched.watching(server.port, {"Authorization": key}))
        return server

    runs = relay.in_turn(bench, ("nginx", "off", "on"), make, ours=True)
    if not runs:
        return None
    floors = {"on": "off"}
    text, figures = report.sides(runs, floors, TIMES), report.ratios(runs, floors)
    whole = not any(run.gaps for run in runs)
    return Result([run._asdict() for run in runs], text, figures, whole)


SCENARIO = Scenario("everything", "all that may be on, beside all off", run, Size(1000, 5))

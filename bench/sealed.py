"""What it costs that nothing is readable on disk: a log with sealing on, beside the same without.

Strategy: the same node and the same load, on SQLite and on Redis; a ring of one key is made before.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from bench import relay, report, servers
from bench.scenario import Bench, Result, Scenario, Size
from holdfast.sealing import ring

TIMES = 1.1
"""The aim: at most."""

LOGS = ("sqlite", "redis")
NAMES = tuple(f"{log}, {how}" for log in LOGS for how in ("plain", "sealed"))


def node(name: str, folder: Path, redis: str) -> servers.Server:
    """The node of this name; `redis` is the URL of the log that is no file."""
    log, _, how = name.partition(", ")
    more = table(folder) if how == "sealed" else ""
    return servers.holdfast(folder, log if log == "sqlite" else redis, more=more)._replace(
        name=name
    )


def table(folder: Path) -> str:
    """The table of the configuration that seals, with a new ring."""
    keys = folder / "holdfast.keys"
    keys.touch(0o600)
    keys.write_bytes(ring.dump(ring.Ring((ring.new_key(0),))))
    return f'[sealing]\nkeys = "{keys}"\n'


def run(bench: Bench) -> Result | None:
    """All nodes and nginx, in turn."""

    def make(name: str, folder: Path, kept: contextlib.ExitStack) -> servers.Server | None:
        if name == "nginx":
            return servers.nginx(folder)
        redis: str | None = ""
        if "redis" in name:
            redis = kept.enter_context(servers.valkey(folder, bench.cores[1]))
        return None if redis is None else node(name, folder, redis)

    runs = relay.in_turn(bench, ("nginx", *NAMES), make)
    if not runs:
        return None
    floors = {f"{log}, sealed": f"{log}, plain" for log in LOGS}
    text, figures = report.sides(runs, floors, TIMES), report.ratios(runs, floors)
    whole = not any(run.gaps for run in runs)
    return Result([run._asdict() for run in runs], text, figures, whole)


SCENARIO = Scenario("sealed", "nothing readable on disk, beside plain logs", run, Size(1000, 5))

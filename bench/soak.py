"""Soak: whether a node under load grows, over half an hour, by hand.

Strategy: the load of `relay` without an end, the node's memory every few seconds, and a straight
line through it (least squares) from when a third of the time is over: until then it fills what it
keeps of what has ended, the last of which is 10,000 connections, after 8 of 30 minutes.
"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import relay, report, servers
from bench.scenario import Bench, Figure, Option, Result, Scenario, Size

MINUTES = Option("minutes", "how long the node is under load", 30)
EVERY, SKIPPED = 5.0, 1 / 3
"""Seconds between two looks; the share of the time before the line begins."""

SLOPE = 1.0
"""Megabytes in ten minutes: the aim, below."""


class Look(NamedTuple):
    """When, in seconds from the beginning of the load, and what the node weighed then."""

    seconds: float
    mb: float


class Lost(NamedTuple):
    """Tokens that did not come, and streams that were refused or broke off."""

    gaps: int
    streams: int

    def __str__(self) -> str:
        return f"{self.gaps} gaps, {self.streams} streams refused or broken off"


def run(bench: Bench) -> Result | None:
    """One node, once."""
    load = relay.chosen(bench)
    if load is None:
        return None
    minutes = int(bench.options["minutes"])
    bench.say(f"{bench.size.streams} streams of {bench.size.rate} tokens/s for {minutes} minutes")
    with bench.folder() as folder:
        looks, lost = measure(bench, load, minutes * 60, folder)
    settled = [one for one in looks if one.seconds >= SKIPPED * looks[-1].seconds]
    grown = slope(settled) * 600
    text = table(looks, grown, lost)
    figures = {"MB in 10 minutes": Figure(grown, str(lost))}
    return Result([one._asdict() for one in looks], text, figures, lost == Lost(0, 0))


def measure(bench: Bench, load: relay.Load, seconds: int, folder: Path) -> tuple[list[Look], Lost]:
    """What it weighed, and what was lost. Raises `servers.Failed`."""
    server, body = servers.holdfast(folder), folder / "body.json"
    body.write_bytes(server.body)
    provider = load.provider(server.provider, bench.size.rate)
    rest = (str(seconds), str(body))
    (command,) = load._replace(ours=not load.pair).clients(
        (str(server.port), server.path), bench.size.streams, rest
    )[:1]
    looks: list[Look] = []
    core, log = bench.cores[0], folder / "holdfast.log"
    with contextlib.ExitStack() as kept:
        spoken = (provider, server.provider, folder / "provider.log", bench.cores[1])
        kept.enter_context(servers.running(*spoken))
        pid = kept.enter_context(servers.running(server.command, server.port, log, core))
        time.sleep(relay.WARM)
        begun = time.monotonic()
        client = kept.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
        kept.callback(client.kill)
        while client.poll() is None:
            looks.append(Look(time.monotonic() - begun, servers.memory_kb(pid) / 1024))
            if len(looks) % 12 == 0:
                bench.say(f"{looks[-1].seconds / 60:.1f} minutes: {looks[-1].mb:.1f} MB")
            with contextlib.suppress(subprocess.TimeoutExpired):
                client.wait(EVERY)
        said = client.communicate()[0]
    got = json.loads(said or b"{}")
    if not got.get("tokens"):
        raise servers.Failed("not one token came through")
    return looks, Lost(got["gaps"], got["failed"])  # of which some had another status than 200


def slope(looks: Sequence[Look]) -> float:
    """Megabytes a second, of the straight line through them (least squares)."""
    if len(looks) < 2:
        return math.nan
    times = sum(one.seconds for one in looks) / len(looks)
    weights = sum(one.mb for one in looks) / len(looks)
    both = sum((one.seconds - times) * (one.mb - weights) for one in looks)
    return both / sum((one.seconds - times) ** 2 for one in looks)


def table(looks: Sequence[Look], grown: float, lost: Lost) -> str:
    """Ten looks, evenly, and the line."""
    step = max(1, len(looks) // 10)
    rows = [(f"{one.seconds / 60:.1f}", f"{one.mb:.1f}") for one in looks[::step]]
    met = f"(aim: under {SLOPE:g}: {report.met(grown < SLOPE)})"
    said = f"{grown:+.2f} MB in 10 minutes {met}; {lost}"
    return f"{report.table(('minutes', 'MB'), rows)}\n\n{said}"


SCENARIO = Scenario(
    "soak", "memory under load, by hand", run, Size(200, 1), (MINUTES,), usual=False
)

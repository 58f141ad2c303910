"""Other relays under the load of `relay`, beside nginx and Holdfast in the same run.

Strategy: all of them at a size that the slowest carries, then at larger ones those that can: a
token's cost changes with how many come at once, so only figures of one size compare. A peer whose
packages cannot be had, or that fails, is said and left out.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import relay, report, servers
from bench.peers import fastapi_httpx, install, litellm, resumable_stream, tensorzero
from bench.peers.peer import Peer, Place
from bench.scenario import Bench, Figure, Result, Scenario, Size
from holdfast.version import __version__

PEERS: Sequence[Peer] = (tensorzero.PEER, fastapi_httpx.PEER, resumable_stream.PEER, litellm.PEER)
OURS = ("nginx", "holdfast")
SMALLER = (30, 200)
"""Streams of the sizes below the one that is asked for."""

FULL = 0.95
"""Share of the tokens that must come through; a relay below it is saturated, or was disturbed."""

Found = Mapping[int, Sequence[relay.Run]]
"""Runs by how many streams they had."""


def run(bench: Bench) -> Result | None:
    """All peers that can be installed, at each size that they carry."""
    homes = _installed(bench)
    found: dict[int, Sequence[relay.Run]] = {}
    for streams in sizes(bench.size.streams):
        names = [*OURS, *able(homes, streams * bench.size.rate)]
        sized = bench._replace(size=bench.size._replace(streams=streams))

        def make(name: str, folder: Path, kept: contextlib.ExitStack) -> servers.Server | None:
            return _server(name, homes, folder, kept, bench.cores[1])

        runs = relay.in_turn(sized, names, make, spare=list(homes))
        if not runs:
            return None
        found[streams] = runs
    told = _versions(homes)
    rows = [
        {**run._asdict(), "streams": streams, "version": told.get(run.relay, "")}
        for streams, runs in found.items()
        for run in runs
    ]
    whole = not any(run.gaps for runs in found.values() for run in report.of(runs, "holdfast"))
    return Result(rows, table(found, bench.size.rate, told), figures(found), whole)


def sizes(streams: int) -> list[int]:
    """How many streams there are at once, in turn."""
    return [*(one for one in SMALLER if one < streams), streams]


def able(homes: Mapping[str, Path], tokens_per_s: int) -> list[str]:
    """The installed peers that carry so much."""
    return [peer.name for peer in PEERS if peer.name in homes and peer.most >= tokens_per_s]


def table(found: Found, rate: int, told: Mapping[str, str]) -> str:
    """A table for each size; `told` has each one's version."""
    parts = []
    for streams, all_runs in found.items():
        runs = report.good(all_runs)
        head = ["relay", "÷ nginx", "÷ Holdfast", *(title for title, _, _ in report.COLUMNS)]
        rows = []
        for name in report.names(runs):
            ratios = [report.times(runs, name, floor, "cpu_us") for floor in OURS]
            shown = ["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
            mine = report.of(runs, name)
            rows.append([f"{name} {told.get(name, '')}", *shown, *report.row(mine, report.COLUMNS)])
        parts.append(f"{streams} streams of {rate} tokens/s:")
        parts.append(report.table([*head, *report.LAST], rows))
        parts += report.refused(all_runs)
        parts += saturated(runs, streams * rate)
        parts += report.noise(runs)
    return "\n\n".join(parts)


def saturated(runs: Sequence[relay.Run], asked: int) -> list[str]:
    """A line for each relay that did not keep up in each of its runs."""
    least = {
        name: min(run.tokens_per_s for run in report.of(runs, name)) for name in report.names(runs)
    }
    return [
        f"{name} came to {came:.0f} of {asked} tokens/s: its delays say little."
        for name, came in least.items()
        if came < FULL * asked
    ]


def figures(found: Found) -> dict[str, Figure]:
    """What Holdfast's token costs beside each peer's, at each size."""
    told: dict[str, Figure] = {}
    for streams, all_runs in found.items():
        runs = report.good(all_runs)
        for name in report.names(runs):
            ratio = report.times(runs, "holdfast", name, "cpu_us")
            if name != "holdfast" and ratio is not None:
                beside = f"{name}: {report.beside(report.of(runs, name))}"
                told[f"holdfast ÷ {name}, {streams} streams"] = Figure(ratio, beside, ratio=True)
    return told


def _installed(bench: Bench) -> dict[str, Path]:
    """The homes of those whose packages there are."""
    homes = {}
    for peer in PEERS:
        try:
            homes[peer.name] = install.install(peer.name, bench.say)
        except install.NotInstalled as error:
            bench.skip(peer.name, f"its packages cannot be had: {error}")
    return homes


def _server(
    name: str, homes: Mapping[str, Path], folder: Path, kept: contextlib.ExitStack, core: int
) -> servers.Server | None:
    if name == "nginx":
        return servers.nginx(folder)
    if name == "holdfast":
        return servers.holdfast(folder)
    peer = next(peer for peer in PEERS if peer.name == name)
    redis = kept.enter_context(servers.valkey(folder, core)) if peer.valkey else ""
    if redis is None:
        return None
    return peer.start(Place(homes[name], folder, servers.free_port(), redis))


def _versions(homes: Mapping[str, Path]) -> dict[str, str]:
    """Of each relay, and of what it stands on."""
    told = {"holdfast": __version__, "nginx": _nginx()}
    for peer in PEERS:
        if peer.name in homes:
            own, *others = install.versions(peer.name, peer.shows).items()
            more = ", ".join(f"{name} {version}" for name, version in others)
            told[peer.name] = own[1] + (f" ({more})" if more else "")
    return told


def _nginx() -> str:
    program = servers.nginx_program()
    if program is None:
        return ""
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stderr
    return said.rpartition("/")[2].strip()


SCENARIO = Scenario(
    "peers", "other relays, by their own packages, 10 minutes", run, Size(1000, 3), usual=False
)

"""The command line of the bench: `make bench`, or `python -m bench`.

Strategy: run the chosen scenarios one after the other with a line on stderr for each step,
keep everything in a JSON file, and print the tables on stdout. A step that cannot run here
(no compiler, no load pair, no nginx) is skipped aloud.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import (
    access,
    latency,
    providers,
    relay,
    report,
    sealed,
    servers,
    sidechannel,
    slow,
    translating,
    watched,
)

OUT = Path(__file__).resolve().parent / "out"
SCENARIOS = ("latency", "relay", "providers", "slow", "access", "watched", "sealed", "sidechannel")


class Size(NamedTuple):
    """How much a scenario does, unless the options say otherwise."""

    streams: int
    rounds: int


SIZES = {
    "relay": Size(1000, 5),
    "providers": Size(200, 3),
    "slow": Size(slow.STOPPED, 3),
    "access": Size(1000, 5),
    "watched": Size(1000, 5),
    "sealed": Size(1000, 5),
}
EXAMPLES = """examples:
  make bench                            all scenarios, about 15 minutes
  make bench ARGS=latency               one idle stream alone, 20 seconds
  make bench ARGS="relay --rounds 1"    a quick look at many streams
  make bench ARGS=providers             every kind of provider, and TLS, 3 minutes
  make bench ARGS=slow                  readers that stopped beside fast ones, 2 minutes
  make bench ARGS=access                keys and limits on, beside off, 4 minutes
  make bench ARGS=watched               logs, traces, metrics and a dashboard, beside none
  make bench ARGS=sidechannel           what encrypted packets tell of an answer, 2 minutes
  make bench ARGS=sealed                nothing readable on disk, beside plain logs, 8 minutes
  make bench ARGS="relay --prototype"   the prototype beside them, for reference
  make bench ARGS="relay --logs"        the memory and the Redis log beside SQLite
"""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures what a token waits and what it costs; bench/README.md tells how.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("scenario", nargs="?", choices=SCENARIOS, help="what to run (default: all)")
    add("--name", default=time.strftime("%Y%m%d-%H%M%S"), help="of the result (default: the time)")
    add(
        "--streams",
        type=int,
        help="streams at once (relay, access 1000, providers 200), stopped readers (slow 1000)",
    )
    add("--seconds", type=int, default=10, help="length of a run, at least 3 (10)")
    add("--rounds", type=int, help="runs of each (relay, access, watched 5, providers, slow 3)")
    add("--prototype", action="store_true", help="measure the load folder's prototype too")
    add("--logs", action="store_true", help="measure the memory and the Redis log too")
    given = parser.parse_args()
    least = min(count for count in (given.rounds, given.streams, 1) if count is not None)
    if given.seconds < 3 or least < 1:
        parser.error("at least 3 seconds, 1 round and 1 stream")
    return given


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _latencies(core: int) -> list[latency.Latency]:
    found = []
    for log in ("sqlite", "memory"):
        _say(f"latency: one idle stream of {latency.TOKENS} tokens, {log} log ...")
        with tempfile.TemporaryDirectory(dir=OUT) as folder:
            one = latency.measure(Path(folder), log, core)
        _say(f"latency: {log}: median {one.median_ms:.2f} ms, p99 {one.p99_ms:.2f} ms")
        found.append(one)
    return found


def _channels(core: int) -> list[sidechannel.Channel]:
    found: list[sidechannel.Channel] = []
    for mode in sidechannel.MODES:
        _say(f"sidechannel: {2 * sidechannel.ANSWERS} answers, heard twice, {mode} ...")
        with tempfile.TemporaryDirectory(dir=OUT) as folder:
            found += sidechannel.measure(Path(folder), mode, core)
    return found


def _size(given: argparse.Namespace, scenario: str) -> Size:
    usual = SIZES[scenario]
    return Size(given.streams or usual.streams, given.rounds or usual.rounds)


def _head(given: argparse.Namespace, scenario: str) -> str:
    return f"{_size(given, scenario).streams} streams, medians of the rounds"


def _pair(scenario: str) -> Path | None:
    """The folder of the load pair's sources, with both programs compiled into `OUT`."""
    sources = relay.loadgen()
    if sources is None or not relay.compile_pair(sources, OUT):
        why = "C compiler (cc)" if sources else "load pair (HOLDFAST_SHARED/loadgen)"
        _say(f"{scenario}: SKIPPED: there is no {why} here")
        return None
    return sources


def _relays(given: argparse.Namespace, cores: list[int]) -> list[relay.Run]:
    sources = _pair("relay")
    if sources is None:
        return []
    streams, rounds = _size(given, "relay")
    _say(f"relay: {streams} streams of {relay.RATE} tokens/s, {rounds} rounds ...")
    names = ["nginx", "holdfast", *(["prototype"] if given.prototype else [])]
    names += ["memory log", "redis log"] if given.logs else []
    runs: list[relay.Run] = []
    for number in range(1, rounds + 1):
        # The other order each round, so that whatever drifts favours nobody.
        names.reverse()
        for name in names:
            with tempfile.TemporaryDirectory(dir=OUT) as made, contextlib.ExitStack() as kept:
                log = ""
                if name == "redis log":
                    log = kept.enter_context(servers.valkey(Path(made), cores[1])) or ""
                server = _server(name, Path(made), sources, log)
                if server is None:
                    _say(f"relay: {name} SKIPPED: it is not installed")
                    continue
                provider = relay.simulator(OUT, server.provider)
                run = relay.measure(server, provider, streams, given.seconds, Path(made), cores)
            runs.append(run)
            _say(f"relay: {_line(number, run)}")
    return runs


def _guarded(
    given: argparse.Namespace, cores: list[int]
) -> tuple[list[relay.Run], list[access.SetUp]]:
    if _pair("access") is None:
        return [], []
    streams, rounds = _size(given, "access")
    _say(f"access: {streams} streams of {relay.RATE} tokens/s, {rounds} rounds ...")
    runs: list[relay.Run] = []
    set_ups: list[access.SetUp] = []
    names = ["open", "guarded"]
    for number in range(1, rounds + 1):
        names.reverse()  # as above
        for name in names:
            with tempfile.TemporaryDirectory(dir=OUT) as made:
                make = servers.guarded if name == "guarded" else servers.holdfast
                server = make(Path(made))
                provider = relay.simulator(OUT, server.provider)
                run = relay.measure(server, provider, streams, given.seconds, Path(made), cores)
            runs.append(run)
            _say(f"access: {_line(number, run)}")
        with tempfile.TemporaryDirectory(dir=OUT) as made:
            found = access.measure(Path(made), cores[0])
        set_ups += found
        said = ", ".join(f"{one.node} {one.median_ms:.3f} ms" for one in found)
        _say(f"access: round {number}: a new stream: {said}")
    return runs, set_ups


def _sides(
    scenario: str, names: Sequence[str], given: argparse.Namespace, cores: list[int]
) -> list[relay.Run]:
    """The relay's load on each of these nodes, in turn."""
    if _pair(scenario) is None:
        return []
    streams, rounds = _size(given, scenario)
    _say(f"{scenario}: {streams} streams of {relay.RATE} tokens/s, {rounds} rounds ...")
    runs: list[relay.Run] = []
    ordered = list(names)
    for number in range(1, rounds + 1):
        ordered.reverse()  # as above
        for name in ordered:
            with tempfile.TemporaryDirectory(dir=OUT) as made, contextlib.ExitStack() as kept:
                server = _side(name, Path(made), cores[1], kept)
                if server is None:
                    _say(f"{scenario}: {name} SKIPPED: it is not installed")
                    continue
                provider = relay.simulator(OUT, server.provider)
                run = relay.measure(server, provider, streams, given.seconds, Path(made), cores)
            runs.append(run)
            _say(f"{scenario}: {_line(number, run)}")
    return runs


def _side(name: str, folder: Path, core: int, kept: contextlib.ExitStack) -> servers.Server | None:
    """The server of this name, with what it needs beside it, which goes at the end of `kept`."""
    if name in sealed.NAMES:
        redis = kept.enter_context(servers.valkey(folder, core)) if "redis" in name else ""
        return None if redis is None else sealed.node(name, folder, redis)
    makes = {"nginx": servers.nginx, "quiet": watched.quiet, "watched": watched.watched}
    server = makes[name](folder)
    if name == "watched" and server is not None:
        kept.enter_context(watched.watching(server.port))
    return server


def _line(number: int, run: relay.Run) -> str:
    return (
        f"round {number}: {run.relay} {run.cpu_us:.1f} µs/token, p99 {run.p99_ms:.0f} ms,"
        f" {run.tokens_per_s:.0f} tokens/s, gaps {run.gaps}, others {run.others:.0%}"
    )


def _kinds(given: argparse.Namespace, cores: list[int]) -> list[relay.Run]:
    if _pair("providers") is None:
        return []
    streams, rounds = _size(given, "providers")
    _say(f"providers: {streams} streams of {relay.RATE} tokens/s, {rounds} rounds ...")
    known = providers.known()
    runs: list[relay.Run] = []
    for number in range(1, rounds + 1):
        known.reverse()  # as above
        for source in known:
            with tempfile.TemporaryDirectory(dir=OUT) as made:
                run = providers.measure(source, streams, given.seconds, Path(made), cores)
            runs.append(run)
            _say(f"providers: {_line(number, run)}, provider {run.provider:.0%} of its core")
    return runs


def _translators() -> dict[str, float]:
    """The microseconds of each kind's translator, whose kind there is."""
    found = {}
    known = providers.known()
    for source in providers.SOURCES:
        if source not in known:
            _say(f"providers: {source.name} SKIPPED: there is no kind {source.kind}")
            continue
        found[source.name] = translating.measure(source)
        _say(f"providers: {source.name}: translator {found[source.name]:.2f} µs/token")
    return found


def _besides(given: argparse.Namespace, core: int) -> list[slow.Beside]:
    stopped, rounds = _size(given, "slow")
    found = []
    for number in range(1, rounds + 1):
        for count in (0, stopped) if number % 2 else (stopped, 0):  # whatever drifts favours nobody
            _say(f"slow: round {number}: {slow.FAST} fast readers, {count} stopped ones ...")
            with tempfile.TemporaryDirectory(dir=OUT) as folder:
                one = slow.measure(Path(folder), count, core)
            _say(f"slow: median {one.median_ms:.2f} ms, p99 {one.p99_ms:.2f} ms")
            found.append(one)
    return found


def _server(name: str, folder: Path, sources: Path, log: str) -> servers.Server | None:
    if name == "nginx":
        return servers.nginx(folder)
    if name == "redis log":
        return servers.holdfast(folder, log)._replace(name=name) if log else None
    if name == "memory log":
        return servers.holdfast(folder, "memory")._replace(name=name)
    return servers.prototype(folder, sources) if name == "prototype" else servers.holdfast(folder)


def main() -> int:
    """Exit code 1 where a step failed or a token was lost; a missed aim is no failure."""
    given = _options()
    OUT.mkdir(exist_ok=True)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        _say("one core only: relay and load share it, so latencies say little")
        cores *= 2
    os.sched_setaffinity(0, {cores[1]})
    sizes = {name: _size(given, name)._asdict() for name in SIZES}
    kept = {"method": vars(given) | sizes, **report.circumstances(OUT)}
    try:
        chosen = [given.scenario] if given.scenario else SCENARIOS
        waits = _latencies(cores[0]) if "latency" in chosen else []
        runs = _relays(given, cores) if "relay" in chosen else []
        alone = _translators() if "providers" in chosen else {}
        kinds = _kinds(given, cores) if "providers" in chosen else []
        besides = _besides(given, cores[0]) if "slow" in chosen else []
        guarded, set_ups = _guarded(given, cores) if "access" in chosen else ([], [])
        sides: Sequence[str] = ("nginx", "quiet", "watched")
        seen = _sides("watched", sides, given, cores) if "watched" in chosen else []
        sides = ("nginx", *sealed.NAMES)
        shut = _sides("sealed", sides, given, cores) if "sealed" in chosen else []
        told = _channels(cores[0]) if "sidechannel" in chosen else []
    except (servers.Failed, OSError, subprocess.SubprocessError) as failure:
        _say(f"FAILED: {failure}")
        return 1
    except KeyboardInterrupt:
        return 130
    measured: dict[str, Sequence[latency.Latency | relay.Run | slow.Beside | access.SetUp]]
    measured = {"latency": waits, "relay": runs, "providers": kinds, "slow": besides}
    measured |= {"access": guarded, "set_up": set_ups, "watched": seen, "sealed": shut}
    kept["translator_us"] = alone
    kept["sidechannel"] = [one._asdict() for one in told]
    kept |= {name: [one._asdict() for one in found] for name, found in measured.items()}
    file = OUT / f"{given.name}.json"
    file.write_text(json.dumps(kept, indent=1) + "\n")
    if waits:
        print(f"One idle stream, provider's write to client's read:\n\n{report.latencies(waits)}\n")
    if runs:
        print(f"{_head(given, 'relay')}:\n\n{report.relays(runs)}\n")
    if kinds:
        print(f"{_head(given, 'providers')}, by provider:\n\n{report.kinds(kinds, alone)}\n")
    if besides:
        print(f"{slow.FAST} fast readers of one stream:\n\n{report.besides(besides)}\n")
    if guarded:
        print(f"{_head(given, 'access')}:\n\n{report.guarded(guarded, set_ups)}\n")
    if seen:
        print(f"{_head(given, 'watched')}:\n\n{report.watched(seen)}\n")
    if shut:
        print(f"{_head(given, 'sealed')}:\n\n{report.sealed(shut)}\n")
    if told:
        print(f"One of {sidechannel.ANSWERS} answers is guessed:\n\n{report.channels(told)}\n")
    _say(f"every run is in {file}")
    return 1 if any(run.gaps for run in (*runs, *kinds, *guarded, *seen, *shut)) else 0


if __name__ == "__main__":
    sys.exit(main())

"""The command line of the bench: `make bench`, or `python -m bench`.

Strategy: run the chosen scenarios one after the other with a line on stderr for each step,
keep everything in a JSON file, and print the tables on stdout. A step that cannot run here
(no compiler, no load pair, no nginx) is skipped aloud.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import latency, relay, report, servers

OUT = Path(__file__).resolve().parent / "out"
EXAMPLES = """examples:
  make bench                            both scenarios, about 3 minutes
  make bench ARGS=latency               one idle stream alone, 20 seconds
  make bench ARGS="relay --rounds 1"    a quick look at many streams
  make bench ARGS="relay --prototype"   the prototype beside them, for reference
"""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures what a token waits and what it costs; bench/README.md tells how.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("scenario", nargs="?", choices=("latency", "relay"), help="what to run (default: both)")
    add("--name", default=time.strftime("%Y%m%d-%H%M%S"), help="of the result (default: the time)")
    add("--streams", type=int, default=1000, help="streams at once (1000)")
    add("--seconds", type=int, default=10, help="length of a run, at least 3 (10)")
    add("--rounds", type=int, default=5, help="runs of each relay (5)")
    add("--prototype", action="store_true", help="measure the load folder's prototype too")
    given = parser.parse_args()
    if given.seconds < 3 or given.rounds < 1 or given.streams < 1:
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


def _relays(given: argparse.Namespace, cores: list[int]) -> list[relay.Run]:
    sources = relay.loadgen()
    if sources is None or not relay.compile_pair(sources, OUT):
        why = "C compiler (cc)" if sources else "load pair (HOLDFAST_SHARED/loadgen)"
        _say(f"relay: SKIPPED: there is no {why} here")
        return []
    _say(f"relay: {given.streams} streams of {relay.RATE} tokens/s, {given.rounds} rounds ...")
    names = ["nginx", "holdfast", *(["prototype"] if given.prototype else [])]
    runs: list[relay.Run] = []
    for number in range(1, given.rounds + 1):
        # The other order each round, so that whatever drifts favours nobody.
        names.reverse()
        for name in names:
            with tempfile.TemporaryDirectory(dir=OUT) as made:
                server = _server(name, Path(made), sources)
                if server is None:
                    _say("relay: nginx SKIPPED: it is not installed, so there is no ratio")
                    continue
                run = relay.measure(server, given.streams, given.seconds, Path(made), cores)
            runs.append(run)
            _say(
                f"relay: round {number}: {name} {run.cpu_us:.1f} µs/token, p99 {run.p99_ms:.0f} ms,"
                f" {run.tokens_per_s:.0f} tokens/s, gaps {run.gaps}, others {run.others:.0%}"
            )
    return runs


def _server(name: str, folder: Path, sources: Path) -> servers.Server | None:
    if name == "nginx":
        return servers.nginx(folder)
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
    kept = {"method": vars(given), **report.circumstances(OUT)}
    try:
        waits = _latencies(cores[0]) if given.scenario != "relay" else []
        runs = _relays(given, cores) if given.scenario != "latency" else []
    except (servers.Failed, OSError, subprocess.SubprocessError) as failure:
        _say(f"FAILED: {failure}")
        return 1
    except KeyboardInterrupt:
        return 130
    kept |= {"latency": [one._asdict() for one in waits], "relay": [one._asdict() for one in runs]}
    file = OUT / f"{given.name}.json"
    file.write_text(json.dumps(kept, indent=1) + "\n")
    if waits:
        print(f"One idle stream, provider's write to client's read:\n\n{report.latencies(waits)}\n")
    if runs:
        print(f"{given.streams} streams, medians of the rounds:\n\n{report.relays(runs)}\n")
    _say(f"every run is in {file}")
    return 1 if any(run.gaps for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())

"""The command line of the bench: `make bench`, or `python -m bench`.

Strategy: run the chosen scenarios one after the other with a line on stderr for each step,
keep everything in a JSON file, and print the tables on stdout. A step that cannot run here
(no compiler, no load pair, no nginx) is skipped aloud. What is done with such files is `results`.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

from bench import results, servers
from bench.scenario import LOAD, OUT, Bench, Result, Scenario, Size, say
from bench.scenarios import ALL

EXAMPLES = """examples:
  make bench                            all usual scenarios
  make bench ARGS=latency               one idle stream alone, 20 seconds
  make bench ARGS="relay --rounds 1"    a quick look at many streams
  make bench ARGS="relay --logs"        the memory and the Redis log beside SQLite
  make bench ARGS="table A.json B.json" bench/RESULTS.md, from these files of bench/out
  make bench ARGS="record A.json"       what later runs are compared with
  make bench-check                      ratios now, beside the recorded ones
"""


def _parser() -> argparse.ArgumentParser:
    told = "\n".join(f"  {one.name:12} {one.help}" for one in ALL)
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures what a token waits and what it costs; bench/README.md tells how.",
        epilog=f"scenarios:\n{told}\n\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    names = [one.name for one in ALL]
    add("scenario", nargs="*", metavar="SCENARIO", help="what to run (default: all usual ones)")
    add("--name", default=time.strftime("%Y%m%d-%H%M%S"), help="of the result (default: the time)")
    for name, what in (
        ("streams", "streams or readers at once"),
        ("rounds", "runs of each"),
        ("seconds", "length of a run, at least 3"),
        ("rate", "tokens a second of a stream"),
    ):
        add(f"--{name}", type=int, help=f"{what} (default: the scenario's)")
    own = {one.name: one for entry in ALL for one in entry.options}
    for option in (LOAD, *own.values()):
        users = ", ".join(entry.name for entry in ALL if option in entry.options)
        said = f"{option.help} ({users or 'all'})"
        if option.default is False:
            add(f"--{option.name}", action="store_true", help=said)
        else:
            kind = type(option.default)
            add(
                f"--{option.name}",
                type=kind,
                default=option.default,
                choices=option.choices,
                help=said,
            )
    parser.set_defaults(known=names)
    return parser


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    given = parser.parse_args(argv)
    unknown = [name for name in given.scenario if name not in given.known]
    if unknown:
        parser.error(f"there is no scenario {', '.join(unknown)}; there are {given.known}")
    sizes = (given.rounds, given.streams, given.rate)
    if min(one for one in (*sizes, 1) if one is not None) < 1 or (given.seconds or 3) < 3:
        parser.error("at least 3 seconds, 1 round, 1 stream and 1 token a second")
    return given


def _size(given: argparse.Namespace, usual: Size) -> Size:
    """The scenario's own, but for what the options say."""
    return Size(*(getattr(given, name) or getattr(usual, name) for name in Size._fields))


def _cores() -> list[int]:
    """The relay's, then the load's, to which the bench moves."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        say("one core only: relay and load share it, so latencies say little")
        cores *= 2
    os.sched_setaffinity(0, set(cores[1:]))
    return cores


def run(chosen: Sequence[Scenario], given: argparse.Namespace, found: dict[str, Result]) -> None:
    """Puts what each of them found into `found`, by name. Raises what scenarios raise."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cores = _cores()
    for entry in chosen:
        mine = {one.name: getattr(given, one.name) for one in (LOAD, *entry.options)}
        one = entry.run(Bench(entry.name, _size(given, entry.size), mine, cores))
        if one is not None:
            found[entry.name] = one
            print(f"## {entry.name}: {entry.help}\n\n{one.table}\n", flush=True)


def main() -> int:
    """Exit code 1 where a step failed or a token was lost; a missed aim is no failure."""
    argv = sys.argv[1:]
    if argv and argv[0] in ("table", "record"):
        return results.main(argv)
    checked = argv[:1] == ["check"]
    given = _options(argv[1:] if checked else argv)
    usual = [one for one in ALL if one.usual]
    chosen = [one for one in ALL if one.name in given.scenario] if given.scenario else usual
    if checked and not given.scenario:
        chosen = [one for one in ALL if one.name in results.recorded()]
        if not chosen:
            say("nothing is recorded: python -m bench record FILE")
    OUT.mkdir(exist_ok=True)
    circumstances = results.circumstances(OUT)
    found: dict[str, Result] = {}
    code = 0
    try:
        run(chosen, given, found)
    except (servers.Failed, OSError, subprocess.SubprocessError) as failure:
        say(f"FAILED: {failure}")
        code = 1
    except KeyboardInterrupt:
        code = 130
    if not found:
        return code
    method = {key: value for key, value in vars(given).items() if key != "known"}
    sizes = {one.name: _size(given, one.size) for one in chosen}
    file = results.keep(OUT / f"{given.name}.json", circumstances, method, sizes, found)
    say(f"every run is in {file}")
    if checked:
        print(results.grown(results.read([file])[0]["scenarios"], results.recorded()))
    return code or int(not all(one.whole for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())

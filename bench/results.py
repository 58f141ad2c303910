"""Results: kept as JSON, made into `RESULTS.md`, and compared with those that are recorded.

Strategy: a file of `bench/out` has all that a run was (machine, commit, options, every single row)
and what it came to (figures). The table of the aims looks for its figures in the files that it
is given, and shows each with machine, commit and date; what is in none of them stays empty.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import report
from bench.aims import AIMS, Aim
from bench.scenario import OUT, Result, Size, say

RESULTS = Path(__file__).with_name("RESULTS.md")
RECORDED = Path(__file__).with_name("recorded.json")

GREW = 1.15
"""A ratio beyond that share of the recorded one is told."""

HEAD = ("to reach", "floor", "aim", "figure", "", "beside it", "size", "commit", "machine", "date")


def circumstances(folder: Path) -> dict[str, object]:
    """What the numbers depend on; `folder` is where the log lies."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    git = ("git", "--no-optional-locks", "-C", str(folder), "describe", "--always", "--dirty")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _said(*git),
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "filesystem": _said("stat", "-f", "-c", "%T", str(folder)),
        "load_average": os.getloadavg(),
    }


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def keep(
    file: Path,
    around: Mapping[str, object],
    method: Mapping[str, object],
    sizes: Mapping[str, Size],
    found: Mapping[str, Result],
) -> Path:
    """Writes what was found; returns the file."""
    scenarios = {
        name: {
            "size": sizes[name]._asdict(),
            "figures": {title: one._asdict() for title, one in result.figures.items()},
            "whole": result.whole,
            "table": result.table,
            "rows": [dict(row) for row in result.rows],
        }
        for name, result in found.items()
    }
    kept = {**around, "method": method, "scenarios": scenarios}
    file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return file


def read(files: Iterable[Path]) -> list[dict[str, Any]]:
    """What these files hold, in their order."""
    return [json.loads(file.read_text()) for file in files]


def aims(kept: Sequence[Mapping[str, Any]]) -> str:
    """The table of what is to be reached, with a line for each file that has the figure."""
    rows = []
    for aim in AIMS:
        bounds = (aim.title, f"{aim.floor:g}", f"{aim.aim:g}")
        found = [line for one in kept if (line := _line(aim, one))]
        for number, line in enumerate(found or [("", "not measured", *[""] * 5)]):
            rows.append((*(("", "", "") if number else bounds), *line))
    return report.table(HEAD, rows)


def _line(aim: Aim, one: Mapping[str, Any]) -> tuple[str, ...] | None:
    scenario = one["scenarios"].get(aim.scenario, {})
    figure = scenario.get("figures", {}).get(aim.figure)
    if figure is None:
        return None
    size = Size(**scenario["size"])
    if aim.streams not in (0, size.streams) or aim.rate not in (0, size.rate):
        return None
    value = f"{figure['value']:.3g} {aim.unit}".strip()
    load = " of ".join(part for part in (f"{size.streams}", f"{size.rate}/s") if part[0] != "0")
    runs = f"{load}, {size.rounds} runs of {size.seconds} s"
    met = aim.met(figure["value"]) + ("" if scenario["whole"] else ", TOKENS LOST")
    machine = f"{one['cpu']}, {one['cores']} cores"
    return (value, met, figure["beside"], runs, one["commit"], machine, one["date"])


def page(kept: Sequence[Mapping[str, Any]]) -> str:
    """The whole of `RESULTS.md`."""
    said = ["# Results", _INTRODUCTION, aims(kept)]
    for one in kept:
        for name, scenario in one["scenarios"].items():
            said += [f"## {name}, {one['commit']}, {one['date']}", scenario["table"]]
    return "\n\n".join(said) + "\n"


_INTRODUCTION = """Made by `python -m bench table FILE…` from files of `bench/out`;
[README.md](README.md) tells what each scenario does. Ratios are medians over the rounds of
what two servers took in the same round. A figure of another size than the row's is not shown."""


def ratios(scenarios: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Of each scenario the figures that another day's may be compared with, by name, and of what
    size they are."""
    found = {
        name: {
            title: {
                "value": figure["value"],
                "higher": figure["higher"],
                "streams": one["size"]["streams"],
                "rate": one["size"]["rate"],
            }
            for title, figure in one["figures"].items()
            if figure["ratio"]
        }
        for name, one in scenarios.items()
    }
    return {name: some for name, some in found.items() if some}


def recorded() -> dict[str, dict[str, dict[str, Any]]]:
    """The ratios that were recorded last."""
    return dict(json.loads(RECORDED.read_text())["scenarios"]) if RECORDED.exists() else {}


def record(kept: Sequence[Mapping[str, Any]]) -> None:
    """Writes the ratios of these results for later comparisons; later ones win, and what none of
    them has stays."""
    scenarios = recorded()
    for one in kept:
        for name, some in ratios(one["scenarios"]).items():
            for figure in some.values():
                figure |= {"commit": one["commit"], "date": one["date"]}
            scenarios[name] = scenarios.get(name, {}) | some
    text = json.dumps({"scenarios": scenarios}, indent=1, ensure_ascii=False, sort_keys=True)
    RECORDED.write_text(text + "\n")


def grown(
    scenarios: Mapping[str, Any], before: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> str:
    """What these came to beside the recorded ratios, the worse ones named."""
    rows = []
    for name, some in ratios(scenarios).items():
        for title, figure in some.items():
            last = before.get(name, {}).get(title)
            if last is None or not last["value"] or not figure["value"]:
                continue
            if any(last[part] != figure[part] for part in ("streams", "rate")):
                rows.append((name, title, f"{last['value']:.3g}", "-", "of another size"))
                continue
            times = figure["value"] / last["value"]
            worse = 1 / times if figure["higher"] else times
            verdict = f"GREW by {worse - 1:.0%}" if worse > GREW else ""
            rows.append((name, title, f"{last['value']:.3g}", f"{figure['value']:.3g}", verdict))
    if not rows:
        return "nothing of this is recorded: python -m bench record FILE"
    return report.table(("scenario", "ratio", "recorded", "now", ""), rows)


def main(argv: Sequence[str]) -> int:
    """`table FILE…` or `record FILE…`; a name alone is one of `bench/out`."""
    command, *names = argv
    files = [path if (path := Path(name)).exists() else OUT / name for name in names]
    missing = [file.name for file in files if not file.exists()]
    if missing or not files:
        say(f"there is no file {', '.join(missing)} in {OUT}" if files else f"{command} FILE ...")
        return 2
    kept = read(files)
    if command == "table":
        RESULTS.write_text(page(kept))
        print(aims(kept))
    else:
        record(kept)
        print(f"recorded in {RECORDED}")
    return 0

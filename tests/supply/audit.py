"""Whether what is pinned has vulnerabilities that are known: `python -m tests.supply.audit`.

Strategy: pip-audit asks its service about each pin of the lock, and installs nothing. Only its
report counts, as its exit status is the same for what it found and for what it could not do: no
report means that the lock is no good, which a run without the service finds out, or that the data
could not be had. The latter is told in one line and passes, as a machine without a network can
do nothing about it; whatever happens, an end comes within `LIMIT` seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from tests.supply import lock

LIMIT = 90.0
"""Seconds for the whole; each pin is a request."""

PATIENCE = 5
"""Seconds that the service may be silent."""

MAX_REASON = 300
"""Characters of why it was skipped."""

ACCEPTED: Mapping[str, str] = {}
"""Id of a vulnerability, and why it does no harm here. Each is to be gone again one day."""


class Vulnerability(msgspec.Struct):
    id: str
    fix_versions: list[str]
    aliases: list[str] = []


class Audited(msgspec.Struct):
    name: str
    version: str = ""
    vulns: list[Vulnerability] = []
    skip_reason: str = ""


class Report(msgspec.Struct):
    """Of `pip-audit --format=json`, as far as it matters."""

    dependencies: list[Audited]


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    passed: bool
    lines: tuple[str, ...]


def _run(file: Path, limit: float, *arguments: str) -> tuple[int, str]:
    """pip-audit's exit status, and the last that it said. Raises `subprocess.TimeoutExpired`."""
    common = ("--requirement", str(file), "--require-hashes", "--disable-pip", "--strict")
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", *common, "--progress-spinner=off", *arguments],
        # A resolver that is not there is to be found out soon.
        env={"RES_OPTIONS": "timeout:2 attempts:1", **os.environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return done.returncode, said[-1].rpartition("(Caused by ")[2][:MAX_REASON]


def audit(file: Path, service: str = "", limit: float = LIMIT) -> Outcome:
    """`service` is the address of one that speaks like OSV's; empty is OSV's own."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--format=json", "--vulnerability-service=osv", f"--output={report}"]
        options += [f"--timeout={PATIENCE}", f"--cache-dir={folder}", "--desc=off"]
        options += [f"--osv-url={service}"] if service else []
        try:
            _, said = _run(file, limit, *options)
        except subprocess.TimeoutExpired:
            return _skipped(f"it took over {limit:g} s")
        if report.is_file():
            return judged(msgspec.json.decode(report.read_bytes(), type=Report))
    status, wrong = _run(file, LIMIT, "--dry-run")
    if status != 0:
        return Outcome(False, (f"audit: {file.name} cannot be read: {wrong}",))
    return _skipped(said)


def _skipped(why: str) -> Outcome:
    return Outcome(True, (f"audit: skipped: no data about vulnerabilities: {why}",))


def judged(report: Report, accepted: Mapping[str, str] = ACCEPTED) -> Outcome:
    """What was found fails, as does what was not looked at."""
    found = []
    for one in report.dependencies:
        if one.skip_reason:
            found.append(f"audit: {one.name} was not looked at: {one.skip_reason}")
        for vulnerability in one.vulns:
            if accepted.keys().isdisjoint({vulnerability.id, *vulnerability.aliases}):
                names = ", ".join([vulnerability.id, *vulnerability.aliases])
                fixed = ", ".join(vulnerability.fix_versions) or "no version yet"
                found.append(f"audit: {one.name} {one.version}: {names}; fixed in {fixed}")
    count = len(report.dependencies)
    told = found or [f"audit: no known vulnerability in {count} distributions"]
    return Outcome(not found, tuple(told))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make audit ARGS=...", description=__doc__)
    parser.add_argument("--service", default="", help="address of one that speaks like OSV's")
    parser.add_argument("--lock", type=Path, default=lock.ALL, help="which pins")
    options = parser.parse_args(arguments)
    outcome = audit(options.lock, options.service)
    print(*outcome.lines, sep="\n")
    return 0 if outcome.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What a lock file pins: each distribution with its version, its hashes and who wants it.

Strategy: only the few shapes of line that `make lock` writes are known, and each other one is
refused with its number. So what reads a lock here cannot pass over an address, an option or a
distribution without a hash that pip would take.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

ALL = ROOT / "requirements.lock"
"""What `make install` installs: to run Holdfast, and to work on it."""

DEPLOYED = ROOT / "deploy" / "requirements.lock"
"""What a node needs, with Redis, PostgreSQL, OpenTelemetry and zstd; all of it is in `ALL`."""

_PIN = re.compile(
    r"(?P<name>[a-z0-9]+(?:-[a-z0-9]+)*)==(?P<version>[a-z0-9.+!]+)(?: ; (?P<marker>[^@#\\]+?))?"
    r"(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64})+)"
)
"""A pin with its hashes, whose lines are joined."""

_WANTED = re.compile(r"    #(?: via|  )(?: (?P<by>.+))?")
_JOIN = " \\\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Pin:
    """One distribution."""

    name: str
    """As normalized by the package index."""

    version: str

    marker: str
    """Where it is installed, in the words of PEP 508; empty is everywhere."""

    hashes: tuple[str, ...]
    """SHA-256, in hex, of each file that may be installed."""

    wanted_by: frozenset[str]
    """Names of distributions, `holdfast (pyproject.toml)`, `holdfast (pyproject.toml:dev)`."""


def read(text: str) -> tuple[Pin, ...]:
    """Raises ValueError for a line that is none of a lock's, as a pin without hashes is."""
    pins: list[Pin] = []
    for line in text.replace(_JOIN, "").splitlines():
        if pin := _PIN.fullmatch(line):
            hashes = tuple(re.findall(r"[0-9a-f]{64}", pin["hashes"]))
            pins.append(Pin(pin["name"], pin["version"], pin["marker"] or "", hashes, frozenset()))
        elif pins and (why := _WANTED.fullmatch(line)):
            if why["by"] and not why["by"].startswith("-c "):
                wanted_by = pins[-1].wanted_by | {why["by"]}
                pins[-1] = dataclasses.replace(pins[-1], wanted_by=wanted_by)
        elif pins or not line.startswith("#"):
            raise ValueError(f"no pin with its hashes, and no reason for one: {line[:200]!r}")
    return tuple(pins)

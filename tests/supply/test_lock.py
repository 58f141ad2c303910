"""What is installed is pinned and hashed, and nothing of the repository installs anything else.

Strategy: each rule is a pure function that gives complaints, wants none of the repository, and
wants some of a bad sample. `lock.read` refuses what is no pin with hashes, so that it reads a
lock at all is most of the promise.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from packaging import requirements, utils
from tests.supply import lock

PROJECT = tomllib.loads((lock.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = ("redis", "postgres", "otel", "zstd")
"""The extras that `deploy/requirements.lock` has."""

BENCH = lock.ROOT / "bench" / "peers" / "files"
"""What the bench installs, each relay by itself, to measure it beside Holdfast."""

NPM = [lock.ROOT / "tests" / "peers", lock.ROOT / "clients" / "js", BENCH / "resumable_stream"]

# Whatever installs something for a node, or for work on it.
INSTALLING = [
    lock.ROOT / "Makefile",
    lock.ROOT / ".ci" / "run",
    lock.ROOT / "examples" / "cluster" / "holdfast.service",
    *sorted(path for path in (lock.ROOT / "deploy").rglob("*") if path.is_file()),
]
HASHED = {"--require-hashes", "--no-deps", "--only-binary"}


def read(path: Path) -> tuple[lock.Pin, ...]:
    return lock.read(path.read_text(encoding="utf-8"))


HASH = " \\\n    --hash=sha256:" + 64 * "a"


@pytest.mark.case("4.22")
def test_each_line_is_a_pin_with_its_hashes() -> None:
    for path in (lock.ALL, lock.DEPLOYED, *BENCH.glob("*/requirements.lock")):
        pins = read(path)
        assert pins
        assert len({pin.name for pin in pins}) == len(pins)
        assert "://" not in path.read_text(encoding="utf-8")
    (pin,) = lock.read(f"# made\nx-y==1.0 ; os_name == 'nt'{HASH}{HASH}\n    # via\n    #   a\n")
    assert pin == lock.Pin("x-y", "1.0", "os_name == 'nt'", (64 * "a",) * 2, frozenset({"a"}))
    assert lock.read(f"x==1{HASH}\n    # via -c all.lock\n")[0].wanted_by == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "x==1\n",
        f"x>=1{HASH}\n",
        f"x==1.*{HASH}\n",
        f"x @ https://a.example/x.whl{HASH}\n",
        f"x==1{HASH}\n--pre\n",
        f"--find-links /tmp\nx==1{HASH}\n",
        f"-e .\nx==1{HASH}\n",
        f"x==1{HASH[:-1]}\n",
        f"x==1{HASH} \\\ny==1{HASH}\n",
        "x==1 \\\n    --hash=md5:" + 32 * "a" + "\n",
    ],
)
def test_a_line_that_is_none_of_a_locks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no pin with its hashes"):
        lock.read(text)


def unpinned(wanted: list[str], pins: tuple[lock.Pin, ...]) -> list[str]:
    """What is asked for and stands in no pin, or in one that is none of the asked versions."""
    versions = {pin.name: pin.version for pin in pins}
    told = []
    for text in wanted:
        asked = requirements.Requirement(text)
        version = versions.get(utils.canonicalize_name(asked.name))
        if version is None or version not in asked.specifier:
            told.append(f"{text}: {version}")
    return told


@pytest.mark.case("4.22")
def test_all_that_is_asked_for_is_pinned() -> None:
    dependencies = PROJECT["project"]["dependencies"]
    extras = PROJECT["project"]["optional-dependencies"]
    deployed = [*dependencies, *(text for name in GROUPS for text in extras[name])]
    tools = [*PROJECT["build-system"]["requires"], *PROJECT["dependency-groups"]["dev"]]
    assert unpinned(deployed, read(lock.DEPLOYED)) == []
    assert unpinned([*deployed, *tools], read(lock.ALL)) == []
    assert unpinned(["a", "b>=2"], (lock.Pin("b", "1", "", (), frozenset()),)) == [
        "a: None",
        "b>=2: 1",
    ]


@pytest.mark.case("4.22")
def test_a_node_runs_what_was_tested() -> None:
    """The files that a deployment may install are those of the tests' environment."""
    tested = {pin.name: (pin.version, pin.hashes) for pin in read(lock.ALL)}
    deployed = {pin.name: (pin.version, pin.hashes) for pin in read(lock.DEPLOYED)}
    assert deployed.items() <= tested.items()


def loose(source: str) -> list[str]:
    """Lines that would install something that nobody has pinned."""
    told = []
    for line in source.splitlines():
        if re.search(r"(?:\bpip3?|\$\(PIP\)) install\b", line):
            words = set(line.split())
            hashed = words >= HASHED and "requirements.lock" in line
            own = "--no-deps" in words and ("--no-build-isolation" in words or ".whl" in line)
            resolver = line.endswith("--only-binary :all: uv")  # it writes the lock, and is no part
            if not (hashed or own or resolver):
                told.append(line)
        if re.search(r"\bnpm (?:install|i|add)\b|\bnpx\b|\bpipx\b|\bcurl\b.*\|", line):
            told.append(line)
    return told


@pytest.mark.case("4.22")
def test_nothing_else_is_installed() -> None:
    assert [line for path in INSTALLING for line in loose(path.read_text(encoding="utf-8"))] == []
    good = "pip install --require-hashes --no-deps --only-binary :all: -r requirements.lock"
    assert loose(good) == []
    for word in HASHED:
        assert loose(good.replace(word, "")) != []
    for bad in ("pip install x", "$(PIP) install -r requirements.lock", "npm install", "npx x"):
        assert loose(bad) == [bad]


def npm_complaints(document: Mapping[str, Any]) -> list[str]:
    """Packages of a package-lock.json that are not what their hash says, or run on install."""
    told = [] if document["lockfileVersion"] == 3 else ["an old kind of lock"]
    for name, package in document["packages"].items():
        if name and not package.get("integrity", "").startswith("sha512-"):
            told.append(f"{name}: no hash")
        told += [f"{name}: {key}" for key in ("hasInstallScript", "resolved") if key in package]
    return told


@pytest.mark.case("4.22")
@pytest.mark.parametrize("folder", NPM, ids=lambda folder: folder.name)
def test_packages_of_npm_are_hashed_and_run_nothing_on_install(folder: Path) -> None:
    document = json.loads((folder / "package-lock.json").read_bytes())
    assert len(document["packages"]) > 1
    assert npm_complaints(document) == []
    assert "ignore-scripts=true" in (folder / ".npmrc").read_text().splitlines()
    asked = json.loads((folder / "package.json").read_bytes())
    for version in {**asked.get("dependencies", {}), **asked.get("devDependencies", {})}.values():
        assert re.fullmatch(r"(?:npm:@?[\w/-]+@)?\d+\.\d+\.\d+", version), version


def test_what_is_wrong_in_a_lock_of_npm_is_told() -> None:
    good: dict[str, Any] = {"integrity": "sha512-x"}
    for bad in ({}, {"integrity": "sha1-x"}, {**good, "hasInstallScript": True}):
        assert npm_complaints({"lockfileVersion": 3, "packages": {"": {}, "x": bad}})
    assert npm_complaints({"lockfileVersion": 1, "packages": {}})
    assert not npm_complaints({"lockfileVersion": 3, "packages": {"": {}, "x": good}})

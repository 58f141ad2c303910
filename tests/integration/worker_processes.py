"""`holdfast serve --workers 2` in processes, and what can be seen of them from outside.

Strategy: the kernel says who is whose child, and which process has the other end of a connection: a
test need not guess which worker it talks to. A connection that has been answered once has been
accepted, and stays with its worker, so it is then used for what the test asks that worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

from tests.integration import harness, processes

AT_ONCE = 16
"""Connections that are opened before it is looked where they are."""

_PROBE = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_ANSWER = b'{"status":"ok"}'


async def until(true: Callable[[], bool], what: str) -> None:
    """Looks again and again until it is so."""
    for _ in range(int(processes.PATIENCE / 0.02)):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {processes.PATIENCE:g} s: {what}")


def children(pid: int) -> list[int]:
    """The processes that this one has started, the oldest first."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_valkey(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() == "valkey-server"


def is_gone(pid: int) -> bool:
    """A process that only waits to be waited for does nothing any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def rest(reader: harness.Reader) -> harness.Response:
    """To its end; heartbeats do not prolong the wait."""
    async with asyncio.timeout(processes.PATIENCE):
        return await reader.rest()


def left(home: Path) -> list[int]:
    """Every process that runs with this folder for its temporary files."""
    mark = os.fsencode(home)
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it is gone, or not ours
            said = (path / "environ").read_bytes() + (path / "cmdline").read_bytes()
            if mark in said and not is_gone(int(path.name)):
                found.append(int(path.name))
    return found


def kill(home: Path) -> None:
    """Ends all of these."""
    for pid in left(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A folder for TMPDIR. What still runs with it is killed at the end."""
    # Not in pytest's folder, whose path may be too long for a socket.
    home = Path(tempfile.mkdtemp(prefix="hf-"))
    try:
        yield home
    finally:
        kill(home)
        shutil.rmtree(home)


class Group:
    """A running parent. `home` is where it makes its temporary folders."""

    def __init__(self, server: processes.Server, home: Path) -> None:
        self.server, self.home = server, home
        self.port, self.pid = server.port, server.process.pid
        self._spare: dict[int, list[Connection]] = {}

    @property
    def workers(self) -> list[int]:
        return [pid for pid in children(self.pid) if not is_valkey(pid)]

    @property
    def valkey(self) -> int:
        (found,) = [pid for pid in children(self.pid) if is_valkey(pid)]
        return found

    async def two(self) -> tuple[int, int]:
        """Both workers, once both answer."""
        await until(lambda: len(self.workers) == 2, "two workers")
        one, other = self.workers
        for pid in (one, other):
            (await self.to(pid)).drop()
        return one, other

    async def to(self, worker: int) -> Connection:
        """A fresh connection to this worker."""
        async with asyncio.timeout(processes.PATIENCE):
            while True:
                while self._spare.get(worker):
                    found = self._spare[worker].pop()
                    if found.is_fresh:
                        return found
                    found.drop()
                await self._connect()

    async def _connect(self) -> None:
        """Some more connections, put down by worker."""
        some = await asyncio.gather(*(Connection.open(self.port) for _ in range(AT_ONCE)))
        ends = _ends(self.port)
        owner = {inode: pid for pid in self.workers for inode in _sockets(pid)}
        for one in some:
            pid = owner.get(ends.get(one.port, 0))
            if pid is None:
                one.drop()
            else:
                self._spare.setdefault(pid, []).append(one)

    async def ask(self, worker: int, method: str, target: str, **more: str) -> harness.Response:
        """One request to this worker, and its whole answer."""
        while True:
            connection = await self.to(worker)
            with contextlib.suppress(Stale):
                return await rest(await connection.ask(method, target, more))

    async def begin(self, worker: int, body: bytes) -> harness.Reader:
        """Has this worker write a stream, and reads it."""
        while True:
            connection = await self.to(worker)
            with contextlib.suppress(Stale):
                return await connection.begin(body)

    def hang_up(self) -> None:
        """Closes the connections that nobody has used."""
        for some in self._spare.values():
            for one in some:
                one.drop()
        self._spare.clear()


FRESH_SECONDS = 2.0
IDLE_SECONDS = 5.0
"""A server closes a connection that nobody uses after so many seconds."""


class Stale(Exception):
    """The machine let so much time pass that the server had closed the connection before a request
    came on it."""


class Connection(harness.Reader):
    """One that has been answered already, for one more request."""

    asked = float("-inf")
    """On the loop's clock, when it was asked: it is not younger to its server, however late we read
    the answer."""

    @property
    def age(self) -> float:
        return asyncio.get_running_loop().time() - self.asked

    @property
    def is_fresh(self) -> bool:
        return self.age < FRESH_SECONDS

    @classmethod
    async def open(cls, port: int) -> Connection:  # type: ignore[override]
        async with asyncio.timeout(processes.PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            found = cls(reader, writer)
            found.asked = asyncio.get_running_loop().time()
            writer.write(_PROBE)
            await reader.readuntil(_ANSWER)
        return found

    @property
    def port(self) -> int:
        """Ours."""
        found: int = self._writer.get_extra_info("sockname")[1]
        return found

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> harness.Reader:
        """Sends a request and reads the head of its answer. Raises `Stale`."""
        fields = {"Host": "127.0.0.1", "Connection": "close", **headers}
        if method == "POST":
            fields["Content-Length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items())]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        try:
            async with asyncio.timeout(processes.PATIENCE):
                await self._read_head()
        except (asyncio.IncompleteReadError, ConnectionResetError):
            self.drop()
            if self.age < IDLE_SECONDS:
                raise
            raise Stale from None
        return self

    async def begin(self, body: bytes) -> harness.Reader:
        """Asks for a new stream and reads its events."""
        fields = {"Accept": "text/event-stream", "Content-Type": "application/json"}
        return await self.ask("POST", "/v1/streams", fields, body)

    def drop(self) -> None:
        """Closes it, and does not wait for that."""
        self._writer.close()


def _ends(port: int) -> dict[int, int]:
    """By a client's port: the inode of the socket that a server on this port has for it."""
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        own, other = (int(fields[i].partition(":")[2], 16) for i in (1, 2))
        if own == port:
            found[other] = int(fields[9])
    return found


def _sockets(pid: int) -> list[int]:
    """The inodes of a process's sockets."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):  # it was closed meanwhile
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            if target.startswith("socket:["):
                found.append(int(target[8:-1]))
    return found


@contextlib.asynccontextmanager
async def serving(
    *args: str, folder: Path, env: Mapping[str, str] | None = None, log: str = "memory://"
) -> AsyncIterator[Group]:
    """Two workers on a free port."""
    given = ("--workers", "2", "--log-url", log, *args)
    with temporary() as home:
        variables = {"TMPDIR": str(home), **(env or {})}
        async with processes.serving(*given, folder=folder, env=variables) as server:
            group = Group(server, home)
            try:
                yield group
            finally:
                group.hang_up()
                kill(home)  # the workers have its stderr, whose end is waited for

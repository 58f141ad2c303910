"""`holdfast serve` in a process of its own, with windows: what it holds can be looked at.

    python -m tests.faults.served serve --port 0

Strategy: the process is the command line's, with one signal more: at SIGUSR1 it collects garbage
and tells how many asyncio tasks it has. Descriptors, memory and CPU time are read from /proc.
What it says is read all the time, as a full pipe would hold it up, and only its end is kept.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import os
import re
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
from tests.integration import harness, processes, zygote

from holdfast import cli

MODULE = "tests.faults.served"
ROOT = Path(__file__).resolve().parents[2]
HZ = os.sysconf("SC_CLK_TCK")
OPEN = ("connecting", "connected", "streaming")
KEPT_LINES = 200


async def until(seen: Callable[[], Awaitable[bool]], every: float = 0.05) -> None:
    """Asks again until this is so; fails after `processes.PATIENCE`."""
    for _ in range(int(processes.PATIENCE / every)):
        if await seen():
            return
        await asyncio.sleep(every)
    raise AssertionError(f"it was not so for {processes.PATIENCE:g} s")


class Held(msgspec.Struct, frozen=True):
    """What a server has while nobody asks it for anything."""

    tasks: int
    files: int


class Server:
    """A running server. `said` holds its last lines, `bugs` those that no fault excuses; `headers`
    are those of who looks at it, where it has keys."""

    def __init__(self, process: zygote.Running) -> None:
        self.process = process
        self.port, self.headers = 0, dict[str, str]()
        self.said: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self.bugs: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._counts: asyncio.Queue[int] = asyncio.Queue()
        self._ready = asyncio.Event()

    async def listen(self) -> None:
        """Reads what it says to its end."""
        assert self.process.stderr is not None
        while line := (await self.process.stderr.readline()).decode():
            if found := re.match(r"tasks (\d+)$", line):
                self._counts.put_nowait(int(found[1]))
                continue
            if line.strip():
                self.said.append(line)
            if "Traceback" in line or "service_ended" in line:
                self.bugs.append(line)
            if found := re.search(r"serves http://127\.0\.0\.1:(\d+), log ", line):
                self.port = int(found[1])
                self._ready.set()
        self._ready.set()

    async def ready(self) -> None:
        async with asyncio.timeout(processes.PATIENCE):
            await self._ready.wait()
        assert self.port, "".join(self.said)

    async def tasks(self) -> int:
        """How many asyncio tasks it has, after a garbage collection."""
        self.process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(processes.PATIENCE):
            return await self._counts.get()

    async def open(self) -> int:
        """Its gauge: connections that are open, up to the 200 that one answer lists."""
        found = await harness.ask(self.port, "GET", "/v1/connections", self.headers)
        return sum(one["status"] in OPEN for one in found.json()["connections"])

    async def until_idle(self) -> None:
        """Waits until no connection is open."""

        async def idle() -> bool:
            return not await self.open()

        await until(idle)

    async def held(self, looks: int = 3) -> Held:
        """What it has at rest: the least of some looks, as each look is a request itself. And a
        look at a finished stream opens the log's file once more, for good."""
        tasks, files = [], []
        for _ in range(looks):
            await harness.ask(self.port, "GET", "/v1/streams?limit=1", self.headers)
            await asyncio.sleep(0.02)
            tasks.append(await self.tasks())
            files.append(self.files())
        return Held(min(tasks), min(files))

    async def back_at(self, before: Held) -> Held:
        """Waits until it has no more than before: what was asked for is written still, and
        ends."""
        found = before

        async def back() -> bool:
            nonlocal found
            found = await self.held()
            return found.tasks <= before.tasks and found.files <= before.files

        await until(back)
        return found

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    def files(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory_mb(self, which: str = "VmRSS") -> float:
        """`VmRSS` is what it has, `VmHWM` the most it had."""
        found = re.search(rf"^{which}:\s+(\d+) kB", self._proc("status"), re.MULTILINE)
        assert found
        return int(found[1]) / 1024

    @staticmethod
    def sockets_mb() -> float:
        """What all TCP sockets of this machine hold in the kernel: it is in no process."""
        found = re.search(
            r"^TCP: .* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE
        )
        assert found
        return int(found[1]) * resource.getpagesize() / 2**20

    def cpu_seconds(self) -> float:
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / HZ

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and waits for the exit code."""
        self.process.send_signal(how)
        async with asyncio.timeout(2 * processes.PATIENCE):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def serving(
    folder: Path,
    *args: str,
    env: Mapping[str, str] | None = None,
    files: int | None = None,
    log: str | None = None,
) -> AsyncIterator[Server]:
    """A server on a free port and a log in `folder`, or at this URL, killed with the block if it
    still runs. `files`: its limit of open files."""

    def limit() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    given = processes.environment(env)
    given["PYTHONPATH"] = os.pathsep.join([str(processes.SOURCE), str(ROOT)])
    said = ("serve", "--port", "0", *args, "--log-url", log or f"sqlite:///{folder}/log.db")
    process: zygote.Running
    if files is None and zygote.follows(env):
        process = await zygote.start(
            MODULE, said, folder=folder, env=given, stdout=asyncio.subprocess.DEVNULL
        )
    else:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE, *said),
            cwd=folder,
            env=given,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=limit,
        )
    server = Server(process)
    listening = asyncio.create_task(server.listen())
    try:
        await server.ready()
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        async with asyncio.timeout(processes.PATIENCE):
            await process.wait()
            await listening


def _tell(*_: object) -> None:
    gc.collect()
    # A line of its own, also where it comes in the middle of another.
    os.write(2, f"\ntasks {len(asyncio.all_tasks())}\n".encode())


def main() -> None:
    signal.signal(signal.SIGUSR1, _tell)
    cli.main()


if __name__ == "__main__":
    main()

"""Processes of Holdfast's commands that need not import it each anew.

Strategy: most of a short command's CPU time is its imports, which nothing in a test changes. So one
process imports, which has no other effect, waits at a socket and forks for each start (a
zygote). The fork gets the start's own descriptors, folder, variables and arguments, leaves the loop
and runs the command to the interpreter's own end: pid, signals, exit code, output and memory are
those of a process of its own. What an interpreter or a loader reads as it begins (`COLD`), and what
/proc tells of variables and arguments, is that of the zygote; who tests these, or the start, starts
a whole process.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

ROOT = Path(__file__).resolve().parents[2]
COLD = ("LD_", "PYTHON", "TMPDIR", "FAKETIME")
"""Beginnings of variables that a fork does not follow, or by which a process is looked for."""

MAX_START = 128 * 1024
"""Bytes of what is said of one start."""
MAX_INPUT = 32 * 1024
"""Bytes of input, which have room in a pipe before anybody reads them."""

WARM = (
    "holdfast.cli",
    "holdfast.archive.sqlite",
    "holdfast.eventlog.redis.engine",
    "holdfast.eventlog.sqlite.engine",
    "uvicorn.lifespan.off",
)
"""What servers import as they begin."""


class Running(Protocol):
    """What is used of a process, however it was started."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    @property
    def stdout(self) -> asyncio.StreamReader | None: ...
    @property
    def stderr(self) -> asyncio.StreamReader | None: ...
    def send_signal(self, signal: int) -> None: ...
    def kill(self) -> None: ...
    async def wait(self) -> int: ...
    async def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]: ...


def follows(env: Mapping[str, str] | None) -> bool:
    """Whether a fork is as good with these variables."""
    return not any(name.startswith(COLD) for name in env or ())


class _Start(msgspec.Struct):
    module: str
    args: list[str]
    folder: str
    env: dict[str, str]


# Of the tests


class Process(asyncio.Protocol):
    """A fork, as `asyncio.subprocess.Process` is one."""

    def __init__(self, stdin: int | None) -> None:
        self._stdin, self.pid = stdin, 0
        self.returncode: int | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self.begun, self._ended = asyncio.Event(), asyncio.Event()
        self._told = b""

    def data_received(self, data: bytes) -> None:
        """The pid, a line, and later the exit code, another one."""
        self._told += data
        lines = self._told.split(b"\n")
        if len(lines) > 1:
            self.pid = int(lines[0])
            self.begun.set()
        if len(lines) > 2:
            self.returncode = int(lines[1])

    def connection_lost(self, failure: Exception | None) -> None:
        self.begun.set()
        self._ended.set()

    def send_signal(self, signal: int) -> None:
        if self.returncode is not None:
            raise ProcessLookupError
        with contextlib.suppress(ProcessLookupError):  # its end is on its way here
            os.kill(self.pid, signal)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None, "the zygote has ended"
        return self.returncode

    async def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]:
        """What it says to its end. `input` has at most `MAX_INPUT` bytes."""
        if self._stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._stdin, input or b"")
            os.close(self._stdin)
            self._stdin = None
        assert self.stdout is not None
        assert self.stderr is not None
        out, err = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await self.wait()
        return out, err


class _Output(asyncio.StreamReaderProtocol):
    def eof_received(self) -> bool:
        """False closes what it comes through, which uvloop would leave open."""
        super().eof_received()
        return False


async def start(
    module: str,
    args: Sequence[str],
    *,
    folder: Path | None,
    env: Mapping[str, str],
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
) -> Process:
    """A process that runs `main` of this module, whose errors can be read."""
    write: int | None
    its_input, write = os.pipe()
    if stdin == subprocess.DEVNULL:
        os.close(write)
        write = None
    process = Process(write)
    out, its_output = os.pipe()
    err, its_errors = os.pipe()
    end, told = os.pipe()
    if stdout == subprocess.DEVNULL:
        os.close(its_output)
        its_output = os.open(os.devnull, os.O_WRONLY)
    given = [its_input, its_output, its_errors, told]
    said = _Start(module, [*args], str(folder or Path.cwd()), {**env})
    data = msgspec.json.encode(said)
    assert len(data) <= MAX_START
    socket.send_fds(_control(), [data], given)
    for each in given:
        os.close(each)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: process, os.fdopen(end, "rb", 0))
    process.stdout, process.stderr = await _reader(out), await _reader(err)
    await process.begun.wait()
    assert process.pid, "the zygote has ended"
    return process


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: _Output(reader), os.fdopen(descriptor, "rb", 0)
    )
    return reader


@functools.cache
def _control() -> socket.socket:
    """The way to the zygote of this process, which ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    program = f"from tests.integration import zygote; zygote.main({theirs.fileno()})"
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()

    def end() -> None:
        ours.close()
        child.wait()

    atexit.register(end)
    return ours


# Of the zygote


def main(descriptor: int) -> None:
    """Forks until nobody can ask for it any more, and in each fork runs what it is for."""
    for name in WARM:
        importlib.import_module(name)
    start = _fork_at(socket.socket(fileno=descriptor))
    if start is not None:
        sys.argv[1:] = start.args
        importlib.import_module(start.module).main()


def _fork_at(control: socket.socket) -> _Start | None:
    """None in the zygote, once it is not needed."""
    running: dict[int, tuple[int, int]] = {}  # by what tells its end: pid, and whom that is told
    while True:
        wanted = [control.fileno(), *running]
        ready, _, _ = select.select(wanted, [], [])
        for ended in running.keys() & set(ready):
            pid, told = running.pop(ended)
            os.close(ended)
            _, status = os.waitpid(pid, 0)
            _tell(told, os.waitstatus_to_exitcode(status))
            os.close(told)
        if control.fileno() in ready:
            data, given, _, _ = socket.recv_fds(control, MAX_START, 4)
            if not data:
                return None
            start = msgspec.json.decode(data, type=_Start)
            importlib.import_module(start.module)
            *streams, told = given
            pid = os.fork()
            if not pid:
                control.close()
                for mine in (told, *running, *(other for _, other in running.values())):
                    os.close(mine)
                _become(start, streams)
                return start
            for each in streams:
                os.close(each)
            _tell(told, pid)
            running[os.pidfd_open(pid)] = pid, told


def _tell(descriptor: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # who asked is gone
        os.write(descriptor, b"%d\n" % number)


def _become(start: _Start, streams: list[int]) -> None:
    for target, given in enumerate(streams):
        os.dup2(given, target)
        os.close(given)
    os.chdir(start.folder)
    os.environ.clear()
    os.environ.update(start.env)
    time.tzset()

"""Real processes: `holdfast` as people start it.

Strategy: a server is started on port 0 and tells its address; a test waits for that line and
never for a time. Where a start of its own would show nothing more, it is a fork (`zygote`). What a
process leaves behind is ended with its block, by its pid alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from tests.integration import harness, zygote

MODULE = "holdfast.cli"
COMMAND = (sys.executable, "-c", f"from {MODULE} import main; main()")
SOURCE = Path(__file__).resolve().parents[2] / "src"
EXAMPLES = SOURCE.parent / "examples"
PATIENCE = 60.0
"""Seconds for a process to start or to end: the machine may be busy with other work."""


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without settings of Holdfast's, and with its source; its log is for people, as tests
    read it."""
    kept = {name: value for name, value in os.environ.items() if name[:9] != "HOLDFAST_"}
    own = {"PYTHONPATH": str(SOURCE), "HOLDFAST_MONITORING__LOG_FORMAT": "console"}
    return {**kept, **own, **(more or {})}


class Done(msgspec.Struct, frozen=True):
    """How a process ended."""

    code: int
    out: str
    err: str


async def run(
    *args: str,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    command: tuple[str, ...] | None = None,
    **more: Any,
) -> Done:
    """Runs a command to its end, from an empty folder where one is given. None is ours, as a fork
    where that is as good; `COMMAND` is ours as a whole process."""
    process: zygote.Running
    pipe = asyncio.subprocess.PIPE
    if command is None and not more and zygote.follows(env):
        process = await zygote.start(MODULE, args, folder=folder, env=environment(env), stdin=pipe)
    else:
        process = await asyncio.create_subprocess_exec(
            *(command or COMMAND),
            *args,
            cwd=folder,
            env=environment(env),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            **more,
        )
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate(stdin)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


class Server:
    """A running `holdfast serve` or `demo`; `said` is what it said as it began."""

    def __init__(self, process: zygote.Running, port: int, said: str) -> None:
        self.process, self.port, self.said = process, port, said

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def more(self, lines: int) -> str:
        """So many further lines of what it says."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            said = [(await self.process.stderr.readline()).decode() for _ in range(lines)]
        return "".join(said)

    async def end(self, how: signal.Signals) -> Done:
        """Sends a signal and waits for the end."""
        self.process.send_signal(how)
        async with asyncio.timeout(PATIENCE):
            out, err = await self.process.communicate()
            code = await self.process.wait()
        return Done(code, out.decode(), self.said + err.decode())


@contextlib.asynccontextmanager
async def serving(
    *args: str, folder: Path, command: str = "serve", env: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """A server on a free port that takes requests; killed at the end of the block, if it runs."""
    given, pipe = (command, "--port", "0", *args), asyncio.subprocess.PIPE
    process: zygote.Running
    if zygote.follows(env):
        process = await zygote.start(MODULE, given, folder=folder, env=environment(env))
    else:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *given, cwd=folder, env=environment(env), stdout=pipe, stderr=pipe
        )
    try:
        said = await announced(process)
        found = re.search(r"serves http://127\.0\.0\.1:(\d+), log ", said)
        assert found, said
        server = Server(process, int(found[1]), said)
        assert (await harness.ask(server.port, "GET", "/healthz")).status == 200
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        async with asyncio.timeout(PATIENCE):
            await process.communicate()


@contextlib.asynccontextmanager
async def uvicorn(example: str, folder: Path, **env: str) -> AsyncIterator[Server]:
    """An example's application as people serve it, with its log in memory, on a free port; killed
    at the end of the block, if it runs."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", f"{example}:app", "--app-dir", str(EXAMPLES)),
        *("--port", "0"),
        cwd=folder,
        env=environment({"HOLDFAST_LOG__URL": "memory://", **env}),
        stdout=pipe,
        stderr=pipe,
    )
    try:
        said = await announced(process, " running on ")
        found = re.search(r"running on http://127\.0\.0\.1:(\d+)", said)
        assert found, said
        yield Server(process, int(found[1]), said)
    finally:
        if process.returncode is None:
            process.kill()
        async with asyncio.timeout(PATIENCE):
            await process.communicate()


async def announced(process: zygote.Running, before: str = " serves ") -> str:
    """What it says up to its address, which stands behind that, or to its end."""
    assert process.stderr is not None
    said = ""
    async with asyncio.timeout(PATIENCE):
        while before not in said and (line := await process.stderr.readline()):
            said += line.decode()
    return said

"""A process of ours beside the server that is tested, spoken to in lines of JSON.

Strategy: who reads or speaks by the thousand has a core for itself, and what it saw it tells in
values. It goes with its block, and knows that we are gone by the end of its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import msgspec
import uvloop
from tests.faults import served

T = TypeVar("T")

LARGEST = 64 << 20
"""Bytes of a line."""


class Aside:
    """Such a process, seen from the test."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    async def say(self, what: object) -> None:
        self._in.write(msgspec.json.encode(what) + b"\n")
        await self._in.drain()

    def close(self) -> None:
        """There is nothing more to say."""
        self._in.close()

    async def hear(self, type: type[T]) -> T:
        """Its next line."""
        return msgspec.json.decode(await self._out.readline(), type=type)


@contextlib.asynccontextmanager
async def running(module: str) -> AsyncIterator[Aside]:
    """The process of a module of ours, killed with the block if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        cwd=served.ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(served.ROOT / "src"), "."])},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LARGEST,
    )
    try:
        yield Aside(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


# In the process itself


async def heard() -> asyncio.StreamReader:
    """What is said to this process."""
    lines = asyncio.StreamReader(limit=LARGEST)
    told = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: told, sys.stdin)
    return lines


def tell(what: object) -> None:
    print(msgspec.json.encode(what).decode(), flush=True)


def run(work: Coroutine[Any, Any, None]) -> None:
    """With as many open files as there may be."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(work)

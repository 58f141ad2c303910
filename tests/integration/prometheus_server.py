"""Debian's Prometheus, as an operator starts it: on a folder with its configuration.

Strategy: it is asked over its own API until something is true, which it is within a few of its
scrapes. It listens at loopback alone, and ends with its block, by its pid.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib import parse

from tests.integration import harness, processes
from tests.redis_servers import free_port

LOOK_SECONDS = 0.05


class Prometheus:
    """One that runs."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def api(self, path: str, **query: str) -> Any:
        """What it answers to a call of its API."""
        target = f"/api/v1/{path}?{parse.urlencode(query)}"
        answer = await harness.ask(self.port, "GET", target)
        assert answer.status == 200, answer.body
        return answer.json()["data"]

    async def value(self, expression: str) -> float | None:
        """What an expression of one value comes to now; None where it has none."""
        found = (await self.api("query", query=expression))["result"]
        return float(found[0]["value"][1]) if found else None

    async def until(self, expression: str, wanted: float) -> None:
        """Asks again and again until it is so; a scrape may fail on a machine that is busy."""
        value: float | None = None
        for _ in range(int(processes.PATIENCE / LOOK_SECONDS)):
            value = await self.value(expression)
            if value == wanted:
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise AssertionError(f"{expression} is {value}")


@contextlib.asynccontextmanager
async def running(program: Path, folder: Path) -> AsyncIterator[Prometheus]:
    """One with the `prometheus.yml` of this folder, once it is ready."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _ready(port, process)
        yield Prometheus(port)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _ready(port: int, process: asyncio.subprocess.Process) -> None:
    for _ in range(int(processes.PATIENCE / LOOK_SECONDS)):
        assert process.returncode is None, "Prometheus has ended"
        with contextlib.suppress(OSError):
            if (await harness.ask(port, "GET", "/-/ready")).status == 200:
                return
        await asyncio.sleep(LOOK_SECONDS)
    raise AssertionError("Prometheus does not start")

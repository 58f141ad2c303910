"""The application under servers that are not ours, and in applications of others.

Strategy: a server runs in the loop of the test, on a free port of loopback, with the lifespan of
what it serves, and has ended when its block ends. Its log goes nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import hypercorn.asyncio
import uvicorn
from hypercorn.typing import ASGIFramework
from tests.integration import harness

from holdfast.http import server as http_server

SERVERS = ("h11", "httptools", "hypercorn")
"""Uvicorn with either of its parsers, and another one."""


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.accepting.set()


@contextlib.asynccontextmanager
async def serving(application: Any, server: str = "httptools") -> AsyncIterator[int]:
    """Serves an application until the block ends; gives the port."""
    bound = http_server.listen("127.0.0.1", 0)
    port = int(bound.getsockname()[1])
    run = _hypercorn if server == "hypercorn" else _uvicorn
    try:
        async with run(application, bound, server):
            yield port
    finally:
        bound.close()


@contextlib.asynccontextmanager
async def _uvicorn(application: Any, bound: Any, parser: Any) -> AsyncIterator[None]:
    stock = _Uvicorn(
        uvicorn.Config(application, http=parser, ws="none", lifespan="on", log_config=None)
    )
    task = asyncio.create_task(stock._serve([bound]), name="uvicorn under test")
    async with asyncio.timeout(harness.PATIENCE):
        accepting = asyncio.create_task(stock.accepting.wait(), name="it accepts")
        await asyncio.wait((task, accepting), return_when=asyncio.FIRST_COMPLETED)
        accepting.cancel()
    assert not task.done(), "uvicorn did not start"
    try:
        yield
    finally:
        stock.should_exit = True
        async with asyncio.timeout(harness.PATIENCE):
            await task


@contextlib.asynccontextmanager
async def _hypercorn(application: ASGIFramework, bound: Any, _: Any) -> AsyncIterator[None]:
    config = hypercorn.Config()
    config.bind = [f"fd://{bound.dup().detach()}"]  # which it closes
    config.errorlog = None
    over = asyncio.Event()
    serve = hypercorn.asyncio.serve(application, config, shutdown_trigger=over.wait)
    task = asyncio.create_task(serve, name="hypercorn under test")
    try:
        yield
    finally:
        over.set()
        async with asyncio.timeout(harness.PATIENCE):
            await task

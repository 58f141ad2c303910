"""A server that is not ours is told to stop while answers are read from a node mounted in it.

Strategy: uvicorn as people start it, with the example's application, and a signal. It waits for
every open response, so that a node which did not hear of the end would keep it for ever.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.integration import asking, harness, processes

FIELDS = {"Accept": "text/event-stream", "Content-Type": "application/json"}


async def begun(server: processes.Server, body: bytes) -> harness.Reader:
    """A reader who has the first piece of an answer."""
    reader = await harness.Reader.open(server.port, "POST", "/llm/v1/streams", FIELDS, body)
    return await reader.until(asking.seen(b"event: chunk"))


async def test_an_answer_under_way_comes_to_its_end(tmp_path: Path) -> None:
    async with processes.uvicorn("in_fastapi", tmp_path) as server:
        body = asking.demo("rate=40 tokens=40", flush_interval_ms=0)
        reader = await begun(server, body.replace(b"rate=10000 ", b""))
        server.process.send_signal(signal.SIGTERM)
        whole = await reader.rest()
        assert whole.clean
        assert asking.kinds(whole.body)[-1] == "complete"
        async with asyncio.timeout(processes.PATIENCE):
            assert await server.process.wait() == -signal.SIGTERM


async def test_the_second_signal_sends_readers_away(tmp_path: Path) -> None:
    async with processes.uvicorn(
        "in_fastapi", tmp_path, HOLDFAST_SERVER__DRAIN_TIMEOUT="1h"
    ) as server:
        reader = await begun(server, asking.STALLED)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.stdout is not None
        async with asyncio.timeout(processes.PATIENCE):
            while b"draining" not in await server.process.stdout.readline():
                pass
        server.process.send_signal(signal.SIGTERM)
        left = await reader.rest()
        assert not left.clean
        assert left.blocks[-1].startswith(b"event: reconnect\n")
        async with asyncio.timeout(processes.PATIENCE):
            assert await server.process.wait() == -signal.SIGTERM

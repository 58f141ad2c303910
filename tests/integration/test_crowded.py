"""More clients than sockets: those beyond are closed as they come, without a word.

A status would stop an EventSource for ever; a connection that closes makes it come back.
"""

from __future__ import annotations

import asyncio
import contextlib

from tests.integration import asking, harness

from holdfast import app


async def closed_at_once(port: int) -> bool:
    """Whether a client that says nothing is closed without a byte."""
    async with asyncio.timeout(harness.PATIENCE):
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b""
            writer.close()
    return True


async def test_who_comes_beyond_the_sockets_is_closed_and_may_come_again() -> None:
    node = app.asgi(harness.configured())
    async with harness.serving(node, max_sockets=3) as server:
        # Who waits gives way (`test_giving_way`); who is answered does not.
        readers = [await asking.stalled(server.port) for _ in range(3)]
        assert await closed_at_once(server.port)
        assert await closed_at_once(server.port)
        assert len(server.service.connections) == 3
        for reading in readers[1:]:
            await reading.close()
        async with asyncio.timeout(harness.PATIENCE):
            while True:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    answer = await harness.ask(server.port, "GET", "/healthz")
                    break
        assert answer.status == 200
        await asking.end(server, *readers)

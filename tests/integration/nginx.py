"""A real nginx before a server under test.

Strategy: it runs in the foreground as one process, from a configuration in the test's folder, with
what the caller wants of its one server and all else as it comes. Whoever enters the block waits
for the line that says that it listens; it is ended with the block.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from tests.integration import harness

CONFIG = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port} {listen};
        {server}
    }}
}}
"""

READY = b"event method"
"""Of the line that nginx says once it listens."""


@contextlib.asynccontextmanager
async def running(
    program: Path, folder: Path, server: str, *, listen: str = ""
) -> AsyncIterator[int]:
    """A port where nginx listens; `server` is what its server does, `listen` how it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(port=port, listen=listen, server=server))
    process = await asyncio.create_subprocess_exec(
        *(program, "-p", folder, "-c", config, "-e", "stderr"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said = b""
        async with asyncio.timeout(harness.PATIENCE):
            assert process.stderr is not None
            while READY not in said:
                line = await process.stderr.readline()
                assert line, f"nginx ended: {said.decode()}"
                said += line
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        async with asyncio.timeout(harness.PATIENCE):
            await process.communicate()

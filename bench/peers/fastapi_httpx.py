"""A relay by hand, of FastAPI and httpx: what one writes before one looks for a gateway.

Strategy: thirty lines, as both documentations have them, served by uvicorn with uvloop and
httptools, one worker and no access log. It parses nothing and keeps nothing.
"""

from __future__ import annotations

from bench import servers
from bench.peers.peer import BODY, FILES, Peer, Place


def start(place: Place) -> servers.Server:
    """The application, behind uvicorn."""
    port = servers.free_port()
    command = place.command(
        *(str(place.home / "bin" / "uvicorn"), "--app-dir", str(FILES / place.home.name)),
        *("--host", "127.0.0.1", "--port", str(port), "--no-access-log", "app:app"),
        PROVIDER_URL=f"http://127.0.0.1:{place.provider}",
        PYTHONDONTWRITEBYTECODE="1",
    )
    path = "/v1/chat/completions"
    return servers.Server("fastapi_httpx", command, port, place.provider, path, BODY, patience=30.0)


PEER = Peer("fastapi_httpx", ("fastapi", "httpx", "uvicorn"), 4000, start)

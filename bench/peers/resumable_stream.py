"""resumable-stream on Node: the one other package whose streams a reader can come back to.

Strategy: its README's routes behind Node's own HTTP server. While nobody comes back it keeps the
text in its own memory, and asks Redis four times a stream. Its Valkey is on the load's core, as
that of our Redis log is.
"""

from __future__ import annotations

from bench import servers
from bench.peers import install
from bench.peers.peer import BODY, Peer, Place


def start(place: Place) -> servers.Server:
    """The routes, behind Node's server."""
    port = servers.free_port()
    command = place.command(
        *(str(install.node() / "bin" / "node"), str(place.home / "server.mjs")),
        NODE_ENV="production",
        PORT=str(port),
        PROVIDER_URL=f"http://127.0.0.1:{place.provider}/v1/chat/completions",
        REDIS_URL=place.redis,
    )
    return servers.Server("resumable_stream", command, port, place.provider, "/", BODY)


PEER = Peer("resumable_stream", ("resumable-stream", "redis"), 4000, start, valkey=True)

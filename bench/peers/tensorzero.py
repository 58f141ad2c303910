"""TensorZero's gateway, written in Rust, as its Python package embeds it.

Strategy: the documentation's way from Python, `patch_openai_client`, which opens the gateway's
OpenAI endpoint at a port that it chooses and tells. Without a database, so it keeps nothing.
"""

from __future__ import annotations

from bench import servers
from bench.peers.peer import BODY, FILES, Peer, Place


def start(place: Place) -> servers.Server:
    """The gateway with one model."""
    config = place.configured("tensorzero.toml")
    script = FILES / place.home.name / "start.py"
    command = place.command(str(place.home / "bin" / "python"), str(script), str(config))
    body = BODY.replace(b'"sim"', b'"tensorzero::model_name::sim"')
    path = "/openai/v1/chat/completions"
    return servers.Server("tensorzero", command, 0, place.provider, path, body, patience=60.0)


PEER = Peer("tensorzero", ("tensorzero",), 20_000, start)

"""LiteLLM's proxy: the gateway that most Python services would take.

Strategy: `litellm --config`, with the settings of its page on production: one worker for one core,
a master key, no debug logs, no `.env`. Prices come from the package and not from the network.
"""

from __future__ import annotations

from bench import servers
from bench.peers.peer import BODY, Peer, Place

START = 90.0
"""Seconds until it listens, at the most: importing it takes ten on a quiet core."""


def start(place: Place) -> servers.Server:
    """The proxy with one model."""
    port, config = servers.free_port(), place.configured("config.yaml")
    command = place.command(
        str(place.home / "bin" / "litellm"),
        *("--config", str(config), "--host", "127.0.0.1", "--port", str(port)),
        LITELLM_MODE="PRODUCTION",
        LITELLM_LOG="ERROR",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
    )
    headers = ("Authorization: Bearer sk-bench",)
    path = "/v1/chat/completions"
    return servers.Server("litellm", command, port, place.provider, path, BODY, headers, START)


PEER = Peer("litellm", ("litellm", "uvicorn", "openai"), 700, start)

"""One relay under our own client, where what counts is how streams begin.

Strategy: as in `relay`, with a fresh server on its core and the load on the others; but provider
and client are the bench's. The pair's provider lets a new stream wait until one that it asked
before is due; ours answers at once. All that the client (`load`) tells is given back.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import relay, servers


class Ask(NamedTuple):
    """Streams, seconds of the client, flags of `bench.load`; how the provider speaks."""

    streams: int
    seconds: int
    flags: Sequence[str] = ()
    rate: int = relay.RATE
    tokens: int = relay.TOKENS


class Seen(NamedTuple):
    """What the client told; CPU seconds of the server; the share of its core that the load took."""

    got: Mapping[str, Any]
    cpu: float
    load: float


def ask(server: servers.Server, asked: Ask, folder: Path, cores: Sequence[int]) -> Seen:
    """One run. Raises `servers.Failed`."""
    load = relay.Load(False, cores[1:])
    body = folder / "body.json"
    body.write_bytes(server.body)
    provider = load.provider(server.provider, asked.rate, asked.tokens)
    rest = (str(asked.seconds), str(body), *server.headers, *asked.flags)
    target = (str(server.port), server.path)
    command = load.clients(target, asked.streams, rest)[0]
    log = folder / f"{server.name}.log"
    with (
        servers.running(provider, server.provider, folder / "provider.log", cores[1]) as other,
        servers.running(server.command, server.port, log, cores[0]) as pid,
    ):
        time.sleep(relay.WARM)
        cpu, spoken = servers.cpu_seconds(pid), servers.cpu_seconds(other)
        begun = time.monotonic()
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        passed = time.monotonic() - begun
        cpu, spoken = servers.cpu_seconds(pid) - cpu, servers.cpu_seconds(other) - spoken
    if told.returncode:
        raise servers.Failed(f"the load's client failed: {told.stderr[-300:]}")
    got = json.loads(told.stdout)
    if not got["tokens"]:
        raise servers.Failed(f"{server.name}: not one token came through: {got}")
    shares = (spoken / passed, got["share"])
    alone = len(cores) > 2
    return Seen(got, cpu, max(shares) if alone else sum(shares))

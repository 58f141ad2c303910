"""What it costs to ask who calls, and to count what he uses: a node with and without.

Strategy: both nodes run at once on one core, and the bench asks now the one, now the other, on a
connection that is kept; so whatever the machine does meanwhile it does to both. The time is from
the request for a stream to the answer that it is there. CPU a token is measured as in `relay`.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import statistics
import time
from pathlib import Path
from typing import NamedTuple

from bench import servers

REQUESTS, WARM = 2000, 200
"""New streams of each node; those before, whose time is not counted."""

BODY = json.dumps(
    {"model": "demo", "messages": [{"role": "user", "content": "/demo tokens=1 rate=1000"}]}
).encode()

PATIENCE = 10.0


class SetUp(NamedTuple):
    """Milliseconds from the request to the answer that the stream is there."""

    node: str
    median_ms: float
    p99_ms: float


def measure(folder: Path, core: int) -> list[SetUp]:
    """`core` is that of both servers. Raises `servers.Failed`."""
    (folder / "open").mkdir()
    (folder / "guarded").mkdir()
    nodes = [servers.holdfast(folder / "open"), servers.guarded(folder / "guarded")]
    times: dict[str, list[float]] = {node.name: [] for node in nodes}
    with contextlib.ExitStack() as stack:
        clients = []
        for number, node in enumerate(nodes):
            log = folder / f"{number}.log"
            stack.enter_context(servers.running(node.command, node.port, log, core))
            address = ("127.0.0.1", node.port)
            clients.append(stack.enter_context(socket.create_connection(address, PATIENCE)))
        for number in range(WARM + REQUESTS):
            for node, client in zip(nodes, clients, strict=True):
                took = _ask(client, node)
                if number >= WARM:
                    times[node.name].append(took)
    return [
        SetUp(name, statistics.median(took), statistics.quantiles(took, n=100)[98])
        for name, took in times.items()
    ]


def _ask(client: socket.socket, node: servers.Server) -> float:
    head = ["POST /v1/streams HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(BODY)}"]
    request = "\r\n".join([*head, *node.headers, "", ""]).encode() + BODY
    begun = time.perf_counter()
    client.sendall(request)
    said = b""
    while (whole := _length(said)) is None or len(said) < whole:
        more = client.recv(65536)
        if not more:
            raise servers.Failed(f"{node.name} closed: {said[:300]!r}")
        said += more
    took = (time.perf_counter() - begun) * 1000
    if not said.startswith(b"HTTP/1.1 201"):
        raise servers.Failed(f"{node.name}: {said[:300]!r}")
    return took


def _length(said: bytes) -> int | None:
    """Of the whole answer, once its head is there."""
    head, found, _ = said.partition(b"\r\n\r\n")
    if not found:
        return None
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return len(head) + 4 + int(length[1] if length else 0)

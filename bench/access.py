"""What it costs to ask who calls, and to count what he uses: a node with and without.

Strategy: both nodes run at once on one core, and the bench asks them in turn, in random order, on
connections that are kept; so whatever the machine does meanwhile it does to both. Before each
request all is quiet, or what one node still does for its last stream would count for the other. The
time is from the request for a stream to the answer that it is there. CPU a token is measured as in
`relay`.
"""

from __future__ import annotations

import contextlib
import json
import random
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

QUIET_SECONDS = 0.004
"""Before each request: a stream of one token is written and kept after two."""

PATIENCE = 10.0


class SetUp(NamedTuple):
    """Milliseconds from the request to the answer that the stream is there, and of CPU for all of
    the stream."""

    node: str
    median_ms: float
    p99_ms: float
    cpu_ms: float


def measure(folder: Path, core: int) -> list[SetUp]:
    """`core` is that of both servers. Raises `servers.Failed`."""
    (folder / "open").mkdir()
    (folder / "guarded").mkdir()
    nodes = [servers.holdfast(folder / "open"), servers.guarded(folder / "guarded")]
    times: dict[str, list[float]] = {node.name: [] for node in nodes}
    with contextlib.ExitStack() as stack:
        clients, pids = [], []
        for number, node in enumerate(nodes):
            log = folder / f"{number}.log"
            pids.append(stack.enter_context(servers.running(node.command, node.port, log, core)))
            address = ("127.0.0.1", node.port)
            clients.append(stack.enter_context(socket.create_connection(address, PATIENCE)))
        pairs = list(zip(nodes, clients, strict=True))
        for number in range(WARM + REQUESTS):
            if number == WARM:
                before = [servers.cpu_seconds(pid) for pid in pids]
                times = {node.name: [] for node in nodes}
            random.shuffle(pairs)
            for node, client in pairs:
                time.sleep(QUIET_SECONDS)
                times[node.name].append(_ask(client, node))
        after = [servers.cpu_seconds(pid) for pid in pids]
    return [
        SetUp(
            name,
            statistics.median(took),
            statistics.quantiles(took, n=100)[98],
            (ended - begun) * 1000 / REQUESTS,
        )
        for (name, took), begun, ended in zip(times.items(), before, after, strict=True)
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

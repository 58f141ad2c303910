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
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import relay, report, servers
from bench.scenario import Bench, Figure, Result, Scenario, Size

REQUESTS, WARM = 2000, 200
"""New streams of each node; those before, whose time is not counted."""

BODY = json.dumps(
    {"model": "demo", "messages": [{"role": "user", "content": "/demo tokens=1 rate=1000"}]}
).encode()

QUIET_SECONDS = 0.004
"""Before each request: a stream of one token is written and kept after two."""

PATIENCE = 10.0

GUARDED = "holdfast, guarded"
TIMES = 1.05
"""The aim, for both: at most."""


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


def run(bench: Bench) -> Result | None:
    """The load on both nodes in turn, and after each round the new streams."""

    def make(name: str, folder: Path, kept: contextlib.ExitStack) -> servers.Server | None:
        makes = {"nginx": servers.nginx, "holdfast": servers.holdfast}
        return makes.get(name, servers.guarded)(folder)

    runs = relay.in_turn(bench, ("nginx", "holdfast", GUARDED), make)
    if not runs:
        return None
    set_ups: list[SetUp] = []
    for number in range(1, bench.size.rounds + 1):
        with bench.folder() as folder:
            found = measure(folder, bench.cores[0])
        told = ", ".join(f"{one.node} {one.median_ms:.3f} ms" for one in found)
        bench.say(f"round {number}: {REQUESTS} new streams of each: {told}")
        set_ups += found
    rows = [one._asdict() for one in runs] + [one._asdict() for one in set_ups]
    figures = report.ratios(runs, {GUARDED: "holdfast"})
    figures["set-up, guarded ÷ open"] = Figure(set_up_times(set_ups), ratio=True)
    return Result(rows, table(runs, set_ups), figures, not any(run.gaps for run in runs))


def set_up_times(set_ups: Sequence[SetUp]) -> float:
    """What a new stream takes of the guarded node to what it takes of the open one."""
    nodes = list(dict.fromkeys(one.node for one in set_ups))
    ones, others = ([one for one in set_ups if one.node == node] for node in nodes)
    both = zip(ones, others, strict=True)
    return statistics.median(other.median_ms / one.median_ms for one, other in both)


def table(runs: Sequence[relay.Run], set_ups: Sequence[SetUp]) -> str:
    """A node that asks who calls, beside one that does not, and what the aim says."""
    names = list(dict.fromkeys(one.node for one in set_ups))
    said = [report.sides(runs, {GUARDED: "holdfast"}, TIMES)]
    middles = {
        name: [
            statistics.median(column)
            for column in zip(*(one[1:] for one in set_ups if one.node == name), strict=True)
        ]
        for name in names
    }
    head = ("a new stream", "median ms", "p99 ms", "CPU ms")
    said.append(
        report.table(head, [(name, *(f"{ms:.3f}" for ms in middles[name])) for name in names])
    )
    times = set_up_times(set_ups)
    met = f"(aim: at most {TIMES:g}: {report.met(times <= TIMES)})"
    said.append(f"set-up: {times:.3f} times, median of the rounds {met}")
    return "\n\n".join(said)


SCENARIO = Scenario("access", "keys and limits on, beside off", run, Size(1000, 5))

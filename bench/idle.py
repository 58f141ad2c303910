"""Idle connections: what each weighs and costs that only waits.

Strategy: one stream that never goes on, and readers of it that have read all there is. Half a
minute of silence has two heartbeats for each; what the node grew by and what it used is divided
by them. Buffers in the kernel are not in the figure, nor are the readers' own.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import report, servers
from bench.scenario import Bench, Figure, Result, Scenario, Size

PATIENCE = 30.0
WORDS = "/demo tokens=2 stall_at=1"


class Idle(NamedTuple):
    """So many readers that were there to the end: memory of the node for each, CPU for each in
    microseconds a second, and of the node without them in all."""

    readers: int
    left: int
    kb_each: float
    cpu_us_each: float
    cpu_us_without: float


def run(bench: Bench) -> Result:
    """Once a round."""
    found = []
    for number in range(1, bench.size.rounds + 1):
        bench.say(f"round {number}: {bench.size.streams} readers, {bench.size.seconds} s ...")
        with bench.folder() as folder:
            one = measure(folder, bench.size, bench.cores[0])
        bench.say(f"{one.kb_each:.1f} KB, {one.cpu_us_each:.1f} µs a second each")
        found.append(one)
    figures = {
        "KB each": Figure(median(one.kb_each for one in found)),
        "µs a second each": Figure(median(one.cpu_us_each for one in found)),
    }
    whole = all(one.left == one.readers for one in found)
    return Result([one._asdict() for one in found], table(found), figures, whole)


def measure(folder: Path, size: Size, core: int) -> Idle:
    """`core` is the node's. Raises `servers.Failed`."""
    settings = f"max_connections = {size.streams + 100}\n"
    log = f"sqlite:///{folder / 'holdfast.db'}"
    server = servers.node("holdfast", folder, log, 0, "", settings)
    with (
        servers.running(server.command, server.port, folder / "holdfast.log", core) as pid,
        contextlib.ExitStack() as kept,
    ):
        stream = _stalled(server)
        time.sleep(1)
        alone = _used(pid, size.seconds / 3)
        memory = servers.memory_kb(pid)
        request = f"GET /v1/streams/{stream}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        readers = []
        for _ in range(size.streams):
            one = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
            readers.append(kept.enter_context(one))
            one.sendall(request)
        for one in readers:
            if b" 200 " not in one.recv(65536).partition(b"\r\n")[0]:
                raise servers.Failed("a reader was refused")
        time.sleep(1)
        used = _used(pid, size.seconds)
        grown = servers.memory_kb(pid) - memory
        left = sum(_open(one) for one in readers)
    each = (used - alone) * 1e6 / size.streams
    return Idle(size.streams, left, grown / size.streams, each, alone * 1e6)


def _stalled(server: servers.Server) -> str:
    asked = {"model": "demo", "messages": [{"role": "user", "content": WORDS}]}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/streams", json.dumps(asked), headers)
        said = connection.getresponse().read()
    return str(json.loads(said)["id"])


def _used(pid: int, seconds: float) -> float:
    """CPU seconds a second, over so many."""
    before = servers.cpu_seconds(pid)
    time.sleep(seconds)
    return (servers.cpu_seconds(pid) - before) / seconds


def _open(reader: socket.socket) -> bool:
    """Whether it is still connected, after all that has come."""
    reader.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while data := reader.recv(65536):
            if data.endswith(b"0\r\n\r\n"):
                return False
        return False
    return True


def table(found: Sequence[Idle]) -> str:
    """A line for each round."""
    head = ("readers", "still there", "KB each", "CPU µs/s each", "CPU µs/s of the node without")
    rows = [
        (
            f"{one.readers}",
            f"{one.left}",
            f"{one.kb_each:.1f}",
            f"{one.cpu_us_each:.1f}",
            f"{one.cpu_us_without:.0f}",
        )
        for one in found
    ]
    return report.table(head, rows)


SCENARIO = Scenario("idle", "connections that only wait", run, Size(2000, 2, 30))

"""Readers that stopped reading, and what the others of the same stream notice of them.

Strategy: the bench is the provider and all clients of one stream. The stopped readers ask, with
a small receive buffer, and never read; then so much is said that nothing more fits between
them and the node. Some tokens later, when the node no longer gathers as under that load, is
measured: a token, its arrival at every fast reader, a short silence, the next one, as in
`latency`. One clock is read just before the provider's write and just after each reader's
read, so the bench's own turn through its readers is in the numbers, with the stopped
readers as without them. They are polled for a hang-up at the end, so that a node which had cut
them would not pass for one that bears them.
"""

from __future__ import annotations

import contextlib
import re
import select
import selectors
import socket
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import latency, report, servers
from bench.scenario import Bench, Result, Scenario, Size

FAST, STOPPED = 100, 1000
RECEIVE_BUFFER = 4096
"""Bytes of a stopped reader's socket."""

SAID_BEFORE, SLICE, PIECE = 10 << 20, 200 << 10, 5000
"""Bytes that are said before the measurement, in slices that all fast readers take before the
next one, of pieces of content."""

SETTLING = 20
"""Tokens after that whose time is not counted."""

PATIENCE = 60.0
"""Seconds that anything may take before the bench gives up."""

WRITE_TIMEOUT = "10m"
"""Of the node: longer than a run, so that stopped readers stay."""


class Beside(NamedTuple):
    """Milliseconds over all tokens and fast readers; `stopped` readers of whom `left` were still
    connected at the end; memory of the node and of all the machine's TCP sockets."""

    stopped: int
    fast: int
    median_ms: float
    p99_ms: float
    max_ms: float
    left: int
    node_mb: float
    sockets_mb: float


class Readers:
    """The fast ones: one thread, one selector."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._selector = selectors.DefaultSelector()
        self._tails = dict.fromkeys(sockets, b"")
        for one in sockets:
            self._selector.register(one, selectors.EVENT_READ)

    def until(self, mark: bytes) -> list[float]:
        """When each had read this; raises `servers.Failed` and TimeoutError."""
        waiting, times = set(self._tails), list[float]()
        while waiting:
            ready = self._selector.select(PATIENCE)
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                one = key.fileobj
                assert isinstance(one, socket.socket)
                data = one.recv(1 << 18)
                now = time.perf_counter()
                if not data:
                    raise servers.Failed("a reader that reads was cut off")
                said = self._tails[one] + data
                self._tails[one] = said[-len(mark) :]
                if one in waiting and mark in said:
                    waiting.remove(one)
                    times.append(now)
        return times


def measure(folder: Path, stopped: int, core: int) -> Beside:
    """`core` is the server's. Raises `servers.Failed`."""
    server = servers.holdfast(folder, settings=f'write_timeout = "{WRITE_TIMEOUT}"\n')
    with (
        socket.create_server(("127.0.0.1", server.provider)) as listener,
        servers.running(server.command, server.port, folder / "holdfast.log", core) as pid,
    ):
        listener.settimeout(PATIENCE)
        try:
            return _stream(listener, server, stopped, pid)
        except TimeoutError:
            raise servers.Failed(f"nothing came through for {PATIENCE:g} s") from None


def _stream(listener: socket.socket, server: servers.Server, stopped: int, pid: int) -> Beside:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(_connected(server.port))
        first.sendall(latency.question(server))
        provider = stack.enter_context(listener.accept()[0])
        provider.settimeout(PATIENCE)
        provider.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        latency.read_until(provider, b'"go"')
        provider.sendall(latency.HEAD)
        said = first.recv(65536)
        found = re.search(rb"x-stream-id: (\w+)", said, re.IGNORECASE)
        if found is None:
            raise servers.Failed(f"there is no stream: {said[:300]!r}")
        request = b"GET /v1/streams/%b/events HTTP/1.1\r\nHost: x\r\n\r\n" % found[1]
        still = [stack.enter_context(_connected(server.port, True)) for _ in range(stopped)]
        fast = [stack.enter_context(_connected(server.port)) for _ in range(FAST - 1)]
        for one in (*still, *fast):
            one.sendall(request)
        readers = Readers([first, *fast])
        _fill(provider, readers)
        tokens = [_token(provider, readers, n) for n in range(SETTLING + latency.TOKENS)]
        waits = [wait for token in tokens[SETTLING:] for wait in token]
        left, node, sockets = _connected_still(still), servers.memory_kb(pid) / 1024, _sockets_mb()
        provider.sendall(latency.end())
        readers.until(b"event: complete")
    p99 = statistics.quantiles(waits, n=100)[98]
    median = statistics.median(waits)
    return Beside(stopped, FAST, median, p99, max(waits), left, node, sockets)


def _connected(port: int, small: bool = False) -> socket.socket:
    opened = socket.socket()
    if small:  # before it connects, as the window is agreed on there
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    opened.settimeout(PATIENCE)
    opened.connect(("127.0.0.1", port))
    return opened


def _fill(provider: socket.socket, readers: Readers) -> None:
    """Says so much that the stopped readers are stuck."""
    pieces = SLICE // PIECE
    for number in range(SAID_BEFORE // SLICE):
        for _ in range(pieces):
            provider.sendall(latency.piece("kelp " * (PIECE // 5)))
        mark = f"@fill-{number:04d};"
        provider.sendall(latency.piece(mark))
        readers.until(mark.encode())


def _token(provider: socket.socket, readers: Readers, number: int) -> list[float]:
    time.sleep(latency.PAUSE)
    mark = f"@{number:06d};"
    data = latency.piece(mark)
    begun = time.perf_counter()
    provider.sendall(data)
    return [(at - begun) * 1000 for at in readers.until(mark.encode())]


def _connected_still(sockets: Sequence[socket.socket]) -> int:
    poll = select.poll()
    for one in sockets:
        poll.register(one, 0)  # a hang-up and an error are always told
    return len(sockets) - len(poll.poll(0))


def _sockets_mb() -> float:
    """What TCP sockets of the whole machine hold in the kernel."""
    said = Path("/proc/net/sockstat").read_text()
    found = re.search(r"^TCP: .* mem (\d+)", said, re.MULTILINE)
    return int(found[1]) * 4096 / 2**20 if found else 0.0


def run(bench: Bench) -> Result:
    """Without stopped readers and with them, in turn."""
    runs = []
    for number, count in bench.turns((0, bench.size.streams)):
        bench.say(f"round {number}: {FAST} fast readers, {count} stopped ones ...")
        with bench.folder() as folder:
            one = measure(folder, count, bench.cores[0])
        bench.say(f"median {one.median_ms:.2f} ms, p99 {one.p99_ms:.2f} ms")
        runs.append(one)
    return Result([one._asdict() for one in runs], table(runs))


def table(runs: Sequence[Beside]) -> str:
    """The fast readers, without and with stopped ones beside them."""
    head = ["stopped readers", "median ms", "p99 ms", "lowest to highest p99", "max ms"]
    head += ["still there", "node MB", "sockets MB"]
    rows = []
    for stopped in sorted({run.stopped for run in runs}):
        mine = [run for run in runs if run.stopped == stopped]
        p99 = [run.p99_ms for run in mine]
        middle = (
            statistics.median(getattr(run, name) for run in mine)
            for name in ("median_ms", "p99_ms")
        )
        sizes = (
            statistics.median(getattr(run, name) for run in mine)
            for name in ("node_mb", "sockets_mb")
        )
        rows.append(
            [
                f"{stopped}",
                *(f"{ms:.2f}" for ms in middle),
                f"{min(p99):.2f} to {max(p99):.2f}",
                f"{max(run.max_ms for run in mine):.1f}",
                f"{min(run.left for run in mine)}",
                *(f"{mb:.0f}" for mb in sizes),
            ]
        )
    return report.table(head, rows)


SCENARIO = Scenario(
    "slow", "100 fast readers of one stream, stopped ones beside them", run, Size(STOPPED, 3)
)

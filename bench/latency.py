"""One idle stream: what a token waits between the provider and the client.

Strategy: the bench is the provider and the client of the same stream, one token at a time and
in one thread, so one clock is read just before the provider's write and just after the
client's read. Between them lies all that the server does (read, translate, tick, append,
read, render, write) and two passages through the kernel: an upper bound of append to read.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import report, servers
from bench.scenario import Bench, Result, Scenario

TOKENS, PAUSE, PATIENCE = 400, 0.02, 5.0
"""Tokens; seconds from one's arrival to the next, in which the server falls idle; seconds
that anything may take before the bench gives up."""

MEDIAN_MS = 5.0
"""The aim: below."""

FRAME = 'data: {"model":"sim","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Latency(NamedTuple):
    """Milliseconds over all tokens."""

    log: str
    median_ms: float
    p99_ms: float
    max_ms: float


def measure(folder: Path, log: str, core: int) -> Latency:
    """`log` is `sqlite` or `memory`, `core` the server's. Raises `servers.Failed`."""
    server = servers.holdfast(folder, log)
    with socket.create_server(("127.0.0.1", server.provider)) as listener:
        listener.settimeout(PATIENCE)
        with servers.running(server.command, server.port, folder / "holdfast.log", core):
            try:
                waits = _stream(listener, server)
            except TimeoutError:
                raise servers.Failed(f"no token came through for {PATIENCE:g} s") from None
    p99 = statistics.quantiles(waits, n=100)[98]
    return Latency(log, statistics.median(waits), p99, max(waits))


def _stream(listener: socket.socket, server: servers.Server) -> list[float]:
    """The wait of each token, in ms."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.sendall(question(server))
        provider, _ = listener.accept()
        with provider:
            provider.settimeout(PATIENCE)
            provider.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            read_until(provider, b'"go"')
            provider.sendall(HEAD)
            waits = [_token(provider, client, number) for number in range(TOKENS)]
            provider.sendall(end())
            read_until(client, b"event: complete")
    return waits


def _token(provider: socket.socket, client: socket.socket, number: int) -> float:
    time.sleep(PAUSE)
    mark = f"@{number:06d};"
    data = piece(mark)
    begun = time.perf_counter()
    provider.sendall(data)
    read_until(client, mark.encode())
    return (time.perf_counter() - begun) * 1000


def question(server: servers.Server) -> bytes:
    """The request for a stream and its events."""
    lines = [f"POST {server.path} HTTP/1.1", "Host: x", "Accept: text/event-stream"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(server.body)}"]
    return "\r\n".join([*lines, *server.headers, "", ""]).encode() + server.body


def piece(content: str) -> bytes:
    """What a provider sends for a piece of content."""
    return _chunk(FRAME % (f'{{"content":"{content}"}}', "null"))


def end() -> bytes:
    """What it sends at the end of its answer."""
    return _chunk(FRAME % ("{}", '"stop"')) + _chunk("data: [DONE]\n\n") + b"0\r\n\r\n"


def _chunk(event: str) -> bytes:
    """An SSE event as one chunk of an HTTP/1.1 body."""
    return b"%x\r\n%b\r\n" % (len(event), event.encode())


def read_until(source: socket.socket, mark: bytes) -> None:
    """Raises `servers.Failed` where it is closed before."""
    got = b""
    while mark not in got:
        more = source.recv(65536)
        if not more:
            raise servers.Failed(f"closed before {mark!r}; it said {got[-300:]!r}")
        got += more


def run(bench: Bench) -> Result:
    """With both logs."""
    waits = []
    for log in ("sqlite", "memory"):
        bench.say(f"one idle stream of {TOKENS} tokens, {log} log ...")
        with bench.folder() as folder:
            one = measure(folder, log, bench.cores[0])
        bench.say(f"{log}: median {one.median_ms:.2f} ms, p99 {one.p99_ms:.2f} ms")
        waits.append(one)
    return Result([one._asdict() for one in waits], table(waits))


def table(waits: Sequence[Latency]) -> str:
    """A line for each log, and what the aim says to it."""
    head = ("log", "median ms", "p99 ms", "max ms", f"median under {MEDIAN_MS:g} ms")
    rows = (
        (one.log, *(f"{ms:.2f}" for ms in one[1:]), report.met(one.median_ms < MEDIAN_MS))
        for one in waits
    )
    return report.table(head, rows)


SCENARIO = Scenario("latency", "one idle stream, provider's write to client's read", run)

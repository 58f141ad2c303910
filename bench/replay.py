"""Replay: how fast finished streams are read again, and how fast one is read that is being written.

Strategy: the bench is the provider and every reader, over plain sockets that it only empties, so
that the node is the slowest part. Finished streams are read all at once, each by one reader, from
the file: a stream that has ended has left memory. The live one is fed as fast as the node takes it.
Megabytes are of the answers' content; on the wire there is a little more.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench import latency, report, servers
from bench.scenario import Bench, Figure, Result, Scenario, Size

PIECE, TOKEN = 1000, 25
"""Bytes of a large piece of content, and of a small one, as a token has."""

MEGABYTES = 8
"""Of content of the live stream, in large pieces; in small ones a tenth of it."""

EACH, RATE = 1000, 200
"""Tokens of each finished stream, and a second: slow enough for an event each."""

PATIENCE = 60.0
END = b"0\r\n\r\n"


class Speed(NamedTuple):
    """Megabytes of content a second, what of it was on the wire, and the node's CPU for each."""

    what: str
    mb_per_s: float
    wire_mb_per_s: float
    events_per_s: float
    cpu_ms_per_mb: float


def run(bench: Bench) -> Result:
    """A live stream of each kind of piece, and the finished ones, each round."""
    found: list[Speed] = []
    for number in range(1, bench.size.rounds + 1):
        with bench.folder() as folder:
            for one in measure(folder, bench.size.streams, bench.cores[0]):
                bench.say(f"round {number}: {one.what}: {one.mb_per_s:.1f} MB/s")
                found.append(one)
    figures = {
        what: Figure(median(one.mb_per_s for one in found if one.what == what), higher=True)
        for what in dict.fromkeys(one.what for one in found)
    }
    return Result([one._asdict() for one in found], table(found), figures)


def measure(folder: Path, streams: int, core: int) -> Iterator[Speed]:
    """`core` is the node's. Raises `servers.Failed`."""
    server = servers.holdfast(folder)
    with (
        socket.create_server(("127.0.0.1", server.provider), backlog=1024) as listener,
        servers.running(server.command, server.port, folder / "holdfast.log", core) as pid,
    ):
        listener.settimeout(PATIENCE)
        total = MEGABYTES * 1_000_000
        for size, pieces in ((PIECE, total // PIECE), (TOKEN, total // TOKEN // 10)):
            yield _live(listener, server, pid, size, pieces)
    server = servers.node("demo", folder, f"sqlite:///{folder / 'finished.db'}", 0, "")
    with servers.running(server.command, server.port, folder / "demo.log", core) as pid:
        yield _replayed(server, pid, _finished(server, streams))


def _live(
    listener: socket.socket, server: servers.Server, pid: int, size: int, pieces: int
) -> Speed:
    with contextlib.closing(_connected(server.port)) as client:
        client.sendall(latency.question(server))
        speaker = threading.Thread(target=_speak, args=(listener, size, pieces), daemon=True)
        cpu, begun = servers.cpu_seconds(pid), time.perf_counter()
        speaker.start()
        got = _drained([client])
        passed = time.perf_counter() - begun
        speaker.join(PATIENCE)
    what = f"live, pieces of {size} bytes"
    return _speed(what, size * pieces, got, passed, servers.cpu_seconds(pid) - cpu)


def _speak(listener: socket.socket, size: int, pieces: int) -> None:
    """Answers one call, as fast as the node takes it."""
    provider, _ = listener.accept()
    with provider:
        provider.settimeout(PATIENCE)
        latency.read_until(provider, b'"go"')
        provider.sendall(latency.HEAD)
        piece = latency.piece("kelp " * (size // 5))
        many = max(1, (1 << 16) // len(piece))
        for sent in range(0, pieces, many):
            provider.sendall(piece * min(many, pieces - sent))
        provider.sendall(latency.end())


def _finished(server: servers.Server, streams: int) -> list[str]:
    """The ids of streams of the demo provider, all of which have ended."""
    words = f"/demo tokens={EACH} rate={RATE}"
    asked = {"model": "demo", "messages": [{"role": "user", "content": words}]}
    body = json.dumps(asked | {"flush_interval_ms": 0})
    made = [str(_json(server, "POST", "/v1/streams", body)["id"]) for _ in range(streams)]
    until = time.monotonic() + PATIENCE
    for stream in made:
        while _json(server, "GET", f"/v1/streams/{stream}")["status"] != "completed":
            if time.monotonic() > until:
                raise servers.Failed("a stream of the demo provider does not end")
            time.sleep(0.2)
    time.sleep(1)  # the last one's record is written behind its end
    return made


def _json(server: servers.Server, method: str, path: str, body: str | None = None) -> Any:
    asked = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    with contextlib.closing(asked):
        asked.request(method, path, body, {"Content-Type": "application/json"})
        answer = asked.getresponse()
        said = answer.read()
    if answer.status >= 300:
        raise servers.Failed(f"{method} {path}: {said[:300]!r}")
    return json.loads(said)


def _replayed(server: servers.Server, pid: int, streams: Sequence[str]) -> Speed:
    length = sum(_json(server, "GET", f"/v1/streams/{one}")["length"] for one in streams)
    with contextlib.ExitStack() as kept:
        clients = []
        for stream in streams:
            client = kept.enter_context(contextlib.closing(_connected(server.port)))
            head = f"GET /v1/streams/{stream}/events HTTP/1.1\r\nHost: x\r\n\r\n"
            clients.append((client, head.encode()))
        cpu, begun = servers.cpu_seconds(pid), time.perf_counter()
        for client, request in clients:
            client.sendall(request)
        got = _drained([client for client, _ in clients])
        passed = time.perf_counter() - begun
    return _speed("finished", length, got, passed, servers.cpu_seconds(pid) - cpu)


class Got(NamedTuple):
    """Bytes and events that were read."""

    bytes: int
    events: int


def _drained(clients: Sequence[socket.socket]) -> Got:
    """All that they get until each has its end. Raises `servers.Failed`."""
    tails = {client.fileno(): b"" for client in clients}
    by_number = {client.fileno(): client for client in clients}
    poll, read, events = select.poll(), 0, 0
    for number in tails:
        poll.register(number, select.POLLIN)
    while tails:
        ready = poll.poll(PATIENCE * 1000)
        if not ready:
            raise servers.Failed(f"nothing came through for {PATIENCE:g} s")
        for number, _ in ready:
            data = by_number[number].recv(1 << 20)
            if not data:
                raise servers.Failed(f"a reader was cut off after {tails[number]!r}")
            read += len(data)
            events += data.count(b"\nid: ")
            tails[number] = (tails[number] + data)[-len(END) :]
            if tails[number] == END:
                poll.unregister(number)
                del tails[number]
    return Got(read, events)


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def _speed(what: str, length: int, got: Got, passed: float, cpu: float) -> Speed:
    megabytes = length / 1e6
    return Speed(
        what=what,
        mb_per_s=megabytes / passed,
        wire_mb_per_s=got.bytes / 1e6 / passed,
        events_per_s=got.events / passed,
        cpu_ms_per_mb=cpu * 1000 / megabytes,
    )


def table(found: Sequence[Speed]) -> str:
    """A line for each kind of reading."""
    head = ("reading", "MB/s", "lowest to highest", "on the wire MB/s", "events/s", "CPU ms/MB")
    rows = []
    for what in dict.fromkeys(one.what for one in found):
        mine = [one for one in found if one.what == what]
        speeds = [one.mb_per_s for one in mine]
        rows.append(
            (
                what,
                f"{median(speeds):.1f}",
                f"{min(speeds):.1f} to {max(speeds):.1f}",
                f"{median(one.wire_mb_per_s for one in mine):.1f}",
                f"{median(one.events_per_s for one in mine):.0f}",
                f"{median(one.cpu_ms_per_mb for one in mine):.1f}",
            )
        )
    return report.table(head, rows)


SCENARIO = Scenario("replay", "a live stream and finished ones, MB/s", run, Size(40, 3))

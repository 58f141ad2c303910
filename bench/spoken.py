"""Streams that a node writes while thousands read them: for what is about readers, not relaying.

Strategy: the bench's own provider speaks, as it keeps each stream to its own time, where the load
pair's has a stream wait for its turn until many speak at once; each stream is asked for without
reading it, and its readers are an `audience`. A node takes no more readers than
half its open files, since a relayed stream needs two; where the machine has too few files for that
and one a reader would do, the node is started with that rule lifted, and the row says so.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import audience, ears, relay, servers
from bench.scenario import Bench

SPARE = 200
"""Connections that the node may hold beside those of the readers."""

ENDLESS = 1_000_000
"""Tokens of a stream that is not to end during a run."""

AT_ONCE = 'drain_timeout = "0s"\n'
"""A node that is told to stop does not wait for streams that go on."""

LIFTED = (
    "from holdfast.http import server\n"
    "server.connection_limit = lambda wanted: wanted\n"
    f"server.socket_limit = lambda connections: connections + {SPARE}\n"
)
"""What a node does first that takes as many readers as its settings say."""

PATIENCE = 30.0


class Spoken(NamedTuple):
    """A node, its streams, the pids of both programs, and whether its limit was lifted."""

    server: servers.Server
    streams: list[str]
    pid: int
    provider: int
    lifted: bool


class Told(NamedTuple):
    """An event of a stream: its id, and the numbers of the tokens in it."""

    id: str
    tokens: list[int]


class Meter:
    """What a server takes of its core from now on, and what programs outside the bench take."""

    def __init__(self, pid: int, core: int) -> None:
        self._pid, self._core = pid, core
        self._begun, self._used = time.monotonic(), servers.cpu_seconds(pid)
        self._busy = servers.busy_seconds(core)

    def read(self) -> tuple[float, float]:
        """CPU seconds, and the others' share of the core."""
        used = servers.cpu_seconds(self._pid) - self._used
        busy = servers.busy_seconds(self._core) - self._busy
        return used, max(0.0, (busy - used) / (time.monotonic() - self._begun))


@contextlib.contextmanager
def speaking(
    bench: Bench, folder: Path, streams: int, rate: float, readers: int
) -> Iterator[Spoken]:
    """A node whose streams get so many tokens a second each, and which takes so many readers.
    Raises `servers.Failed`."""
    more = f"max_connections = {readers + SPARE}\n{AT_ONCE}"
    server = servers.holdfast(folder, settings=more)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    lifted = files < 2 * (readers + SPARE) + 256
    if lifted:
        python, flag, start, *rest = server.command
        server = server._replace(command=(python, flag, LIFTED + start, *rest))
    command = relay.speaker(server.provider, rate, ENDLESS)
    log, core = folder / "holdfast.log", bench.cores[0]
    with (
        servers.running(command, server.provider, folder / "provider.log", bench.cores[1]) as voice,
        servers.running(server.command, server.port, log, core) as pid,
    ):
        time.sleep(relay.WARM)
        first, begun = time.monotonic(), []
        for number in range(streams):
            # Over the time of one token: they are not to speak in chorus.
            time.sleep(max(0.0, first + number / streams / rate - time.monotonic()))
            begun.append(begin(server))
        yield Spoken(server, begun, pid, voice, lifted)


def begin(server: servers.Server) -> str:
    """The id of a new stream, which nobody reads."""
    with contextlib.closing(_connection(server)) as asked:
        headers = {"Content-Type": "application/json"}
        asked.request("POST", "/v1/streams", server.body, headers)
        answer = asked.getresponse()
        said = answer.read()
        if answer.status != 201:
            raise servers.Failed(f"there is no stream: {answer.status} {said[:300]!r}")
        return str(json.loads(said)["id"])


def request(stream: str, after: str = "") -> bytes:
    """Asks for its events, all or those after the one of this id."""
    resumed = f"Last-Event-ID: {after}\r\n" if after else ""
    head = f"GET /v1/streams/{stream}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
    return f"{head}{resumed}\r\n".encode()


def history(server: servers.Server, stream: str) -> list[Told]:
    """The events up to now that have tokens."""
    with contextlib.closing(_connection(server)) as asked:
        asked.request("GET", f"/v1/streams/{stream}")
        newest = str(json.loads(asked.getresponse().read())["position"]).rpartition(":")[2]
    said = b""
    with contextlib.closing(_connection(server)) as asked:
        asked.request("GET", f"/v1/streams/{stream}/events")
        answer = asked.getresponse()
        while f":{newest}\n".encode() not in said and (more := answer.read1(1 << 20)):
            said += more
    return events(said)


def events(said: bytes) -> list[Told]:
    """Of native SSE, the events that have tokens in them."""
    found = []
    for block in said.split(b"\n\n"):
        tokens = [int(number) for number, _ in ears.STAMP.findall(block)]
        name = re.search(rb"^id: ?(.+)$", block, re.MULTILINE)
        if tokens and name:
            found.append(Told(name[1].decode(), tokens))
    return found


def wish(stream: str) -> audience.Wish:
    """To read it from its first token on."""
    return audience.Wish(request(stream))


def _connection(server: servers.Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)

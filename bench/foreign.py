"""Whether time tells that somebody else's stream exists: a node as it is, and a leaky one.

    python -m bench.foreign

Strategy: one caller has streams under way, streams that have ended, and readers; another one asks
for them and for ids of the same shape that never were, over one connection that is kept, each kind
as often as the others and in random order, so that whatever the machine does meanwhile it does to
all. The times of each kind are compared with those of the unknown ids by their ranks (Mann and
Whitney's U, as a normal deviate z), which asks nothing of how they are spread and sees a shift far
below their noise. The same is done to a node that looks a stream up before it asks whose it is: if
that were not found, the other verdict would be worth nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import random
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import servers
from holdfast import events
from holdfast.access import ids

PAIRS, WARM = 10_000, 1_000
"""Requests for each kind of id, and those before, whose time is not counted."""

EACH = 100
"""Different ids of a kind."""

FOUND = 4.0
"""Of z: a deviate beyond this comes by chance once in 16,000 times."""

COMPARED = {"under way": "unknown", "finished": "unknown", "connected": "not connected"}
"""Which kinds should look the same."""

PATIENCE = 10.0

LEAKY = (
    "from holdfast.access import ids; ids.may_be = lambda secret, stream, asker: True; "
    "from holdfast.cli import main; main()"
)
"""Starts a node whose `service.stat` looks in the log first."""


class Compared(NamedTuple):
    """Microseconds of one kind of ids beside the unknown ones, and what the ranks say."""

    kind: str
    median_us: float
    unknown_us: float
    z: float

    @property
    def found(self) -> bool:
        return abs(self.z) > FOUND


class Client:
    """One connection that is kept, and a key."""

    def __init__(self, port: int, key: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"

    def close(self) -> None:
        self._socket.close()

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        length = f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
        return f"{method} {path} HTTP/1.1\r\n{self._head}{length}\r\n".encode() + body

    def header(self, request: bytes, name: str) -> str:
        """This header of an answer whose body is not read. Raises `servers.Failed`."""
        self._socket.sendall(request)
        said = b""
        while b"\r\n\r\n" not in said:
            more = self._socket.recv(65536)
            if not more:
                break
            said += more
        found = re.search(rf"^{name}: (.*)\r$".encode(), said, re.IGNORECASE | re.MULTILINE)
        if found is None:
            raise servers.Failed(f"there is no {name}: {said[:300]!r}")
        return found[1].decode()

    def ask(self, request: bytes) -> tuple[float, bytes]:
        """Seconds to the whole answer, and the answer. Raises `servers.Failed`."""
        begun = time.perf_counter()
        self._socket.sendall(request)
        said = self._socket.recv(65536)
        took = time.perf_counter() - begun
        while not _whole(said):
            more = self._socket.recv(65536)
            if not more:
                raise servers.Failed(f"the node closed: {said[:300]!r}")
            took, said = time.perf_counter() - begun, said + more
        return took, said


def _whole(said: bytes) -> bool:
    head, found, body = said.partition(b"\r\n\r\n")
    _, named, rest = head.lower().partition(b"\r\ncontent-length: ")
    return bool(found and named) and len(body) >= int(rest.partition(b"\r\n")[0])


def z_of(ones: Sequence[float], others: Sequence[float]) -> float:
    """Mann and Whitney's U as a normal deviate; above 0 where `ones` are the greater. Equal values
    share their ranks."""
    both = sorted([(value, True) for value in ones] + [(value, False) for value in others])
    ranks, ties, at = 0.0, 0, 0
    while at < len(both):
        end = at
        while end < len(both) and both[end][0] == both[at][0]:
            end += 1
        rank = (at + 1 + end) / 2
        ranks += rank * sum(one for _, one in both[at:end])
        ties += (end - at) ** 3 - (end - at)
        at = end
    n, m = len(ones), len(others)
    u = ranks - n * (n + 1) / 2
    spread = n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1)))
    return (u - n * m / 2) / spread**0.5 if spread else 0.0


def measure(folder: Path, core: int, pairs: int, *, leaky: bool) -> list[Compared]:
    """`core` is the node's. Raises `servers.Failed`."""
    node = servers.node("leaky" if leaky else "holdfast", folder, _log(folder), 0, "")
    if leaky:
        node = node._replace(command=(*node.command[:2], LEAKY, *node.command[3:]))
    config = str(folder / "holdfast.toml")
    keys = {name: _key(config, name) for name in ("owner", "asker")}
    with (
        servers.running(node.command, node.port, folder / f"{node.name}.log", core),
        contextlib.ExitStack() as stack,
    ):
        owner = stack.enter_context(contextlib.closing(Client(node.port, keys["owner"])))
        paths = _paths(owner)
        if not leaky:
            streams = paths["under way"]
            readers = [Client(node.port, keys["owner"]) for _ in streams]
            for reader in readers:
                stack.enter_context(contextlib.closing(reader))
            paths |= _connections(readers, streams)
        asker = stack.enter_context(contextlib.closing(Client(node.port, keys["asker"])))
        times = _times(asker, paths, pairs)
    return [
        Compared(
            kind,
            statistics.median(times[kind]) * 1e6,
            statistics.median(times[unknown]) * 1e6,
            z_of(times[kind], times[unknown]),
        )
        for kind, unknown in COMPARED.items()
        if kind in times
    ]


def _paths(owner: Client) -> dict[str, list[str]]:
    """Of streams under way, of such that have ended, and of none, by kind."""
    live = [_made(owner, "tokens=2 stall_at=1") for _ in range(EACH)]
    finished = [_made(owner, "tokens=2 rate=100000") for _ in range(EACH)]
    _wait_for(owner, live, "streaming")
    _wait_for(owner, finished, "completed")
    found: dict[str, Sequence[str]]
    found = {"under way": live, "finished": finished, "unknown": _unknown()}
    return {kind: [f"/v1/streams/{id}" for id in some] for kind, some in found.items()}


def _connections(readers: Sequence[Client], streams: Sequence[str]) -> dict[str, list[str]]:
    """The same of connections: each of these reads one of the streams from now on."""
    open_ = [
        reader.header(reader.request("GET", f"{stream}/events"), "x-connection-id")
        for reader, stream in zip(readers, streams, strict=True)
    ]
    found: dict[str, Sequence[str]] = {"connected": open_, "not connected": _unknown()}
    return {kind: [f"/v1/connections/{id}" for id in some] for kind, some in found.items()}


def _unknown() -> list[events.StreamId]:
    """Ids as they might be, and are not."""
    return [ids.new(secrets.token_bytes(32), "owner/") for _ in range(EACH)]


def _log(folder: Path) -> str:
    return f"sqlite:///{folder / 'holdfast.db'}"


def _key(config: str, tenant: str) -> str:
    command = (sys.executable, "-c", "from holdfast.cli import main; main()", "keys", "create")
    more = (tenant, "--tenant", tenant, "--config", config)
    made = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
    if made.returncode:
        raise servers.Failed(f"there is no key: {made.stderr.strip()}")
    return made.stdout.strip()


def _made(owner: Client, options: str) -> events.StreamId:
    messages = [{"role": "user", "content": f"/demo {options}"}]
    body = json.dumps({"model": "demo", "messages": messages}).encode()
    _, said = owner.ask(owner.request("POST", "/v1/streams", body))
    if not said.startswith(b"HTTP/1.1 201"):
        raise servers.Failed(f"there is no stream: {said[:300]!r}")
    return events.stream_id(json.loads(said.partition(b"\r\n\r\n")[2])["id"])


def _wait_for(owner: Client, streams: Sequence[str], status: str) -> None:
    until = time.monotonic() + PATIENCE
    waiting = list(streams)
    while waiting and time.monotonic() < until:
        _, said = owner.ask(owner.request("GET", f"/v1/streams/{waiting[-1]}"))
        if json.loads(said.partition(b"\r\n\r\n")[2])["status"] == status:
            waiting.pop()
    if waiting:
        raise servers.Failed(f"{len(waiting)} streams are not {status}")


def _times(asker: Client, paths: Mapping[str, Sequence[str]], pairs: int) -> dict[str, list[float]]:
    """Seconds of each request, by kind. Raises `servers.Failed` where an answer is no 404."""
    requests = {kind: [asker.request("GET", path) for path in some] for kind, some in paths.items()}
    order = [kind for kind in requests for _ in range(pairs)]
    random.shuffle(order)
    order = random.choices(list(requests), k=WARM) + order
    times: dict[str, list[float]] = {kind: [] for kind in requests}
    gc.collect()
    gc.disable()
    try:
        for number, kind in enumerate(order):
            took, said = asker.ask(random.choice(requests[kind]))
            if not said.startswith(b"HTTP/1.1 404"):
                raise servers.Failed(f"{kind}: {said[:300]!r}")
            if number >= WARM:
                times[kind].append(took)
    finally:
        gc.enable()
    return times


def main() -> int:
    """Returns the exit code: 0 where the node tells nothing and the leaky one is found out."""
    parser = argparse.ArgumentParser(description="Does time tell that a foreign stream exists?")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="requests for each kind of id")
    pairs = parser.parse_args().pairs
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    right = True
    for name, leaky in (("as it is", False), ("leaky on purpose", True)):
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = measure(Path(folder), cores[0], pairs, leaky=leaky)
            except servers.Failed as error:
                print(f"not measured: {error}", file=sys.stderr)
                return 1
        right = right and any(one.found for one in found) == leaky
        for one in found:
            verdict = "a difference" if one.found else "no difference"
            print(
                f"{name}: {one.kind} {one.median_us:.1f} us, {COMPARED[one.kind]} "
                f"{one.unknown_us:.1f} us, "
                f"z = {one.z:+.2f}: {verdict}"
            )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())

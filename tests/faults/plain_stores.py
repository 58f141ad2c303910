"""A log and an archive that are plain and full, and what both must tell for ever.

Strategy: a fixed mixture, written by the contracts: finished streams of every field, long ones of
many segments, taken over ones, open ones that somebody can go on with or nobody can; attempts,
connections, minutes. `told` is all that the contracts tell of it, byte for byte, and `compare`
holds a later telling against an earlier one: what had ended is as it was, and what was open has
what it had, and at most one end. Everything that people said has a text that is searched for.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from tests.contract import archives
from tests.faults import canaries

from holdfast import events, request, storage
from holdfast.archive import base as archive_base
from holdfast.archive import rows
from holdfast.archive import url as archive_url
from holdfast.eventlog import base as log_base
from holdfast.eventlog import url as log_url
from holdfast.eventlog.sqlite import engine
from holdfast.sealing import ring, sealer, sources
from holdfast.testing.eventlog import parts

ALL = 10_000
"""Streams that a list may have here."""

CHECKPOINT_BYTES = 40_000
"""Of the redo log, so that some of a file is in segments, and some is not."""

OWNERS = ("acme/ann", "acme/bob", "other/eve", "")
FOREIGN = {"dialect": "native", "route": "default", "version": 1}
FIELDS = {**parts.EVERY_FIELD, **FOREIGN}


class Size(msgspec.Struct, frozen=True):
    """Streams in the log, of these some long ones, and open ones; streams in the archive."""

    ended: int = 40
    long: int = 3
    open: int = 10
    archived: int = 20
    connections: int = 30
    words: int = 20
    long_words: int = 900


class Place(msgspec.Struct, frozen=True):
    """Where a node's log, archive and ring are; `planted` is in all that was said."""

    folder: Path
    log_url: str
    archive_url: str
    planted: str = msgspec.field(default_factory=lambda: f"plant{secrets.token_hex(8)}")

    @property
    def ring(self) -> sources.File:
        return sources.File(self.folder / "holdfast.keys")

    @property
    def keys(self) -> list[str]:
        return [key.id for key in self.ring.read().keys]

    @property
    def env(self) -> dict[str, str]:
        return {
            "HOLDFAST_LOG__URL": self.log_url,
            "HOLDFAST_LOG__LEASE": "1s",
            "HOLDFAST_ARCHIVE__URL": self.archive_url,
            "HOLDFAST_SEALING__KEYS": str(self.ring.path),
            "HOLDFAST_FALLBACK__DELAY": "10ms",
        }

    def by(self, on: bool = True) -> sealer.Sealer:
        return sealer.Sealer(self.ring.read(), on=on)

    def log(self, by: sealer.Sealer = sealer.OFF) -> log_base.EventLog:
        if self.log_url.startswith("sqlite:"):
            file = self.log_url.removeprefix("sqlite:///")
            return engine.SqliteLog(file, checkpoint_bytes=CHECKPOINT_BYTES, sealer=by)
        return log_url.open_log(self.log_url, log_url.Wanted(archived=True, lease=1.0, sealer=by))

    def archive(self, by: sealer.Sealer = sealer.OFF) -> archive_base.Archive:
        return archive_url.open_archive(self.archive_url, self.log_url, by)

    @contextlib.asynccontextmanager
    async def opened(
        self, by: sealer.Sealer = sealer.OFF
    ) -> AsyncIterator[tuple[log_base.EventLog, archive_base.Archive]]:
        log, archive = self.log(by), self.archive(by)
        await log.start()
        try:
            await archive.start()
            yield log, archive
        finally:
            await archive.close()
            await log.close()


class Stream(msgspec.Struct, frozen=True):
    info: storage.Info
    events: tuple[events.Event, ...]
    attempts: tuple[rows.Attempt, ...] = ()

    @property
    def ended(self) -> bool:
        return self.info.head.closed


Streams = dict[events.StreamId, Stream]


class Told(msgspec.Struct, frozen=True):
    """All that both stores tell, in the order of their lists."""

    log: Streams
    archive: Streams
    connections: dict[str, rows.Connection]
    minutes: dict[tuple[int, str], bytes]
    secrets: tuple[bytes, bytes]


# How it is filled


async def fill(place: Place, size: Size) -> None:
    """By a node that does not know of sealing. What is open is nobody's then."""
    now = events.now_ms()
    async with place.opened() as (log, archive):
        for number in range(size.ended):
            await _ended(log, place, size, number, now - 60_000 + number)
        for number in range(size.open):
            await _open(log, place, number, now - 1000 + number)
        for number in range(size.archived):
            await _archived(archive, place, size, number, now - 90_000 + number)
        owned = [
            rows.Connection(
                id=f"c{number:03}",
                stream=f"s{number}",
                owner=OWNERS[number % 3],
                opened_at=now - number,
                updated_at=now,
                data=f"data {place.planted} {number}".encode(),
                closed_at=now,
            )
            for number in range(size.connections)
        ]
        await archive.keep_connections(owned)
        minutes = [rows.Minute(now - at * 60_000, "node", b"%d" % at) for at in range(1, 6)]
        await archive.keep_minutes(minutes)


def _words(place: Place, count: int) -> list[str]:
    return [f"word {number} {place.planted} {secrets.token_hex(8)} " for number in range(count)]


async def _ended(
    log: log_base.EventLog, place: Place, size: Size, number: int, created_at: int
) -> None:
    fields = FIELDS if number % 2 else {}
    owner = OWNERS[number % len(OWNERS)]
    asked = f"the prompt {place.planted}".encode()
    pen = await parts.begin(log, created_at, **{**fields, "owner": owner, "request": asked})
    said = [parts.chunk(text) for text in _words(place, size.words)]
    if number < size.long:
        said = [parts.chunk(text) for text in _words(place, size.long_words)]
    half = len(said) // 2
    await pen.write(*said[:half], ts=created_at + 1)
    if number % 5 == 4:
        life = await log.claim(pen.stream, created_at + 2)
        assert life is not None
        pen = parts.Pen(log, pen.stream, life)
    end = (parts.COMPLETE, parts.FAILED, parts.COMPLETE, parts.CANCELLED)[number % 4]
    await pen.write(*said[half:], end, ts=created_at + 3)


async def _open(log: log_base.EventLog, place: Place, number: int, created_at: int) -> None:
    """Every other one can be gone on with."""
    said = f"{place.planted}\n/demo tokens=60 rate=150"
    wanted = request.Request("demo", [request.Message("user", said)])
    asked = request.pack(wanted) if number % 2 else f"no request {place.planted}".encode()
    more = {"owner": OWNERS[number % len(OWNERS)], "model": "demo", "request": asked}
    pen = await parts.begin(log, created_at, **more)
    if number % 3:
        await pen.write(*map(parts.chunk, _words(place, 5)), ts=created_at + 1)


async def _archived(
    archive: archive_base.Archive, place: Place, size: Size, number: int, created_at: int
) -> None:
    count = size.long_words if number < size.long else size.words
    known: dict[str, Any] = {"owner": OWNERS[number % len(OWNERS)], "user_id": "u"}
    one = archives.told(
        *_words(place, count),
        created_at=created_at,
        ended_at=created_at + 5,
        adopted=number % 4 == 1,
        **known,
    )
    await archive.keep(one.info, archives.ATTEMPTS, one.pages())


# What it tells


async def told(place: Place, by: sealer.Sealer = sealer.OFF) -> Told:
    async with place.opened(by) as (log, archive):
        return Told(
            await _streams(log),
            {
                name: msgspec.structs.replace(one, attempts=tuple(await archive.attempts(name)))
                for name, one in (await _streams(archive)).items()
            },
            {one.id: one for one in await archive.connections(rows.Sought(limit=1000))},
            {(one.at, one.node): one.data for one in await archive.minutes(0, 1 << 53, 1000)},
            (log.secret, archive.secret),
        )


async def _streams(store: log_base.EventLog | archive_base.Archive) -> Streams:
    found: Streams = {}
    for info in await store.find(storage.Query(limit=ALL)):
        assert await store.stat(info.stream) == info
        found[info.stream] = Stream(info, tuple(await _all(store, info.stream)))
    return found


async def _all(
    store: log_base.EventLog | archive_base.Archive, stream: events.StreamId
) -> list[events.Event]:
    found: list[events.Event] = []
    after, more = events.BEGIN, True
    while more:
        page = await store.read(stream, after)
        found += page.events
        after, more = page.position, page.more
    return found


# How it is compared


def compare(before: Told, now: Told, *, over: bool) -> None:
    """`over`: all that was open has ended since."""
    assert now.secrets == before.secrets
    assert _order(before.log, now.log) == list(before.log)
    for name, was in before.log.items():
        _compare_stream(was, now.log[name], over=over)
    assert _order(before.archive, now.archive) == list(before.archive)
    for name, was in before.archive.items():
        assert now.archive[name] == was, name
    for name in now.archive.keys() - before.archive.keys():  # archived since
        assert now.archive[name].events == now.log[name].events, name
        ours, there = now.log[name].info, now.archive[name].info
        bare = msgspec.structs.replace(ours.header, request=b"")
        assert there == msgspec.structs.replace(ours, header=bare), name
    assert _within(before.connections, now.connections)
    assert _within(before.minutes, now.minutes)


def _order(before: Streams, now: Streams) -> list[events.StreamId]:
    return [name for name in now if name in before]


def _within(before: Mapping[Any, Any], now: Mapping[Any, Any]) -> bool:
    return before.items() <= now.items()


def _compare_stream(was: Stream, now: Stream, *, over: bool) -> None:
    name = was.info.stream
    if was.ended:
        bare = msgspec.structs.replace(was.info.header, request=now.info.header.request)
        assert now.info == msgspec.structs.replace(was.info, header=bare), name
        assert now.events == was.events, name
        return
    assert now.events[: len(was.events)] == was.events, name
    assert [event.seq for event in now.events] == list(range(1, len(now.events) + 1)), name
    ends = [event.kind in events.TERMINAL for event in now.events]
    assert not any(ends[:-1]), name
    assert ends[-1] == now.ended, name
    assert now.ended or not over, name
    kept = msgspec.structs.replace(was.info.header, request=now.info.header.request)
    assert now.info.header == kept, name


def found_in(paths: Sequence[Path], place: Place, *more: bytes) -> list[str]:
    """Which files have the planted text, or one of these, as it is or compressed."""
    texts = (place.planted.encode(), *more)
    hits = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # a server's, which it made for a moment
            data = path.read_bytes()
            whole = data + canaries.expanded(data)
            hits += [f"{path}: {text!r}" for text in texts if text in whole]
    return hits


def key_of(wrapped: Mapping[str, int]) -> set[str]:
    return {key_id for key_id, count in wrapped.items() if count}


def with_ring(*keys: ring.RingKey) -> sealer.Sealer:
    return sealer.Sealer(ring.Ring(keys))

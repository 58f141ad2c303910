"""The archive's contract: what outlives the event log, and the API keys.

Strategy: what is kept is finished and does not change, so that a call may be made again, by
anybody, as often as it takes: that makes "at least once" enough for who writes. Reads answer as the
event log's do (`storage`), so that one reader loop serves both. One suite holds every archive to
this, `tests/contract/test_archive*.py`.

Of keys a node asks for all at once and only where something has changed, so that a request is let
in by a look-up in memory; commands that make and revoke keys write to the same database while nodes
run. A key itself is never stored, only its keyed digest. A revoked key stays, so that a node that
once had keys never opens itself to everybody again.

Rules for every archive
1.  A stream is there whole or not at all: its events from 1 to the terminal one, byte for byte,
    with their epochs, so that each position in the log is the same here; a call that fails leaves
    nothing of it. What is there stays as it is until it expires.
2.  `keep` of a stream that is there, or that was let go, changes nothing; also of two at once, from
    two nodes, one is kept. The header is kept without its `request`.
3.  Memory is bounded by a page and a group of segments, however long the stream is.
4.  A position is good if its seq is 0 or the archive holds exactly that event. Any other is
    `errors.UnknownPosition`.
5.  Bytes that are not those that were kept are `errors.LogCorrupt`, never passed over; so is a
    stream that does not end with a terminal event.
6.  A list is of whom it is asked for: it costs nothing of what other owners or tenants have.
7.  Of two states of a connection the newer stays (`rows.Connection.age`), in whatever order they
    come; of one minute of one node the last that was told.
8.  Each call is bounded: in rows, in bytes and in time. One that cannot be carried out in that
    time raises, changes nothing or all, and may be made again.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from holdfast import errors, events, storage
from holdfast.archive import records, rows
from holdfast.sealing import stores


class Quota(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How much somebody may use. 0 is without limit; None says nothing, which is without limit too
    where nothing is usual. `streams` are answers under way and `connections` open event streams,
    both at once; `cost_per_day` is in millionths of the currency of the price table."""

    streams: int | None = None
    connections: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    cost_per_day: int | None = None

    def over(self, usual: Quota) -> Quota:
        """What is said here, and the rest as usual."""
        said = {
            name: value for name, value in msgspec.structs.asdict(self).items() if value is not None
        }
        return msgspec.structs.replace(usual, **said)


class Key(msgspec.Struct, frozen=True, gc=False):
    """An API key as it is kept. `digest` is that of `access.keys`; `user` "" is the tenant itself.
    Of `quota` a field that is None is left to the settings. Times in ms since 1970."""

    id: str
    digest: bytes
    name: str
    tenant: str
    user: str
    scopes: tuple[str, ...]
    created_at: int
    quota: Quota
    expires_at: int | None = None
    revoked_at: int | None = None


class Keys(msgspec.Struct, frozen=True):
    """All keys, the oldest first, and the revision that they are of."""

    revision: int
    keys: tuple[Key, ...]


class Archive(stores.SealedStore, Protocol):
    """What a node and the commands may ask of a store; about keys see `sealing.stores`.

    Every call may raise `errors.ArchiveUnavailable`, but those of keys and `start`, which raise
    `errors.KeysUnavailable`: without keys there is no verdict on anybody."""

    lasting: bool
    """Whether it outlives the process."""

    shared: bool
    """Whether all nodes of a log have this one, and no other."""

    async def shred(self, stream: events.StreamId, *, keep_out: bool = False) -> bool:
        """As `stores.SealedStore` says, with its readers' connections. With `keep_out` one that is
        not there is not kept later either: whoever archives it in this moment is too late."""

    async def drop_guard(self, key_id: str) -> None:
        """As `stores.SealedStore` says; `errors.ArchiveUnavailable` also where another node keeps a
        stream under this key meanwhile: look again."""

    @property
    def secret(self) -> bytes:
        """32 random bytes made with the store, the same on every node that shares it; there after
        `start`."""

    @property
    def file(self) -> Path | None:
        """Where it lies, if that is a file."""

    @property
    def place(self) -> str:
        """Where it is, as it may be shown: without a password."""

    async def start(self) -> None:
        """Opens the store, makes it where it is not there, and applies the migrations that it
        lacks. Raises `errors.SettingsError` for one that is not ours, or of a newer version, or
        that is sealed by a key that the ring lacks."""

    async def close(self) -> None:
        """Idempotent, and safe before `start`."""

    # Its own shape; both also before `start`.

    async def status(self) -> rows.State:
        """Which migrations it has and lacks; changes nothing. Raises `errors.SettingsError`."""

    async def upgrade(self) -> tuple[rows.Applied, ...]:
        """Applies what is pending, each in a transaction of its own, under a lock; which these
        were. Raises `errors.SettingsError`."""

    # Keys

    async def keys(self, known: int) -> Keys | None:
        """All keys; None where they are still those of the revision `known`. No store has the
        revision -1."""

    async def add(self, key: Key) -> None:
        """Keeps a new key. Raises ValueError for an id or a digest that is there already."""

    async def revoke(self, key_id: str, now: int) -> Key | None:
        """Ends a key for ever, and gives it back; None where there is no such key. One that was
        revoked before keeps its time."""

    # Streams

    async def keep(
        self,
        info: storage.Info,
        attempts: Sequence[rows.Attempt],
        pages: AsyncIterator[Sequence[events.Event]],
    ) -> bool:
        """Keeps a finished stream; whether it is new. `pages` are its events in order; they are
        read as they are written, and not at all where the stream is there. `attempts` is looked at
        after the last page, so that who makes the pages may fill it meanwhile; of one number the
        last holds. Raises ValueError for events that are not those of `info` and for values that
        the store cannot hold, and what `pages` raises."""

    async def keep_all(self, some: Sequence[records.Finished]) -> set[events.StreamId]:
        """Keeps short streams in one step, each as `keep` does: all of them, or where it fails
        none; which were new. Raises ValueError where the store cannot hold a value of one of
        them."""

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = storage.PAGE_EVENTS
    ) -> storage.Page:
        """The next page, of `limit` events at most and one at least, where there is one. Raises
        `errors.UnknownPosition`, `StreamNotFound` (also once it has expired), `LogCorrupt`."""

    async def heads(self, streams: Sequence[events.StreamId]) -> list[storage.Head | None]:
        """How far each is, for many streams at once; None for one that is not there."""

    async def stat(self, stream: events.StreamId) -> storage.Info | storage.Tombstone | None:
        """What is known of a stream; None for one that was never kept or is long forgotten."""

    async def find(self, query: storage.Query) -> list[storage.Info]:
        """A page of streams, newest first, at most `query.limit`. Of one whose header cannot be
        opened it has what lists are made by."""

    async def attempts(self, stream: events.StreamId) -> list[rows.Attempt]:
        """By their numbers; none where the stream is not there."""

    async def expire(self, before: int, limit: int) -> int:
        """Removes at most `limit` streams that ended before `before` (ms), the oldest first,
        leaving a tombstone each, and forgets tombstones older than `storage.TOMBSTONE_MS`; how
        many streams."""

    # Connections, and metrics by minute: at most `rows.MAX_ROWS` a call, more is a ValueError

    async def keep_connections(self, connections: Sequence[rows.Connection]) -> None:
        """Keeps the newest state of each, all of them together."""

    async def connection(self, connection_id: str) -> rows.Connection | None:
        """One by its id."""

    async def connections(self, sought: rows.Sought) -> list[rows.Connection]:
        """Those that fit, the newest first, by (opened_at, id). One whose data cannot be opened has
        none."""

    async def keep_minutes(self, minutes: Sequence[rows.Minute]) -> None:
        """Keeps what nodes counted, in the place of what they told of the same minutes before."""

    async def minutes(
        self, start: int, end: int, limit: int, after: tuple[int, str] = (-1, "")
    ) -> list[rows.Minute]:
        """From `start` up to, and without, `end`, by (at, node); `after` is that of the last one
        of the page before."""

    async def forget(self, before: int, limit: int) -> int:
        """Removes at most `limit` connections last told of before `before` (ms), and as many
        minutes that began before; how many of both."""


@contextlib.contextmanager
def verdicts() -> Iterator[None]:
    """Around what decides whether somebody is let in: any failure is that there is no verdict."""
    try:
        yield
    except (errors.ArchiveUnavailable, errors.LogCorrupt) as error:
        raise errors.KeysUnavailable(error.message) from error

"""The event log's contract.

Strategy: few verbs, and the rules stand here, where an engine's author reads them; the
suite in `holdfast.testing.eventlog` holds every engine to them. A log is told whole ticks
and answers whole pages; it has no timer, knows no provider and no reader. Verdicts that a
caller must act on (`Fenced`, `Lost`, `Exists`) are results, not exceptions; exceptions are
for an engine that cannot do its work (`errors.LogUnavailable`, `errors.LogCorrupt`).

Rules for every engine
1.  A stream's events have the sequence numbers 1, 2, 3 … without gap or repeat, through all
    epochs; an event becomes visible after every event before it.
2.  An append is atomic for each stream, and durable at the engine's level on return. What
    `read` has shown once it shows for ever, byte for byte, until the stream expires.
3.  Only the newest life writes: an append with another epoch is `Fenced`, and so is one to
    a stream that has its terminal event, or that is not there. A batch that is there already
    (its epoch and last seq are the head's) is `Ok`, in a closed stream too: so a tick whose
    fate is unknown is sent again unchanged.
4.  A tick is a value: an engine never changes it and the caller never changes it either
    while it is in flight. At most one tick of a node is in flight. A transient event, an
    event behind a terminal one or a negative time is a caller's bug: `ValueError`, and
    nothing of the tick is written.
5.  After a terminal event a stream is closed. `claim` on a closed stream changes nothing.
6.  A position is good if its seq is 0 or the log holds exactly that event, whatever the
    present epoch. Any other is `errors.UnknownPosition`.
7.  `wake` callbacks are hints: called on the event loop soon after there may be more,
    perhaps for nothing, perhaps not at all. They take no argument and must not fail.
8.  `cancelled` stays true once requested; every `Ok` repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from holdfast import events
from holdfast.eventlog import counters
from holdfast.sealing import stores
from holdfast.storage import (
    HEADER_VERSION,
    PAGE_BYTES,
    PAGE_EVENTS,
    TOMBSTONE_MS,
    Head,
    Header,
    Info,
    Page,
    Query,
    Tombstone,
    cut,
)

__all__ = [
    "HEADER_VERSION",
    "LEASE_SECONDS",
    "PAGE_BYTES",
    "PAGE_EVENTS",
    "TOMBSTONE_MS",
    "Batch",
    "CancelHint",
    "Ended",
    "Endings",
    "EventLog",
    "Exists",
    "Fenced",
    "Head",
    "Header",
    "Info",
    "Life",
    "Lost",
    "Nodes",
    "Ok",
    "Page",
    "Query",
    "Result",
    "Tick",
    "Tombstone",
    "Undo",
    "Wake",
    "cut",
]


LEASE_SECONDS = 15.0
"""Until a node that says nothing counts as dead."""


class Life(msgspec.Struct, frozen=True, gc=False):
    """The right to write: the epoch, and the seq that the stream's last event has."""

    epoch: int
    last: int


class Exists(msgspec.Struct, frozen=True):
    """`create` found a stream of this id; nothing was changed."""

    header: Header


class Batch(msgspec.Struct, frozen=True):
    """One stream's part of a tick; the last of `drafts` gets the seq `last`. `ts` in ms."""

    stream: events.StreamId
    epoch: int
    last: int
    ts: int
    drafts: tuple[events.Draft, ...]


Tick = tuple[Batch, ...]


class Ok(msgspec.Struct, frozen=True, gc=False):
    """The batch is in the log."""

    cancelled: bool = False


class Fenced(msgspec.Struct, frozen=True, gc=False):
    """Another life writes this stream, or it has ended: stop."""


class Lost(msgspec.Struct, frozen=True, gc=False):
    """The engine forgot a tail; `last` is the seq that it still holds."""

    last: int


Result = Ok | Fenced | Lost


class Ended(msgspec.Struct, frozen=True, gc=False):
    """A stream that has ended, and when, in ms since 1970."""

    stream: events.StreamId
    ended_at: int


class Endings(Protocol):
    """Of a log whose streams are archived elsewhere: what has ended, until that is there."""

    async def ended(self, limit: int) -> list[Ended]:
        """What is not acknowledged yet, the longest ended first, at most `limit`; what another
        living node is likely to archive comes later. Raises `errors.LogUnavailable`."""

    async def acknowledge(self, streams: Sequence[events.StreamId]) -> None:
        """These are archived: from now on they may expire. Idempotent. Raises
        `errors.LogUnavailable`."""


class Nodes(Protocol):
    """Of a log that nodes share: what they ask each other. A question is bytes, and so is an
    answer; neither is kept."""

    @property
    def name(self) -> str:
        """This node's, for as long as it lives."""

    def answer(self, by: Callable[[bytes], bytes]) -> None:
        """What this node says to the questions of others from now on; it must not fail."""

    async def ask(self, question: bytes, seconds: float) -> Mapping[str, bytes | None]:
        """What each other node that is there answers within these seconds, by its name; None for
        one that does not. Raises `errors.LogUnavailable`."""


Wake = Callable[[], None]
Undo = Callable[[], None]
CancelHint = Callable[[events.StreamId], None]


class EventLog(stores.SealedStore, Protocol):
    """What producers, readers and the service may ask of an engine; about keys see
    `sealing.stores`."""

    @property
    def secret(self) -> bytes:
        """32 random bytes made with the store, the same on every node that shares it."""

    @property
    def counters(self) -> counters.Counters | None:
        """What all nodes count together; None where the engine keeps no counters."""

    @property
    def nodes(self) -> Nodes | None:
        """The other nodes; None where there can be none."""

    @property
    def endings(self) -> Endings | None:
        """What is to be archived; `expire` leaves that alone. None where what has ended stays in
        the log for as long as it can be read."""

    @property
    def forgets(self) -> bool:
        """Whether what it has taken may be gone later, as with one whose copy takes its place. Any
        log answers `Lost` to a gap, for whatever reason there is one."""

    async def start(self) -> None:
        """Opens the store. Raises `errors.LogLocked`, `LogCorrupt`, `LogUnavailable`."""

    async def close(self) -> None:
        """Idempotent, and safe before `start`; what was acknowledged stays."""

    async def until_ended(self) -> None:
        """Waits while the engine works. Returns, or raises why, when its own background work
        has ended unasked and it can take nothing any more; the node then stops."""

    async def create(
        self, stream: events.StreamId, header: Header, drafts: tuple[events.Draft, ...], ts: int
    ) -> Life | Exists:
        """A new stream with its first events in one atomic step. Raises
        `errors.StreamExpired` while the id has a tombstone."""

    async def append(self, tick: Tick) -> list[Result]:
        """One result a batch, in order. Raises `errors.LogUnavailable`: the fate of the tick
        is unknown, send it again unchanged."""

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = PAGE_EVENTS
    ) -> Page:
        """The next page, of `limit` events at most and one at least, where there is one.
        Raises `errors.UnknownPosition`, `StreamNotFound` (also once it has
        expired), `LogCorrupt`."""

    def glance(self, stream: events.StreamId, after: events.Position) -> Page | None:
        """What `read` would give, where that is something new and lies in memory; None says
        nothing, `read` must be asked. May raise what `read` raises; never waits."""

    async def heads(self, streams: Sequence[events.StreamId]) -> list[Head | None]:
        """How far each is, for many streams at once; None for one that is not there."""

    async def stat(self, stream: events.StreamId) -> Info | Tombstone | None:
        """What is known of a stream; None for one that never was or is long forgotten."""

    async def find(self, query: Query) -> list[Info]:
        """A page of streams, newest first, at most `query.limit`."""

    async def claim(self, stream: events.StreamId, ts: int) -> Life | None:
        """A new life with its `metadata adopted` event in the same atomic step; None where
        the stream is closed or not there."""

    async def orphans(self, limit: int) -> list[events.StreamId]:
        """Open streams without a living writer, at most `limit`."""

    async def request_cancel(self, stream: events.StreamId) -> bool:
        """Sets the durable flag and sends the hint. False: closed already or not there."""

    async def expire(self, before: int, limit: int) -> int:
        """Removes at most `limit` streams that ended before `before` (ms), leaving a
        tombstone each, and forgets tombstones older than `TOMBSTONE_MS`; how many."""

    def watch(self, stream: events.StreamId, wake: Wake) -> Undo:
        """Registers a hint; the returned call takes it back and is idempotent."""

    def watch_cancels(self, hint: CancelHint) -> Undo:
        """Registers a hint for cancel requests of any stream."""

"""Connections: one reader's open SSE response each, and the book that is kept of them.

Strategy: a connection's status moves through a table; an illegal step raises and changes
nothing. The book counts slots: `enter` takes one, `leave` gives it back once, whatever
happened in between. Closed connections stay readable for a while, in a bounded list. A socket is
asked what the kernel knows of it as it opens, once in a while, and at its end. The counters are
plain numbers, updated once a write; nothing here knows HTTP.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from holdfast import endings, errors, events, shelf
from holdfast.access import principal
from holdfast.metering import account
from holdfast.telemetry import counts, histogram, tcp

Status = Literal["connecting", "connected", "streaming", "completed", "error", "disconnected"]

TRANSITIONS: dict[Status, frozenset[Status]] = {
    "connecting": frozenset(("connected", "error", "disconnected")),
    "connected": frozenset(("streaming", "completed", "error", "disconnected")),
    "streaming": frozenset(("completed", "error", "disconnected")),
    "completed": frozenset(),
    "error": frozenset(),
    "disconnected": frozenset(),
}

KEPT_CLOSED = 10_000
"""Closed connections that the book remembers, the newest."""

LOOKED_AT = 250
"""Sockets that the kernel is asked about at a time, at about 5 µs each; the next time others."""


class Options(msgspec.Struct, frozen=True, gc=False):
    """What was agreed for a connection. Bytes, milliseconds, seconds."""

    buffer_size: int
    flush_interval_ms: int
    compression: bool
    encryption: bool
    heartbeat_interval: float


class Peer(msgspec.Struct, frozen=True, gc=False):
    """Who reads, as far as the reader told."""

    client_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    request_id: str | None = None
    user_agent: str | None = None
    ip: str | None = None


class Patience(msgspec.Struct, frozen=True, gc=False):
    """How long what may last, in seconds: silence towards a reader, a reader of whom no byte has
    left, one that takes none while there are some, a connection at all (None: for ever)."""

    heartbeat: float
    silence: float
    write: float
    age: float | None = None


class Connection:
    """One reader. `wake` is what makes its loop look up: at a heartbeat or a goodbye."""

    __slots__ = (
        "_packed",
        "accounts",
        "bytes_saved",
        "bytes_sent",
        "chunks_sent",
        "continued",
        "created_at",
        "cut",
        "encoding",
        "farewell",
        "id",
        "last_activity",
        "last_write_at",
        "latencies",
        "left",
        "line",
        "measure",
        "missed",
        "model",
        "opened_at",
        "options",
        "owner",
        "peer",
        "provider",
        "reader",
        "reason",
        "resumed",
        "said_at",
        "silent",
        "status",
        "stream",
        "unsent",
        "updated_at",
        "waiting_since",
        "wake",
    )

    def __init__(
        self,
        stream: events.StreamId,
        provider: str,
        model: str,
        peer: Peer,
        options: Options,
        wake: Callable[[], None],
        now: float,
        *,
        reader: principal.Principal = principal.ANYBODY,
        owner: str = "",
        id: str = "",
        accounts: Sequence[account.Account] = (),
        resumed: bool = False,
        encoding: str = counts.IDENTITY,
    ) -> None:
        """`now` on the loop's clock, as all `now` here but the wall-clock stamps. `owner` is the
        stream's; without an `id` it has a random one; `accounts` are those that the reader counts
        in; `resumed`: it goes on behind an event that it has; `encoding` is that of its body."""
        self.id = id or str(events.new_stream_id())
        self.stream, self.provider, self.model = stream, provider, model
        self.peer, self.options, self.wake = peer, options, wake
        self.reader, self.owner, self.accounts = reader, owner, accounts
        self.resumed, self.encoding = resumed, encoding
        self.status: Status = "connecting"
        self.created_at = self.updated_at = self.last_write_at = events.now_ms()
        self.bytes_sent = self.bytes_saved = self.chunks_sent = 0
        self.latencies = histogram.Recorder()
        self._packed: histogram.Packed | None = None
        """From an event's append to its write, of each write of what came while it was here."""
        self.continued = False
        """It was sent what follows on what it had."""
        self.missed = False
        """What it had is not there any more."""
        self.opened_at = self.said_at = self.last_activity = now
        self.left = 0
        self.waiting_since: float | None = None
        """Since when bytes wait and none leaves."""
        self.silent = False
        """A heartbeat is due."""
        self.farewell: str | None = None
        """Why the reader is to come back later; None while it may stay."""
        self.reason: str | None = None
        """Why it ended (`endings`); None while it is open."""
        self.line: tcp.Line | None = None
        """What its socket has told; None where it is hidden."""
        self.unsent: Callable[[], int] = _none
        """Bytes that were written and have not left this machine."""
        self.cut: Callable[[], None] = _nothing
        """Ends the response at once, uncleanly."""
        self.measure: Callable[[], tcp.Info | None] = _nothing
        """What its socket tells now; None where it is hidden or gone."""

    def to(self, status: Status) -> None:
        """One step of the table; raises ValueError and changes nothing on any other."""
        if status not in TRANSITIONS[self.status]:
            raise ValueError(f"a connection does not go from {self.status} to {status}")
        self.status = status
        self.updated_at = events.now_ms()

    @property
    def average_latency_ms(self) -> float | None:
        """Over all of `latency`; None before the first."""
        return self.latency.average_ms

    @property
    def latency(self) -> histogram.Histogram:
        """All of `latencies`, also once it is closed."""
        return (self._packed or self.latencies).histogram()

    def wrote(self, size: int, chunks: int, ts: int, now: float, saved: int = 0) -> None:
        """One write of `size` bytes with `chunks` events, the last appended at `ts` (ms); they were
        `saved` bytes more before they were coded."""
        self.bytes_sent += size
        self.bytes_saved += saved
        self.said_at = now
        self.last_write_at = events.now_ms()
        if chunks:
            self.chunks_sent += chunks
            if ts >= self.created_at:  # what is older waited for nobody
                self.latencies.add_ms(self.last_write_at - ts)

    def part(self) -> None:
        """Lets go of the response: what is remembered must not keep a socket alive."""
        self.wake = self.cut = self.measure = _nothing
        self.unsent, self.accounts = _none, ()

    def pack(self) -> None:
        """Puts away what is counted no more: ten thousand of them are remembered."""
        self._packed, self.latencies = histogram.Packed(self.latencies), histogram.Recorder()

    def dismiss(self, reason: str) -> None:
        """Asks the reader to come back later."""
        if self.farewell is None:
            self.farewell = reason
            self.wake()

    def ends(self, reason: str) -> None:
        """Says why, once; who was asked to go goes for that."""
        if self.reason is None:
            self.reason = self.farewell or reason


def _nothing() -> None:
    pass


def _none() -> int:
    return 0


class _Sent:
    """What some connections have been sent together. They may be ten thousand."""

    def __init__(self) -> None:
        self._chunks = self._bytes = self._continued = self._missed = 0
        self._coded: dict[str, counts.Coded] = {}
        self._latencies = histogram.Recorder()

    def add(self, one: Connection) -> None:
        self._chunks += one.chunks_sent
        self._bytes += one.bytes_sent
        if one.encoding != counts.IDENTITY:
            so_far = self._coded.get(one.encoding, counts.Coded())
            self._coded[one.encoding] = counts.Coded(
                so_far.sent_bytes + one.bytes_sent, so_far.saved_bytes + one.bytes_saved
            )
        self._continued += one.continued
        self._missed += one.missed
        self._latencies.join(one.latencies)

    def counted(self) -> counts.Counts:
        return counts.Counts(
            sent_chunks=self._chunks,
            sent_bytes=self._bytes,
            coded=dict(self._coded),
            connections_continued=self._continued,
            connections_missed=self._missed,
            chunk_latency=self._latencies.histogram(),
        )


class Book:
    """All connections of a node."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._open, self._closed = shelf.Shelf[Connection](), shelf.Shelf[Connection]()
        self.open = self._open.oldest_first
        """All that are, as they come and go."""
        self._opened = self._resumed = self._dropped = 0
        self._lines, self._looks = tcp.Sums(), 0
        self._gone = _Sent()
        """What those had been sent that have left."""

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: Connection) -> None:
        """Takes a slot, and a place in the reader's accounts. Raises
        `errors.TooManyConnections`."""
        if len(self._open) >= self.limit:
            raise errors.TooManyConnections
        self._open.put(connection)
        self._opened += 1
        self._resumed += connection.resumed
        for one in connection.accounts:
            one.connections += 1

    def leave(self, connection: Connection, status: Status) -> None:
        """Gives both back, once; a second call is nothing."""
        if not self._open.take(connection.id):
            return
        self.look(connection)
        if connection.line is not None:
            connection.line.end(self._lines)
        if status == "completed":
            connection.reason = endings.COMPLETED  # whatever else was about to end it
        connection.ends(endings.ERROR if status == "error" else endings.SERVER_CLOSED)
        for one in connection.accounts:
            one.connections -= 1
        connection.part()
        connection.to(status)
        # Who was asked to go has not broken off.
        self._dropped += status == "disconnected" and connection.farewell is None
        self._gone.add(connection)
        connection.pack()
        self._closed.put(connection)
        while len(self._closed) > KEPT_CLOSED:
            self._closed.take(next(iter(self._closed.oldest_first)).id)

    def counted(self) -> counts.Counts:
        """What was counted here since the book was opened."""
        here = _Sent()
        for one in self._open.oldest_first:
            here.add(one)
        return msgspec.structs.replace(
            counts.added((self._gone.counted(), here.counted())),
            connections_active=len(self),
            connections_opened=self._opened,
            connections_resumed=self._resumed,
            connections_dropped=self._dropped,
            **self._lines.told(),
        )

    def look(self, connection: Connection) -> None:
        """Asks the kernel about its socket: as it opens, now and then, and when it is lost."""
        found = connection.measure()
        if found is not None:
            if connection.line is None:
                connection.line = tcp.Line(found)
            connection.line.look(found, self._lines)

    def find(self, connection_id: str) -> Connection | None:
        """An open or a remembered one."""
        return self._open.find(connection_id) or self._closed.find(connection_id)

    def all(
        self,
        stream: events.StreamId | None = None,
        tenant: str | None = None,
        user: str | None = None,
    ) -> Iterable[Connection]:
        """The newest first, open ones before closed ones; with a `tenant` those of its streams,
        with a `user` of it too those of theirs ("": of what is no user's), and others' are not gone
        through."""
        for kept in (self._open, self._closed):
            for connection in kept.newest(tenant, user):
                if stream is None or connection.stream == stream:
                    yield connection

    def dismiss(self, reason: str) -> None:
        """Asks every open reader to come back later."""
        for connection in tuple(self._open.oldest_first):
            connection.dismiss(reason)

    def expel(
        self, holds: Callable[[principal.Principal], bool], some: Iterable[Connection]
    ) -> None:
        """Ends those of some whose readers may not be here any more; one that has not taken its
        goodbye by the next look is cut."""
        for connection in some:
            if not holds(connection.reader):
                if connection.farewell == endings.ACCESS_ENDED:
                    connection.cut()
                connection.dismiss(endings.ACCESS_ENDED)

    def sweep(self, now: float, patience: Patience, some: Iterable[Connection]) -> list[Connection]:
        """Wakes those of some whose heartbeat is due or whose time is over; returns those that
        take nothing any more, for the caller to cut."""
        dead = []
        for connection in some:
            if _stuck(connection, now, patience):
                connection.ends(endings.STALLED)
                dead.append(connection)
                continue
            if patience.age is not None and now - connection.opened_at > patience.age:
                connection.dismiss(endings.OLD)
            if now - connection.said_at >= patience.heartbeat and not connection.silent:
                connection.silent = True
                connection.wake()
        return dead

    def look_at_some(self) -> None:
        """Asks the kernel about their sockets: all in turn, no more at once the more there are."""
        turns = -(-len(self) // LOOKED_AT) or 1
        self._looks += 1
        every = self._open.oldest_first
        for connection in itertools.islice(every, self._looks % turns, None, turns):
            self.look(connection)


def _stuck(connection: Connection, now: float, patience: Patience) -> bool:
    """Looks at what has left, and tells whether the reader is to be given up."""
    unsent = connection.unsent()
    left = connection.bytes_sent - unsent
    if left > connection.left:
        connection.left, connection.last_activity = left, now
        connection.waiting_since = now
    if not unsent:
        connection.waiting_since = None
    elif connection.waiting_since is None:
        connection.waiting_since = now
    elif now - connection.waiting_since > patience.write:
        return True
    return now - connection.last_activity > patience.silence

"""A stream as it is kept: the values that every store of streams speaks of.

Strategy: the event log keeps streams while they are written and for a while after, the archive for
longer. Who reads them need not know which of the two has them, so both answer with these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from holdfast import events
from holdfast.events import Event, Position

PAGE_EVENTS = 256
"""Events in a page at most, where the caller asks for no fewer."""

PAGE_BYTES = 64 * 1024
"""A page ends once its events' data reach this many bytes; it holds at least one event. A reader
that takes nothing has a page of its own waiting for it, so a thousand of them hold 64 MB where
providers say no more at a time."""

TOMBSTONE_MS = 30 * 24 * 3600 * 1000
"""How long an expired stream is remembered for its owner, in milliseconds."""

HEADER_VERSION = 1

CODES: dict[events.Kind, int] = {
    "start": 1,
    "chunk": 2,
    "metadata": 3,
    "rewind": 4,
    "error": 5,
    "complete": 6,
}
"""What a durable kind is in every store: never renumber."""

KINDS: tuple[events.Kind, ...] = ("heartbeat", *CODES)
"""The kind of a code; nothing stored has the code 0."""


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a stream before its first event. Times in ms since 1970.

    `owner` is who may read it, `key` what let them in who asked for it. `request` is the packed
    request, which adoption needs; it is dropped when the stream has ended. `fingerprint` is the
    SHA-256 of that request. `terms` is what the dialect needs for rendering, in its own JSON.
    `trace` is the `traceparent` of the stream's span, "" where nothing was traced.
    """

    owner: str
    created_at: int
    provider: str
    model: str
    request_id: str = ""
    dialect: str = "native"
    route: str = "default"
    version: int = HEADER_VERSION
    fingerprint: bytes = b""
    request: bytes = b""
    client_id: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    key: str = ""
    buffer_size: int | None = None
    flush_interval_ms: int | None = None
    terms: bytes = b""
    trace: str = ""


class Head(msgspec.Struct, frozen=True, gc=False):
    """How far a stream is."""

    epoch: int
    seq: int
    closed: bool


class Info(msgspec.Struct, frozen=True):
    """A stream as `stat` and `find` tell it. `ended_at` in ms, None while it is open."""

    stream: events.StreamId
    header: Header
    head: Head
    status: events.Status
    cancelled: bool = False
    ended_at: int | None = None


class Tombstone(msgspec.Struct, frozen=True, gc=False):
    """A stream that has expired; only its owner may be told so."""

    owner: str
    expired_at: int


class Page(msgspec.Struct, frozen=True):
    """Events in order, and where they lead. `closed`: the terminal event is at or before
    `position`, so nothing will ever follow. `more`: a limit cut the page, so that the next
    read finds something; without it the reader was at the head when it read."""

    events: tuple[Event, ...]
    position: Position
    closed: bool
    more: bool


def cut(found: Sequence[Event], after: Position, limit: int, last: int, *, ended: bool) -> Page:
    """A page of the events that follow `after`, as many of them as it may hold. `last` is the seq
    of the stream's last event."""
    count, size = 0, 0
    for event in found[: max(1, min(limit, PAGE_EVENTS))]:
        count += 1
        size += len(event.data)
        if size >= PAGE_BYTES:
            break
    position = found[count - 1].position if count else after
    more = position.seq < last
    return Page(tuple(found[:count]), position, ended and not more, more)


class Query(msgspec.Struct, frozen=True):
    """Which streams to find, newest first. `tenant`: what owners' names have before their first
    `/`, literally; empty for any. Times in ms, from `created_from` up to, and without,
    `created_to`; `before` is the (created_at, stream) of the last entry of the page before."""

    owner: str | None = None
    status: events.Status | None = None
    client_id: str | None = None
    session_id: str | None = None
    created_from: int | None = None
    created_to: int | None = None
    before: tuple[int, str] | None = None
    limit: int = 50
    tenant: str = ""


class Listed(Protocol):
    """What a list needs to know of a stream."""

    @property
    def header(self) -> Header: ...
    @property
    def status(self) -> events.Status: ...


def matches(one: Listed, query: Query) -> bool:
    """Whether a stream is asked for, its place in time apart."""
    header = one.header
    return (
        query.owner in (None, header.owner)
        and query.tenant in ("", tenant_of(header.owner))
        and query.client_id in (None, header.client_id)
        and query.session_id in (None, header.session_id)
        and (query.status is None or query.status == one.status)
    )


def in_time(info: Info, query: Query) -> bool:
    """Whether a stream lies where a query looks in time."""
    created_at = info.header.created_at
    return (
        (query.created_from is None or query.created_from <= created_at)
        and (query.created_to is None or created_at < query.created_to)
        and (query.before is None or (created_at, str(info.stream)) < query.before)
    )


def newest(found: Iterable[Info], limit: int) -> list[Info]:
    """Each stream once, as it was told last, the newest first, at most `limit`."""
    known = {info.stream: info for info in found}
    ordered = sorted(known.values(), key=lambda info: (info.header.created_at, info.stream))
    return ordered[::-1][: max(0, limit)]


def tenant_of(owner: str) -> str:
    """What an owner's name has before its first `/`; "" where it has none."""
    return owner[: max(0, owner.find("/"))]

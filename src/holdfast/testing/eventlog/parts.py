"""What the tests share: a header, some events, and a writer that keeps the rules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from holdfast import events
from holdfast.eventlog import base

NewLog = Callable[[], Awaitable[base.EventLog]]
Reopen = Callable[[base.EventLog], Awaitable[base.EventLog]]

COMPLETE = events.draft(events.Complete("stop", None, None, 0, 0, 0, "", 0, 1, True))
FAILED = events.draft(events.Error("interrupted", "The writer died.", True))
CANCELLED = events.draft(events.Error("cancelled", "The stream was cancelled.", False))


def chunk(text: str) -> events.Draft:
    return events.draft(events.Chunk("content", text))


def header(created_at: int = 1_000, **fields: object) -> base.Header:
    known = {"owner": "me", "provider": "demo", "model": "m", "request": b'{"q":1}', **fields}
    return base.Header(created_at=created_at, **known)  # type: ignore[arg-type]


EVERY_FIELD: dict[str, Any] = {
    "owner": "acme/ann",
    "provider": "p",
    "model": "m/1",
    "request_id": "r1",
    "dialect": "other",
    "route": "other",
    "version": base.HEADER_VERSION + 1,
    "fingerprint": b"\0f",
    "client_id": "c",
    "session_id": "s",
    "user_id": "u",
    "key": "k",
    "buffer_size": 7,
    "flush_interval_ms": 0,
    "terms": b'{"more":[1]}',
    "trace": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
"""All that a header may say, beside its time and its request, and nothing as it is by default."""


class Pen:
    """A writer of one stream that keeps the rules."""

    def __init__(self, log: base.EventLog, stream: events.StreamId, life: base.Life) -> None:
        self.log, self.stream, self.epoch, self.last = log, stream, life.epoch, life.last

    def batch(self, *drafts: events.Draft, ts: int = 5_000) -> base.Batch:
        return base.Batch(self.stream, self.epoch, self.last + len(drafts), ts, drafts)

    async def write(self, *drafts: events.Draft, ts: int = 5_000) -> base.Ok:
        (result,) = await self.log.append((self.batch(*drafts, ts=ts),))
        assert isinstance(result, base.Ok)
        self.last += len(drafts)
        return result


async def begin(log: base.EventLog, created_at: int = 1_000, **fields: object) -> Pen:
    """A new stream of one event."""
    stream = events.new_stream_id()
    start = events.Start(stream, "r", "demo", "m", events.rfc3339(created_at))
    life = await log.create(
        stream, header(created_at, **fields), (events.draft(start),), created_at
    )
    assert isinstance(life, base.Life)
    assert life.last == 1
    return Pen(log, stream, life)


async def header_of(log: base.EventLog, pen: Pen) -> base.Header:
    """The header of a stream that is there, told in the same way by `stat` and `find`."""
    info = await log.stat(pen.stream)
    assert isinstance(info, base.Info)
    assert info in await log.find(base.Query())
    return info.header


async def read_all(
    log: base.EventLog, stream: events.StreamId, after: events.Position = events.BEGIN
) -> list[events.Event]:
    """What comes after a position, page by page."""
    found: list[events.Event] = []
    while True:
        page = await log.read(stream, after)
        found += page.events
        if not page.more:
            return found
        assert page.events
        after = page.position

"""What Redis answers to a read: whether it has the position, and the events that follow it.

Strategy: nothing is believed that the events themselves do not say. Each entry must be of the life
that had the word at its seq, none may lack, none may be behind the last one, and a stream that is
closed must end with a terminal event: what was put back from an older copy, or cut off, is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast import errors, events
from holdfast.eventlog.redis import blocks
from holdfast.sealing import codec

Lives = Sequence[tuple[int, int]]
"""The epochs, the newest first, each with the seq of its first event."""


def said(stream: events.StreamId, runs: bytes, seq: bytes) -> tuple[Lives, int]:
    """What its hash says of its lives, and of its last event. Raises `errors.LogCorrupt`."""
    pairs = (run.partition(b":") for run in reversed(runs.split(b",")))
    try:
        return [(int(epoch), int(first)) for epoch, _, first in pairs], int(seq)
    except ValueError as error:
        raise errors.LogCorrupt(f"What Redis says of stream {stream} is no sense.") from error


def holds(lives: Lives, last: int, position: events.Position) -> bool:
    """Whether a stream of these lives and with this last seq has an event at the position."""
    if position.seq == 0:
        return True
    if position.seq > last:
        return False
    return _writer_at(lives, position.seq) == position.epoch


def after(
    stream: events.StreamId,
    how: codec.Codec,
    lives: Lives,
    position: events.Position,
    entries: Sequence[bytes],
    last: int,
    *,
    ended: bool,
) -> list[events.Event]:
    """The events that entries hold after a position, which are all that follow it or the next of
    them. Raises `errors.LogCorrupt`."""
    found: list[events.Event] = []
    newest: events.Event | None = None
    for entry, block in zip(entries[::2], entries[1::2], strict=True):
        for newest in blocks.unpack(how, stream, entry, block):
            if newest.seq > position.seq:
                found.append(newest)
        if newest is not None and _writer_at(lives, newest.seq) != newest.epoch:
            raise errors.LogCorrupt(f"Stream {stream}, entry {entry!r}: it is of another life.")
    # One that was evicted, or removed.
    wanted = range(position.seq + 1, position.seq + 1 + max(len(found), position.seq < last))
    if [event.seq for event in found] != list(wanted):
        raise errors.LogCorrupt(f"Stream {stream} lacks events after {position} in Redis.")
    if found and found[-1].seq > last:
        raise errors.LogCorrupt(f"Stream {stream} has more events in Redis than it says.")
    if ended and (found[-1].seq if found else position.seq) == last and not _ends(newest, last):
        raise errors.LogCorrupt(f"Stream {stream} is closed in Redis, and lacks its end.")
    return found


def _ends(newest: events.Event | None, last: int) -> bool:
    return newest is not None and newest.seq == last and newest.kind in events.TERMINAL


def _writer_at(lives: Lives, seq: int) -> int | None:
    """The epoch that had the word at a seq."""
    for epoch, first in lives:
        if seq >= first:
            return epoch
    return None

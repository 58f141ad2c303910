"""The rules about how things end and are answered: I5, I7, I9, I10 and I11."""

from __future__ import annotations

import math
from collections.abc import Collection

from holdfast import errors, events
from holdfast.testing import history
from holdfast.testing.invariants import account, verdict

FELT = 0.5
"""Seconds for which a fault that is over may still have its effect, such as a connection that was
cut and whose other side has not heard of it."""

GONE = (404, 410)
"""What is said of a stream that is not there, and of one that was."""


def termination(seen: account.Account, limits: verdict.Limits) -> verdict.Found:
    """I5: a stream has one terminal event, its last, the same for all; `complete` only where the
    provider marked the end, and there always, if nothing came between; never `internal`; and a
    response ends cleanly exactly with that event."""
    for stream in seen.streams.values():
        ends: dict[events.Position, history.Delivered | history.Kept] = {}
        highest = 0
        for group in stream.groups():
            for event in group:
                if event.kind in events.TERMINAL:
                    ends.setdefault(verdict.position(event), event)
                if event.seq > highest:
                    highest = event.seq
        yield from _one_end(stream, list(ends.values()), highest)
        yield from _failures(stream, ends.values(), seen.faults)
        if seen.faults.over:
            for name, kept in stream.stores.items():
                if not verdict.ends(kept[-1]):
                    what = f"no terminal event in store {name}"
                    yield verdict.Violation("I5", stream.name, what, verdict.of(kept[-1]))
        for conn in stream.conns:
            yield from _end_of(conn, ends, seen.faults)


def _one_end(
    stream: account.Stream, ends: list[history.Delivered | history.Kept], highest: int
) -> verdict.Found:
    for end in ends[1:]:
        what = f"a second terminal event beside {verdict.of(ends[0])}"
        yield verdict.Violation("I5", stream.name, what, verdict.of(end))
    for end in ends:
        if end.seq < highest:
            what = f"a terminal event is followed by others, up to {highest}"
            yield verdict.Violation("I5", stream.name, what, verdict.of(end))
        if end.kind == "complete" and stream.observed and not stream.marked:
            what = "complete, and the provider did not mark the end"
            yield verdict.Violation("I5", stream.name, what, verdict.of(end))


def _failures(
    stream: account.Stream,
    ends: Collection[history.Delivered | history.Kept],
    faults: account.Faults,
) -> verdict.Found:
    """Nothing fails as `internal`, and an answer that its provider told to the end only by a
    cancel, or by a fault that was felt after its first call."""
    for kept in stream.kept():
        if kept.code == errors.HoldfastError.code:
            what = f"failed as {kept.code}, which only a bug does"
            yield verdict.Violation("I5", stream.name, what, verdict.of(kept))
    if not (stream.marked and stream.calls) or stream.cancelled is not None:
        return
    if stream.going < math.inf:  # what is under way then ends first
        return
    begun = stream.calls[0].at - FELT
    for end in ends:
        if end.kind != "complete" and not faults.within(begun, _ended(stream, end)):
            what = "not complete, and the provider marked the end with no fault on the way"
            yield verdict.Violation("I5", stream.name, what, verdict.of(end))


def _ended(stream: account.Stream, end: history.Delivered | history.Kept) -> float:
    """When somebody was first told of the end; a store is looked at only when all is over."""
    return min((told.at for told in stream.told() if verdict.ends(told)), default=end.at)


def _end_of(
    conn: account.Conn,
    ends: dict[events.Position, history.Delivered | history.Kept],
    faults: account.Faults,
) -> verdict.Found:
    over, last = conn.over, conn.last
    if over is None or conn.refused:
        return
    if over.clean:
        if not (verdict.ends(last) if last else conn.after in ends):
            yield verdict.at(conn, "I5", "ended cleanly without the terminal event")
        return
    whole = last is not None and verdict.ends(last)
    if whole and not over.ours and not faults.within(conn.head.at, over.at):
        yield verdict.at(conn, "I5", "ended uncleanly after the terminal event")


def answers(seen: account.Account, limits: verdict.Limits) -> verdict.Found:
    """I7: a bad cursor is answered with 400 or a Reset, in time; a good one with neither, nor
    with any other refusal. Of a stream that is destroyed nobody is told more than that."""
    for conn in seen.conns.values():
        if _destroyed(conn):
            continue
        if conn.head.bad:
            yield from _to_bad(conn, seen, limits)
            continue
        if conn.answered is not None and conn.answered.status not in (200, 204):
            if conn.answered.status == 404 and _forgotten(conn, seen.losing):
                continue
            yield verdict.at(conn, "I7", f"a good cursor got {conn.answered.status}")
        for place, reset in conn.resets:
            stood = verdict.position(conn.delivered[place - 1]) if place else conn.after
            if _untold(conn, reset, seen.losing):
                continue
            if stood == events.BEGIN or not conn.stream.lost(stood):
                yield verdict.at(conn, "I7", f"a Reset at {stood}, which is a good position")


def _destroyed(conn: account.Conn) -> bool:
    """Whether it was told that the stream is gone, as it may have been by then."""
    said = conn.answered
    return said is not None and said.status in GONE and conn.stream.going <= said.at


def _untold(conn: account.Conn, reset: history.Reset, losing: account.Faults) -> bool:
    """Whether no store can tell any more: it was destroyed, or since then and a store was allowed
    to lose some of it before."""
    going = conn.stream.going
    return going <= reset.at or (going < math.inf and losing.within(-math.inf, reset.at))


def _forgotten(conn: account.Conn, losing: account.Faults) -> bool:
    """Whether a store may not have known the stream at all, until it was told again."""
    assert conn.answered is not None
    return losing.within(conn.head.at - FELT, conn.answered.at)


def _to_bad(conn: account.Conn, seen: account.Account, limits: verdict.Limits) -> verdict.Found:
    status = conn.answered.status if conn.answered else None
    came: float | None = None
    if status == 404 and _forgotten(conn, seen.losing):
        return
    if status is not None and status not in (200, 400):
        yield verdict.at(conn, "I7", f"a bad cursor got {status}")
        return
    if status == 400 and conn.answered:
        came = conn.answered.at
    elif conn.resets:
        came = conn.resets[0][1].at
    if conn.delivered and (not conn.resets or conn.resets[0][0] > 0):
        yield verdict.at(conn, "I7", "a bad cursor got events without a Reset", conn.delivered[0])
    elif came is None and conn.over is not None and conn.over.clean:
        yield verdict.at(conn, "I7", "a bad cursor got nothing but a clean end")
    if came is None:
        # It was sent away, or is still waiting.
        came = limits.now if conn.over is None else conn.over.at
    due = conn.head.at + limits.answer
    if came > due and not seen.faults.within(conn.head.at, due):
        yield verdict.at(conn, "I7", "a bad cursor was answered late or never")


def cost(seen: account.Account, limits: verdict.Limits) -> verdict.Found:
    """I9: no provider call too many, none that is read on after a cancel, and one stream for
    all who bring the same key."""
    for stream in seen.streams.values():
        expected = stream.expected
        if expected is not None and len(stream.calls) > expected.calls:
            what = f"{len(stream.calls)} provider calls, at most {expected.calls} expected"
            yield verdict.Violation("I9", stream.name, what, f"at {stream.calls[-1].at:.3f}")
        if stream.cancelled is not None:
            for sent in stream.sent:
                # A fault may hold up the cancel: its time runs anew when it is healed.
                since = max(stream.cancelled.at, seen.faults.quiet_since(sent.at))
                if sent.at > since + limits.grace:
                    what = f"{sent.size} bytes read from the provider after a cancel"
                    yield verdict.Violation("I9", stream.name, what, f"at {sent.at:.3f}")
    for key, asked in seen.keys.items():
        for other in asked:
            if other.stream != asked[0].stream:
                what = f"a second stream for the key {key}, beside {asked[0].stream}"
                yield verdict.Violation("I9", other.stream, what, f"at {other.at:.3f}")


def liveness(seen: account.Account, limits: verdict.Limits) -> verdict.Found:
    """I10: once the last fault is healed, every reader that did not go by itself reaches the
    end in time."""
    for (reader, stream), conns in seen.readers.items():
        over = conns[-1].over
        if over is not None and over.ours:
            continue
        deadline = max(seen.faults.healed, conns[0].head.at) + limits.liveness
        reached = next((time for conn in conns if (time := _reached(conn)) is not None), None)
        if (limits.now if reached is None else reached) > deadline:
            what = "never reached the end" if reached is None else "reached the end too late"
            yield verdict.Violation("I10", stream, what, f"reader {reader}")


def _reached(conn: account.Conn) -> float | None:
    """When a connection told its reader that it has everything, or that there is nothing."""
    if conn.last is not None and verdict.ends(conn.last):
        return conn.last.at
    if conn.answered is not None and conn.answered.status != 200:
        return conn.answered.at
    return conn.over.at if conn.over is not None and conn.over.clean else None


def content(seen: account.Account, limits: verdict.Limits) -> verdict.Found:
    """I11: the text of a complete stream is the expected one."""
    for stream in seen.streams.values():
        if stream.expected is None:
            continue
        for event in stream.kept():
            if event.kind == "complete" and event.sha256 != stream.expected.sha256:
                what = f"the text is {event.sha256 or 'unknown'}, not {stream.expected.sha256}"
                yield verdict.Violation("I11", stream.name, what, verdict.of(event))

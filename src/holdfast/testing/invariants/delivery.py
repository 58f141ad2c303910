"""The rules about single events: I1 to I4, I6 and I8. Each is one pass over its ground."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from holdfast import events
from holdfast.testing import history
from holdfast.testing.invariants import account, verdict


def contiguity(seen: account.Account, limits: verdict.Limits) -> verdict.Found:
    """I1: a connection delivers cursor + 1, + 2 and so on; after a Reset from 1 on."""
    for conn in seen.conns.values():
        last = conn.after.seq
        resets = {place for place, _ in conn.resets}
        for place, event in enumerate(conn.delivered):
            if resets and place in resets:
                last = 0
            if event.seq != last + 1:
                yield verdict.at(conn, "I1", f"{last} is followed by {event.seq}", event)
            last = event.seq


def agreement(seen: account.Account, limits: verdict.Limits) -> verdict.Found:
    """I2: what was delivered or is kept at one place is one event, of one life; what the log
    acknowledged for that life is the same event."""
    for stream in seen.streams.values():
        first: dict[int, history.Delivered | history.Kept] = {}
        for event in stream.shown():
            other = first.setdefault(event.seq, event)
            if other.digest != event.digest or other.epoch != event.epoch:
                what = f"two events at one place: {verdict.of(other)}"
                yield verdict.Violation("I2", stream.name, what, verdict.of(event))
        for told in stream.appended:
            shown = first.get(told.seq)
            # Of another life, or nowhere: that is for I4 to tell.
            if shown is not None and shown.epoch == told.epoch and shown.digest != told.digest:
                what = f"another event than the one shown: {verdict.of(shown)}"
                yield verdict.Violation("I2", stream.name, what, verdict.of(told))


def sessions(seen: account.Account, limits: verdict.Limits) -> verdict.Found:
    """I3: a reader comes back with the position of the last event that it had, so that all its
    connections together are one text. It has nothing, too, after a Reset without events."""
    for conns in seen.readers.values():
        had = {events.BEGIN}
        for conn in conns:
            if not conn.head.bad and conn.after not in had:
                wanted = " or ".join(sorted(map(str, had)))
                yield verdict.at(conn, "I3", f"came back with {conn.after}, and had {wanted}")
            if conn.last is not None:
                had = {verdict.position(conn.last)}
            if conn.emptied:
                had.add(events.BEGIN)


def durability(seen: account.Account, limits: verdict.Limits) -> verdict.Found:
    """I4: what was delivered or acknowledged is kept in each store that has the stream, and at
    least one has it, unless it was destroyed: then none has it, and nobody who asks gets anything;
    no store has a hole."""
    for stream in seen.streams.values():
        yield from _destruction(stream, seen.losing)
        if seen.stored and not stream.stores and stream.going == math.inf:
            for event in itertools.islice(stream.told(), 1):
                what = "no store has the stream"
                yield verdict.Violation("I4", stream.name, what, verdict.of(event))
        for name, kept in stream.stores.items():
            for number, found in enumerate(kept, 1):
                if found.seq != number:
                    what = f"{number} is missing or out of its order"
                    yield verdict.Violation("I4", stream.name, what, verdict.of(found))
                    break
            lives = {found.seq: found.epoch for found in kept}
            for event in stream.told():
                if lives.get(event.seq) != event.epoch:
                    what = f"not kept in store {name}"
                    yield verdict.Violation("I4", stream.name, what, verdict.of(event))


def _destruction(stream: account.Stream, losing: account.Faults) -> verdict.Found:
    """A store that was allowed to lose something may have lost that it was destroyed."""
    if stream.gone == math.inf or losing.within(stream.gone, stream.gone + account.LOST_SECONDS):
        return
    for kept in itertools.islice(stream.kept(), 1):
        if stream.gone <= kept.at:
            yield verdict.Violation("I4", stream.name, "kept, and was destroyed", verdict.of(kept))
    for conn in stream.conns:
        if conn.head.at > stream.gone and conn.delivered:
            yield verdict.at(conn, "I4", "read after it was destroyed", conn.delivered[0])


def monotony(seen: account.Account, limits: verdict.Limits) -> verdict.Found:
    """I6: nothing goes backwards: no life is followed by an older one, and no connection of a
    reader ends before an earlier one did, unless it was reset."""
    for stream in seen.streams.values():
        for kept in stream.stores.values():
            yield from _lives(stream, kept, 0)
        for conn in stream.conns:
            if conn.head.bad or conn.resets:
                since = conn.resets[-1][0] if conn.resets else 0
                yield from _lives(stream, conn.delivered[since:], 0)
            else:
                yield from _lives(stream, conn.delivered, conn.after.epoch)
    for conns in seen.readers.values():
        reached = 0
        for conn in conns:
            if conn.head.bad or conn.resets:
                reached = conn.last.seq if conn.last and not conn.emptied else 0
                continue
            end = conn.last.seq if conn.last else conn.after.seq
            if end < reached:
                yield verdict.at(conn, "I6", f"ends at {end}, an earlier one at {reached}")
            reached = max(reached, end)


def _lives(
    stream: account.Stream,
    found: Sequence[history.Delivered] | Sequence[history.Kept],
    epoch: int,
) -> verdict.Found:
    for event in found:
        if event.epoch < epoch:
            what = f"life {event.epoch} follows life {epoch}"
            yield verdict.Violation("I6", stream.name, what, verdict.of(event))
        epoch = event.epoch


def isolation(seen: account.Account, limits: verdict.Limits) -> verdict.Found:
    """I8: an event that names a stream names the one that was asked for."""
    for conn in seen.conns.values():
        asked = conn.head.stream
        for event in conn.delivered:
            if event.tag != asked and event.tag:
                yield verdict.at(conn, "I8", f"an event of stream {event.tag}", event)

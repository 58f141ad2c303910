"""How soon an event reaches a reader who waits for it.

Strategy: a lost hint costs a poll's interval, so that a reader who misses its wake-ups still gets
everything and breaks no other rule. But where no fault is on no hint is lost: what the log has
acknowledged is with every reader who takes things as they come at once. What it acknowledged while
one was on may be without its hint for good, also for a reader that comes later, and two polls find
it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

from holdfast.eventlog import watch
from holdfast.testing import history

PROMPT = 0.5
"""Seconds from the acknowledgement, or from the answer's head, to the delivery."""


def late(entries: Sequence[history.Entry], quick: Collection[str]) -> Iterator[str]:
    """The deliveries to these connections that took too long, though no fault was on. The
    entries are in the order of their times."""
    faults = _spans([entry for entry in entries if isinstance(entry, history.Fault)])
    streams: dict[str, str] = {}
    since: dict[str, float] = {}
    appended: dict[tuple[str, int, int], float] = {}
    for entry in entries:
        match entry:
            case history.Connected():
                streams[entry.conn] = entry.stream
            case history.Answered():
                since[entry.conn] = entry.at
            case history.Appended():
                appended[entry.stream, entry.epoch, entry.seq] = entry.at
            case history.Delivered() if entry.conn in quick:
                place = (streams[entry.conn], entry.epoch, entry.seq)
                told = appended.get(place, entry.at)
                begun = max(since[entry.conn], told)
                troubled = any(begin <= entry.at and end >= begun for begin, end in faults)
                unheard = any(begin <= told <= end for begin, end in faults)
                due = begun + PROMPT + (2 * watch.POLL_INTERVAL if unheard else 0.0)
                if entry.at > due and not troubled:
                    yield f"seq {entry.seq} came {entry.at - begun:.2f} s late ({entry.conn})"


def _spans(faults: list[history.Fault]) -> list[tuple[float, float]]:
    """From when to when each fault was on."""
    begun: dict[str, list[float]] = {}
    spans = []
    for fault in faults:
        if fault.on:
            begun.setdefault(fault.name, []).append(fault.at)
        elif begun.get(fault.name):
            spans.append((begun[fault.name].pop(), fault.at))
    return spans + [(at, math.inf) for left in begun.values() for at in left]

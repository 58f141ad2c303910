"""What a rule says, and what it is given to say it: values, and how places are named."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from holdfast import events
from holdfast.testing import history
from holdfast.testing.invariants import account

Placed = history.Delivered | history.Kept | history.Appended
"""An event, as somebody saw it."""


class Violation(msgspec.Struct, frozen=True):
    """A rule, `I1` to `I11`, that does not hold: in which stream, what was seen, and where."""

    rule: str
    stream: str
    what: str
    place: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what} ({self.place}, stream {self.stream})"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules about time allow, in seconds; `now` is when the run ended."""

    now: float
    liveness: float
    answer: float
    grace: float


Found = Iterator[Violation]
Rule = Callable[[account.Account, Limits], Found]


def of(event: Placed) -> str:
    """Which event, and where it was seen."""
    match event:
        case history.Delivered():
            where = f"conn {event.conn}"
        case history.Kept():
            where = f"store {event.store}"
        case history.Appended():
            where = "acknowledged"
    return f"{event.kind} {event.epoch}-{event.seq} {event.digest}, {where}"


def at(
    conn: account.Conn, rule: str, what: str, event: history.Delivered | None = None
) -> Violation:
    """Something that a connection saw."""
    place = f"conn {conn.head.conn} of {conn.head.reader}" if event is None else of(event)
    return Violation(rule, conn.stream.name, what, place)


def position(event: Placed) -> events.Position:
    return events.Position(event.epoch, event.seq)


def ends(event: Placed) -> bool:
    """Whether it is a terminal event."""
    return event.kind in events.TERMINAL

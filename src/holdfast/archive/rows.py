"""What the archive keeps beside events: the values of its tables.

Strategy: what a list is searched by is a field; what only comes back as it went is `data`, opaque
to the archive, so that a new figure in it is no change of a store. No prompt and no answer is in
any of them. Times are in ms since 1970.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from holdfast import events

MAX_ROWS = 1000
"""Rows that one call takes or gives."""


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One call to a provider: `number` counts from 1, `how` is as in `events.Attempt`, `error` the
    code of what ended it without the whole answer."""

    number: int
    provider: str
    model: str
    begun_at: int
    how: str = ""
    error: str = ""
    duration_ms: int = 0
    usage: events.Tokens | None = None


class Connection(msgspec.Struct, frozen=True, gc=False):
    """A reader's connection, in one of its states. `owner` is the stream's, who decides who may see
    it."""

    id: str
    stream: str
    owner: str
    opened_at: int
    updated_at: int
    data: bytes = b""
    closed_at: int | None = None

    @property
    def age(self) -> tuple[int, bool]:
        """Of two states of a connection the one with the greater is the newer."""
        return self.updated_at, self.closed_at is not None


class Sought(msgspec.Struct, frozen=True):
    """Which connections to find, the newest first. `tenant`, `before` and `limit` are as in
    `storage.Query`, `before` with `opened_at` and the connection's id."""

    stream: str | None = None
    owner: str | None = None
    tenant: str = ""
    before: tuple[int, str] | None = None
    limit: int = 50


class Minute(msgspec.Struct, frozen=True, gc=False):
    """What one node counted in the minute that began `at`."""

    at: int
    node: str
    data: bytes


class Applied(msgspec.Struct, frozen=True, gc=False):
    """A migration that a store has; one that was made before such times were kept has none."""

    number: int
    name: str
    applied_at: int | None


class State(msgspec.Struct, frozen=True):
    """How far a store is: `place` can be shown, `pending` are the names of what it lacks."""

    place: str
    version: int
    applied: tuple[Applied, ...]
    pending: tuple[str, ...]


def flat(attempt: Attempt) -> tuple[str | int | None, ...]:
    """An attempt as a row without its stream: with a column for each count of tokens."""
    usage = attempt.usage
    counts = (None,) * 5 if usage is None else msgspec.structs.astuple(usage)
    return (*msgspec.structs.astuple(attempt)[:-1], *counts)


def attempt(*row: Any) -> Attempt:
    """The opposite of `flat`."""
    usage = None if row[-5] is None else events.Tokens(*row[-5:])
    told: list[Any] = [*row[:-5], usage]
    return Attempt(*told)


Row = TypeVar("Row", Connection, Minute)


def bounded(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Refuses more than a call takes: it is a caller's bug."""
    if len(rows) > MAX_ROWS:
        raise ValueError(f"{len(rows)} rows are more than {MAX_ROWS}")
    return rows


def newest(connections: tuple[Connection, ...]) -> list[Connection]:
    """The newest state of each, in the order of their ids: so two that write at once take the same
    rows in the same order."""
    found: dict[str, Connection] = {}
    for one in bounded(connections):
        if one.id not in found or one.age >= found[one.id].age:
            found[one.id] = one
    return [found[name] for name in sorted(found)]


def latest(minutes: tuple[Minute, ...]) -> list[Minute]:
    """The last of each minute and node, in their order."""
    found = {(one.at, one.node): one for one in bounded(minutes)}
    return [found[key] for key in sorted(found)]

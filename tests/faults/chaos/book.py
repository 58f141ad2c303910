"""What a run of chaos writes down, and the one clock of all its actors.

Strategy: everybody who takes part holds the same book and adds entries of `history` to it, as
they happen. A stream has its id only once its creation was answered, and its provider may be
called before: until then it goes by its label, which the history puts right at the end.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec
from tests.faults.chaos import wire

from holdfast.testing import history

MAX_PROBLEMS = 100
FORGETS_SECONDS = 0.5


class Book:
    """`faults`, `counts` are by name; `problems` are what no rule of the checker is about.
    `doors` tells where each connection went. `on` faults are on now; in a `lull` nobody may begin
    one. `calm` is when the storm was over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.entries: list[history.Entry] = []
        self.doors: dict[str, wire.Door] = {}
        self.streams: dict[str, str] = {}
        self.problems: list[str] = []
        self.faults: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.on = 0
        self.lull = False
        self.calm = math.inf
        self._clock, self._number = clock, 0
        self._losing, self._lost_at = 0, -math.inf

    @property
    def now(self) -> float:
        return self._clock()

    @property
    def forgets(self) -> bool:
        """Whether a store may not know, for the moment, what it took."""
        return self._losing > 0 or self.now - self._lost_at < FORGETS_SECONDS

    def add(self, entry: history.Entry) -> None:
        self.entries.append(entry)

    def problem(self, what: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(what)

    @contextlib.contextmanager
    def fault(self, name: str, loses: bool = False) -> Iterator[None]:
        """A fault that is on while the block runs; `loses` as in `history.Fault`."""
        self.faults[name] += 1
        self._number += 1
        unique = f"{name} {self._number}"
        self.add(history.Fault(self.now, unique, True, loses))
        self.on += 1
        self._losing += loses
        try:
            yield
        finally:
            self.on -= 1
            self._losing -= loses
            self._lost_at = self.now if loses else self._lost_at
            self.add(history.Fault(self.now, unique, False, loses))

    def instant(self, name: str) -> None:
        """A fault that is over at once."""
        with self.fault(name):
            pass

    def whole(self) -> list[history.Entry]:
        """All entries, each about a stream by its id."""
        return [self._named(entry) for entry in self.entries]

    def _named(self, entry: history.Entry) -> history.Entry:
        if isinstance(entry, history.Called | history.Marked | history.Sent):
            stream = self.streams.get(entry.stream, entry.stream)
            return msgspec.structs.replace(entry, stream=stream)
        return entry

"""Writes the history of a run.

Strategy: every actor calls a method when it has seen something; the time is the loop's. A
provider knows no stream ids, and what a client expects it knows before the stream has an id: both
speak of a tag, which the log connects with a stream as it is created.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

from holdfast import events
from holdfast.producing import fallback
from holdfast.testing import history, simulated


class Record:
    """`entries` is the history so far."""

    def __init__(self) -> None:
        self.entries: list[history.Entry] = []
        self._names = itertools.count(1)
        self._expected: dict[str, tuple[str, str]] = {}
        self._streams: dict[str, str] = {}
        self.lives: dict[str, int] = {}
        """How many writers each stream has had."""
        self.tags: dict[str, str] = {}
        """Of each stream the one that its client gave it."""
        self.unreached: Counter[str] = Counter()
        """How many calls for each stream found no provider."""
        self.diverged: set[str] = set()
        """Streams whose answer was another one when it was told again."""
        self.quick: set[str] = set()
        """Connections whose reader takes each piece at once."""
        self.going: set[events.StreamId] = set()
        """Streams that somebody wants to be destroyed."""
        self.shredded: set[events.StreamId] = set()
        """Streams that are destroyed, as their clients were told."""
        self.positions: dict[str, list[events.Position]] = {}
        """Of each stream those of the events that somebody got, as often as they came."""

    def name(self, prefix: str) -> str:
        """A name that nobody else has."""
        return f"{prefix}{next(self._names)}"

    def expect(self, tag: str, sha256: str, key: str) -> None:
        """What the stream of this tag is to say, once there is one."""
        self._expected[tag] = (sha256, key)

    def created(self, tag: str, stream: events.StreamId) -> None:
        self._streams[tag] = stream
        self.tags[stream] = tag
        self.lives[stream] = 1

    def returned(self, tag: str, stream: events.StreamId, key: str) -> None:
        """A client was told that its answer is this stream."""
        if key and self._streams.get(tag) != stream:
            sha256, _ = self._expected[tag]
            self.add(history.Expected(simulated.now(), stream, sha256, 1, key))

    def settle(self, calls_a_life: int) -> None:
        """Adds what was expected of each stream, now that its lives are counted."""
        for tag, stream in self._streams.items():
            sha256, key = self._expected.get(tag, ("", ""))
            later = self.lives[stream] - 1
            # Each later life may ask for its replay several times, and then like the first one.
            calls = calls_a_life + later * (fallback.REPLAYS + calls_a_life - 1)
            self.add(history.Expected(simulated.now(), stream, sha256, calls, key))

    def stream(self, tag: str) -> str:
        return self._streams.get(tag, tag)

    def add(self, entry: history.Entry) -> None:
        self.entries.append(entry)

    def appended(self, stream: str, epoch: int, last: int, drafts: Iterable[events.Draft]) -> None:
        """The log acknowledged these; the last of them has the seq `last`."""
        found = list(drafts)
        for seq, draft in enumerate(found, last - len(found) + 1):
            said = history.digest(draft.kind, draft.data)
            self.add(history.Appended(simulated.now(), stream, epoch, seq, said, draft.kind))

    def shred(self, stream: events.StreamId, *, done: bool) -> None:
        """A client asks that it be destroyed, or is told that it is."""
        (self.shredded if done else self.going).add(stream)
        self.add(history.Shredded(simulated.now(), stream, done))

    def fault(self, name: str, on: bool) -> None:
        self.add(history.Fault(simulated.now(), name, on))

"""Correct histories by seed, for the tests of the checker: small, and of everything some.

Strategy: a stream is decided on first, event by event; then each of its actors tells, in its own
order, what it saw of it, and the lists are merged at random. So whatever holds in the product
holds here by construction, and an entry can be changed to break one thing.
"""

from __future__ import annotations

import random

import msgspec

from holdfast.testing import history

END = 200.0
"""When the run is over, in seconds; no reader has anything left to wait for by then."""


class Told(msgspec.Struct, frozen=True):
    """An event of a stream."""

    epoch: int
    seq: int
    digest: str
    kind: str

    @property
    def cursor(self) -> str:
        return f"{self.epoch}-{self.seq}"


def make(seed: int) -> list[history.Entry]:
    """A correct history: some streams, each with a provider, readers and stores."""
    dice = random.Random(seed)
    actors: list[list[history.Entry]] = [
        [history.Fault(at, "cut", on) for at, on in ((20.0, True), (30.0, False))],
        [history.Fault(50.0, "kill", on) for on in (True, False)],
    ]
    for number in range(dice.randint(1, 3)):
        actors += Stream(f"s{number}", dice).actors()
    return merged(actors, dice)


def merged(actors: list[list[history.Entry]], dice: random.Random) -> list[history.Entry]:
    """All entries in an order that keeps each actor's own."""
    left = [list(reversed(actor)) for actor in actors if actor]
    found = []
    while left:
        actor = dice.choice(left)
        found.append(actor.pop())
        left = [actor for actor in left if actor]
    return found


class Stream:
    """One stream, and all who have to do with it."""

    def __init__(self, name: str, dice: random.Random) -> None:
        self.name, self.dice = name, dice
        self.sha256 = f"{dice.getrandbits(64):016x}"
        self.whole = dice.random() < 0.7
        self.events = self._events(dice.randint(3, 8))

    def _events(self, count: int) -> list[Told]:
        epoch, found = 65536 + self.dice.randint(0, 9), []
        for seq in range(1, count + 1):
            if seq > 1 and self.dice.random() < 0.15:
                epoch += 65536
            end = "complete" if self.whole else "error"
            kind = "start" if seq == 1 else "chunk" if seq < count else end
            found.append(Told(epoch, seq, f"{self.dice.getrandbits(64):016x}", kind))
        return found

    def actors(self) -> list[list[history.Entry]]:
        readers = [self._reader(f"{self.name}r{n}") for n in range(self.dice.randint(1, 3))]
        stores = [self._store(name) for name in ("log", "archive")[: self.dice.randint(1, 2)]]
        return [self._node(), self._provider(), self._probe(), *readers, *stores]

    def _node(self) -> list[history.Entry]:
        times = sorted(self.dice.uniform(1, 60) for _ in self.events)
        return [
            history.Appended(at, self.name, told.epoch, told.seq, told.digest, told.kind)
            for at, told in zip(times, self.events, strict=True)
        ]

    def _provider(self) -> list[history.Entry]:
        calls = self.dice.randint(1, 2)
        found: list[history.Entry] = [
            history.Expected(0.5, self.name, self.sha256, calls, f"key {self.name}"),
            history.Expected(0.6, self.name, self.sha256, calls, f"key {self.name}"),
        ]
        found += [history.Called(1.0 + n, self.name) for n in range(calls)]
        found += [history.Sent(5.0 + n, self.name, 10) for n in range(self.dice.randint(1, 3))]
        if self.whole:
            found.append(history.Marked(60.0, self.name))
        else:
            # The second one comes within the grace.
            found.append(history.Cancelled(60.0, self.name))
            found.append(history.Sent(60.5, self.name, 10))
        return found

    def _reader(self, name: str) -> list[history.Entry]:
        """Comes back until it has all, or goes by itself."""
        found: list[history.Entry] = []
        at, have, number = 2.0, 0, 0
        while True:
            conn = f"{name}c{number}"
            cursor = self.events[have - 1].cursor if have else ""
            found.append(history.Connected(at, name, conn, self.name, cursor))
            if have == len(self.events):
                found.append(history.Answered(at + 0.1, conn, 204))
                found.append(history.Disconnected(at + 0.2, conn, True))
                return found
            upto = self.dice.randint(have, len(self.events))
            found += self._answer(conn, at, self.events[have:upto])
            have, number, at = upto, number + 1, at + 2.0
            last = have == len(self.events)
            # A cut right after the terminal event is a fault's doing.
            clean = last and (self.dice.random() < 0.7 or not 21 < at < 31)
            ours = not clean and self.dice.random() < 0.1
            found.append(history.Disconnected(at - 0.5, conn, clean, ours))
            if clean or ours:
                return found

    def _answer(self, conn: str, at: float, events: list[Told]) -> list[history.Entry]:
        return [
            history.Answered(at + 0.1, conn, 200),
            *(
                history.Delivered(
                    at + 0.2,
                    conn,
                    told.epoch,
                    told.seq,
                    told.digest,
                    told.kind,
                    self.dice.choice(("", self.name)),
                )
                for told in events
            ),
        ]

    def _probe(self) -> list[history.Entry]:
        """A reader with a cursor that cannot be good."""
        name, conn = f"{self.name}p", f"{self.name}pc"
        refused = self.dice.random() < 0.3
        cursor = "nonsense" if refused else "1-999"
        found: list[history.Entry] = [
            history.Connected(70.0, name, conn, self.name, cursor, bad=True)
        ]
        if refused:
            found.append(history.Answered(70.5, conn, 400))
        else:
            answer = self._answer(conn, 70.2, self.events)
            found += [answer[0], history.Reset(70.4, conn), *answer[1:]]
        return [*found, history.Disconnected(71.0, conn, True)]

    def _store(self, store: str) -> list[history.Entry]:
        return [
            history.Kept(
                99.0,
                store,
                self.name,
                told.epoch,
                told.seq,
                told.digest,
                told.kind,
                self.sha256 if told.kind == "complete" else "",
                "cancelled" if told.kind == "error" else "",
            )
            for told in self.events
        ]

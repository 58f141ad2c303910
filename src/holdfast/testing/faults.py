"""What a network does to one direction of a connection: faults, and the line that has them.

Strategy: a fault is a value, and a line is a calculation. It is given bytes as they come and
tells what is to be done with them and when, so the whole behaviour can be tested and replayed
without a socket or a clock; `fault_proxy` only does what a line says. The vocabulary is
Toxiproxy's. Seconds, bytes, bytes a second. What is random comes from a seed: the sizes of
slices follow the bytes, however they were read; jitter follows the reads.

`after` counts the bytes that a direction has let through since its faults were set. Of several
faults with `after` the nearest counts, and the first of equals; delays add up; the narrowest
bandwidth and the first slices count.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable

import msgspec

GRAIN_SECONDS = 0.05
"""A limited bandwidth lets pieces through that take so long, so that it flows."""


class Latency(msgspec.Struct, frozen=True):
    """Everything comes so much later, give or take the jitter; nothing overtakes."""

    delay: float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        _check(self.delay >= 0 and self.jitter >= 0, "a delay and its jitter are not negative")


class Bandwidth(msgspec.Struct, frozen=True):
    """So many bytes a second."""

    rate: float

    def __post_init__(self) -> None:
        _check(self.rate > 0, "a rate is positive; `Stall` lets nothing through")


class Slices(msgspec.Struct, frozen=True):
    """Each write is so large, give or take the variation, and the next one waits."""

    size: int
    variation: int = 0
    delay: float = 0.0

    def __post_init__(self) -> None:
        _check(0 <= self.variation < self.size, "a slice has a byte and more, whatever varies")
        _check(self.delay >= 0, "a delay is not negative")


class _After(msgspec.Struct, frozen=True):
    after: int = 0

    def __post_init__(self) -> None:
        _check(self.after >= 0, "`after` counts bytes")


class Cut(_After, frozen=True):
    """The whole connection ends, both ways: with FIN, as if a process had ended, or with RST,
    with which is lost what the receiver's side of the kernel has no room for."""

    rst: bool = False


class Stall(_After, frozen=True):
    """Nothing passes any more, no end either; what waits goes on when the fault is lifted.

    In both directions it is a silent network; in one, a direction that is down for a while.
    """


class Down(_After, frozen=True):
    """What is sent is taken and never arrives, also when the fault is lifted; its end waits for
    that."""


class HalfClose(_After, frozen=True):
    """The receiver is told that the sender has ended; the other direction goes on. What the
    sender still says is lost."""


Fault = Latency | Bandwidth | Slices | Cut | Stall | Down | HalfClose


class Faults(msgspec.Struct, frozen=True):
    """What a connection gets: `up` is from the client to the server, `down` the way back."""

    up: tuple[Fault, ...] = ()
    down: tuple[Fault, ...] = ()


Choose = Callable[[int], Faults]
"""The faults of a connection by its number, 0 for the first."""

NONE = Faults()


def seeded(seed: int, draw: Callable[[random.Random], Faults]) -> Choose:
    """A choice that is drawn anew for each number, and the same for the same seed and number.

    def draw(dice: random.Random) -> Faults:
        return Faults(down=(Cut(after=dice.randrange(10_000), rst=dice.random() < 0.5),))
    """
    return lambda number: draw(random.Random(f"{seed} {number}"))


def _check(true: bool, message: str) -> None:
    if not true:
        raise ValueError(message)


class Reset(msgspec.Struct, frozen=True):
    """No fault of ours: the sender's connection was reset, and the receiver's is to be."""


Act = memoryview | Cut | HalfClose | Reset
"""What is to be done: write these bytes, end the connection, or tell the receiver that no more
comes."""


class Line:
    """One direction under its faults: a plain calculation, in times that the caller gives.

    `held` counts bytes that wait in it and `lost` those that never arrive; `put` refuses none,
    so the caller bounds what it puts by what is held."""

    def __init__(self, faults: tuple[Fault, ...] = (), seed: str = "") -> None:
        self.held = self.lost = 0
        self._queue: deque[tuple[float, memoryview]] = deque()
        self._clear = -math.inf  # when the next piece may begin
        self._end: tuple[float, HalfClose | Reset] | None = None
        self._shut = False  # the receiver knows that no more comes
        self._jitters = random.Random(f"{seed} jitter")
        self._sizes = random.Random(f"{seed} sizes")
        self.set(faults)

    def set(self, faults: tuple[Fault, ...]) -> None:
        """Other faults from now on; what waits already keeps its latency."""
        self._delays = [fault for fault in faults if isinstance(fault, Latency)]
        self._rate = min((f.rate for f in faults if isinstance(f, Bandwidth)), default=math.inf)
        self._slices = next((fault for fault in faults if isinstance(fault, Slices)), None)
        edges = [fault for fault in faults if isinstance(fault, _After)]
        self._edge = min(edges, key=lambda fault: fault.after, default=None)
        self._room = math.inf if self._edge is None else self._edge.after
        self._slice = 0  # bytes that are left of the present slice
        self._lose_if_down()

    def put(self, data: bytes, now: float) -> None:
        """Bytes have come from the sender."""
        self._queue.append((now + self._delay(), memoryview(data)))
        self.held += len(data)
        self._lose_if_down()

    def end(self, now: float, rst: bool = False) -> None:
        """The sender has ended, or its connection was reset: passed on after what came before."""
        self._end = now + self._delay(), Reset() if rst else HalfClose()

    def due(self) -> float | None:
        """When `take` is to be called next; None where there is nothing to do."""
        if not self._room and isinstance(self._edge, Stall | Down):
            return None
        if not self._room and not (self._shut and isinstance(self._edge, HalfClose)):
            return -math.inf
        if self._queue:
            ready, data = self._queue[0]
            return max(ready, self._clear) + self._size(len(data)) / self._rate
        return None if self._end is None else self._end[0]

    def take(self, now: float) -> Act:
        """What is due, which the caller does now."""
        if not self._room and isinstance(self._edge, Cut):
            return self._edge
        if not self._room and isinstance(self._edge, HalfClose) and not self._shut:
            return self._shut_with(self._edge)
        if self._queue:
            return self._piece(now)
        assert self._end is not None, "nothing was due"
        act, self._end = self._end[1], None
        return self._shut_with(act) if isinstance(act, HalfClose) else act

    def _shut_with(self, act: HalfClose) -> HalfClose:
        self._shut = True
        self._lose_if_down()
        return act

    def _piece(self, now: float) -> memoryview:
        ready, data = self._queue.popleft()
        size = self._size(len(data))
        piece, rest = data[:size], data[size:]
        if rest:
            self._queue.appendleft((ready, rest))
        self.held -= size
        self._room -= size
        self._slice -= size
        waits = self._slices.delay if self._slices is not None and self._slice <= 0 else 0.0
        self._clear = now + waits
        self._lose_if_down()
        return piece

    def _size(self, most: int) -> int:
        """Bytes of the next piece; asked again before it is taken, it is the same."""
        if self._slices is not None:
            if self._slice <= 0:
                low, high = self._slices.size, self._slices.size
                low, high = low - self._slices.variation, high + self._slices.variation
                self._slice = self._sizes.randint(low, high)
            most = min(most, self._slice)
        if self._rate < math.inf:
            most = min(most, max(1, int(self._rate * GRAIN_SECONDS)))
        return most if self._room >= most else int(self._room)

    def _delay(self) -> float:
        delay = 0.0
        for fault in self._delays:
            jitter = self._jitters.uniform(-fault.jitter, fault.jitter) if fault.jitter else 0.0
            delay += max(0.0, fault.delay + jitter)
        return delay

    def _lose_if_down(self) -> None:
        if self._shut or (not self._room and isinstance(self._edge, Down)):
            self.lost += self.held
            self.held = 0
            self._queue.clear()

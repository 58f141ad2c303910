"""What the product asks the machine for, randomness and the time, made to follow from the seed.

Strategy: the product asks the modules `random`, `secrets` and `time`, under these names; for as
long as a run lasts, the names lead here in every module of the package but those for tests. The
ticker keeps its own sources, and is given others when its node is made. A feed's cache, which no
small run would fill, is drawn too. One run at a time in a process.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from holdfast.http import feed
from holdfast.testing import simulated

SINCE_1970 = 1_700_000_000.0
"""What the wall clock adds to the loop's."""

CACHES = (0, 600, feed.CACHE_BYTES, feed.CACHE_BYTES)
"""What a feed's cache holds, in bytes."""


class Secrets:
    """As much of `secrets` as the product uses."""

    def __init__(self, chance: random.Random) -> None:
        self.randbits = chance.getrandbits
        self.token_bytes = chance.randbytes


class Clock:
    """The module `time`, with a wall clock that is the running loop's."""

    def time(self) -> float:
        return SINCE_1970 + simulated.now()

    def time_ns(self) -> int:
        return int(self.time() * 1000) * 1_000_000

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class Load:
    """A `ticker.Load` that is drawn: mostly idle, at times busy."""

    def __init__(self, chance: random.Random, busy: float) -> None:
        """`busy` is the share of samples that are not idle."""
        self._chance, self._busy = chance, busy

    def sample(self) -> float:
        return self._chance.random() if self._chance.random() < self._busy else 0.0


@contextlib.contextmanager
def drawn_from(chance: random.Random) -> Iterator[None]:
    """While it lasts, ids come from `chance` and the time from the loop."""
    ours = {"random": chance, "secrets": Secrets(chance), "time": Clock()}
    theirs: dict[str, ModuleType] = {"random": random, "secrets": secrets, "time": time}
    seams = [
        (module, name)
        for path, module in tuple(sys.modules.items())
        if path.startswith("holdfast.") and not path.startswith("holdfast.testing")
        for name in theirs
        if vars(module).get(name) is theirs[name]
    ]
    for module, name in seams:
        setattr(module, name, ours[name])
    cache_bytes, feed.CACHE_BYTES = feed.CACHE_BYTES, chance.choice(CACHES)
    try:
        yield
    finally:
        feed.CACHE_BYTES = cache_bytes
        for module, name in seams:
            setattr(module, name, theirs[name])

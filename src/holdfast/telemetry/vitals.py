"""How a node is at the moment: what is no sum, and holds only now.

Strategy: read where it is asked for, from the process and from who knows, so that it costs nothing
while nobody asks. What a system does not tell is None.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

_STATM, _FILES = Path("/proc/self/statm"), Path("/proc/self/fd")

BreakerState = Literal["closed", "open", "half_open"]


class Worker(NamedTuple):
    """Which of the workers that serve one port: their group, and its number there, which is that of
    the one before it that ended. One that is alone has no group."""

    group: str = ""
    number: int = 0


ALONE = Worker()


class Vitals(msgspec.Struct, frozen=True, gc=False):
    """`started_at` in ms since 1970, `busy` the share of its time that the event loop works;
    `memory` in bytes, and `memory_at_start`. `breakers` are those of providers that were called, by
    name, and `passed_over` whom nobody calls now, or one call, to see. Workers that serve one port
    are a `group`, in which each has a number, its `worker`; `waiting` counts new streams that wait
    to be opened."""

    version: str
    started_at: int
    engine: str
    connection_limit: int
    busy: float
    memory: int | None
    memory_at_start: int | None
    open_files: int | None
    log_failing: bool
    draining: bool
    breakers: dict[str, BreakerState]
    passed_over: tuple[str, ...] = ()
    group: str = ""
    worker: int = 0
    waiting: int = 0


def cpu_us() -> int:
    """What this process has computed since it began, in microseconds."""
    return time.process_time_ns() // 1000


def memory() -> int | None:
    """Resident memory of this process in bytes: the second number of Linux's `statm`, in pages."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def open_files() -> int | None:
    """Files and sockets that this process has open, as Linux 6.2 or newer says. To count them takes
    50 ms where there are 18,000, which nobody's event loop has to spare."""
    try:
        return _FILES.stat().st_size or None
    except OSError:
        return None

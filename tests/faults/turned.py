"""`holdfast` in a process that kills itself in the middle of what it does to its stores.

    python -m tests.faults.turned STEP MILLISECONDS serve --port 0

Strategy: what it asks of its stores is counted: statements of SQLite's, and every so many
instructions of one that takes long; what goes to Redis, and what comes back; statements sent to
PostgreSQL. So many milliseconds behind such a STEP it is killed (0: never), whatever it is in then.
SIGUSR1 has it tell how many there were, as a command does at its end. A pass over all streams
begins at once, and goes in small steps.
"""

from __future__ import annotations

import atexit
import itertools
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import asyncpg

from holdfast import cli, resealing
from holdfast.eventlog.redis import lease, link
from holdfast.eventlog.sqlite import engine
from holdfast.sealing import stores

MODULE = "tests.faults.turned"
INSTRUCTIONS = 3_000
"""Of SQLite's machine between two steps in one statement."""

CHECKPOINT_BYTES = 20_000
"""Of the redo log between two checkpoints, so that there are some."""

STREAMS = 7
"""That a pass looks at in one step."""

LEASE_SECONDS = 0.3
"""Of a node, whose streams the next one waits for."""


class Steps:
    def __init__(self, last: int, delay_ms: float) -> None:
        self._count, self._last, self._delay = itertools.count(1), last, delay_ms / 1000
        self.made = 0

    def step(self, *_: object) -> None:
        """From any thread."""
        self.made = next(self._count)
        if self.made == self._last:
            if not self._delay:
                _die()
            threading.Thread(target=self._die_later, daemon=True).start()

    def _die_later(self) -> None:
        time.sleep(self._delay)
        _die()

    def tell(self, *_: object) -> None:
        os.write(2, f"\nsteps {self.made}\n".encode())


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _watch_sqlite(steps: Steps) -> None:
    connect = sqlite3.connect

    def connected(*args: Any, **more: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*args, **more)
        db.set_trace_callback(steps.step)
        db.set_progress_handler(steps.step, INSTRUCTIONS)
        return db

    sqlite3.connect = connected  # type: ignore[assignment]


def _watch_redis(steps: Steps) -> None:
    exchange = link.Link._exchange

    async def exchanged(self: link.Link, some: Sequence[Any]) -> None:
        steps.step()
        await exchange(self, some)
        steps.step()

    link.Link._exchange = exchanged  # type: ignore[method-assign]


def _watch_postgres(steps: Steps) -> None:
    connect = asyncpg.connect

    async def connected(*args: Any, **more: Any) -> Any:
        db = await connect(*args, **more)
        db.add_query_logger(steps.step)
        return db

    asyncpg.connect = connected


def _hasten() -> None:
    resealing.BEGIN_WITHIN, resealing.AGAIN, resealing.LOOK_AGAIN = 0.0, 0.05, 0.05
    resealing.OVERLAP_MS = 0
    begin = lease.Lease.__init__

    def soon(self: lease.Lease, wires: Any, seconds: float) -> None:
        begin(self, wires, min(seconds, LEASE_SECONDS))

    lease.Lease.__init__ = soon  # type: ignore[method-assign]
    for function, name, value in (
        (stores.reseal_all, "step", STREAMS),
        (engine.SqliteLog.__init__, "checkpoint_bytes", CHECKPOINT_BYTES),
    ):
        assert function.__kwdefaults__ is not None
        function.__kwdefaults__[name] = value


def main() -> None:
    last, delay, *args = sys.argv[1:]
    steps = Steps(int(last), float(delay))
    _watch_sqlite(steps)
    _watch_redis(steps)
    _watch_postgres(steps)
    _hasten()
    if args[0] == "serve":
        signal.signal(signal.SIGUSR1, steps.tell)
    else:
        atexit.register(steps.tell)
    sys.argv[1:] = args
    cli.main()


if __name__ == "__main__":
    main()

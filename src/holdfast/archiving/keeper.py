"""A node and its archive: what goes there, what is read from there, and what is let go in time.

Strategy: a log that lets streams go has an archiver and is read with the archive behind it; any
other keeps them itself. What a node reports goes into every archive. How far the archive is behind
is told in numbers, which the node's metrics have.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from holdfast import events, settings
from holdfast.archive import base as archive_base
from holdfast.archive import memory, rows
from holdfast.archiving import archiver, behind, reporter
from holdfast.eventlog import base, retention
from holdfast.telemetry import counts


class State(msgspec.Struct, frozen=True, gc=False):
    """How far the archive is behind. `waiting_since` (ms since 1970) is when the one began to wait
    that waits for the longest, a stream or a report, `lag_ms` how long ago that is by this node's
    clock; None and 0 where nothing waits. `kept` are the streams that this node archived, None
    where they stay in the log."""

    waiting_since: int | None
    lag_ms: int
    kept: int | None
    failing: bool
    reports_waiting: int
    reports_dropped: int


class Keeper:
    """`log` is what the node reads and writes from then on. Without an `archive` what is reported
    is kept in memory, and streams stay in the log. `counted` and `node` are as the reporter takes
    them."""

    def __init__(
        self,
        log: base.EventLog,
        archive: archive_base.Archive | None,
        counted: Callable[[], counts.Counts],
        node: Callable[[], str],
    ) -> None:
        self.log, self.archive = log, archive or memory.MemoryArchive()
        self.reporter = reporter.Reporter(self.archive, counted, node)
        self.archiver: archiver.Archiver | None = None
        if archive is not None and log.endings is not None:
            self.archiver = archiver.Archiver(log, log.endings, archive)
            self.log = behind.ArchivedLog(log, archive)

    def tasks(self, said: settings.Log) -> list[tuple[Coroutine[Any, Any, None], str]]:
        """What is to run as long as the node does, each with a name."""
        run = retention.run
        found = [
            (self.reporter.run(), "reporter"),
            (run(self.archive.forget, said.retention, rows.MAX_ROWS), "retention of reports"),
        ]
        if self.archiver is None:
            return [*found, (run(self.log.expire, said.retention), "retention")]
        live = min(said.live, said.retention)
        return [
            *found,
            (self.archiver.run(), "archiver"),
            (run(self.log.expire, live), "retention of the log"),
            (run(self.archive.expire, said.retention), "retention of the archive"),
        ]

    @property
    def state(self) -> State:
        """As of now."""
        reports, streams = self.reporter, self.archiver
        since = [reports.oldest, None if streams is None else streams.oldest]
        oldest = min((one for one in since if one is not None), default=None)
        failures = (reports.failure, None if streams is None else streams.failure)
        return State(
            oldest,
            0 if oldest is None else max(0, events.now_ms() - oldest),
            None if streams is None else streams.kept,
            failures != (None, None),
            reports.waiting,
            reports.dropped,
        )

"""A period of minutes, and what was counted in it: as a whole, and step by step.

Strategy: minutes come from the archive, page by page, and from nodes that have not written theirs
yet. A page is read and added up in a thread, into sums that can be written to: a month has more of
them than an event loop may be held up for. What the nodes told first and the archive has by now is
the same minute under the same name, and counts once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from holdfast import errors
from holdfast.archive import base as archive_base
from holdfast.archive import rows
from holdfast.telemetry import counts, over

MAX_MINUTES = 50_000
"""Minutes of nodes that are added up: a month of one node, or a day of thirty."""

_minute = msgspec.json.Decoder(counts.Counts).decode


class Period(msgspec.Struct, frozen=True):
    """The minutes that begin from `start` up to, and without, `end`; in ms."""

    start: int
    end: int

    def covered(self, now: int) -> tuple[int, int]:
        """From when to when these minutes are, as far as they have been."""
        end = min(_next_minute(self.end), now)
        return min(_next_minute(self.start), end), end


def _next_minute(ms: int) -> int:
    """When the first minute begins that does not begin before."""
    return counts.minute_of(ms + counts.MINUTE_MS - 1)


Unwritten = Mapping[str, Mapping[int, counts.Counts]]
"""By the names of nodes and the begins of minutes: what these have told."""


class Steps:
    """What was counted in each step, of so many ms; without one all of it is one step. Minutes come
    in the order of their begins."""

    def __init__(self, unwritten: Unwritten, step: int | None = None) -> None:
        self._told: dict[int, dict[str, counts.Counts]] = {}
        for node, minutes in unwritten.items():
            for at, one in minutes.items():
                self._told.setdefault(at, {})[node] = one
        self._step = step
        self._steps: dict[int, over.Over] = {}
        self._at, self._nodes = -1, dict[str, counts.Counts]()

    def take(self, page: Sequence[rows.Minute]) -> None:
        """Minutes as the archive has them. Raises `errors.LogCorrupt`."""
        for row in page:
            if row.at != self._at:
                if self._nodes:
                    self._close()
                self._at = row.at
            self._nodes[row.node] = _counts(row)

    def _close(self) -> None:
        """The minute that is being read is over, for all nodes."""
        nodes = self._nodes | self._told.pop(self._at, {})
        self._nodes = {}
        self._add(self._at, nodes.values())

    def _add(self, at: int, nodes: Iterable[counts.Counts]) -> None:
        minute = counts.added(nodes)
        start = at - at % self._step if self._step else 0
        self._steps.setdefault(start, over.Over()).add(minute)

    def end(self) -> dict[int, counts.Counts]:
        """Each step by its begin, once all minutes are there, but for those without any."""
        if self._nodes:
            self._close()
        for at, nodes in self._told.items():
            self._add(at, nodes.values())
        self._told = {}
        return {start: self._steps[start].counts() for start in sorted(self._steps)}


def _counts(row: rows.Minute) -> counts.Counts:
    try:
        return _minute(row.data)
    except (msgspec.DecodeError, ValueError) as error:
        raise errors.LogCorrupt(f"A minute in the archive: {error}.") from error


async def counted(
    archive: archive_base.Archive, period: Period, unwritten: Unwritten, step: int | None = None
) -> dict[int, counts.Counts]:
    """By the begins of steps (0 without one). Raises `errors.ArchiveUnavailable`, `LogCorrupt`,
    and `InvalidField` for a period with more minutes than are added up."""
    steps, after, seen = Steps(unwritten, step), (-1, ""), 0
    while True:
        page = await archive.minutes(period.start, period.end, rows.MAX_ROWS, after)
        seen += len(page)
        if seen > MAX_MINUTES:
            raise errors.InvalidField(
                f"All nodes have over {MAX_MINUTES} minutes in this period; ask for a shorter one."
            )
        await asyncio.to_thread(steps.take, page)
        if len(page) < rows.MAX_ROWS:
            return await asyncio.to_thread(steps.end)
        after = (page[-1].at, page[-1].node)


def whole(steps: Mapping[int, counts.Counts]) -> counts.Counts:
    """All steps together."""
    total = over.Over()
    for one in steps.values():
        total.add(one)
    return total.counts()


def each(
    steps: Mapping[int, counts.Counts], span: tuple[int, int], step: int
) -> Iterator[tuple[int, float, counts.Counts]]:
    """Every step of a span: when it begins, how many seconds it has in the span, and what was
    counted. A step begins at a whole one since 1970, so that two answers fit together."""
    begin, end = span
    for start in range(begin - begin % step, end, step):
        seconds = (min(start + step, end) - max(start, begin)) / 1000
        yield start, seconds, steps.get(start, counts.NOTHING)

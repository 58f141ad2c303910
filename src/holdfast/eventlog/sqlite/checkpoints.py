"""Checkpoints: what bounds the redo log.

Strategy: a checkpoint is spread out. It writes the streams that are open, slice by slice, each
only from where its last segment ended, and each with the last redo row that it contains at
that moment; while it runs the log goes on. Then it forgets the redo rows up to the one at
which it began: whatever they say is in a segment, or in a record, because records are written
before by the same queue. One that is asked for begins anew behind one that runs, so that at its
end nothing of what was there when it was asked for is in the redo log.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from holdfast import events
from holdfast.eventlog import streams
from holdfast.eventlog.sqlite import file, redo, replay, writer
from holdfast.sealing import codec

SLICE_BYTES = 256 * 1024
SLICE_STREAMS = 128
"""A slice ends with the stream that reaches either: it holds the loop for under 5 ms."""

FORGET_ROWS = 64
"""Redo rows that are deleted in one transaction."""


class Checkpoints:
    """Counts the redo log; begins a checkpoint each `limit` bytes."""

    def __init__(
        self, limit: int, loaded: replay.Loaded, put: Callable[[writer.Job], None]
    ) -> None:
        self.row = loaded.row
        self._limit, self._put = limit, put
        self._size = loaded.size
        self._streams, self._saved, self._codecs = loaded.streams, loaded.saved, loaded.codecs
        self._running = False
        self._asked: list[Callable[[], None]] = []
        self._ended: list[Callable[[], None]] = []

    def wrote(self, row: int, size: int) -> None:
        """The redo log has this row of so many bytes, and the streams in memory show it."""
        self.row = row
        self._size += size
        if self._size >= self._limit:
            self.begin()

    def forget(self, stream: events.StreamId) -> None:
        """The stream has its record."""
        self._saved.pop(stream, None)

    def begin(self) -> None:
        if not self._running:
            self._running = True
            self._size = 0
            self._ended, self._asked = self._asked, []
            self._slice(iter(list(self._streams)), self.row)

    def whole(self, ended: Callable[[], None]) -> None:
        """One that begins now, or behind the one that runs; tells when it is through."""
        self._asked.append(ended)
        self.begin()

    def _slice(self, left: Iterator[streams.Stream], upto: int, _: object = None) -> None:
        segments: list[file.Segment] = []
        size = 0
        for stream in left:
            state = (stream.last, stream.cancelled)
            saved = self._saved.get(stream.id)
            if stream.ended_at is not None or state == saved:
                continue
            block = redo.cut(stream, saved[0] + 1 if saved else 1)
            by = self._codecs.get(stream.id, codec.PLAIN)
            segments.append(file.Segment(stream.id, stream.header, self.row, block, by))
            self._saved[stream.id] = state
            size += len(block.data) + len(stream.header.request)
            if size >= SLICE_BYTES or len(segments) == SLICE_STREAMS:
                break
        if segments:
            work = functools.partial(_keep, segments)
            self._put(writer.Job(work, functools.partial(self._slice, left, upto), size))
        else:
            self._forget_redo(upto, FORGET_ROWS)

    def _forget_redo(self, upto: int, forgotten: int) -> None:
        """Deletes on while there was as much as may be deleted at once."""
        if forgotten < FORGET_ROWS:
            self._running = False
            for ended in self._ended:
                ended()
            if self._asked:
                self.begin()
            return
        self._put(
            writer.Job(
                lambda opened: opened.forget_redo(upto, FORGET_ROWS),
                functools.partial(self._forget_redo, upto),
                writer.SLICE_BYTES,
            )
        )


def _keep(segments: list[file.Segment], opened: file.File) -> None:
    for segment in segments:
        opened.keep_segment(segment)

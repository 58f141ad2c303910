"""What a frame of an Anthropic answer is: an event of it, its end, or an error.

Strategy: `wire` decodes a frame, `answer` says what is new in it. The type in the data counts,
and the name of the frame where the data have none. An error after a 200 is an `error` event,
or an `error` object in any other. Events, blocks and deltas of unknown types are left out.

The end is `message_stop`. Before it stands the `message_delta` with the stop reason: by then
every block is closed, so nothing but the end can follow.
"""

from __future__ import annotations

from typing import Any

from holdfast import events, sse
from holdfast.providers import failures, frames, repeated, values
from holdfast.providers.anthropic import answer, wire


class Fold(repeated.Never):
    """A `base.Fold`."""

    def __init__(self, source: failures.Source) -> None:
        self.done = False
        self._source = source
        self._answer = answer.Answer(source)

    @property
    def finished(self) -> bool:
        """See `base.Fold.finished`."""
        return self._answer.finished

    @property
    def gathered(self) -> int:
        """See `base.Fold.gathered`."""
        return self._answer.gathered

    def take(self, frame: sse.Frame, out: list[events.Body]) -> None:
        """See `base.Fold.take`."""
        mended = False
        try:
            event = wire.decode(frame.data)
        except (ValueError, RecursionError):
            named = frame.event
            slowly = frames.slowly(
                frame, wire.convert, self._source, lambda body: wire.is_known(body, named)
            )
            if slowly is None:
                return
            event, mended = slowly, True
        kind = event.type or frame.event
        if kind == "error" or event.error or frame.event == "error":
            self._fail(frame)
        elif kind == "content_block_delta":
            if event.delta is not None:
                self._answer.go_on(event.index, event.delta, mended, out)
        elif kind == "content_block_start":
            self._answer.begin(event.index, event.content_block, mended, out)
        elif kind == "content_block_stop":
            self._answer.end(event.index, out)
        elif kind == "message_start":
            if isinstance(event.message, dict):
                self._answer.counts.note(event.message.get("usage"))
        elif kind == "message_delta":
            self._end(event, out)
        elif kind == "message_stop":
            self.done = True

    def release(self, out: list[events.Body]) -> None:
        """See `base.Fold.release`."""
        self._answer.release(out)

    def tell_usage(self, out: list[events.Body]) -> None:
        """See `base.Fold.tell_usage`."""
        self._answer.counts.tell(out)

    def _end(self, event: wire.Event, out: list[events.Body]) -> None:
        self._answer.counts.note(event.usage)
        if event.delta is not None and event.delta.stop_reason:
            self._answer.finish(event.delta, out)
        if self.finished:
            self._answer.counts.tell(out)

    def _fail(self, frame: sse.Frame) -> None:
        """Raises the error that the frame reports."""
        body: Any
        try:
            body = values.load(frame.text)
        except (ValueError, RecursionError):
            body = frame.text
        raise self._source.in_stream(body)

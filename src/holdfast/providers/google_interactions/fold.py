"""What a frame of an Interactions stream is: an event, the end, or one of the shapes of an error.

Strategy: `wire` decodes a frame, `answer` says what is new in it. The answer ends with
`interaction.completed`; `[DONE]` after it says so again. An error is an event of that type, an
`error` object in any frame, or a status that says that the interaction failed.
"""

from __future__ import annotations

from holdfast import events, sse
from holdfast.providers import failures, frames, repeated
from holdfast.providers.google_interactions import answer, wire


class Fold(repeated.Never):
    """A `base.Fold`."""

    def __init__(self, source: failures.Source) -> None:
        self.done = False
        self._source = source
        self._answer = answer.Answer(source)

    @property
    def finished(self) -> bool:
        """See `base.Fold.finished`; after `release` alone."""
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
            self.done = frames.is_marker(frame)
            slowly = frames.slowly(frame, wire.convert, self._source, lambda body: True)
            if slowly is None:
                return
            event, mended = slowly, True
        if event.delta is None:
            self._refuse_error(frame, event)
            event.event_type = event.event_type or frame.event
        self._answer.take(event, frame, out, mended=mended)
        self.done = self._answer.completed

    def release(self, out: list[events.Body]) -> None:
        """See `base.Fold.release`."""
        self._answer.release(out, marked=self.done)

    def tell_usage(self, out: list[events.Body]) -> None:
        """See `base.Fold.tell_usage`."""
        self._answer.tell_usage(out)

    def _refuse_error(self, frame: sse.Frame, event: wire.Event) -> None:
        if event.error or "error" in (event.event_type, frame.event):
            raise self._source.in_stream(wire.fields(frame) or frame.text)

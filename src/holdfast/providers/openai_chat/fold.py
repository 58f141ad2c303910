"""What a frame of a chat stream is: a chunk, the end marker, or one of the shapes of an error.

Strategy: `wire` decodes a frame, `deltas` says what is new in it. This file tells the shapes of
an error after a 200 apart:

- a frame named `error`, whatever its data;
- a truthy `error` in a frame, in one of its choices, or in Groq's `x_groq`;
- a flat error object, `{"object": "error", "message"}` or `{"code", "error": "text"}`;
- a finish reason that means that the answer broke off.
"""

from __future__ import annotations

from holdfast import errors, events, sse
from holdfast.providers import failures, frames
from holdfast.providers.openai_chat import deltas, wire


class Fold:
    """A `base.Fold`; `choices` is the `n` that was asked for."""

    __slots__ = (
        "_deltas",
        "_source",
        "done",
    )

    def __init__(self, choices: int, source: failures.Source) -> None:
        self.done = False
        self._source = source
        self._deltas = deltas.Deltas(choices, source)

    @property
    def finished(self) -> bool:
        """See `base.Fold.finished`."""
        return self._deltas.finished

    @property
    def gathered(self) -> int:
        """See `base.Fold.gathered`: everything is told at once."""
        return 0

    @property
    def calm(self) -> bool:
        """See `base.Fold.calm`."""
        return self._deltas.calm

    def plain(self, data: bytes) -> events.Chunk | None:
        """See `base.Fold.plain`."""
        try:
            return deltas.plain(wire.decode(data))
        except (ValueError, RecursionError):
            return None

    def take(self, frame: sse.Frame, out: list[events.Body]) -> None:
        """See `base.Fold.take`."""
        mended = False
        try:
            chunk = wire.decode(frame.data)
        except (ValueError, RecursionError):
            self.done = frames.is_marker(frame)
            named = frame.event == "message"
            slowly = frames.slowly(frame, wire.convert, self._source, lambda body: named)
            if slowly is None:
                return
            chunk, mended = slowly, True
        broken = None
        if chunk.error or chunk.choices is None or frame.event == "error":
            broken = frames.error_in(frame, self._source)
        choices = chunk.choices
        if chunk.x_groq or (choices and (choices[0].error or len(choices) > 1)):
            broken = broken or self._error_within(chunk)
        try:
            self._deltas.take(chunk, out, mended=mended, broken=broken is not None)
        except errors.ProviderError as error:
            raise broken or error from None
        if broken is not None:
            raise broken

    def release(self, out: list[events.Body]) -> None:
        """See `base.Fold.release`."""
        self._deltas.release(out)

    def tell_usage(self, out: list[events.Body]) -> None:
        """See `base.Fold.tell_usage`."""
        self._deltas.tell_usage(out)

    def _error_within(self, chunk: wire.Chunk) -> errors.ProviderError | None:
        """The error that a chunk reports in a place of the vendor's own."""
        groq = chunk.x_groq.get("error") if isinstance(chunk.x_groq, dict) else None
        for error in (groq, *(choice.error for choice in chunk.choices or ())):
            if error:
                return self._source.in_stream({"error": error})
        return None

"""What a frame of a Gemini stream is: a piece of the answer, or one of the shapes of an error.

Strategy: `wire` decodes a frame, `answer` says what is new in it. There is no end marker: the
answer is whole where the body ends after every choice has ended. An error is a `google.rpc.
Status` in a frame of its own, alone or in a list, or in a frame named `error`; one outside of
any frame is the translator's.
"""

from __future__ import annotations

from holdfast import errors, events, sse
from holdfast.providers import failures, frames, repeated
from holdfast.providers.google import answer, wire


class Fold(repeated.Never):
    """A `base.Fold`; `choices` is the `n` that was asked for."""

    done = False
    """Never: this format has no marker."""

    def __init__(self, choices: int, source: failures.Source) -> None:
        self._source = source
        self._answer = answer.Answer(choices, source)

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
            chunk = wire.decode(frame.data)
        except (ValueError, RecursionError):
            named = frame.event == "message"
            slowly = frames.slowly(frame, wire.convert, self._source, lambda body: named)
            if slowly is None:
                return
            chunk, mended = slowly, True
        broken = None
        if chunk.error or chunk.candidates is None or frame.event == "error":
            broken = frames.error_in(frame, self._source)
        try:
            self._answer.take(chunk, out, mended=mended)
        except errors.ProviderError as error:
            raise broken or error from None
        if broken is not None:
            raise broken

    def release(self, out: list[events.Body]) -> None:
        """See `base.Fold.release`."""
        self._answer.release(out)

    def tell_usage(self, out: list[events.Body]) -> None:
        """See `base.Fold.tell_usage`."""
        self._answer.tell_usage(out)

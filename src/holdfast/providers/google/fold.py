"""What a frame of a Gemini stream is: a piece of the answer, or one of the shapes of an error.

Strategy: `wire` decodes a frame, `answer` says what is new in it. There is no end marker: the
answer is whole where the body ends after every choice has ended. An error is a `google.rpc.
Status` in a frame of its own, alone or in a list, or in a frame named `error`; one outside of
any frame is the translator's.
"""

from __future__ import annotations

from typing import Any

from holdfast import errors, events, sse
from holdfast.providers import failures, values
from holdfast.providers.google import answer, wire

_DONE = "[DONE]"


class Fold:
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
            slowly = self._mend(frame)
            if slowly is None:
                return
            chunk, mended = slowly, True
        broken = None
        if chunk.error or chunk.candidates is None or frame.event == "error":
            broken = self._error_in(frame)
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

    def _mend(self, frame: sse.Frame) -> wire.Chunk | None:
        """The frame read the slow way; None where it is no piece of an answer and no error.

        Some gateways end every stream with OpenAI's marker; it means nothing here.
        """
        text = frame.text.strip()
        if text in ("", _DONE):
            return None
        body: Any = text
        try:
            body = values.load(text)
            return wire.convert(body)
        except (ValueError, RecursionError):
            if frame.event == "error" or failures.reports_error(body):
                raise self._source.in_stream(body) from None
            if frame.event == "message":
                raise self._source.malformed("an event is not of its format.") from None
        return None

    def _error_in(self, frame: sse.Frame) -> errors.ProviderError | None:
        """The error that the frame as a whole is, if it is one."""
        try:
            body = values.load(frame.text)
        except (ValueError, RecursionError):
            return None
        reports = frame.event == "error" or failures.reports_error(body)
        return self._source.in_stream(body) if reports else None

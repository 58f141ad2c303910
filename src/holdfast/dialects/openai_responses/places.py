"""Where a reader is that has frames already.

Strategy: it names the last frame that it has. The fold runs over the log until that frame; what it
says from there on is what the reader has not got, byte for byte as every reader gets it. A number
that the fold passes over was never a frame of this stream.
"""

from __future__ import annotations

from holdfast import events
from holdfast.dialects.openai_responses import fold, frames


def behind(spoken: fold.Fold, event: events.Event, number: int) -> bytes | None:
    """Takes the next event; gives its frames behind the one of this number, and None where that is
    not among them."""
    said = spoken.render(event)
    first = spoken.number - said.count(frames.END)
    if not first <= number < spoken.number:
        return None
    return said.split(frames.END, number - first + 1)[-1]


class Resumed:
    """A `base.ForeignFold` that has taken an event already, of which `rest` is still to be said:
    that event is the first that it is asked for."""

    def __init__(self, spoken: fold.Fold, rest: bytes) -> None:
        self._fold, self.padded = spoken, spoken.padded
        self._rest: bytes | None = rest

    @property
    def ended(self) -> bool:
        """See `base.ForeignFold.ended`."""
        return self._fold.ended

    @property
    def failed(self) -> bool:
        """See `base.ForeignFold.failed`."""
        return self._fold.failed

    def render(self, event: events.Event) -> bytes:
        """See `base.Fold.render`."""
        if self._rest is not None:
            rest, self._rest = self._rest, None
            return rest
        return self._fold.render(event)

    def rewind(self, reason: str) -> bytes:
        """See `base.Fold.rewind`."""
        return self._fold.rewind(reason)

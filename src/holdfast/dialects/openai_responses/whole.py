"""Events as one response, however far it is.

Strategy: what a response holds is what its frames have said, so the fold that makes them keeps it.
Only an answer that began anew behind more than thoughts is told here and not in frames, without
what is void.
"""

from __future__ import annotations

from holdfast import events, storage
from holdfast.dialects.openai_responses import fold


class Whole:
    """A `base.Whole`."""

    def __init__(self, stream: events.StreamId, header: storage.Header) -> None:
        self._stream, self._header = stream, header
        self._fold = fold.Fold(stream, header)

    def add(self, event: events.Event) -> None:
        """See `base.Whole.add`."""
        if event.kind == "rewind" and not self._fold.only_thought:
            self._fold = fold.Fold(self._stream, self._header)
        else:
            self._fold.render(event)

    def body(self) -> bytes:
        """See `base.Whole.body`."""
        return self._fold.response()

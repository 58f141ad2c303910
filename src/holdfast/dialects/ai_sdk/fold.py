"""Events as frames.

Strategy: nearly all events are one more piece of the text that is being written, and those are
copied: the JSON of the piece goes from the event into the frame as it is, its last brace too. All
others go by `chunks`.
"""

from __future__ import annotations

import msgspec

from holdfast import events
from holdfast.dialects.ai_sdk import chunks

DONE = b"data: [DONE]\n\n"

_BEGINS = {
    "text": b'{"type":"content","delta":"',
    "reasoning": b'{"type":"reasoning","delta":"',
}
"""How the stored JSON of a plain piece begins; it ends with the delta."""

_CLEAN = ("finish", "abort")
"""Behind these chunks the stream ends, and nothing was wrong."""

_encode = msgspec.json.Encoder().encode


class Fold:
    """A `base.ForeignFold`."""

    __slots__ = ("_begin", "_chunks", "_end", "_frame")

    padded = False

    def __init__(self, told: chunks.Chunks) -> None:
        self._chunks = told
        self._begin, self._frame, self._end = b"", b"", 0

    @property
    def ended(self) -> bool:
        """See `base.ForeignFold.ended`."""
        return self._chunks.ended

    @property
    def failed(self) -> bool:
        """See `base.ForeignFold.failed`."""
        return self._chunks.failed

    def render(self, event: events.Event) -> bytes:
        """See `base.Fold.render`."""
        data = event.data
        # No string of JSON holds a quote, a comma and a quote, so there is no field behind.
        if (
            self._begin
            and data.startswith(self._begin)
            and data.endswith(b'"}')
            and data.find(b'","', self._end) < 0
        ):
            return self._frame + data[self._end :] + b"\n\n"
        frames = b"".join([_framed(chunk) for chunk in self._chunks.of(event)])
        self._expect()
        return frames

    def rewind(self, reason: str) -> bytes:
        """See `base.Fold.rewind`: what is there cannot be taken back."""
        frame = _framed(self._chunks.fail(chunks.LOST_PLACE))
        self._expect()
        return frame

    def _expect(self) -> None:
        """What the next piece looks like, if it is one more of the same part."""
        kind = self._chunks.open
        self._begin = b""
        if kind and not self._chunks.ended:
            self._begin = _BEGINS[kind]
            self._end = len(self._begin) - 1
            self._frame = b'data: {"type":"%b-delta","id":"%b","delta":' % (
                kind.encode(),
                self._chunks.part.encode(),
            )


def _framed(chunk: chunks.Chunk) -> bytes:
    frame = b"data: %b\n\n" % _encode(chunk)
    return frame + DONE if chunk["type"] in _CLEAN else frame

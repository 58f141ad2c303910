"""The dialect: its parts, put together.

Strategy: whoever reads this stream may read it again from its start at any time, by the chat's id,
so a connection that breaks off says nothing before: its client sees that it broke, and resumes.
Heartbeats are comments, as an unknown type of chunk ends the stream in every version.
"""

from __future__ import annotations

from holdfast import errors, events, storage
from holdfast.dialects import base, padding
from holdfast.dialects.ai_sdk import asking, chunks, fold, refusals, whole

_HEARTBEAT = b": ping\n"
_BARE = len(b'data: {"type":"text-delta","id":"0","delta":""}\n\n')


class Dialect:
    """A `base.Foreign`; `model` is asked where a body names none; `padded`: how long a piece of an
    answer is does not show."""

    name = asking.NAME
    headers: tuple[tuple[bytes, bytes], ...] = ((b"x-vercel-ai-ui-message-stream", b"v1"),)

    def __init__(self, model: str | None = None, *, padded: bool = False) -> None:
        self._model, self._padded = model, padded

    def stream_of(self, id: str) -> str:
        """See `base.Foreign.stream_of`: its routes name chats."""
        return id

    def parse(self, body: bytes) -> base.Asked:
        """See `base.Foreign.parse`."""
        return asking.parse(body, self._model)

    def fold(self, stream: events.StreamId, header: storage.Header) -> base.ForeignFold:
        """See `base.Foreign.fold`."""
        told = fold.Fold(chunks.Chunks(stream, header))
        return padding.Commented(told, stream, _BARE) if self._padded else told

    def whole(self, stream: events.StreamId, header: storage.Header) -> whole.Whole:
        """See `base.Foreign.whole`."""
        return whole.Whole(stream, header)

    def refusal(self, error: errors.HoldfastError, request_id: str) -> tuple[int, bytes]:
        """See `base.Foreign.refusal`."""
        return refusals.refusal(error, request_id)

    def heartbeat(self, now: str) -> bytes:
        """See `base.Dialect.heartbeat`."""
        return _HEARTBEAT

    def reconnect(self, retry_ms: int, reason: str) -> bytes:
        """See `base.Dialect.reconnect`."""
        return b""

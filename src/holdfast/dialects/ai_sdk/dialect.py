"""The dialect: its parts, put together.

Strategy: whoever reads this stream may read it again from its start at any time, by the chat's id,
so a connection that breaks off says nothing before: its client sees that it broke, and resumes.
Heartbeats are comments, as an unknown type of chunk ends the stream in every version.
"""

from __future__ import annotations

from holdfast import errors, events, storage
from holdfast.dialects import base
from holdfast.dialects.ai_sdk import asking, chunks, fold, refusals, whole

_HEARTBEAT = b": ping\n"


class Dialect:
    """A `base.Foreign`; `model` is asked where a body names none."""

    name = asking.NAME
    headers: tuple[tuple[bytes, bytes], ...] = ((b"x-vercel-ai-ui-message-stream", b"v1"),)

    def __init__(self, model: str | None = None) -> None:
        self._model = model

    def stream_of(self, id: str) -> str:
        """See `base.Foreign.stream_of`: its routes name chats."""
        return id

    def parse(self, body: bytes) -> base.Asked:
        """See `base.Foreign.parse`."""
        return asking.parse(body, self._model)

    def fold(self, stream: events.StreamId, header: storage.Header) -> fold.Fold:
        """See `base.Foreign.fold`."""
        return fold.Fold(chunks.Chunks(stream, header))

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

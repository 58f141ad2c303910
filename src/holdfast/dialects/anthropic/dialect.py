"""The dialect of Anthropic's Messages.

Strategy: this file joins the parts. Messages has no ids of events, so no client of it can resume:
who is sent away in the middle of an answer is told an error, which its client raises. A connection
is kept alive by the API's own `ping`, which all of its clients pass over.

Format: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from holdfast import errors, events, storage
from holdfast.dialects import base, padding
from holdfast.dialects.anthropic import asking, fold, refusals, whole

_BARE = len(
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":""}}\n\n'
)


class Dialect:
    """A `base.Foreign`. `betas` is what a call says in `anthropic-beta`; `padded`: how long a piece
    of an answer is does not show."""

    name = "anthropic"
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __init__(self, betas: str = "", *, padded: bool = False) -> None:
        self._betas, self._padded = betas, padded

    def stream_of(self, id: str) -> str:
        """See `base.Foreign.stream_of`."""
        return id.removeprefix(fold.PREFIX)

    def parse(self, body: bytes) -> base.Asked:
        """See `base.Foreign.parse`."""
        return asking.parse(body, self._betas)

    def fold(self, stream: events.StreamId, header: storage.Header) -> base.ForeignFold:
        """See `base.Foreign.fold`."""
        told = fold.Fold(stream, header)
        return padding.Commented(told, stream, _BARE) if self._padded else told

    def whole(self, stream: events.StreamId, header: storage.Header) -> base.Whole:
        """See `base.Foreign.whole`."""
        return whole.Whole(stream, header)

    def heartbeat(self, now: str) -> bytes:
        """See `base.Dialect.heartbeat`."""
        return b'event: ping\ndata: {"type":"ping"}\n\n'

    def reconnect(self, retry_ms: int, reason: str) -> bytes:
        """See `base.Dialect.reconnect`."""
        return refusals.frame(base.farewell(reason, "Messages"), code=reason)

    def refusal(self, error: errors.HoldfastError, request_id: str) -> tuple[int, bytes]:
        """See `base.Foreign.refusal`."""
        return refusals.refusal(error, request_id)

"""The dialect of OpenAI's chat completions.

Strategy: this file joins the parts. Chat has no ids of events, so no client of it can resume: who
is sent away in the middle of an answer is told an error, which its client raises; without one some
take a cut for the end.

Format: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from holdfast import errors, events, storage
from holdfast.dialects import base, openai_errors
from holdfast.dialects.openai_chat import asking, fold, refusals, whole

PREFIX = "chatcmpl-"
"""Of the ids that clients see; the stream's own follows."""


class Dialect:
    """A `base.Foreign`."""

    name = "openai_chat"
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def stream_of(self, id: str) -> str:
        """See `base.Foreign.stream_of`."""
        return id.removeprefix(PREFIX)

    def parse(self, body: bytes) -> base.Asked:
        """See `base.Foreign.parse`."""
        return asking.parse(body)

    def fold(self, stream: events.StreamId, header: storage.Header) -> base.ForeignFold:
        """See `base.Foreign.fold`."""
        return fold.Fold(stream, PREFIX + stream, header)

    def whole(self, stream: events.StreamId, header: storage.Header) -> base.Whole:
        """See `base.Foreign.whole`."""
        return whole.Whole(stream, PREFIX + stream, header)

    def heartbeat(self, now: str) -> bytes:
        """See `base.Dialect.heartbeat`."""
        # One line break: OpenAI's client takes an empty line for the end of an event.
        return b": ping\n"

    def reconnect(self, retry_ms: int, reason: str) -> bytes:
        """See `base.Dialect.reconnect`."""
        error = base.farewell(reason, "chat completions")
        return refusals.frame(reason, error.message, error.status)

    def refusal(self, error: errors.HoldfastError, request_id: str) -> tuple[int, bytes]:
        """See `base.Foreign.refusal`."""
        return openai_errors.refusal(error)

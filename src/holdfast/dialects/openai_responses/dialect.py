"""The dialect of OpenAI Responses.

Strategy: this file joins the parts. A client of it names the last frame that it has and gets what
follows, so who is sent away in the middle of an answer is told nothing: the connection breaks off,
which clients take for a failure, and they come back.

Format: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from holdfast import errors, events, storage
from holdfast.dialects import base, openai_errors
from holdfast.dialects.openai_responses import asking, fold, response, whole


class Dialect:
    """A `base.Foreign`."""

    name = "openai_responses"
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def stream_of(self, id: str) -> str:
        """See `base.Foreign.stream_of`."""
        # Without it no id of a stream is one of a response.
        return id.removeprefix(response.PREFIX) if id.startswith(response.PREFIX) else ""

    def parse(self, body: bytes) -> base.Asked:
        """See `base.Foreign.parse`."""
        return asking.parse(body)

    def fold(self, stream: events.StreamId, header: storage.Header) -> fold.Fold:
        """See `base.Foreign.fold`."""
        return fold.Fold(stream, header)

    def whole(self, stream: events.StreamId, header: storage.Header) -> base.Whole:
        """See `base.Foreign.whole`."""
        return whole.Whole(stream, header)

    def heartbeat(self, now: str) -> bytes:
        """See `base.Dialect.heartbeat`."""
        # One line break: OpenAI's client takes an empty line for the end of an event.
        return b": ping\n"

    def reconnect(self, retry_ms: int, reason: str) -> bytes:
        """See `base.Dialect.reconnect`."""
        return b""

    def refusal(self, error: errors.HoldfastError, request_id: str) -> tuple[int, bytes]:
        """See `base.Foreign.refusal`."""
        return openai_errors.refusal(error)

"""Events as the frames of a message.

Strategy: a message begins with the stream, and ends when all is known of it: the reason and the
usage stand in one frame, so a reason waits for the usage. What is said of the message in between,
its content, is in `blocks`. An answer that failed, or of which more than thoughts would have to be
taken back, ends with an error, and nothing follows.

Format: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import errors, events, storage
from holdfast.dialects.anthropic import blocks, ends, refusals, turns

PREFIX = "msg_"
"""Of the ids that clients see; the stream's own follows."""

_piece = msgspec.json.Decoder(turns.Piece).decode


class Fold:
    """A `base.ForeignFold`; `failure` is what the last frame told, if that is an error."""

    padded = False

    def __init__(self, stream: events.StreamId, header: storage.Header) -> None:
        self.ended = False
        self.failure: errors.HoldfastError | None = None
        self._stream, self._header = stream, header
        self._blocks = blocks.Blocks(stream)

    @property
    def failed(self) -> bool:
        """See `base.ForeignFold.failed`."""
        return self.failure is not None

    def render(self, event: events.Event) -> bytes:
        """See `base.Fold.render`."""
        if self.ended:
            return b""
        try:
            if event.kind == "chunk":
                return self._blocks.add(_piece(event.data))
            return self._told(event.body)
        except errors.HoldfastError as error:
            return self._fail(error)

    def rewind(self, reason: str) -> bytes:
        """See `base.Fold.rewind`."""
        return b"" if self.ended else self._fail(_taken_back(reason))

    def _told(self, body: events.Body) -> bytes:
        match body:
            case events.Start():
                return self._begin()
            case events.Citation():
                return self._blocks.cite(body)
            case events.Finish():
                return self._blocks.close()
            case events.Attempt() | events.Fallback() | events.Adopted():
                self._blocks.anew()
            case events.Rewind():
                if not self._blocks.only_thought:
                    raise _taken_back(body.reason)
                return self._blocks.break_off()
            case events.Complete():
                return self._end(body)
            case events.Error():
                error = errors.named(body.code)(body.message)
                error.retryable = body.retryable
                raise error
        return b""

    def _begin(self) -> bytes:
        message: dict[str, Any] = {
            "id": PREFIX + self._stream,
            "type": "message",
            "role": "assistant",
            "model": self._header.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": ends.usage(None),
        }
        return blocks.frame("message_start", message=message)

    def _end(self, complete: events.Complete) -> bytes:
        closed = self._blocks.close()
        self.ended = True
        reason = ends.reason(complete, self._blocks.refused)
        delta = {"stop_reason": reason, "stop_sequence": None, **self._blocks.ending}
        told = blocks.frame("message_delta", delta=delta, usage=ends.usage(complete.usage))
        return closed + told + blocks.frame("message_stop")

    def _fail(self, error: errors.HoldfastError) -> bytes:
        self.ended, self.failure = True, error
        return refusals.frame(error, self._header.request_id)


def _taken_back(reason: str) -> errors.HoldfastError:
    return errors.Rewound(
        f"The answer begins anew ({reason}), and Messages cannot take back what it has said; ask "
        "again."
    )

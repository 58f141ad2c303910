"""How a call fails: what `useChat` has as `error.message`.

Strategy: every version takes the whole body for the message of its error and knows nothing else of
the answer, so a sentence for people comes first in it and a code for programs follows.
"""

from __future__ import annotations

import msgspec

from holdfast import errors


class Refusal(msgspec.Struct, frozen=True):
    """The body."""

    message: str
    code: str
    retryable: bool
    request_id: str


_encode = msgspec.json.Encoder().encode


def refusal(error: errors.HoldfastError, request_id: str) -> tuple[int, bytes]:
    """Status and body."""
    said = Refusal(error.message, error.code, error.retryable, request_id)
    return error.status, _encode(said)

"""How a call fails, and an answer: what `useChat` has as `error.message`.

Strategy: every version takes the whole body of a refusal for the message of its error, and the
text of an error in the stream, and knows nothing else of it. So both are the same JSON: a sentence
for people first, a code for programs behind it.
"""

from __future__ import annotations

import msgspec

from holdfast import errors, events


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong; in a stream it needs no `request_id`."""

    message: str
    code: str
    retryable: bool
    request_id: str = ""


_encode = msgspec.json.Encoder().encode


def refusal(error: errors.HoldfastError, request_id: str) -> tuple[int, bytes]:
    """Status and body of an answer to a call that failed."""
    said = Refusal(error.message, error.code, error.retryable, request_id)
    return error.status, _encode(said)


def text(error: events.Error) -> str:
    """The text of an error in a stream."""
    return _encode(Refusal(error.message, error.code, error.retryable)).decode()

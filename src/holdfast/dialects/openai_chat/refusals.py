"""Errors in the middle of a stream: the envelope of a refusal, as a frame."""

from __future__ import annotations

import msgspec

from holdfast.dialects import openai_errors

_encode = msgspec.json.Encoder().encode


def frame(code: str, message: str, status: int) -> bytes:
    """An error within an event stream; `status` is what it would have been as an answer."""
    told = openai_errors.told(code, message, status)
    return b"data: %b\n\n" % _encode(openai_errors.Envelope(told))

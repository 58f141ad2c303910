"""What another provider is asked for, so that it goes on where an answer broke off.

Strategy: a request made from the first one, and nothing but values. What was written is sent as
the assistant's own words: as the last message where the target takes that for the beginning of its
answer (a prefill), else as history, with a message after it that asks for the rest. Only content is
sent: no reasoning, no `extra`, nothing that the first provider meant for itself. Where nothing of
it is left to send, the first request is asked again: an empty message is refused by most.
"""

from __future__ import annotations

import msgspec

from holdfast import request

BYTES_A_TOKEN = 4
"""What a token of text is taken for: most providers tell what they used at the end alone, and what
one has told before it is no more than a part."""

LEAST = 16
"""Tokens that are left at least: a provider may refuse to answer in fewer (OpenAI does)."""


def of(
    wanted: request.Request,
    written: str,
    *,
    prefill: bool,
    instruction: str,
    used_tokens: int = 0,
    strip: bool = False,
) -> request.Request:
    """The request for the rest of the answer; `max_tokens` is what is left of it, `LEAST` at least,
    after `used_tokens` as told and no fewer than the text has. `strip` leaves out what `stripped`
    gives."""
    sent = written.removesuffix(stripped(written)) if strip else written
    messages = list(wanted.messages)
    if sent.strip():  # some refuse a message of nothing but whitespace
        messages.append(request.Message("assistant", sent))
        if not prefill:
            messages.append(request.Message("user", instruction))
    left = wanted.max_tokens
    if left is not None:
        used = max(used_tokens, len(written.encode()) // BYTES_A_TOKEN)
        left = min(left, max(LEAST, left - used))
    return msgspec.structs.replace(wanted, messages=messages, max_tokens=left)


def stripped(written: str) -> str:
    """The whitespace at the end, which some targets take in no prefill."""
    return written[len(written.rstrip()) :]

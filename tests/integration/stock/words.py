"""The words in which a vendor's client and our translator are compared.

Strategy: plain values alone, so that whoever compares needs to know neither side.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

Values = dict[str, Any]
"""`text, reasoning, refusal, tool calls, finish` of the first choice, `others` (the texts of the
other choices), `usage` (input, output) and `error`."""

ASKED = "Say it."

VERIFY = False
"""No TLS here, and to read the list of authorities takes longer than to read an answer."""


def values(**known: Any) -> Values:
    """All words, with nothing in those that are not given."""
    empty: Values = {"text": "", "reasoning": "", "refusal": "", "tool calls": []}
    return {**empty, "others": [], "finish": None, "usage": None, "error": None, **known}


def arguments(text: Any) -> Any:
    """A tool call's arguments as JSON, or as they are where they are none: an answer may be
    cut, and some servers send an object instead of its text."""
    try:
        return msgspec.json.decode(text) if isinstance(text, str) else text
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text


async def read_all(stream: AsyncIterator[Any], failures: tuple[type[Exception], ...]) -> str | None:
    """Reads to the end. `error` where the provider told one, which the client raises as one of
    `failures`; the name of the exception where the client could not read on."""
    try:
        async for _ in stream:
            pass
    except failures:
        return "error"
    except Exception as error:  # whatever a client raises is what is asked
        return type(error).__name__
    return None

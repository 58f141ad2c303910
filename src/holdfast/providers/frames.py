"""Frames that the fast way cannot read: read slowly, or named as the error that they are.

Strategy: every format decodes its frames straight into structs. What msgspec refuses may still be
good enough (half of a surrogate pair, a raw control character), may be an error in any shape, or
may be no JSON at all; that does not depend on the format, so it is told apart here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from holdfast import errors, sse
from holdfast.providers import failures, values

DONE = "[DONE]"
"""OpenAI's end marker, which gateways put at the end of other formats too."""

Read = TypeVar("Read")


def is_marker(frame: sse.Frame) -> bool:
    """Whether the frame is `DONE`."""
    return frame.text.strip() == DONE


def slowly(
    frame: sse.Frame,
    convert: Callable[[Any], Read],
    source: failures.Source,
    is_known: Callable[[Any], bool],
) -> Read | None:
    """The frame as `convert` reads it; None for an empty one, for `DONE`, and for what is of no
    kind that the format knows. `convert` raises ValueError or RecursionError.

    Raises the error that the frame reports, and `ProviderMalformed` where `is_known` says of its
    body (text, where it is no JSON) that the format should have been able to read it.
    """
    text = frame.text.strip()
    if text in ("", DONE):
        return None
    body: Any = text
    try:
        body = values.load(text)
        return convert(body)
    except (ValueError, RecursionError):
        if frame.event == "error" or failures.reports_error(body):
            raise source.in_stream(body) from None
        if is_known(body):
            raise source.malformed("an event is not of its format.") from None
    return None


def error_in(frame: sse.Frame, source: failures.Source) -> errors.ProviderError | None:
    """The error that the frame as a whole is, if it is one."""
    try:
        body = values.load(frame.text)
    except (ValueError, RecursionError):
        return None
    reports = frame.event == "error" or failures.reports_error(body)
    return source.in_stream(body) if reports else None

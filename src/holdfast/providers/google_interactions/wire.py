"""The frames of an Interactions stream, as far as Holdfast reads them.

Strategy: one struct for all events, told apart by `event_type`, and one for all deltas, told
apart by `type`: the fields that two of them share have one meaning. The items of the API's own
tools are looked at in the decoded JSON, where they occur.

Format: https://ai.google.dev/api/interactions-api, revision 2026-05-20.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import sse
from holdfast.providers import values


class Delta(msgspec.Struct, gc=False):
    """`arguments` is a text in an `arguments_delta`, and an object in a call of Google's own."""

    type: str = ""
    text: str | None = None
    arguments: Any = None
    content: Any = None
    signature: str | None = None
    annotations: Any = None


class Event(msgspec.Struct, gc=False):
    """One frame."""

    event_type: str = ""
    index: int | None = None
    delta: Delta | None = None
    step: Any = None
    interaction: Any = None
    status: str | None = None
    usage: Any = None
    metadata: Any = None
    error: Any = None


decode = msgspec.json.Decoder(Event).decode
"""The fast way. Raises ValueError (which `msgspec.DecodeError` is) or RecursionError."""


def convert(value: Any) -> Event:
    """The slow way's second half. Raises `msgspec.ValidationError`, a ValueError."""
    return msgspec.convert(value, Event, strict=False)


def fields(frame: sse.Frame) -> dict[str, Any]:
    """The whole frame, for the few events of which more is kept than the struct names; empty
    where it is no object."""
    try:
        body = values.load(frame.text)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}

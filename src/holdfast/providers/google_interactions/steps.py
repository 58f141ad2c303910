"""What is remembered of a step that is under way.

Strategy: a step is a block. Text goes out as it comes and is not kept. What the next request
may give back is kept, within bounds, until the step is complete: the signature of a thought,
and the whole of a step by one of Google's own tools, which comes in pieces.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.providers import kept, values

MAX_SIGNATURE = 1 << 20
"""Characters of a signature."""

MAX_ARGUMENTS = 64 << 10
"""Characters of the arguments of a call of Google's own."""


class Step:
    """A step; `ordinal` counts the steps of the answer from 0. `call` is the ordinal of a call
    that the client is to make, None in every other step."""

    __slots__ = ("arguments", "call", "fields", "kind", "ordinal", "shown", "signature", "written")

    def __init__(self, ordinal: int, kind: str) -> None:
        self.ordinal, self.kind = ordinal, kind
        self.shown = False  # the block's ordinal has been told
        self.call: int | None = None
        self.arguments: dict[str, Any] = {}  # given with the start of a call
        self.written = False  # arguments have come in pieces
        self.signature = ""
        self.fields: dict[str, Any] = {}

    def block(self) -> int | None:
        """The ordinal for the first chunk of this step, then None."""
        shown, self.shown = self.shown, True
        return None if shown else self.ordinal

    def sign(self, signature: Any) -> None:
        """The signature; the newest counts, and one beyond the limit is left out."""
        if isinstance(signature, str) and len(signature) <= MAX_SIGNATURE:
            self.signature = signature

    def gather(self, fields: dict[str, Any]) -> None:
        """More of a step by one of Google's own tools; a text goes on where it stood."""
        for name, value in fields.items():
            before = self.fields.get(name)
            if name == "arguments" and isinstance(value, str):
                value = (before if isinstance(before, str) else "") + value
                value = value[:MAX_ARGUMENTS]
            if name == "signature":
                self.sign(value)
            elif name not in ("type", "truncated"):
                self.fields[name] = value
        self.fields = kept.bounded(self.fields)

    def whole(self) -> msgspec.Raw:
        """The step as it goes back, as far as it was gathered."""
        fields: dict[str, Any] = {"type": self.kind, **self.fields}
        if isinstance(fields.get("arguments"), str):
            fields["arguments"] = _object(fields["arguments"])
        return kept.raw(fields, **({"signature": self.signature} if self.signature else {}))


def _object(text: str) -> Any:
    try:
        return values.load(text)
    except (ValueError, RecursionError):
        return text

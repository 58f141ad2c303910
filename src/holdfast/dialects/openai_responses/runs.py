"""Texts that run on in an item of the output: parts of a message, a summary, a call's arguments.

Strategy: what is said once in pieces is said again whole where it ends, in the item and in the
response. A piece comes as JSON and is kept as JSON, so that nothing of it is decoded: the pieces of
a text, put one behind the other between quotes, are the JSON of that text.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from holdfast.dialects.openai_responses import frames

_decode = msgspec.json.Decoder(str).decode


class Kind(NamedTuple):
    """How a kind of text is told. `type` is that of its part, and `events` what the events of that
    are called; a call's arguments are no part. `field` holds the whole text, `counted`
    says which part of the item it is."""

    delta: bytes
    done: bytes
    field: bytes
    type: bytes = b""
    events: bytes = b""
    counted: bytes = b""


TEXT = Kind(
    b"response.output_text.delta",
    b"response.output_text.done",
    b"text",
    b"output_text",
    b"response.content_part",
    b"content_index",
)
REFUSAL = Kind(
    b"response.refusal.delta",
    b"response.refusal.done",
    b"refusal",
    b"refusal",
    b"response.content_part",
    b"content_index",
)
SUMMARY = Kind(
    b"response.reasoning_summary_text.delta",
    b"response.reasoning_summary_text.done",
    b"text",
    b"summary_text",
    b"response.reasoning_summary_part",
    b"summary_index",
)
ARGUMENTS = Kind(
    b"response.function_call_arguments.delta",
    b"response.function_call_arguments.done",
    b"arguments",
)
INPUT = Kind(
    b"response.custom_tool_call_input.delta", b"response.custom_tool_call_input.done", b"input"
)


class Run:
    """One text, from its first piece to its end. `place` is the number of its part."""

    __slots__ = (
        "_annotations",
        "_at",
        "_length",
        "_logprobs",
        "_measured",
        "_text",
        "before",
        "behind",
        "kind",
        "place",
    )

    def __init__(self, kind: Kind, item_id: str, output_index: int, place: int = 0) -> None:
        self.kind, self.place = kind, place
        self._text = bytearray()
        self._measured = self._length = 0
        self._annotations: list[bytes] = []
        self._logprobs: list[bytes] = []
        self._at = b'"item_id":"%b","output_index":%d' % (item_id.encode(), output_index)
        if kind.counted:
            self._at += b',"%b":%d' % (kind.counted, place)
        self.before = b'event: %b\ndata: {"type":"%b","sequence_number":' % (kind.delta, kind.delta)
        """What a delta begins with, up to its number; `behind` that follows, up to the text."""
        self.behind = b',%b%b,"delta":"' % (self._at, b',"logprobs":[]' if kind is TEXT else b"")

    def begin(self, out: frames.Frames) -> None:
        """The part is there."""
        if self.kind.type:
            out.say(self.kind.events + b".added", b'%b,"part":%b' % (self._at, self.value()))

    def add(self, piece: bytes) -> None:
        """More of the text: JSON without the quotes around it."""
        self._text += piece

    def say(self, piece: bytes, logprobs: bytes, padding: bytes | None, out: frames.Frames) -> None:
        """A delta: `logprobs` is a list as JSON, `padding` letters: none at all are told too, since
        a frame without the field would show itself."""
        self.add(piece)
        more = b""
        if self.kind is TEXT:
            more = b',"logprobs":%b' % (logprobs or b"[]")
            self._logprobs += [logprobs[1:-1]] if len(logprobs) > len(b"[]") else []
        last = b"" if padding is None else b',"obfuscation":"%b"' % padding
        out.say(self.kind.delta, b'%b%b,"delta":"%b"%b' % (self._at, more, piece, last))

    def annotate(self, annotation: bytes, out: frames.Frames) -> None:
        """A source of the text, as JSON."""
        said = b'%b,"annotation_index":%d,"annotation":%b'
        out.say(
            b"response.output_text.annotation.added",
            said % (self._at, len(self._annotations), annotation),
        )
        self._annotations.append(annotation)

    def end(self, out: frames.Frames, more: bytes = b"") -> None:
        """The text is whole. `more` are further fields of its last event."""
        if self.kind is TEXT:
            more += b',"logprobs":[%b]' % b",".join(self._logprobs)
        out.say(self.kind.done, b'%b,"%b":%b%b' % (self._at, self.kind.field, self.text(), more))
        if self.kind.type:
            out.say(self.kind.events + b".done", b'%b,"part":%b' % (self._at, self.value()))

    def text(self) -> bytes:
        """The text so far as JSON."""
        return b'"%b"' % bytes(self._text)

    def length(self) -> int:
        """Characters of the text so far. What was counted before is not counted again: a long text
        may have hundreds of sources."""
        new, self._measured = bytes(self._text[self._measured :]), len(self._text)
        self._length += len(_decode(b'"%b"' % new))
        return self._length

    def value(self) -> bytes:
        """The part so far as JSON."""
        more = b""
        if self.kind is TEXT:
            lists = b",".join(self._annotations), b",".join(self._logprobs)
            more = b',"annotations":[%b],"logprobs":[%b]' % lists
        return b'{"type":"%b","%b":%b%b}' % (self.kind.type, self.kind.field, self.text(), more)

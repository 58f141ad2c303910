"""The answer as one UI message: what `useChat` makes of the chunks.

Strategy: the same chunks that are streamed are put together as a client does it, so that the two
cannot differ. Only an answer that began anew is told here and not in a stream: nobody has read what
is void.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import events, storage
from holdfast.dialects.ai_sdk import chunks

Part = dict[str, Any]


class Whole:
    """A `base.Whole`."""

    def __init__(self, stream: events.StreamId, header: storage.Header) -> None:
        self._stream, self._header = stream, header
        self._start: events.Event | None = None
        self._begin()

    def _begin(self) -> None:
        self._chunks = chunks.Chunks(self._stream, self._header)
        self._message: dict[str, Any] = {"id": "", "role": "assistant", "parts": []}
        self._pieces: list[str] = []
        self._calls: dict[str, Part] = {}

    def add(self, event: events.Event) -> None:
        """See `base.Whole.add`."""
        told = event
        if event.kind == "start":
            self._start = event
        elif event.kind == "rewind" and self._start is not None:
            self._begin()
            told = self._start
        for chunk in self._chunks.of(told):
            self._take(chunk)

    def body(self) -> bytes:
        """See `base.Whole.body`."""
        self._settle()
        return msgspec.json.encode(self._message)

    def _take(self, chunk: chunks.Chunk) -> None:
        parts: list[Part] = self._message["parts"]
        match chunk["type"]:
            case "text-delta" | "reasoning-delta":
                self._pieces.append(chunk["delta"])
            case "text-start" | "reasoning-start":
                kind = chunk["type"].removesuffix("-start")
                parts.append({"type": kind, "text": "", "state": "streaming"})
            case "text-end" | "reasoning-end":
                self._settle()
                _last(parts)["state"] = "done"
            case "tool-input-start" | "tool-input-available" | "tool-input-error":
                self._call(chunk, parts)
            case "source-url":
                parts.append(chunk)
            case "start":
                self._message["id"] = chunk["messageId"]
            case "start-step":
                parts.append({"type": "step-start"})
            case "finish" if "messageMetadata" in chunk:
                self._message["metadata"] = chunk["messageMetadata"]

    def _settle(self) -> None:
        """Puts what was said into the part that is open."""
        if self._pieces:
            part = _last(self._message["parts"])
            part["text"] += "".join(self._pieces)
            self._pieces.clear()

    def _call(self, chunk: chunks.Chunk, parts: list[Part]) -> None:
        id, name = chunk["toolCallId"], chunk["toolName"]
        if chunk["type"] == "tool-input-start":
            part = {"type": f"tool-{name}", "toolCallId": id, "state": "input-streaming"}
            self._calls[id] = part
            parts.append(part)
        elif chunk["type"] == "tool-input-available":
            self._calls[id] |= {"state": "input-available", "input": chunk["input"]}
        else:
            said = {"rawInput": chunk["input"], "errorText": chunk["errorText"]}
            self._calls[id] |= {"state": "output-error", **said}
        if "providerMetadata" in chunk:
            self._calls[id]["callProviderMetadata"] = chunk["providerMetadata"]


def _last(parts: list[Part]) -> Part:
    """The part that is being written: a source may stand behind it."""
    return next(part for part in reversed(parts) if part["type"] in ("text", "reasoning"))

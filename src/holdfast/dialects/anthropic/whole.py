"""The message as one value.

Strategy: it is put together from the very frames that a stream would have, as a client puts them
together, so that both always say the same. An answer that is taken back begins anew here, as
nobody has seen any of it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import events, storage
from holdfast.dialects.anthropic import fold

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode

_TEXTS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


class Whole:
    """A `base.Whole`."""

    def __init__(self, stream: events.StreamId, header: storage.Header) -> None:
        self._stream, self._header = stream, header
        self._begin()

    def _begin(self) -> None:
        self._fold = fold.Fold(self._stream, self._header)
        self._message: dict[str, Any] = {}
        self._blocks: list[dict[str, Any]] = []
        self._said: list[list[str]] = []

    def add(self, event: events.Event) -> None:
        """See `base.Whole.add`."""
        if event.kind == "rewind":
            message = self._message
            self._begin()
            self._message = message
            return
        frames = self._fold.render(event)
        if self._fold.failure is not None:
            return  # unless the answer begins anew
        for frame in frames.split(b"\n\n")[:-1]:
            self._take(_decode(frame.partition(b"\ndata: ")[2]))

    def body(self) -> bytes:
        """See `base.Whole.body`. Raises what the answer failed with."""
        if self._fold.failure is not None:
            raise self._fold.failure
        content = [_block(*both) for both in zip(self._blocks, self._said, strict=True)]
        return _encode({**self._message, "content": content})

    def _take(self, told: dict[str, Any]) -> None:
        match told["type"]:
            case "message_start":
                self._message = told["message"]
            case "content_block_start":
                self._blocks.append(told["content_block"])
                self._said.append([])
            case "content_block_delta":
                self._go_on(told["delta"])
            case "message_delta":
                self._message |= told["delta"] | {"usage": told["usage"]}

    def _go_on(self, delta: dict[str, Any]) -> None:
        type, block = delta["type"], self._blocks[-1]
        if type in _TEXTS:
            self._said[-1].append(delta[_TEXTS[type]])
        elif type == "signature_delta":
            block["signature"] = delta["signature"]
        else:
            block.setdefault("citations", []).append(delta["citation"])


def _block(block: dict[str, Any], said: list[str]) -> dict[str, Any]:
    """A block with what was said of it."""
    text = "".join(said)
    if "input" in block:
        return block | {"input": _input(text)} if text else block
    if not text:
        return block  # one of a provider's own may have no type even
    name = block["type"]
    return block | {name: block[name] + text}


def _input(text: str) -> Any:
    """The arguments of a call; those that are no object are told as Anthropic wants them told."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {"INVALID_JSON": text}

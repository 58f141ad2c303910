"""Events as one chat completion.

Strategy: the words of `spoken` are gathered as the accumulators of stock clients do: text is
joined, calls by their index, and the last finish reason counts. An answer that began anew begins
anew here too, as nobody has read what is void.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import events, storage
from holdfast.dialects.openai_chat import spoken

_encode = msgspec.json.Encoder().encode

_TEXTS = ("content", "reasoning_content", "refusal")


class _Message:
    """What one choice said."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {name: [] for name in _TEXTS}
        self.lists: dict[str, list[Any]] = {}
        self.calls: dict[int, dict[str, Any]] = {}
        self.logprobs: dict[str, list[Any]] = {}
        self.finish_reason: str | None = None

    def add(self, choice: spoken.Choice) -> None:
        for name, value in choice["delta"].items():
            if name == "tool_calls":
                for call in value:
                    self._call(call)
            elif name in self.texts:
                self.texts[name].append(value)
            elif name != "role":
                self.lists.setdefault(name, []).extend(value)
        for name, value in (choice["logprobs"] or {}).items():
            if isinstance(value, list):
                self.logprobs.setdefault(name, []).extend(value)
        self.finish_reason = choice["finish_reason"] or self.finish_reason

    def _call(self, call: dict[str, Any]) -> None:
        function = call["function"]
        known = self.calls.setdefault(
            call["index"], {"id": "", "type": "function", "name": "", "arguments": []}
        )
        known["id"] = known["id"] or call.get("id", "")
        known["name"] = known["name"] or function.get("name", "")
        known["arguments"].append(function["arguments"])
        if "extra_content" in call:
            known["extra_content"] = call["extra_content"]

    def value(self, index: int) -> dict[str, Any]:
        said = {name: "".join(pieces) for name, pieces in self.texts.items()}
        bare = self.calls or said["refusal"]
        message: dict[str, Any] = {
            "role": "assistant",
            "content": said["content"] or (None if bare else ""),
            "refusal": said["refusal"] or None,
            **self.lists,
        }
        if said["reasoning_content"]:
            message["reasoning_content"] = said["reasoning_content"]
        if self.calls:
            message["tool_calls"] = [_called(self.calls[call]) for call in sorted(self.calls)]
        return {
            "index": index,
            "message": message,
            "logprobs": self.logprobs or None,
            "finish_reason": self.finish_reason,
        }


class Whole:
    """A `base.Whole`."""

    def __init__(self, stream: events.StreamId, id: str, header: storage.Header) -> None:
        self._value = {
            "id": id,
            "object": "chat.completion",
            "created": header.created_at // 1000,
            "model": header.model,
            "system_fingerprint": None,
        }
        self._stream = stream
        self._begin()

    def _begin(self) -> None:
        self._spoken = spoken.Spoken(self._stream)
        self._messages: dict[int, _Message] = {}

    def add(self, event: events.Event) -> None:
        """See `base.Whole.add`."""
        body = event.body
        if isinstance(body, events.Rewind):
            self._begin()
        for choice in self._spoken.say(body):
            self._messages.setdefault(choice["index"], _Message()).add(choice)
        if isinstance(body, events.Complete) and body.usage is not None:
            self._value["usage"] = spoken.usage(body.usage)

    def body(self) -> bytes:
        """See `base.Whole.body`."""
        choices = [self._messages[index].value(index) for index in sorted(self._messages)]
        return _encode(self._value | {"choices": choices})


def _called(call: dict[str, Any]) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": "".join(call["arguments"])}
    rest = {name: value for name, value in call.items() if name not in function}
    return rest | {"function": function}

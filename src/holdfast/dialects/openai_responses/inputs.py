"""The input of a response as messages.

Strategy: an input is a list of items, and a message is one kind of them. Items of the model that
follow one another become one message of it, in which what it said stands before what it called. An
item or a part that has no place in the form that all providers know stays as it is where it stood:
a provider of this format gets it back so. What a client gives back of an earlier answer is mended:
nulls say nothing, and an id that was made here means nothing to anybody else.
"""

from __future__ import annotations

from typing import Any, NoReturn

from holdfast import errors, request
from holdfast.dialects.openai_responses import items, tools

Fields = dict[str, Any]

_PEOPLE = ("user", "system", "developer")
_SAID = ("input_text", "output_text", "text")


def messages(given: str | list[Fields], instructions: str | None) -> list[request.Message]:
    """The messages. Raises `errors.InvalidField`."""
    made = _Messages()
    if instructions:
        made.of_people("developer", instructions)
    if isinstance(given, str):
        made.of_people("user", given)
    else:
        for number, item in enumerate(given):
            made.take(tools.without_nulls(item), f"input[{number}]")
    return made.ended()


class _Messages:
    """Messages under way; `_content` and `_calls` are of the model's last one."""

    def __init__(self) -> None:
        self._made: list[request.Message] = []
        self._content: list[Fields] = []
        self._calls: list[Fields] = []

    def ended(self) -> list[request.Message]:
        """All of them."""
        self._flush()
        return self._made

    def take(self, item: Fields, where: str) -> None:
        """The next item, without nulls."""
        type = item.get("type", "message" if "role" in item else None)
        if not isinstance(type, str):
            _refuse(f"{where}.type", "must name the type of the item")
        if items.is_ours(item.get("id")):
            item = {name: value for name, value in item.items() if name != "id"}
        if type == "message":
            self._message(item, where)
        elif type == "function_call":
            self._call(item, where)
        elif type == "item_reference":
            why = "items are not stored under ids here; send the item itself"
            _refuse(where, f"{why}, as clients do that ask with store: false")
        elif type.endswith("_output"):
            self._output(item, where)
        elif type == "additional_tools":
            self.of_people("user", [item])
        elif type != "reasoning" or _can_go_back(item):
            self._say(_mended(item) if type == "reasoning" else item)

    def of_people(self, role: Any, content: str | list[Fields]) -> None:
        """A message that is not the model's."""
        self._flush()
        self._made.append(request.Message(role, content))

    def _message(self, item: Fields, where: str) -> None:
        role, content = item.get("role"), item.get("content")
        if role != "assistant" and role not in _PEOPLE:
            _refuse(f"{where}.role", "must be user, assistant, system or developer")
        if isinstance(content, str):
            found = [{"type": "text", "text": content}]
        elif isinstance(content, list) and all(isinstance(part, dict) for part in content):
            found = [_part(part) for part in content]
        else:
            _refuse(f"{where}.content", "must be a text or a list of parts")
        known = {"type", "role", "content", "id", "status"}
        if role != "assistant":
            if not item.keys() <= known:
                self.of_people(role, [{"type": "message"} | item])
            else:
                self.of_people(role, content if isinstance(content, str) else found)
            return
        if any(part.get("type") in ("text", "message") for part in self._content):
            self._flush()  # it begins a message of its own
        if not item.keys() <= known:
            found = [{"type": "message"} | item]
        for part in found:
            self._say(part)

    def _call(self, item: Fields, where: str) -> None:
        if not item.keys() <= {"type", "id", "status", "call_id", "name", "arguments"}:
            self._say(item)
            return
        function = {name: item[name] for name in ("name", "arguments") if name in item}
        id = item.get("call_id")
        if not isinstance(id, str):
            _refuse(f"{where}.call_id", "must be the text that the call came with")
        self._calls.append({"id": id, "type": "function", "function": function})

    def _output(self, item: Fields, where: str) -> None:
        id, content = item.get("call_id"), item.get("output")
        if id is not None and not isinstance(id, str):
            _refuse(f"{where}.call_id", "must be the text that the call came with")
        plain = {"type", "id", "status", "call_id", "output"}
        if item["type"] != "function_call_output" or not item.keys() <= plain:
            content = [item]
        elif isinstance(content, list) and all(isinstance(part, dict) for part in content):
            content = [_part(part) for part in content]
        elif not isinstance(content, str):
            _refuse(f"{where}.output", "must be a text or a list of parts")
        self._flush()
        self._made.append(request.Message("tool", content, tool_call_id=id))

    def _say(self, part: Fields) -> None:
        """What the model said, or an item of its own."""
        if self._calls:
            self._flush()
        self._content.append(part)

    def _flush(self) -> None:
        content: str | list[Fields] | None = self._content or None
        if len(self._content) == 1 and self._content[0].keys() == {"type", "text"}:
            content = str(self._content[0]["text"])
        if content or self._calls:
            calls = self._calls or None
            self._made.append(request.Message("assistant", content, tool_calls=calls))
        self._content, self._calls = [], []


def _part(given: Fields) -> Fields:
    """A part of a message. What the model's text was told with is for people, and means nothing to
    it."""
    part = tools.without_nulls(given)
    type = part.get("type")
    if type in _SAID and isinstance(part.get("text"), str):
        if type == "output_text" or part.keys() == {"type", "text"}:
            return {"type": "text", "text": part["text"]}
    elif type == "input_image" and part.keys() <= {"type", "image_url", "detail"}:
        url = {"url": part.get("image_url"), "detail": part.get("detail")}
        return {"type": "image_url", "image_url": tools.without_nulls(url)}
    elif type == "input_file" and part.keys() <= {"type", "filename", "file_data", "file_id"}:
        return {"type": "file", "file": {n: v for n, v in part.items() if n != "type"}}
    return part


def _can_go_back(item: Fields) -> bool:
    """Whether somebody can make anything of this reasoning: a summary alone, without an id of the
    provider's, is nothing to it."""
    return any(item.get(name) for name in ("id", "encrypted_content", "content"))


def _mended(item: Fields) -> Fields:
    """Reasoning as its provider had it: a summary that is its raw text was made here."""
    if "id" in item or _text(item.get("summary")) != _text(item.get("content")):
        return item
    return item | {"summary": []}


def _text(parts: Any) -> str:
    listed = parts if isinstance(parts, list) else ()
    return "".join(str(part.get("text")) for part in listed if isinstance(part, dict))


def _refuse(where: str, why: str) -> NoReturn:
    raise errors.InvalidField(f"{where}: {why}.")

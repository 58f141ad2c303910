"""A request that was written for Anthropic, in the form that every provider knows.

Strategy: each turn of Anthropic's becomes the messages that it holds: the results of tools by
themselves, everything else together. What the user says and has no other form (a file that
Anthropic keeps, a document to be cited from) is refused by its place; of an answer, what the
provider made for itself stays, and is left out with the rest of that (`asked.portable`). What is
for Anthropic alone and changes nothing in the answer, as where a cache shall end, is left out.

Formats: https://platform.claude.com/docs/en/api/messages;
https://platform.openai.com/docs/api-reference/chat/create.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from holdfast import request
from holdfast.providers import asked

Made = dict[str, Any]

_KNOWN = frozenset(("text", "image_url", "file", "input_audio"))
"""Parts that have the common form already."""

_TOOL = frozenset(("name", "description", "input_schema", "strict", "type"))
_HINTS = frozenset(("cache_control", "eager_input_streaming", "input_examples"))


def common(wanted: request.Request) -> request.Request:
    """The same request. Raises `errors.InvalidField`."""
    # The instructions are no message there, so that clients count without them.
    first = 1 if wanted.messages and wanted.messages[0].role == "system" else 0
    messages = [
        made
        for number, message in enumerate(wanted.messages, -first)
        for made in _messages(message, "system" if number < 0 else f"messages[{number}].content")
    ]
    tools = None if wanted.tools is None else [_tool(tool) for tool in wanted.tools]
    return msgspec.structs.replace(wanted, messages=messages, tools=tools)


def _messages(message: request.Message, where: str) -> Iterator[request.Message]:
    content = message.content
    if not isinstance(content, list):
        yield message
    elif message.role == "assistant":
        yield _answer(message, content)
    else:
        said: list[Made] = []
        for number, block in enumerate(content):
            place = f"{where}[{number}]"
            if block.get("type") != "tool_result":
                said += _parts(block, place)
                continue
            if said:
                yield msgspec.structs.replace(message, content=said)
            said = []
            yield _result(block, place)
        if said or not content:
            yield msgspec.structs.replace(message, content=said)


def _answer(message: request.Message, content: list[Made]) -> request.Message:
    calls = [_call(block) for block in content if _is_call(block)]
    parts = [block for block in content if not _is_call(block)]
    said = parts or (None if calls else "")
    return msgspec.structs.replace(message, content=said, tool_calls=calls or None)


def _is_call(block: Made) -> bool:
    named = isinstance(block.get("id"), str) and isinstance(block.get("name"), str)
    return block.get("type") == "tool_use" and named and isinstance(block.get("input"), dict)


def _call(block: Made) -> Made:
    arguments = msgspec.json.encode(block["input"]).decode()
    function = {"name": block["name"], "arguments": arguments}
    return {"id": block["id"], "type": "function", "function": function}


def _result(block: Made, where: str) -> request.Message:
    id, content = block.get("tool_use_id"), block.get("content") or ""
    if not isinstance(id, str):
        asked.refuse(f"{where}.tool_use_id", "must be a text")
    if isinstance(content, str):
        return request.Message("tool", content, tool_call_id=id)
    return request.Message("tool", _all(content, f"{where}.content"), tool_call_id=id)


def _all(blocks: Any, where: str) -> list[Made]:
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        asked.refuse(where, "must be a text or a list of blocks")
    return [part for n, block in enumerate(blocks) for part in _parts(block, f"{where}[{n}]")]


def _parts(block: Made, where: str) -> list[Made]:
    """What a block says, in one part or several."""
    match block:
        case {"type": str(type)} if type in _KNOWN:
            return [block]
        case {"type": "image", "source": {"type": "base64", "media_type": type, "data": data}}:
            return [_image(f"data:{type};base64,{data}")]
        case {"type": "image", "source": {"type": "url", "url": str(url)}}:
            return [_image(url)]
        case {"type": "document"}:
            return _document(block, where)
        case {"type": "search_result", "source": str(source), "content": found}:
            return [_text(source), *_headed(block, _all(found, f"{where}.content"))]
    return asked.refuse(where, "has no form that this provider knows")


def _document(block: Made, where: str) -> list[Made]:
    match block:
        case {"citations": {"enabled": True}}:
            asked.refuse(f"{where}.citations", "this provider cites nothing of documents")
        case {"source": {"type": "base64", "media_type": type, "data": data}}:
            # Without a name some refuse a file.
            name = block.get("title") or "document"
            url = f"data:{type};base64,{data}"
            return [{"type": "file", "file": {"filename": name, "file_data": url}}]
        case {"source": {"type": "text", "data": str(said)}}:
            return _headed(block, [_text(said)])
        case {"source": {"type": "content", "content": str(said)}}:
            return _headed(block, [_text(said)])
        case {"source": {"type": "content", "content": within}}:
            return _headed(block, _all(within, f"{where}.source.content"))
    return asked.refuse(f"{where}.source", "has no form that this provider knows")


def _headed(block: Made, parts: list[Made]) -> list[Made]:
    """A document under its title and its context."""
    heads = (block.get("title"), block.get("context"))
    return [*(_text(head) for head in heads if isinstance(head, str) and head), *parts]


def _image(url: str) -> Made:
    return {"type": "image_url", "image_url": {"url": url}}


def _text(text: str) -> Made:
    return {"type": "text", "text": text}


def _tool(tool: Made) -> Made:
    """A tool as a function; one that Anthropic runs, or that has fields beside, stays as it is."""
    fields = {name: value for name, value in tool.items() if name not in _HINTS}
    own = fields.get("type", "custom") == "custom" and isinstance(fields.get("input_schema"), dict)
    if not own or not fields.keys() <= _TOOL:
        return tool
    fields.pop("type", None)
    parameters = fields.pop("input_schema")
    return {"type": "function", "function": {**fields, "parameters": parameters}}

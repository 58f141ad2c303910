"""A request that was written for Anthropic, in the form that every provider knows.

Strategy: each turn of Anthropic's becomes the messages that it holds: the results of tools by
themselves, everything else together. What has no other form (a tool that Anthropic runs, a file
that it keeps) stays as it is, for whoever is asked to refuse by its name. What is for Anthropic
alone and changes nothing in the answer, as where a cache shall end, is left out.

Formats: https://platform.claude.com/docs/en/api/messages;
https://platform.openai.com/docs/api-reference/chat/create.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from holdfast import request

Made = dict[str, Any]

_TOOL = frozenset(("name", "description", "input_schema", "strict", "type"))
_HINTS = frozenset(("cache_control", "eager_input_streaming", "input_examples"))


def common(wanted: request.Request) -> request.Request:
    """The same request; nothing of it is refused here."""
    messages = [made for message in wanted.messages for made in _messages(message)]
    tools = None if wanted.tools is None else [_tool(tool) for tool in wanted.tools]
    return msgspec.structs.replace(wanted, messages=messages, tools=tools)


def _messages(message: request.Message) -> Iterator[request.Message]:
    content = message.content
    if not isinstance(content, list):
        yield message
        return
    if message.role == "assistant":
        calls = [_call(block) for block in content if _is_call(block)]
        parts = [_part(block) for block in content if not _is_call(block)]
        said = parts or (None if calls else "")
        yield msgspec.structs.replace(message, content=said, tool_calls=calls or None)
        return
    parts = []
    for block in content:
        if not _is_result(block):
            parts += _parts(block)
            continue
        if parts:
            yield msgspec.structs.replace(message, content=parts)
            parts = []
        yield request.Message("tool", _result(block), tool_call_id=block["tool_use_id"])
    if parts or not content:
        yield msgspec.structs.replace(message, content=parts)


def _is_call(block: Made) -> bool:
    named = isinstance(block.get("id"), str) and isinstance(block.get("name"), str)
    return block.get("type") == "tool_use" and named and isinstance(block.get("input"), dict)


def _call(block: Made) -> Made:
    arguments = msgspec.json.encode(block["input"]).decode()
    function = {"name": block["name"], "arguments": arguments}
    return {"id": block["id"], "type": "function", "function": function}


def _is_result(block: Made) -> bool:
    content = block.get("content")
    known = content is None or isinstance(content, (str, list))
    return (
        block.get("type") == "tool_result" and isinstance(block.get("tool_use_id"), str) and known
    )


def _result(block: Made) -> str | list[Made]:
    content = block.get("content")
    if not isinstance(content, list):
        return content or ""
    return [part for inner in content if isinstance(inner, dict) for part in _parts(inner)]


def _parts(block: Made) -> list[Made]:
    """What a block says, in one part or several."""
    match block:
        case {"type": "document", "citations": {"enabled": True}}:
            return [block]  # without them it would be another answer
        case {"type": "document", "source": {"type": "text", "data": str(text)}}:
            return [_text(_headed(block, text))]
        case {"type": "document", "source": {"type": "content", "content": str(text)}}:
            return [_text(_headed(block, text))]
        case {"type": "document", "source": {"type": "content", "content": list(inner)}}:
            head = _headed(block, "")
            within = [part for one in inner if isinstance(one, dict) for part in _parts(one)]
            return [_text(head), *within] if head else within
        case {"type": "search_result", "content": list(inner), "source": str(source)}:
            texts = [one.get("text") for one in inner if isinstance(one, dict)]
            said = "\n\n".join(text for text in texts if isinstance(text, str))
            return [_text(f"{source}\n\n{_headed(block, said)}")]
    return [_part(block)]


def _part(block: Made) -> Made:
    match block:
        case {"type": "image", "source": {"type": "base64", "media_type": type, "data": data}}:
            return {"type": "image_url", "image_url": {"url": f"data:{type};base64,{data}"}}
        case {"type": "image", "source": {"type": "url", "url": url}}:
            return {"type": "image_url", "image_url": {"url": url}}
        case {"type": "document", "source": {"type": "base64", "media_type": type, "data": data}}:
            # Without a name some refuse a file.
            name = block.get("title") or "document"
            url = f"data:{type};base64,{data}"
            return {"type": "file", "file": {"filename": name, "file_data": url}}
    return block


def _headed(block: Made, text: str) -> str:
    """A document's text under its title and its context."""
    heads = (block.get("title"), block.get("context"))
    return "\n\n".join(part for part in (*heads, text) if isinstance(part, str) and part)


def _text(text: str) -> Made:
    return {"type": "text", "text": text}


def _tool(tool: Made) -> Made:
    fields = {name: value for name, value in tool.items() if name not in _HINTS}
    own = fields.get("type", "custom") == "custom" and isinstance(fields.get("input_schema"), dict)
    if not own or not fields.keys() <= _TOOL:
        return tool
    fields.pop("type", None)
    function = {**fields, "parameters": fields["input_schema"]}
    del function["input_schema"]
    return {"type": "function", "function": function}

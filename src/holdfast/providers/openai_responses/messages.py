"""Our request's messages and tools as the input of a Responses call.

Strategy: an input is a list of items, and a message is only one kind of them: calls and their
outputs are items of their own. So each message becomes the items that it holds, in their order.
What the provider once gave (a reasoning item, a search, a custom call, a phase) is given back
verbatim: as a part of any message it becomes an item where it stands.

What the provider does not take is refused by name.

Format: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from holdfast import request
from holdfast.providers import asked, tool_choice

Fields = dict[str, Any]

_ITEMS = frozenset(
    (
        "message",
        "reasoning",
        "compaction",
        "item_reference",
        "program",
        "program_output",
        "additional_tools",
        "tool_search_output",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
    )
)
_ITEM = re.compile(r"\w+_call(_output)?|[\w-]+:[\w.-]+", re.ASCII)  # and "vendor:type"
_INPUT = frozenset(("input_text", "input_image", "input_file"))
_OUTPUT = frozenset(("output_text", "refusal"))

# Anthropic dates its tools without dashes; these are Google's.
_OTHERS_TOOL = re.compile(r"|\w+_20\d{6}|google_\w+|url_context|code_execution|retrieval", re.ASCII)

# Anthropic's; and in chat's words a choice's fields do not stand beside its type.
_OTHERS_CHOICE = frozenset(("", "auto", "any", "tool", "none"))


def items(wanted: request.Request, *, developer_role: bool) -> Iterator[Fields]:
    """The input, item by item. Raises `errors.InvalidField`."""
    for number, message in enumerate(wanted.messages):
        where = f"messages[{number}]"
        if message.name is not None and message.role != "tool":
            asked.refuse(f"{where}.name", "this provider takes no names")
        if message.role == "tool":
            yield from _outputs(message, where)
        elif message.role == "assistant":
            yield from _said(message, asked.parts(message, where), _OUTPUT)
            for call in asked.calls(message, where):
                if not call.id:
                    asked.refuse(f"{call.where}.id", "is missing")
                yield {
                    "type": "function_call",
                    "call_id": call.id,
                    "name": call.name,
                    "arguments": call.text,
                }
        elif message.role == "user":
            found = asked.parts(message, where)
            yield from _said(message, found or [asked.Text("", where)], _INPUT)
        else:
            text = asked.text(message, where)
            role = message.role if developer_role else "system"
            if text:
                yield {"type": "message", "role": role, "content": text}


def tools(wanted: request.Request) -> list[Fields]:
    """The tools. Raises `errors.InvalidField`."""
    return [_tool(tool) for tool in asked.tools(wanted)]


def choice(wanted: request.Request) -> str | Fields | None:
    """`tool_choice`; None leaves it to the provider. Raises `errors.InvalidField`."""
    chosen = tool_choice.of(wanted)
    if isinstance(chosen, asked.Native):
        if chosen.type in _OTHERS_CHOICE or isinstance(chosen.fields.get(chosen.type), dict):
            asked.refuse(chosen.where, "this provider knows no such choice")
        return chosen.fields
    if chosen is None or chosen.mode != "function":
        return None if chosen is None else chosen.mode
    return {"type": "function", "name": chosen.name}


def text_format(wanted: request.Request) -> Fields | None:
    """`text.format`; None is plain text. Raises `errors.InvalidField`."""
    shape = asked.response_format(wanted)
    if shape is None:
        return None
    if isinstance(shape, asked.AnyObject):
        return {"type": "json_object"}
    fields = {"type": "json_schema", "name": shape.name, "schema": shape.schema}
    return fields | _given(description=shape.description, strict=shape.strict)


def _said(
    message: request.Message, found: list[asked.Part], own: frozenset[str]
) -> Iterator[Fields]:
    """The messages and items that a message of a person or of the model holds."""
    gathered: list[Fields] = []
    for part in found:
        if isinstance(part, asked.Native) and _is_item(part):
            if gathered:
                yield _message(message.role, gathered)
                gathered = []
            yield part.fields
        else:
            gathered.append(_part(part, own))
    if gathered:
        yield _message(message.role, gathered)


def _message(role: str, content: list[Fields]) -> Fields:
    """A single text is sent as such: for an assistant's, some servers want an id otherwise."""
    only = content[0] if len(content) == 1 else {}
    text = only["text"] if set(only) == {"type", "text"} else None
    return {"type": "message", "role": role, "content": content if text is None else text}


def _outputs(message: request.Message, where: str) -> Iterator[Fields]:
    found = asked.parts(message, where)
    native = [part for part in found if isinstance(part, asked.Native) and _is_item(part)]
    if native and len(native) == len(found):
        yield from (part.fields for part in native)
        return
    if not message.tool_call_id:
        asked.refuse(f"{where}.tool_call_id", "is missing")
    if native:
        asked.refuse(native[0].where, "stands beside other parts of a tool's output")
    content = [_part(part, _INPUT) for part in found]
    output = _message("tool", content)["content"] if content else ""
    yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": output}


def _is_item(part: asked.Native) -> bool:
    return part.type in _ITEMS or _ITEM.fullmatch(part.type) is not None


def _part(part: asked.Part, own: frozenset[str]) -> Fields:
    """A part of a message whose parts of this provider's own types are `own`."""
    if isinstance(part, asked.Native):
        if part.type in own:
            return part.fields
        return asked.refuse(part.where, "this provider knows no such part here")
    if isinstance(part, asked.Text):
        return {"type": "input_text" if own is _INPUT else "output_text", "text": part.text}
    if own is not _INPUT:
        asked.refuse(part.where, "an assistant message of this provider holds only text")
    if part.kind == "image":
        url = part.url or f"data:{part.media_type};base64,{part.data}"
        return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
    if part.kind == "file":
        return {"type": "input_file"} | _file(part)
    return asked.refuse(part.where, "this provider takes no audio")


def _file(part: asked.Media) -> Fields:
    if part.file_id is not None:
        return {"file_id": part.file_id}
    media_type = part.media_type or ""
    # A file without a name is an error there; its ending tells what it is.
    name = part.name or f"file.{media_type.rpartition('/')[2]}"
    return {"filename": name, "file_data": f"data:{media_type};base64,{part.data}"}


def _tool(tool: asked.Tool | asked.Native) -> Fields:
    if isinstance(tool, asked.Native):
        if _OTHERS_TOOL.fullmatch(tool.type) or "input_schema" in tool.fields:
            asked.refuse(tool.where, "this provider knows no such tool")
        if isinstance(tool.fields.get(tool.type), dict):
            asked.refuse(f"{tool.where}.{tool.type}", "its fields stand beside `type` here")
        return tool.fields
    fields: Fields = {
        "type": "function",
        "name": tool.name,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
        # Left out it means true here, and optional parameters become required ones.
        "strict": bool(tool.strict),
    }
    return fields | _given(description=tool.description)


def _given(**fields: Any) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}

"""The conversation, as the Interactions API takes it.

Strategy: a list of steps, in order: what the user said, what the model said, called and
thought, and what the calls brought. A step in Google's own words, as an answer gave it in
`extra`, goes back where it stood; so does a content of a message.

Format: https://ai.google.dev/api/interactions-api, `Step` and `Content`.
"""

from __future__ import annotations

from typing import Any

from holdfast import request
from holdfast.providers import asked
from holdfast.providers.google import parts

STEPS = frozenset(
    {
        "code_execution_call",
        "code_execution_result",
        "file_search_call",
        "file_search_result",
        "google_maps_call",
        "google_maps_result",
        "google_search_call",
        "google_search_result",
        "mcp_server_tool_call",
        "mcp_server_tool_result",
        "processing_call",
        "processing_result",
        "retrieval_call",
        "retrieval_result",
        "thought",
        "tool_search_call",
        "tool_search_result",
        "url_context_call",
        "url_context_result",
    }
)
"""Steps that an answer gives and the next request may give back."""

CONTENTS = frozenset({"audio", "document", "image", "text", "video"})
"""Contents in Google's own words."""

_KINDS = {"image": "image", "file": "document", "audio": "audio"}

Made = dict[str, Any]


def conversation(messages: list[request.Message]) -> tuple[str, list[Made]]:
    """The instructions, joined, and the steps. Raises `errors.InvalidField`."""
    instructions: list[str] = []
    steps: list[Made] = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if message.role in ("system", "developer"):
            instructions.append(asked.text(message, where))
        elif message.role == "tool":
            steps.append(_result(message, where))
            continue
        else:
            said = "model_output" if message.role == "assistant" else "user_input"
            _say(steps, said, asked.parts(message, where))
            steps += [_call(call) for call in asked.calls(message, where)]
        if message.name is not None:
            asked.refuse(f"{where}.name", "this provider takes no names")
    if not steps:
        asked.refuse("messages", "this provider needs a message beside the instructions")
    return "\n\n".join(text for text in instructions if text), steps


def _say(steps: list[Made], kind: str, items: list[asked.Part]) -> None:
    """The contents of a message, in as many steps as the steps among them make."""
    contents: list[Made] = []
    for item in items:
        if isinstance(item, asked.Native) and item.type in STEPS and kind == "model_output":
            contents = []
            steps.append(item.fields)
            continue
        if not contents:
            steps.append({"type": kind, "content": contents})
        contents.append(_content(item))


def _content(item: asked.Part) -> Made:
    if isinstance(item, asked.Text):
        return {"type": "text", "text": item.text}
    if isinstance(item, asked.Native):
        if item.type not in CONTENTS:
            why = "neither text, image, file or sound, nor a content or step of this provider"
            asked.refuse(item.where, why)
        return item.fields
    made: Made = {"type": _KINDS[item.kind], "mime_type": item.media_type, "data": item.data}
    if item.data is None:
        uri, media_type = parts.located(item)
        made = {"type": _KINDS[item.kind], "mime_type": media_type, "uri": uri}
    return {name: value for name, value in made.items() if value is not None}


def _call(call: asked.Call) -> Made:
    if not call.id:
        asked.refuse(f"{call.where}.id", "is missing")
    return {"type": "function_call", "id": call.id, "name": call.name, "arguments": call.arguments}


def _result(message: request.Message, where: str) -> Made:
    """A tool's result: text, or contents where there is more than text."""
    if not message.tool_call_id:
        asked.refuse(f"{where}.tool_call_id", "is missing")
    items = asked.parts(message, where)
    if all(isinstance(item, asked.Text) for item in items):
        result: Any = asked.text(message, where)
    else:
        result = [_content(item) for item in items]
    made = {"type": "function_result", "call_id": message.tool_call_id, "result": result}
    return made | ({"name": message.name} if message.name is not None else {})

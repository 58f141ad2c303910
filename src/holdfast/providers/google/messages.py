"""The conversation, as Gemini takes it.

Strategy: Gemini knows two roles, `user` and `model`, and instructions apart. All instructions
go there, in order, wherever they stood. Tool results are the user's, and carry the function's
name, which is found by the id of the call. Messages of one role in a row become one: results
of calls that were made together must come together.

From Gemini 3 on the first of the calls that were made together must have its signature. One that
another model made, or whose client has no place for such a thing, has none; Google documents a
word for these.

Format: https://ai.google.dev/api/caching#Content;
https://ai.google.dev/gemini-api/docs/thought-signatures.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from holdfast import request
from holdfast.providers import asked
from holdfast.providers.google import parts

Made = dict[str, Any]

UNSIGNED = "skip_thought_signature_validator"
"""In the place of a signature that there is not."""

_SIGNING = re.compile(r"gemini-([3-9]|\d\d)")


def conversation(messages: list[request.Message], model: str) -> tuple[list[Made], list[Made]]:
    """The parts of `systemInstruction`, and `contents`. Raises `errors.InvalidField`."""
    instructions: list[Made] = []
    contents: list[Made] = []
    names: dict[str, str] = {}
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if message.name is not None and message.role != "tool":
            asked.refuse(f"{where}.name", "this provider takes no names")
        if message.role in ("system", "developer"):
            said = asked.text(message, where)
            instructions += [{"text": said}] if said else []
            continue
        if message.role == "tool":
            made = [_result(message, where, names)]
        else:
            calls = asked.calls(message, where)
            names |= {call.id: call.name for call in calls}
            made = _said(message, where) + _called(calls, model)
        role = "model" if message.role == "assistant" else "user"
        # An empty message says nothing, and Gemini refuses it.
        if made and contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += made
        elif made:
            contents.append({"role": role, "parts": made})
    if not contents:
        asked.refuse("messages", "this provider needs a message beside the instructions")
    return instructions, contents


def _said(message: request.Message, where: str) -> list[Made]:
    made = (parts.part(item) for item in asked.parts(message, where))
    return [part for part in made if part is not None]


def _called(calls: list[asked.Call], model: str) -> list[Made]:
    made = [parts.call(call) for call in calls]
    if made and _SIGNING.search(model):
        made[0].setdefault("thoughtSignature", UNSIGNED)
    return made


def _result(message: request.Message, where: str, names: dict[str, str]) -> Made:
    """A tool's result: a JSON object is taken as it is, any other text becomes `output`."""
    id = message.tool_call_id or ""
    name = names.get(id) or message.name
    if name is None:
        asked.refuse(
            f"{where}.tool_call_id",
            "no tool call before it has this id, and this provider needs the function's name",
        )
    texts: list[str] = []
    media: list[Made] = []
    for item in asked.parts(message, where):
        made = parts.part(item)
        if isinstance(item, asked.Text):
            texts.append(item.text)
        elif made is not None and "inlineData" in made:
            media.append(made)
        else:
            asked.refuse(item.where, "a tool result of this provider holds text and inline data")
    result: Made = {"name": name, "response": _response("\n\n".join(texts))}
    if id:
        result["id"] = id
    if media:
        result["parts"] = media
    return {"functionResponse": result}


def _response(text: str) -> Made:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"output": text}

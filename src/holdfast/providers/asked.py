"""What a request holds, in values that every format can write in its own words.

Strategy: clients write their messages, tools and response format as OpenAI chat completions has
them (PROTOCOL, section 3). The formats that are written otherwise need the same pieces each
time, so they are read once, here: parts of a message, tool calls with their arguments, tools,
the response format. What makes no sense is refused by the name of the field; what makes sense
and is not known here is handed on as `Native`, and the format says whether it takes it. Nothing
is left out silently: a field that would be lost is refused too.

A part, a tool or a field that a provider made itself (a thinking block with its signature, a
reasoning item, a search tool) may stand where it stood in the provider's own format: `Native`
carries it verbatim.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

import msgspec

from holdfast import errors, request

MAX_PARTS = 10_000
"""Parts of one message."""

_DATA_URL = re.compile(
    r"data:([\w.+-]+/[\w.+-]+)(?:;[\w.=+-]+)*;base64,([A-Za-z0-9+/_-]+={0,2})", re.ASCII
)


class Text(msgspec.Struct, frozen=True):
    """A piece of text."""

    text: str
    where: str


class Media(msgspec.Struct, frozen=True):
    """An image, a document or a sound: either `data` (base64) of `media_type`, or a `url`.

    `detail` is OpenAI's for images, `name` a file's.
    """

    kind: str
    """`image`, `file` or `audio`."""
    where: str
    url: str | None = None
    media_type: str | None = None
    data: str | None = None
    detail: str | None = None
    name: str | None = None
    file_id: str | None = None


class Native(msgspec.Struct, frozen=True):
    """Something in a provider's own format; `type` is its `type`, "" where it has none."""

    type: str
    fields: dict[str, Any]
    where: str


Part = Text | Media | Native


class Call(msgspec.Struct, frozen=True):
    """A tool call of an earlier answer. `arguments` is the decoded object, `text` the JSON as
    the model wrote it. `extra` is the provider's own (Google's thought signatures)."""

    id: str
    name: str
    arguments: dict[str, Any]
    text: str
    where: str
    extra: dict[str, Any]


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `parameters` is its JSON Schema."""

    name: str
    where: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class AnyObject(msgspec.Struct, frozen=True):
    """The answer shall be some JSON object."""


class Schema(msgspec.Struct, frozen=True):
    """The answer shall be JSON of this schema."""

    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


def refuse(where: str, why: str) -> NoReturn:
    """Raises the error for a field that cannot be taken."""
    raise errors.InvalidField(f"{where}: {why}.")


def check_tool_fields(messages: list[request.Message]) -> None:
    """Refuses the fields of tool use where a message's role has none; an empty one says nothing.

    Raises `errors.InvalidField`.
    """
    for number, message in enumerate(messages):
        if message.tool_calls and message.role != "assistant":
            refuse(f"messages[{number}].tool_calls", "belongs to messages of the role assistant")
        if message.tool_call_id and message.role != "tool":
            refuse(f"messages[{number}].tool_call_id", "belongs to messages of the role tool")


HIDDEN = ("thinking", "redacted_thinking", "reasoning", "reasoning_content", "encrypted_content")
"""Types and fields of what is for nobody but the provider that made it."""


def portable(messages: list[request.Message]) -> list[request.Message]:
    """The messages without what a provider made for itself, which is for its own kind alone:
    reasoning with its signatures, encrypted items, its own tools' calls and their results. All that
    people wrote stays, and so does what another kind has to refuse by its name. An assistant's
    message of which nothing is left is left out."""
    found: list[request.Message] = []
    gone: set[object] = set()
    for message in messages:
        if message.role == "tool" and message.tool_call_id in gone:
            continue
        content, calls = message.content, message.tool_calls
        if isinstance(content, list):
            own = message.role == "assistant"
            content = [part for item in content for part in _opened(item)]
            dropped = [item for item in content if _is_hidden(item) or (own and _is_native(item))]
            gone |= {item[key] for item in dropped for key in ("id", "call_id") if key in item}
            content = [_bare(item) for item in content if item not in dropped] or None
            if content is None and own and not calls:
                continue
            content = "" if content is None and not own else content
        if calls is not None:
            calls = [{k: v for k, v in one.items() if k in _CALL} for one in calls]
        found.append(msgspec.structs.replace(message, content=content, tool_calls=calls))
    return found


_CALL = ("id", "type", "function")


def _is_hidden(item: dict[str, Any]) -> bool:
    return (
        item.get("thought") is True
        or item.get("type") in HIDDEN
        or not item.keys().isdisjoint(HIDDEN)
    )


def _opened(item: dict[str, Any]) -> list[dict[str, Any]]:
    """What a message holds that stands whole in another one, as OpenAI Responses has those with
    fields of their own."""
    held = item.get("content") if item.get("type") == "message" else None
    if isinstance(held, str):
        return [{"type": "text", "text": held}]
    if isinstance(held, list):
        return [part for part in held if isinstance(part, dict)]
    return [item]


def _is_native(item: dict[str, Any]) -> bool:
    try:
        return isinstance(_part(_bare(item), ""), Native)
    except errors.InvalidField:
        return item.get("truncated") is True  # else whoever is asked refuses it by its name


def _bare(item: dict[str, Any]) -> dict[str, Any]:
    """A text without what a provider or for a provider somebody has written beside it."""
    said = item.get("text")
    if isinstance(said, str) and item.get("type", "") in ("", "text", "input_text", "output_text"):
        return {"type": "text", "text": said}
    return item


def parts(message: request.Message, where: str) -> list[Part]:
    """The content of a message, `where` being `messages[3]`. Text that is empty is left out.

    Raises `errors.InvalidField`.
    """
    content = message.content
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [Text(content, f"{where}.content")]
    if len(content) > MAX_PARTS:
        refuse(f"{where}.content", f"over {MAX_PARTS} parts")
    found = [_part(item, f"{where}.content[{n}]") for n, item in enumerate(content)]
    return [part for part in found if not isinstance(part, Text) or part.text]


def text(message: request.Message, where: str) -> str:
    """The content of a message that may only be text; parts are joined by a blank line.

    Raises `errors.InvalidField`.
    """
    said = []
    for part in parts(message, where):
        if not isinstance(part, Text):
            refuse(part.where, f"a {message.role} message of this provider holds only text")
        said.append(part.text)
    return "\n\n".join(said)


def calls(message: request.Message, where: str) -> list[Call]:
    """The tool calls of an assistant message. Raises `errors.InvalidField`."""
    listed = enumerate(message.tool_calls or ())
    return [_call(item, f"{where}.tool_calls[{n}]") for n, item in listed]


def tools(wanted: request.Request) -> list[Tool | Native]:
    """The tools, in order. Raises `errors.InvalidField`."""
    return [_tool(item, f"tools[{n}]") for n, item in enumerate(wanted.tools or ())]


def response_format(wanted: request.Request) -> AnyObject | Schema | None:
    """What shape the answer shall have; None is text. Raises `errors.InvalidField`."""
    asked = wanted.response_format
    if asked is None or asked.get("type") == "text":
        return None
    if asked.get("type") == "json_object":
        return AnyObject()
    described = asked.get("json_schema")
    if asked.get("type") != "json_schema" or not isinstance(described, dict):
        refuse("response_format", "its type is text, json_object or json_schema")
    schema = described.get("schema")
    if not isinstance(schema, dict):
        refuse("response_format.json_schema.schema", "must be a JSON Schema")
    return Schema(
        _text(described, "name", "response_format.json_schema") or "answer",
        schema,
        _text(described, "description", "response_format.json_schema"),
        _flag(described, "strict", "response_format.json_schema"),
    )


def _part(item: dict[str, Any], where: str) -> Part:
    if item.get("truncated") is True:
        refuse(where, "was too large to be kept whole, and cannot be given back")
    kind = _text(item, "type", where) or ""
    if kind in ("text", "input_text", "output_text") and set(item) <= {"type", "text"}:
        return Text(_needed(item, "text", where), f"{where}.text")
    if kind == "image_url":
        return _image(item, where)
    if kind == "input_audio" and isinstance(item.get("input_audio"), dict):
        return _audio(item, where)
    if kind == "file" and isinstance(item.get("file"), dict):
        _only(item, ("type", "file"), where)
        return _file(item["file"], f"{where}.file")
    return Native(kind, item, where)


def _audio(item: dict[str, Any], where: str) -> Media:
    _only(item, ("type", "input_audio"), where)
    audio = item["input_audio"]
    _only(audio, ("data", "format"), f"{where}.input_audio")
    media_type = f"audio/{_needed(audio, 'format', where)}"
    data = _standard(_needed(audio, "data", where))
    return Media("audio", where, media_type=media_type, data=data)


def _image(item: dict[str, Any], where: str) -> Media:
    _only(item, ("type", "image_url"), where)
    image = item.get("image_url")
    if isinstance(image, str):
        image = {"url": image}
    if not isinstance(image, dict):
        refuse(f"{where}.image_url", "must hold a url")
    _only(image, ("url", "detail"), f"{where}.image_url")
    url, detail = _needed(image, "url", where), _text(image, "detail", where)
    if not url.startswith("data:"):
        return Media("image", where, url=url, detail=detail)
    media_type, data = _data(url, where)
    return Media("image", where, media_type=media_type, data=data, detail=detail)


def _file(file: dict[str, Any], where: str) -> Media:
    _only(file, ("filename", "file_data", "file_id"), where)
    name = _text(file, "filename", where)
    file_id, data = _text(file, "file_id", where), _text(file, "file_data", where)
    if file_id is not None:
        return Media("file", where, name=name, file_id=file_id)
    if data is None:
        refuse(where, "must hold file_data or file_id")
    media_type, data = _data(data, f"{where}.file_data")
    return Media("file", where, media_type=media_type, data=data, name=name)


def _data(url: str, where: str) -> tuple[str, str]:
    found = _DATA_URL.fullmatch(url)
    if found is None:
        refuse(where, "must be a data URL, data:MEDIA/TYPE;base64,...")
    return found[1], _standard(found[2])


def _standard(data: str) -> str:
    """Base64 of the alphabet for URLs (RFC 4648, section 5), which providers refuse, in the
    standard one, with the padding that is often left out there; any other as it came."""
    if "-" not in data and "_" not in data:
        return data
    data = data.replace("-", "+").replace("_", "/")
    return data + "=" * (-len(data) % 4)


def _call(item: dict[str, Any], where: str) -> Call:
    function = item.get("function")
    if not isinstance(function, dict):
        refuse(f"{where}.function", "must hold name and arguments")
    written = _text(function, "arguments", f"{where}.function") or "{}"
    try:
        arguments = msgspec.json.decode(written)
    except (msgspec.DecodeError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        refuse(f"{where}.function.arguments", "must be a JSON object")
    extra = item.get("extra_content")
    return Call(
        _text(item, "id", where) or "",
        _needed(function, "name", f"{where}.function"),
        arguments,
        written,
        where,
        extra if isinstance(extra, dict) else {},
    )


def _tool(item: dict[str, Any], where: str) -> Tool | Native:
    function = item.get("function")
    if item.get("type") != "function" or not isinstance(function, dict):
        return Native(_text(item, "type", where) or "", item, where)
    _only(item, ("type", "function"), where)
    where = f"{where}.function"
    _only(function, ("name", "description", "parameters", "strict"), where)
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        refuse(f"{where}.parameters", "must be a JSON Schema")
    return Tool(
        _needed(function, "name", where),
        where,
        _text(function, "description", where),
        parameters,
        _flag(function, "strict", where),
    )


def _only(fields: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    """Refuses what would be lost; null says nothing."""
    for name, value in fields.items():
        if name not in known and value is not None:
            refuse(f"{where}.{name[:100]}", "is not known, and would be left out")


def _needed(fields: dict[str, Any], name: str, where: str) -> str:
    value = _text(fields, name, where)
    return value if value is not None else refuse(f"{where}.{name}", "is missing")


def _text(fields: dict[str, Any], name: str, where: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        refuse(f"{where}.{name}", "must be a text")
    return value


def _flag(fields: dict[str, Any], name: str, where: str) -> bool | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        refuse(f"{where}.{name}", "must be true or false")
    return value

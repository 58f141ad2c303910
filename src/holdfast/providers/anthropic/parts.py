"""A piece of a message as a content block of Anthropic's.

Strategy: text, pictures and files are written in Anthropic's words. A block that is
Anthropic's own already (a thinking block with its signature, a server-side tool call and its
result, text with citations) is handed on verbatim; one of another provider is refused by name.

Format: https://platform.claude.com/docs/en/api/messages (content blocks).
"""

from __future__ import annotations

import base64
import re
from typing import Any

from holdfast.providers import asked

Made = dict[str, Any]

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")

_USER = frozenset(
    (
        "text",
        "image",
        "document",
        "search_result",
        "tool_result",
        "container_upload",
        "compaction",
    )
)
_ASSISTANT = frozenset(
    (
        "text",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "server_tool_use",
        "mcp_tool_use",
        "mcp_tool_listing",
        "container_upload",
        "compaction",
        "fallback",
    )
)
_RESULT = frozenset(("text", "image", "document", "search_result", "tool_reference"))


def user(part: asked.Part) -> Made | None:
    """A block of a user message; None where it says nothing. Raises `errors.InvalidField`."""
    if isinstance(part, asked.Media):
        return _media(part)
    return _written(part, _USER, "user")


def assistant(part: asked.Part) -> Made | None:
    """A block of an assistant message; None where it says nothing. Raises
    `errors.InvalidField`."""
    if isinstance(part, asked.Media):
        asked.refuse(part.where, f"an assistant message of this provider holds no {part.kind}")
    # The results of the provider's own tools: `web_search_tool_result` and many more.
    if isinstance(part, asked.Native) and part.type.endswith("_tool_result"):
        return part.fields
    return _written(part, _ASSISTANT, "assistant")


def instruction(part: asked.Part) -> Made | None:
    """A block of the instructions; None where it says nothing. Raises `errors.InvalidField`."""
    if isinstance(part, asked.Media):
        asked.refuse(part.where, "instructions of this provider hold only text")
    return _written(part, frozenset(("text",)), "system")


def result(part: asked.Part) -> Made | None:
    """A block of a tool's result; None where it says nothing. Raises `errors.InvalidField`."""
    if isinstance(part, asked.Media):
        return _media(part)
    return _written(part, _RESULT, "tool")


def call_id(id: str) -> str:
    """The id of a tool call as Anthropic takes it. Other providers use letters that it
    refuses ("functions.search:0"), and a conversation may have begun with them."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", id)


def _written(part: asked.Text | asked.Native, known: frozenset[str], role: str) -> Made | None:
    if isinstance(part, asked.Text):
        # A text of white space alone says nothing, and is refused.
        return {"type": "text", "text": part.text} if part.text.strip() else None
    if part.type not in known:
        asked.refuse(part.where, f"this provider takes no such part in a {role} message")
    if part.type in ("image", "document") and not isinstance(part.fields.get("source"), dict):
        asked.refuse(part.where, "must hold a source, as this provider has it")
    return part.fields


def _media(part: asked.Media) -> Made:
    if part.kind == "image":
        # `detail` is left out: it says how closely OpenAI should look at the picture.
        return {"type": "image", "source": _image(part)}
    if part.kind != "file":
        asked.refuse(part.where, f"this provider takes no {part.kind}")
    titled = {"title": part.name} if part.name else {}
    return {"type": "document", "source": _document(part), **titled}


def _image(part: asked.Media) -> Made:
    if part.url is not None:
        return {"type": "url", "url": part.url}
    if part.media_type not in _IMAGES:
        asked.refuse(part.where, f"the picture must be one of {', '.join(_IMAGES)}")
    return {"type": "base64", "media_type": part.media_type, "data": part.data}


def _document(part: asked.Media) -> Made:
    if part.file_id is not None:
        if not part.file_id.startswith("file_"):
            asked.refuse(f"{part.where}.file_id", "is no id of a file at this provider")
        return {"type": "file", "file_id": part.file_id}
    if part.media_type == "application/pdf":
        return {"type": "base64", "media_type": part.media_type, "data": part.data}
    if not (part.media_type or "").startswith("text/"):
        asked.refuse(f"{part.where}.file_data", "must be a PDF or a text")
    try:
        text = base64.b64decode(part.data or "", validate=True).decode()
    except ValueError:
        asked.refuse(f"{part.where}.file_data", "must be a text in UTF-8")
    return {"type": "text", "media_type": "text/plain", "data": text}

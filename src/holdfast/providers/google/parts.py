"""What a message of ours is made of, as parts of Gemini.

Strategy: text, media and calls are mapped; a part in Google's own words goes as it is, so that
what an answer gave as `extra` can stand where it stood. What says something about an answer and
is no part of it (`groundingMetadata`) is left out: clients that give every `extra` back need not
tell them apart, and Google has no place for it.

Format: https://ai.google.dev/api/caching#Part; URLs:
https://ai.google.dev/gemini-api/docs/file-input-methods.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

from holdfast.providers import asked

FIELDS = frozenset(
    {
        "codeExecutionResult",
        "executableCode",
        "fileData",
        "functionCall",
        "functionResponse",
        "inlineData",
        "mediaResolution",
        "partMetadata",
        "text",
        "thought",
        "thoughtSignature",
        "toolCall",
        "toolResponse",
        "videoMetadata",
    }
)
"""The fields of a part."""

_ABOUT = frozenset({"groundingMetadata", "urlContextMetadata"})

_TYPES = {
    ".avif": "image/avif",
    ".gif": "image/gif",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".pdf": "application/pdf",
}


def part(item: asked.Part) -> dict[str, Any] | None:
    """One part; None for what has no place in a request. Raises `errors.InvalidField`."""
    if isinstance(item, asked.Text):
        return {"text": item.text}
    if isinstance(item, asked.Media):
        return _media(item)
    if item.fields and item.fields.keys() <= _ABOUT:
        return None
    if not item.fields or not item.fields.keys() <= FIELDS:
        asked.refuse(item.where, "neither text, image, file or sound, nor a part of this provider")
    return item.fields


def _media(item: asked.Media) -> dict[str, Any]:
    """An image, a file or a sound. `detail` is a hint, and a name has no place here."""
    if item.data is not None:
        return {"inlineData": {"mimeType": item.media_type, "data": item.data}}
    uri, media_type = located(item)
    return {"fileData": {"fileUri": uri} | ({"mimeType": media_type} if media_type else {})}


def located(item: asked.Media) -> tuple[str, str | None]:
    """Where a medium lies that Google fetches itself, and its type, where the name tells it."""
    uri = item.url or item.file_id or ""
    scheme, colon, _ = uri.partition(":")
    if not colon or scheme.lower() not in ("http", "https", "gs"):
        asked.refuse(
            item.where,
            "this provider takes data URLs, URLs of http, https or gs, and files by their URI",
        )
    suffix = posixpath.splitext(re.split("[?#]", uri, maxsplit=1)[0])[1].lower()
    return uri, _TYPES.get(suffix)


def call(item: asked.Call) -> dict[str, Any]:
    """A tool call with its signature: Gemini 3 answers 400 to a call that has lost it."""
    function: dict[str, Any] = {"name": item.name, "args": item.arguments}
    if item.id:
        function["id"] = item.id
    made: dict[str, Any] = {"functionCall": function}
    signature = _signature(item)
    if signature is not None:
        made["thoughtSignature"] = signature
    return made


def _signature(item: asked.Call) -> str | None:
    """From `extra_content.google`: as `thought_signature`, the name in Google's OpenAI-like API,
    or as `thoughtSignature`, the `extra` of our chunk as it came."""
    google = item.extra.get("google")
    if google is None:
        return None
    where = f"{item.where}.extra_content.google"
    if not isinstance(google, dict):
        asked.refuse(where, "must hold thought_signature")
    signature = google.get("thought_signature", google.get("thoughtSignature"))
    if signature is not None and not isinstance(signature, str):
        asked.refuse(f"{where}.thought_signature", "must be a text")
    return signature

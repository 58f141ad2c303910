"""The frames of a Gemini stream, as far as Holdfast reads them.

Strategy: as in `openai_chat.wire`: msgspec decodes straight from the bytes into structs that
name only what is used. Usage comes in every frame and only the last one counts, so it stays
undecoded bytes (`Raw`) until it is told. Parts that are only kept are `Any`.

Format: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse; `partialArgs`
and `willContinue` are Vertex AI's
(https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/Content).
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.providers import values


class PartialArg(msgspec.Struct, gc=False, rename="camel"):
    """A piece of a tool call's arguments: where it goes, and one of four kinds of value."""

    json_path: str
    string_value: str | None = None
    number_value: float | int | None = None
    bool_value: bool | None = None
    will_continue: bool | None = None


class FunctionCall(msgspec.Struct, gc=False, rename="camel"):
    """A call, whole or, with `will_continue` or after such a one, in pieces."""

    name: str | None = None
    id: str | None = None
    args: Any = None
    partial_args: list[PartialArg] | None = None
    will_continue: bool | None = None


class Part(msgspec.Struct, gc=False, rename="camel"):
    """One of its fields says what it is; `thought` and `thought_signature` come beside."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    executable_code: Any = None
    code_execution_result: Any = None
    inline_data: Any = None
    file_data: Any = None
    tool_call: Any = None
    tool_response: Any = None


class Content(msgspec.Struct, gc=False):
    """What a candidate says."""

    parts: list[Part] | None = None


class Candidate(msgspec.Struct, gc=False, rename="camel"):
    """One choice. The metadata are about the text so far and may come again, grown."""

    content: Content | None = None
    index: int | None = None
    finish_reason: str | None = None
    grounding_metadata: Any = None
    citation_metadata: Any = None
    url_context_metadata: Any = None


class PromptFeedback(msgspec.Struct, gc=False, rename="camel"):
    """Why there is no answer, where there is none."""

    block_reason: str | None = None


class Chunk(msgspec.Struct, gc=False, rename="camel"):
    """One frame."""

    candidates: list[Candidate] | None = None
    usage_metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    response_id: str | None = None
    prompt_feedback: PromptFeedback | None = None
    error: Any = None


decode = msgspec.json.Decoder(Chunk).decode
"""The fast way. Raises ValueError (which `msgspec.DecodeError` is) or RecursionError."""


def convert(value: Any) -> Chunk:
    """The slow way's second half. Raises `msgspec.ValidationError`, a ValueError."""
    if isinstance(value, dict) and "usageMetadata" in value:
        usage = msgspec.Raw(values.encoded(value["usageMetadata"]).encode())
        value = value | {"usageMetadata": usage}
    return msgspec.convert(value, Chunk, strict=False)

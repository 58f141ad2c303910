"""The frames of an OpenAI chat stream, as far as Holdfast reads them.

Strategy: msgspec decodes straight from the bytes into structs that name only what is used;
what is not named is skipped at C speed. Fields that a vendor may fill in ways of its own are
`Any` and looked at with care where they occur, which is seldom.

Some frames are good enough for people and not for msgspec: half of a surrogate pair (vendors
cut an emoji between two deltas), invalid UTF-8, a raw control character, a number out of
range. Those go the slow way, through `values.load`. Strings that come that way may hold lone
surrogates; `halves` makes text of them.

Format: https://platform.openai.com/docs/api-reference/chat-streaming; the vendors' variants
are told where they are read.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Part(msgspec.Struct, gc=False):
    """Mistral: `content` may be a list of parts, of which `thinking` ones hold parts again."""

    type: str = ""
    text: str | None = None
    thinking: str | list[Part] | None = None


class Function(msgspec.Struct, gc=False):
    """Some servers send `arguments` as an object and not as its JSON."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class Call(msgspec.Struct, gc=False):
    """A fragment of a tool call; `extra_content` holds Google's thought signatures."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    extra_content: Any = None


class Delta(msgspec.Struct, gc=False):
    """Reasoning comes under one of two names, or as OpenRouter's `reasoning_details`."""

    content: str | list[Part] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    reasoning_details: Any = None
    annotations: Any = None


class Choice(msgspec.Struct, gc=False):
    """`error` is OpenRouter's, `usage` Moonshot's."""

    index: int | None = None
    delta: Delta | None = None
    finish_reason: str | None = None
    logprobs: Any = None
    error: Any = None
    usage: Any = None


class Chunk(msgspec.Struct, gc=False):
    """`citations` and `search_results` are Perplexity's, `x_groq` is Groq's."""

    choices: list[Choice] | None = None
    usage: Any = None
    error: Any = None
    citations: Any = None
    search_results: Any = None
    x_groq: Any = None


decode = msgspec.json.Decoder(Chunk).decode
"""The fast way. Raises ValueError (which `msgspec.DecodeError` is) or RecursionError."""


def convert(value: Any) -> Chunk:
    """The slow way's second half. Raises `msgspec.ValidationError`, a ValueError."""
    return msgspec.convert(value, Chunk, strict=False)

"""The response object: what was asked, as far as it is told again, and what became of it.

Strategy: clients expect what they asked for to stand in the object. Only values that are small
stand in a stream's header for that (`Terms`); instructions, tools and schemas are not told again.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from holdfast import events, storage

PREFIX = "resp_"
"""Of a response's id; the stream's own follows."""

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

Name = Annotated[str, msgspec.Meta(max_length=64)]
Value = Annotated[str, msgspec.Meta(max_length=512)]
Labels = Annotated[dict[Name, Value], msgspec.Meta(max_length=16)]
"""Metadata, within OpenAI's own limits."""


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """What rendering needs of a request. `padded`: the deltas hide how long they are; OpenAI's own
    default."""

    padded: bool = True
    background: bool = False
    store: bool = True
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    parallel_tool_calls: bool = True
    tool_choice: str | dict[str, str] = "auto"
    text: dict[str, Any] = msgspec.field(default_factory=lambda: {"format": {"type": "text"}})
    effort: str | None = None
    summary: str | None = None
    truncation: str = "disabled"
    metadata: Labels = {}
    user: str | None = None


class Error(msgspec.Struct, frozen=True):
    """Why there is no answer, or no whole one."""

    code: str
    message: str


class Reason(msgspec.Struct, frozen=True):
    reason: str


class Response(msgspec.Struct, frozen=True):
    """The object as it is told."""

    id: str
    created_at: int
    model: str
    status: Status
    background: bool
    output: list[msgspec.Raw]
    max_output_tokens: int | None
    metadata: Labels
    parallel_tool_calls: bool
    reasoning: dict[str, str | None]
    store: bool
    temperature: float | None
    text: dict[str, Any]
    tool_choice: str | dict[str, str]
    top_p: float | None
    truncation: str
    user: str | None
    usage: dict[str, Any] | None = None
    error: Error | None = None
    incomplete_details: Reason | None = None
    completed_at: int | None = None
    object: str = "response"
    tools: list[Any] = []
    instructions: str | None = None
    previous_response_id: str | None = None


_encode = msgspec.json.Encoder().encode
_terms = msgspec.json.Decoder(Terms).decode


def terms(header: storage.Header) -> Terms:
    """The terms that a stream's header keeps."""
    return _terms(header.terms) if header.terms else Terms()


def told(
    stream: events.StreamId,
    header: storage.Header,
    status: Status,
    output: list[bytes],
    **known: Any,
) -> bytes:
    """The object as JSON. `output` are items as JSON; `known` are fields of `Response` that have
    a value by now."""
    said = terms(header)
    return _encode(
        Response(
            id=PREFIX + stream,
            created_at=header.created_at // 1000,
            model=header.model,
            status=status,
            output=[msgspec.Raw(item) for item in output],
            background=said.background,
            max_output_tokens=said.max_output_tokens,
            metadata=said.metadata,
            parallel_tool_calls=said.parallel_tool_calls,
            reasoning={"effort": said.effort, "summary": said.summary},
            store=said.store,
            temperature=said.temperature,
            text=said.text,
            tool_choice=said.tool_choice,
            top_p=said.top_p,
            truncation=said.truncation,
            user=said.user,
            **known,
        )
    )


def usage(tokens: events.Tokens | None) -> dict[str, Any] | None:
    """Token counts in OpenAI's words; what a provider did not count is 0, as its clients want a
    number there."""
    if tokens is None:
        return None
    return {
        "input_tokens": tokens.input_tokens,
        "input_tokens_details": {
            "cached_tokens": tokens.cached_tokens or 0,
            "cache_write_tokens": 0,
        },
        "output_tokens": tokens.output_tokens,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning_tokens or 0},
        "total_tokens": tokens.total_tokens,
    }

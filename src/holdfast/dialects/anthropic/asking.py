"""From a body of `POST /v1/messages` to a request.

Strategy: the conversation and the tools stay in Anthropic's own form. Where a block stands, what it
is signed with and where a cache shall end all matter to a provider of this format, and it gets them
untouched; for others `providers.anthropic.common` writes them anew. What other providers know by
another name gets that name: the format of the answer, the choice of a tool, where to stop. Every
other field stays as it is, for a provider of this format.

Format: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

from holdfast import errors, request
from holdfast.dialects import base, bodies
from holdfast.dialects.anthropic import blocks

MAX_MESSAGES = 10_000
MAX_TOKENS = 10_000_000
_BETAS = re.compile(r"[A-Za-z0-9_.,: -]{1,2048}", re.ASCII)

MAX_LABEL = 256
"""Characters of a user's id that is kept as a label of the stream."""

HARMLESS = frozenset(("cache_control", "diagnostics", "metadata", "service_tier"))
"""Fields that change nothing in the answer."""


class Turn(msgspec.Struct, forbid_unknown_fields=True):
    """One message; its blocks as they are."""

    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class Choice(msgspec.Struct):
    """Whether tools are to be called, and which one."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class Body(msgspec.Struct):
    """The fields that are ours."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    messages: Annotated[list[Turn], msgspec.Meta(max_length=MAX_MESSAGES)] = []
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=MAX_TOKENS)] | None = None
    system: str | list[dict[str, Any]] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Choice | None = None
    output_config: dict[str, Any] | None = None
    stream: bool = False


def parse(body: bytes, betas: str = "") -> base.Asked:
    """See `base.Foreign.parse`. `betas` names changes of the API that the body may need: a provider
    of this format is told of them."""
    wanted, fields = bodies.parted(body, Body)
    if wanted.model is None:
        raise errors.InvalidField("`model` is missing; name one, as model or provider/model.")
    if not wanted.messages:
        raise errors.InvalidField("`messages` is missing or empty; give at least one message.")
    if wanted.max_tokens is None:
        raise errors.InvalidField("`max_tokens` is missing; say how long the answer may be.")
    asked = request.Request(
        model=wanted.model,
        messages=_messages(wanted),
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        max_tokens=wanted.max_tokens,
        tools=wanted.tools or None,
        tool_choice=_choice(wanted.tool_choice),
        parallel_tool_calls=_parallel(wanted.tool_choice),
        response_format=_format(wanted.output_config, fields),
        stop=wanted.stop_sequences or None,
        metadata=request.Metadata(user_id=_user(fields)),
        foreign=request.Foreign(
            "anthropic",
            fields,
            _harmless(fields),
            _headers(betas),
            revocable=blocks.REVOCABLE,
            whole=not wanted.stream,
        ),
    )
    return base.Asked(asked, wanted.stream)


def _headers(betas: str) -> dict[str, str]:
    if not betas:
        return {}
    if _BETAS.fullmatch(betas) is None:
        raise errors.InvalidField(
            "`anthropic-beta` is a list of names with commas between them, of 2,048 characters at "
            "most."
        )
    return {"anthropic-beta": betas}


def _messages(wanted: Body) -> list[request.Message]:
    turns = [request.Message(turn.role, _content(turn)) for turn in wanted.messages]
    return [request.Message("system", wanted.system), *turns] if wanted.system else turns


def _content(turn: Turn) -> str | list[dict[str, Any]]:
    """What a turn says, without what was told in this API's words of an answer that another
    provider gave: reasoning that nobody signed, sources that nobody sealed. Anthropic refuses
    those."""
    if turn.role != "assistant" or isinstance(turn.content, str):
        return turn.content
    told = [block for block in turn.content if block.get("type") != "thinking" or _signed(block)]
    return [_sealed(block) if block.get("citations") else block for block in told] or ""


def _signed(block: dict[str, Any]) -> bool:
    return block.get("signature") != ""


def _sealed(block: dict[str, Any]) -> dict[str, Any]:
    given = block["citations"]
    listed = given if isinstance(given, list) else []
    kept = [one for one in listed if not isinstance(one, dict) or one.get("encrypted_index") != ""]
    if len(kept) == len(listed):
        return block
    bare = {name: value for name, value in block.items() if name != "citations"}
    return bare | {"citations": kept} if kept else bare


def _choice(choice: Choice | None) -> str | dict[str, Any] | None:
    """As chat completions say it."""
    if choice is None:
        return None
    if choice.type != "tool":
        return {"any": "required"}.get(choice.type, choice.type)
    if not choice.name:
        raise errors.InvalidField("`tool_choice.name` is missing; name the tool.")
    return {"type": "function", "function": {"name": choice.name}}


def _parallel(choice: Choice | None) -> bool | None:
    return False if choice is not None and choice.disable_parallel_tool_use else None


def _format(config: dict[str, Any] | None, fields: dict[str, Any]) -> dict[str, Any] | None:
    """The format of the answer as chat completions say it; the rest of what was configured goes
    into `fields`."""
    rest = dict(config or {})
    made = None
    match rest.get("format"):
        case {"type": "json_schema", "schema": dict(schema), **more} if not more:
            made = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
            del rest["format"]
    if rest:
        fields["output_config"] = rest
    return made


def _user(fields: dict[str, Any]) -> str | None:
    told = fields.get("metadata")
    id = told.get("user_id") if isinstance(told, dict) else None
    return id if isinstance(id, str) and len(id) <= MAX_LABEL else None


def _harmless(fields: dict[str, Any]) -> list[str]:
    names = HARMLESS & fields.keys()
    if fields.get("thinking") == {"type": "disabled"}:
        names |= {"thinking"}  # as all others are that are not asked for it
    return sorted(names)

"""From a body of `POST /v1/responses` to a request.

Strategy: what all providers know is written as they all know it; any other field stays as it is,
for a provider of this format. What OpenAI would look up in its own store (an earlier response, a
conversation, a prompt) is refused: an answer without it would be one to another question.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from holdfast import errors, request
from holdfast.dialects import base, bodies
from holdfast.dialects.openai_responses import inputs, output, response, tools

MAX_ITEMS = 10_000
MAX_TOKENS = 10_000_000

HARMLESS = (
    "include",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
)
"""Fields that change nothing in the answer."""

LOGPROBS = "message.output_text.logprobs"
"""What `include` may hold that is a part of the answer."""

REFUSED = {
    "previous_response_id": "send the items of the earlier turns in `input`",
    "conversation": "send the items of the earlier turns in `input`",
    "prompt": "send what the template holds as `instructions` and `input`",
}
"""Fields that speak of what OpenAI has stored, and what does the same here."""

Number = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Reasoning(msgspec.Struct, frozen=True):
    effort: response.Name | None = None
    summary: response.Name | None = None


class Body(msgspec.Struct):
    """The fields that are ours."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    input: str | Annotated[list[dict[str, Any]], msgspec.Meta(max_length=MAX_ITEMS)] = ""
    instructions: str | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    background: bool = False
    store: bool = True
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Number | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1, le=MAX_TOKENS)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: dict[str, Any] | None = None


class Echoed(msgspec.Struct):
    """Fields that stay as they are, and are told again."""

    reasoning: Reasoning = Reasoning()
    truncation: Literal["auto", "disabled"] = "disabled"
    metadata: response.Labels = {}
    user: response.Value | None = None


_encode = msgspec.json.Encoder().encode


def parse(body: bytes) -> base.Asked:
    """See `base.Foreign.parse`."""
    wanted, fields = bodies.parted(body, Body)
    _check(wanted, fields)
    try:
        echoed = msgspec.convert({k: fields[k] for k in _echoed if k in fields}, Echoed)
    except msgspec.ValidationError as error:
        raise errors.InvalidField(f"{error}") from None
    shape, kept_text, told_text = tools.text(wanted.text or {})
    fields |= {"text": kept_text} if kept_text else {}
    padded = _padded(wanted, fields)
    asked = request.Request(
        model=wanted.model or "",
        messages=inputs.messages(wanted.input, wanted.instructions),
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        max_tokens=wanted.max_output_tokens,
        tools=[tools.common(tool) for tool in wanted.tools] if wanted.tools else None,
        tool_choice=tools.choice(wanted.tool_choice),
        parallel_tool_calls=wanted.parallel_tool_calls,
        response_format=shape,
        foreign=request.Foreign(
            "openai_responses",
            fields,
            _harmless(fields),
            revocable=output.REVOCABLE,
            whole=not wanted.stream,
        ),
    )
    terms = response.Terms(
        padded=padded,
        background=wanted.background,
        store=wanted.store,
        max_output_tokens=wanted.max_output_tokens,
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        parallel_tool_calls=wanted.parallel_tool_calls is not False,
        tool_choice=tools.told_choice(wanted.tool_choice),
        text=told_text,
        effort=echoed.reasoning.effort,
        summary=echoed.reasoning.summary,
        truncation=echoed.truncation,
        metadata=echoed.metadata,
        user=echoed.user,
    )
    detached = wanted.background and not wanted.stream
    return base.Asked(asked, wanted.stream, _encode(terms), detached)


_echoed = Echoed.__struct_fields__


def _check(wanted: Body, fields: dict[str, Any]) -> None:
    if wanted.model is None:
        raise errors.InvalidField("`model` is missing; name one, as model or provider/model.")
    if not wanted.input:
        raise errors.InvalidField("`input` is missing or empty; give a text or at least one item.")
    if wanted.background and not wanted.store:
        raise errors.InvalidField(
            "`store`: an answer in the background is read later, so it has to be stored; leave "
            "it out."
        )
    for name, instead in REFUSED.items():
        if name in fields:
            raise errors.InvalidField(f"`{name}`: nothing is stored for it here; {instead}.")


def _padded(wanted: Body, fields: dict[str, Any]) -> bool:
    """Whether lengths are hidden; what else a provider may know in `stream_options` is kept."""
    given = {name: v for name, v in (wanted.stream_options or {}).items() if v is not None}
    padded = given.pop("include_obfuscation", True)
    if not isinstance(padded, bool):
        raise errors.InvalidField("`stream_options.include_obfuscation` takes true or false.")
    if given:
        fields["stream_options"] = given
    return padded


def _harmless(fields: dict[str, Any]) -> list[str]:
    found = [name for name in HARMLESS if name in fields]
    include = fields.get("include")
    if isinstance(include, list) and LOGPROBS in include:
        found.remove("include")
    if fields.get("truncation") == "disabled":
        found.append("truncation")
    return found

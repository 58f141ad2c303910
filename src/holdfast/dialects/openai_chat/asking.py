"""From a body of `POST /v1/chat/completions` to a request.

Strategy: our request has the form of OpenAI's, so most fields are the same. A field that is not
ours stays as it is, for a provider that speaks this format. What would come back in a form that
Holdfast does not keep (audio, custom tools, the functions of old) is refused here: the answer would
be empty and look whole.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from holdfast import errors, request
from holdfast.dialects import base, bodies
from holdfast.dialects.openai_chat import spoken

MAX_CHOICES = 128
"""OpenAI's own limit for `n`."""

MAX_MESSAGES = 10_000
MAX_TOKENS = 10_000_000

HARMLESS = (
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
)
"""Fields that change nothing in the answer."""

REFUSED = {
    "audio": "answers are text here; leave it out",
    "function_call": "send tool_choice in its place",
    "functions": "send tools in their place",
}

_OWN = ("reasoning_content", "reasoning_details")


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """What rendering needs of `stream_options`. `usage`: the last chunk tells it. `padded`: what a
    chunk's length tells of its text is hidden; OpenAI's own default."""

    usage: bool = False
    padded: bool = True


class Body(msgspec.Struct):
    """The fields that are ours."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    messages: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=MAX_MESSAGES)] = []
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=MAX_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1, le=MAX_TOKENS)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    stop: str | list[str] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHOICES)] = 1
    modalities: list[str] | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None


class Options(msgspec.Struct):
    """The fields of `stream_options` that are for us and not for the provider."""

    include_usage: bool = False
    include_obfuscation: bool = True


_encode = msgspec.json.Encoder().encode
_terms = msgspec.json.Decoder(Terms).decode


def parse(body: bytes) -> base.Asked:
    """See `base.Foreign.parse`."""
    wanted, fields = bodies.parted(body, Body)
    _check(wanted, fields)
    terms = _options(wanted, fields)
    stop = [wanted.stop] if isinstance(wanted.stop, str) else wanted.stop
    harmless = [name for name in HARMLESS if name in fields]
    asked = request.Request(
        model=wanted.model or "",
        messages=[_message(n, item) for n, item in enumerate(wanted.messages)],
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        max_tokens=wanted.max_completion_tokens or wanted.max_tokens,
        tools=wanted.tools,
        tool_choice=wanted.tool_choice,
        parallel_tool_calls=wanted.parallel_tool_calls,
        response_format=wanted.response_format,
        stop=stop,
        n=wanted.n,
        foreign=request.Foreign(
            "openai_chat",
            fields,
            harmless,
            revocable=spoken.REVOCABLE,
            whole=not wanted.stream,
        ),
    )
    return base.Asked(asked, wanted.stream, _encode(terms))


def terms(packed: bytes) -> Terms:
    """The terms that a stream's header keeps."""
    return _terms(packed) if packed else Terms()


def _check(wanted: Body, fields: dict[str, Any]) -> None:
    if wanted.model is None:
        raise errors.InvalidField("`model` is missing; name one, as model or provider/model.")
    if not wanted.messages:
        raise errors.InvalidField("`messages` is missing or empty; give at least one message.")
    if wanted.max_tokens and wanted.max_completion_tokens:
        raise errors.InvalidField(
            "`max_tokens`: is max_completion_tokens by its old name; leave one of them out."
        )
    for name, instead in REFUSED.items():
        if name in fields:
            raise errors.InvalidField(f"`{name}`: {instead}.")
    if any(one != "text" for one in wanted.modalities or ()):
        raise errors.InvalidField("`modalities`: answers are text here; leave it out.")
    for n, tool in enumerate(wanted.tools or ()):
        if tool.get("type") == "custom":
            raise errors.InvalidField(
                f"`tools[{n}]`: what a custom tool is called with is not kept; send a function."
            )


def _options(wanted: Body, fields: dict[str, Any]) -> Terms:
    """The terms; what else a provider may know in `stream_options` stays in `fields`."""
    given = {name: v for name, v in (wanted.stream_options or {}).items() if v is not None}
    known = {name: given.pop(name) for name in Options.__struct_fields__ if name in given}
    try:
        options = msgspec.convert(known, Options)
    except msgspec.ValidationError as error:
        raise errors.InvalidField(f"stream_options: {error}") from None
    if given:
        fields["stream_options"] = given
    return Terms(options.include_usage, options.include_obfuscation)


def _message(number: int, given: dict[str, Any]) -> request.Message:
    """A message, also one of an earlier answer as a client holds it: what is there and says
    nothing is left out, and what a provider made for itself becomes a part."""
    fields = {name: value for name, value in given.items() if value is not None}
    fields.pop("annotations", None)
    own = [{name: fields.pop(name)} for name in _OWN if name in fields]
    if refusal := fields.pop("refusal", None):
        own.insert(0, {"type": "refusal", "refusal": refusal})
    if own:
        content = fields.get("content") or []
        if not isinstance(content, list):
            content = [{"type": "text", "text": content}]
        fields["content"] = content + own
    try:
        return msgspec.convert(fields, request.Message)
    except msgspec.ValidationError as error:
        place = f"{error}".replace("`$", f"`$.messages[{number}]", 1)
        at = "" if place != f"{error}" else f" - at `$.messages[{number}]`"
        raise errors.InvalidField(place + at) from None

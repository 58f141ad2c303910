"""What spans and measurements say, by OpenTelemetry's names.

Strategy: pure functions from values of ours to attributes. What the conventions for generative AI
have a name for has it; the rest begins with `holdfast`. Text that somebody wrote is not among them:
no prompt, no answer, no stop sequence, no message of an error.
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast import events, request, storage, transport
from holdfast.telemetry import conventions, record, tracing

Value = str | int | float | bool | tuple[str, ...]
Attributes = dict[str, Value]

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
MODEL = "gen_ai.request.model"
ERROR = "error.type"
TOKEN = "gen_ai.token.type"
STREAM = "holdfast.stream.id"
STATUS = "holdfast.status"


def of_stream(
    stream: events.StreamId,
    header: storage.Header,
    wanted: request.Request,
    kind: str,
    place: transport.Place | None,
) -> Attributes:
    """What is known as a stream begins. `kind` is that of its first provider."""
    known = {
        OPERATION: conventions.operation(kind),
        PROVIDER: conventions.provider(kind),
        MODEL: header.model,
        "gen_ai.conversation.id": header.session_id,
        "gen_ai.request.choice.count": wanted.n if wanted.n > 1 else None,
        "gen_ai.request.max_tokens": wanted.max_tokens,
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": wanted.temperature,
        "gen_ai.request.top_p": wanted.top_p,
        STREAM: stream,
        "holdfast.dialect": header.dialect,
        "holdfast.request.id": header.request_id,
    }
    return _known(known) | (_server(place.host, place.port) if place is not None else {})


def of_end(facts: tracing.Facts, usage: events.Tokens | None) -> Attributes:
    """What is known as it ends. Of tokens nothing is told where the provider told nothing."""
    reason, first_ms = facts.get("finish_reason"), facts.get("first_chunk_ms")
    first = None if first_ms is None else int(first_ms) / 1000
    known: dict[str, Value | None] = {
        STATUS: facts.get("status"),
        ERROR: facts.get("code"),
        "gen_ai.response.finish_reasons": None if reason is None else (str(reason),),
        "gen_ai.response.time_to_first_chunk": first,
        **{f"holdfast.{name}": facts.get(name) for name in _OWN},
    }
    if usage is not None:
        known |= {
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        }
    return _known(known)


_OWN = ("provider", "model", "chunks", "bytes", "attempts", "fallbacks", "adoptions")
"""Who answered, and what it came to."""


def of_attempt(
    number: int, provider: str, model: str, kind: str, place: transport.Place
) -> Attributes:
    """A call to a provider that begins."""
    return {
        "holdfast.attempt": number,
        "holdfast.provider": provider,
        PROVIDER: conventions.provider(kind),
        MODEL: model,
        **_server(place.host, place.port),
    }


def of_failure(call: record.Call) -> Attributes:
    """A call to a provider that brought no whole answer."""
    return {ERROR: call.error, "holdfast.provider": call.provider, MODEL: call.model}


def of_call(call: record.Call, kind: str) -> Attributes:
    """What a call is measured under: closed sets alone."""
    return {
        OPERATION: conventions.operation(kind),
        PROVIDER: conventions.provider(kind),
        MODEL: call.label,
        **_server(call.host, call.port),
    }


def _server(host: str, port: int) -> Attributes:
    if host.endswith(".invalid"):  # where nobody is: a provider that answers by itself
        return {}
    return {"server.address": host, "server.port": port}


def _known(some: Mapping[str, Value | None]) -> Attributes:
    return {name: value for name, value in some.items() if value is not None}

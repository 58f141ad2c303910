"""What spans and measurements say, by OpenTelemetry's names."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import events, request, storage, transport
from holdfast.telemetry import record, tracing
from holdfast.telemetry.otel import attributes

STREAM = events.new_stream_id()
PLACE = transport.Request("POST", "https://api.example/v1", ()).place
SECRET = "the lighthouse keeper's name"


def stream(kind: str = "openai", **asked: Any) -> dict[str, Any]:
    header = storage.Header("acme/ann", 0, "p", "gpt-5", "r1", session_id="s1")
    messages = [request.Message("user", SECRET)]
    wanted = request.Request("gpt-5", messages, stop=[SECRET], **asked)
    return attributes.of_stream(STREAM, header, wanted, kind, PLACE)


def test_a_stream_is_told_by_what_was_asked_for() -> None:
    assert stream(temperature=0.5, top_p=0.9, max_tokens=100, n=2) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.conversation.id": "s1",
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "server.address": "api.example",
        "server.port": 443,
        "holdfast.stream.id": STREAM,
        "holdfast.dialect": "native",
        "holdfast.request.id": "r1",
    }


def test_what_nobody_asked_for_is_left_out() -> None:
    assert not {name for name in stream() if name.endswith(("count", "tokens", "top_p"))}


def test_nothing_that_somebody_wrote_is_told() -> None:
    assert SECRET not in repr(stream())
    assert "acme" not in repr(stream())


@pytest.mark.parametrize(
    ("kind", "operation", "provider"),
    [
        ("anthropic", "chat", "anthropic"),
        ("google", "generate_content", "gcp.gemini"),
        ("mistral", "chat", "mistral_ai"),
        ("vllm", "chat", "vllm"),
    ],
)
def test_who_is_asked_has_the_name_of_the_conventions(
    kind: str, operation: str, provider: str
) -> None:
    told = stream(kind)
    assert told["gen_ai.operation.name"] == operation
    assert told["gen_ai.provider.name"] == provider


def test_a_whole_answer_is_told_by_its_numbers() -> None:
    facts: tracing.Facts = {
        "status": "completed",
        "finish_reason": "stop",
        "provider": "b",
        "model": "m",
        "chunks": 3,
        "bytes": 30,
        "attempts": 2,
        "fallbacks": 1,
        "adoptions": 0,
        "first_chunk_ms": 250,
        "tenant": "acme",
    }
    assert attributes.of_end(facts, events.Tokens(10, 5, 15, 2, 4)) == {
        "holdfast.status": "completed",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "holdfast.provider": "b",
        "holdfast.model": "m",
        "holdfast.chunks": 3,
        "holdfast.bytes": 30,
        "holdfast.attempts": 2,
        "holdfast.fallbacks": 1,
        "holdfast.adoptions": 0,
    }


def test_of_what_the_provider_did_not_tell_there_is_no_made_up_0() -> None:
    told = attributes.of_end({"status": "error", "code": "provider_failed"}, None)
    assert told == {"holdfast.status": "error", "error.type": "provider_failed"}


def test_a_call_is_measured_under_closed_sets_alone() -> None:
    call = record.Call(
        STREAM, "p", "gemini-9-x", 0.0, 1.0, None, "provider_failed", None, "h", 1, "g-*"
    )
    assert attributes.of_call(call, "google") == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "g-*",
        "server.address": "h",
        "server.port": 1,
    }


def test_a_provider_that_is_nowhere_has_no_address() -> None:
    place = transport.Request("POST", "http://demo.invalid/", ()).place
    assert not [
        name for name in attributes.of_attempt(1, "demo", "demo", "demo", place) if "server" in name
    ]

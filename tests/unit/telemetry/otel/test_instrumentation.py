"""Spans of streams: whose they are, what they say, and what is kept of them."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from structlog.testing import capture_logs
from tests import otel_sdk
from tests.unit.telemetry.otel import test_measures as measured

from holdfast import app, errors, request, settings, storage, transport
from holdfast.telemetry import otel, tracing
from holdfast.telemetry.otel import instrumentation

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ASKED = tracing.Parent(f"00-{TRACE}-{CALLER}-01", "vendor=1")
HEADER = storage.Header("", 0, "main", "gpt-5")
WANTED = request.Request("gpt-5", [])
POST = transport.Request("POST", "https://api.example/v1", (("Accept", "*/*"),))
KINDS = {"main": "openai", "spare": "mistral"}


def begun(told: otel_sdk.Told, parent: tracing.Parent = ASKED) -> tracing.Span:
    return told.made.begins(measured.STREAM, HEADER, WANTED, POST.place, parent)


def one(told: otel_sdk.Told) -> Any:
    [span] = told.spans
    return span


def hexed(context: Any) -> tuple[str, str]:
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


def test_a_stream_is_a_span_of_the_trace_of_who_asks() -> None:
    told = otel_sdk.Told(KINDS)
    begun(told).ended({"status": "completed"}, None)
    span = one(told)
    assert (span.name, span.kind) == ("chat gpt-5", trace.SpanKind.CLIENT)
    assert hexed(span.parent) == (TRACE, CALLER)
    assert hexed(span.context)[0] == TRACE
    assert span.status.status_code is trace.StatusCode.UNSET
    assert span.instrumentation_scope.name == "holdfast"


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{'0' * 32}-{CALLER}-01",
        f"ff-{TRACE}-{CALLER}-01",
        f"00-{TRACE}-{CALLER}-01-more",
        f"00-{TRACE.upper()}-{CALLER}-01",
        "0" * 1000,
        "00-\N{SNOWMAN}",
    ],
)
def test_what_is_no_traceparent_begins_a_trace_of_its_own(nonsense: str) -> None:
    told = otel_sdk.Told()
    begun(told, tracing.Parent(nonsense, "==,,")).close("interrupted")
    assert one(told).parent is None
    assert hexed(one(told).context)[0] != TRACE


def test_a_node_in_a_program_that_traces_is_in_its_trace() -> None:
    told = otel_sdk.Told()
    tracer = told.tracers.get_tracer("the program")
    with tracer.start_as_current_span("of the program") as around:
        begun(told).close("interrupted")
    assert told.spans[0].parent == around.get_span_context()


def test_a_provider_is_told_of_the_span_and_of_nothing_else() -> None:
    told = otel_sdk.Told()
    span = begun(told)
    sent = span.calls(1, "main", "gpt-5", POST)
    span.close("interrupted")
    traced, within = hexed(one(told).context)
    assert traced == TRACE
    assert sent == msgspec.structs.replace(
        POST, headers=(("Accept", "*/*"), ("traceparent", f"00-{traced}-{within}-01"))
    )


def test_where_no_sdk_is_set_the_callers_own_goes_through() -> None:
    bare = instrumentation.Instrumentation(KINDS, trace.NoOpTracerProvider())
    span = bare.begins(measured.STREAM, HEADER, WANTED, POST.place, ASKED)
    assert span.trace == ASKED.traceparent
    assert dict(span.calls(1, "main", "m", POST).headers)["traceparent"] == ASKED.traceparent
    alone = bare.begins(measured.STREAM, HEADER, WANTED, POST.place, tracing.NOBODY)
    assert alone.trace == ""
    assert alone.calls(1, "main", "m", POST) is POST


def test_calls_and_what_came_of_them_are_events_in_their_order() -> None:
    told = otel_sdk.Told(KINDS)
    span = begun(told)
    span.calls(1, "main", "gpt-5", POST)
    span.called(msgspec.structs.replace(measured.CALL, error="provider_failed"))
    span.calls(2, "spare", "large", POST)
    span.moved("spare/large")
    span.called(measured.CALL)
    span.ended({"status": "completed"}, None)
    place = {"server.address": "api.example", "server.port": 443}
    assert otel_sdk.story(one(told)) == [
        (
            "holdfast.attempt",
            {
                "holdfast.attempt": 1,
                "holdfast.provider": "main",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-5",
                **place,
            },
        ),
        (
            "holdfast.attempt_failed",
            {
                "error.type": "provider_failed",
                "holdfast.provider": "main",
                "gen_ai.request.model": "gpt-5-of-today",
            },
        ),
        (
            "holdfast.attempt",
            {
                "holdfast.attempt": 2,
                "holdfast.provider": "spare",
                "gen_ai.provider.name": "mistral_ai",
                "gen_ai.request.model": "large",
                **place,
            },
        ),
        ("holdfast.fallback", {"holdfast.target": "spare/large"}),
    ]


def test_an_error_is_told_by_its_code() -> None:
    told = otel_sdk.Told()
    begun(told).ended({"status": "error", "code": "provider_failed"}, None)
    status = one(told).status
    assert (status.status_code, status.description) == (trace.StatusCode.ERROR, "provider_failed")
    assert otel_sdk.facts(one(told))["error.type"] == "provider_failed"


def test_a_stream_that_somebody_cancelled_has_not_failed() -> None:
    told = otel_sdk.Told()
    begun(told).ended({"status": "cancelled", "code": "cancelled"}, None)
    assert one(told).status.status_code is trace.StatusCode.UNSET
    assert otel_sdk.facts(one(told))["holdfast.status"] == "cancelled"


def test_a_span_ends_once_and_says_how(caplog: pytest.LogCaptureFixture) -> None:
    told = otel_sdk.Told()
    ended, left = begun(told), begun(told)
    ended.ended({"status": "completed"}, None)
    for span in (ended, left):
        span.close("interrupted")
    states = [otel_sdk.facts(span)["holdfast.status"] for span in told.spans]
    assert states == ["completed", "interrupted"]
    assert not caplog.records  # the SDK complains of what comes after the end


def test_who_takes_a_stream_over_goes_on_in_its_trace() -> None:
    told = otel_sdk.Told(KINDS)
    first = begun(told)
    kept = msgspec.structs.replace(HEADER, trace=first.trace)
    first.close("interrupted")
    told.made.adopts(measured.STREAM, kept, WANTED).close("interrupted")
    before, after = told.spans
    assert after.parent is not None
    assert hexed(after.parent) == hexed(before.context)
    assert [name for name, _ in otel_sdk.story(after)] == ["holdfast.adopted"]
    assert otel_sdk.facts(after)["gen_ai.provider.name"] == "openai"


def test_a_reader_who_comes_back_is_linked_to_what_it_reads() -> None:
    told = otel_sdk.Told()
    stream = begun(told, tracing.NOBODY)
    told.made.resumes(measured.STREAM, "c1", stream.trace, ASKED)
    stream.close("interrupted")
    came, read = told.spans
    assert (came.name, came.kind) == ("holdfast.resume", trace.SpanKind.SERVER)
    assert came.parent is not None
    assert hexed(came.parent) == (TRACE, CALLER)
    [link] = came.links
    assert hexed(link.context) == hexed(read.context)
    assert otel_sdk.facts(came) == {
        "holdfast.stream.id": measured.STREAM,
        "holdfast.connection.id": "c1",
    }


def test_of_a_stream_that_nobody_traced_there_is_no_link() -> None:
    told = otel_sdk.Told()
    told.made.resumes(measured.STREAM, "c1", "", tracing.NOBODY)
    assert not one(told).links
    assert one(told).parent is None


def test_what_is_not_sampled_is_not_sampled_anywhere() -> None:
    told = otel_sdk.Told()
    span = begun(told, tracing.Parent(f"00-{TRACE}-{CALLER}-00"))
    assert span.trace.endswith("-00")
    span.ended({"status": "completed"}, None)
    assert not told.spans


class Broken(SpanProcessor):
    """Of somebody else; fails where it may."""

    def __init__(self, where: str) -> None:
        setattr(self, where, self._fail)

    def _fail(self, *args: object) -> None:
        raise KeyError("theirs")


@pytest.mark.parametrize(("where", "told"), [("on_start", "start_span"), ("on_end", "end")])
def test_what_others_do_with_spans_hurts_no_stream(where: str, told: str) -> None:
    made = instrumentation.Instrumentation({}, otel_sdk.tracers(Broken(where)))
    with capture_logs() as logs:
        span = made.begins(measured.STREAM, HEADER, WANTED, POST.place, ASKED)
        assert span.calls(1, "main", "m", POST).body == POST.body
        span.called(measured.CALL)
        span.ended({"status": "completed"}, None)
        made.resumes(measured.STREAM, "c", span.trace, ASKED)
    assert [(line["event"], line["told"]) for line in logs] == 2 * [("observer_failed", told)]


def test_without_the_library_a_node_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "holdfast.telemetry.otel.instrumentation")
    monkeypatch.delattr(otel, "instrumentation", raising=False)
    config = settings.Settings.model_validate(
        {"log": {"url": "memory://"}, "monitoring": {"opentelemetry": True}}
    )
    with pytest.raises(errors.SettingsError, match="pip install opentelemetry-api"):
        app.asgi(config)

"""The `tracing.Tracer` that makes spans of OpenTelemetry.

Strategy: a span is begun in the caller's trace, and what the stream's header keeps of it is enough
for any node to go on in the same trace, or to link to it. Who asks is in the trace that is current
where the node is part of a program that has one, else in that of W3C's headers. A provider is told
of the trace, and of nothing that others wrote into it: `tracestate` and baggage end here. What
hangs on the spans of a process is others' code and runs in the call: it fails, and no stream does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog
from opentelemetry import context, metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation import tracecontext

from holdfast import errors, events, request, storage, transport
from holdfast.telemetry import record, samples, tracing
from holdfast.telemetry.otel import attributes, measures, observed
from holdfast.version import __version__

SCOPE = "holdfast"
"""The name of this instrumentation."""

_log = structlog.get_logger("holdfast")
_W3C = tracecontext.TraceContextTextMapPropagator()


class Instrumentation:
    """`kinds` as in `otel.open_instrumentation`. Without providers of tracers and meters those of
    the process are used, also when they are set later."""

    def __init__(
        self,
        kinds: Mapping[str, str],
        tracers: trace.TracerProvider | None = None,
        meters: metrics.MeterProvider | None = None,
    ) -> None:
        self._kinds = kinds
        self._tracer = trace.get_tracer(SCOPE, __version__, tracers)
        meter = metrics.get_meter(SCOPE, __version__, meters)
        self._measures, self._observed = measures.Measures(meter), observed.Observed(meter)

    async def watch(self, take: Callable[[], samples.Node]) -> None:
        """Tells what a node counts, as `take` gives it, as long as it lives: never returns."""
        await self._observed.run(take)

    def kind(self, provider: str) -> str:
        """That of a provider, as the settings name it."""
        return self._kinds.get(provider, provider)

    def begins(
        self,
        stream: events.StreamId,
        header: storage.Header,
        wanted: request.Request,
        place: transport.Place | None,
        parent: tracing.Parent,
    ) -> Span:
        """See `tracing.Tracer.begins`."""
        return self._span(stream, header, wanted, place, _asked_in(parent))

    def adopts(
        self, stream: events.StreamId, header: storage.Header, wanted: request.Request
    ) -> Span:
        """See `tracing.Tracer.adopts`."""
        span = self._span(stream, header, wanted, None, _said_in(tracing.Parent(header.trace)))
        span.span.add_event("holdfast.adopted")
        return span

    def _span(
        self,
        stream: events.StreamId,
        header: storage.Header,
        wanted: request.Request,
        place: transport.Place | None,
        parent: Context,
    ) -> Span:
        known = attributes.of_stream(stream, header, wanted, self.kind(header.provider), place)
        name = f"{known[attributes.OPERATION]} {header.model}"
        return Span(self, self._start(name, parent, trace.SpanKind.CLIENT, known))

    def _start(
        self,
        name: str,
        parent: Context,
        kind: trace.SpanKind,
        known: attributes.Attributes,
        links: Sequence[trace.Link] = (),
    ) -> trace.Span:
        try:
            return self._tracer.start_span(name, parent, kind, known, links)
        except Exception as error:
            _failed("start_span", error)
            return trace.INVALID_SPAN

    def resumes(
        self, stream: events.StreamId, connection: str, trace_: str, parent: tracing.Parent
    ) -> None:
        """See `tracing.Tracer.resumes`."""
        of = trace.get_current_span(_said_in(tracing.Parent(trace_))).get_span_context()
        came = self._start(
            "holdfast.resume",
            _asked_in(parent),
            trace.SpanKind.SERVER,
            {attributes.STREAM: stream, "holdfast.connection.id": connection},
            (trace.Link(of),) if of.is_valid else (),
        )
        _end(came)

    def measure(self, call: record.Call, of: Context) -> None:
        """A call has ended, of the stream whose span this context has."""
        self._measures.called(call, self.kind(call.provider), of)

    def end(self, facts: tracing.Facts, of: Context) -> None:
        """A stream has ended."""
        self._measures.ended(facts, of)


class Span:
    """A `tracing.Span`."""

    def __init__(self, made: Instrumentation, span: trace.Span) -> None:
        self._made, self.span = made, span
        self._context = trace.set_span_in_context(span, Context())
        self._over = False
        self.trace = _written(span.get_span_context())

    def calls(
        self, number: int, provider: str, model: str, call: transport.Request
    ) -> transport.Request:
        """See `tracing.Span.calls`."""
        kind = self._made.kind(provider)
        begun = attributes.of_attempt(number, provider, model, kind, call.place)
        self.span.add_event("holdfast.attempt", begun)
        if not self.trace:
            return call
        headers = (*call.headers, ("traceparent", self.trace))
        return msgspec.structs.replace(call, headers=headers)

    def called(self, call: record.Call) -> None:
        """See `tracing.Span.called`."""
        if call.error:
            self.span.add_event("holdfast.attempt_failed", attributes.of_failure(call))
        self._made.measure(call, self._context)

    def moved(self, target: str) -> None:
        """See `tracing.Span.moved`."""
        self.span.add_event("holdfast.fallback", {"holdfast.target": target})

    def ended(self, facts: tracing.Facts, usage: events.Tokens | None) -> None:
        """See `tracing.Span.ended`."""
        self.span.set_attributes(attributes.of_end(facts, usage))
        if facts.get("status") == "error":
            self.span.set_status(trace.StatusCode.ERROR, str(facts.get("code")))
        self._made.end(facts, self._context)
        self._end()

    def close(self, why: str) -> None:
        """See `tracing.Span.close`."""
        if not self._over:
            self.span.set_attribute(attributes.STATUS, why)
            self._end()

    def _end(self) -> None:
        self._over = True
        _end(self.span)


def _end(span: trace.Span) -> None:
    try:
        span.end()
    except Exception as error:
        _failed("end", error)


def _failed(told: str, error: Exception) -> None:
    _log.error("observer_failed", observer="opentelemetry", told=told, trace=errors.trace(error))


def _asked_in(parent: tracing.Parent) -> Context:
    """The trace that somebody asks in."""
    if trace.get_current_span().get_span_context().is_valid:
        return context.get_current()
    return _said_in(parent)


def _said_in(parent: tracing.Parent) -> Context:
    """The trace that these headers are of; none where they are nonsense."""
    said = {"traceparent": parent.traceparent, "tracestate": parent.tracestate}
    return _W3C.extract(said, Context())


def _written(of: trace.SpanContext) -> str:
    """As a `traceparent`; "" where there is no trace."""
    if not of.is_valid:
        return ""
    span, flags = trace.format_span_id(of.span_id), int(of.trace_flags)
    return f"00-{trace.format_trace_id(of.trace_id)}-{span}-{flags:02x}"

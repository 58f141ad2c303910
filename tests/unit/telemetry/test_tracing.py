"""What is told of a trace, where nothing traces, and where somebody asks in one."""

from __future__ import annotations

from holdfast import transport
from holdfast.telemetry import tracing

ONE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_request_names_the_trace_that_it_is_part_of() -> None:
    assert tracing.parent({}) is tracing.NOBODY
    assert tracing.parent({"tracestate": "a=1"}) is tracing.NOBODY
    assert tracing.parent({"traceparent": ONE}) == tracing.Parent(ONE)
    both = {"traceparent": ONE, "tracestate": "a=1", "baggage": "b=2"}
    assert tracing.parent(both) == tracing.Parent(ONE, "a=1")


def test_where_nothing_is_traced_a_call_goes_out_as_it_is() -> None:
    call = transport.Request("POST", "http://a.example/", (("Accept", "*/*"),))
    assert tracing.UNTRACED.calls(1, "a", "m", call) is call
    assert tracing.UNTRACED.trace == ""

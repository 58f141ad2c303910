"""What the dialect says beside events."""

from __future__ import annotations

from tests.unit.dialects.anthropic import telling

from holdfast import errors, sse


def test_a_heartbeat_is_the_api_s_own_ping() -> None:
    (frame,) = sse.Parser().feed(telling.DIALECT.heartbeat("2026-01-01T00:00:00Z"))
    assert (frame.event, frame.text) == ("ping", '{"type":"ping"}')


def test_an_id_is_that_of_a_stream() -> None:
    assert telling.DIALECT.stream_of(f"msg_{telling.STREAM}") == telling.STREAM
    assert telling.DIALECT.stream_of(telling.STREAM) == telling.STREAM


def test_a_refusal_names_the_request() -> None:
    _, body = telling.DIALECT.refusal(errors.InvalidField("x"), "req_9")
    assert b'"request_id":"req_9"' in body

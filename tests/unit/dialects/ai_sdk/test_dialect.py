"""What the dialect says beside events."""

from __future__ import annotations

from holdfast.dialects import ai_sdk

DIALECT = ai_sdk.Dialect()


def test_a_heartbeat_is_a_comment_of_one_line() -> None:
    """With an empty line behind it, it would be an event for some."""
    assert DIALECT.heartbeat("2026-11-01T00:00:00.000Z") == b": ping\n"


def test_who_can_come_back_is_told_nothing() -> None:
    assert DIALECT.reconnect(500, "draining") == b""


def test_its_name_and_what_marks_its_streams() -> None:
    assert DIALECT.name == "ai_sdk"
    assert DIALECT.headers == ((b"x-vercel-ai-ui-message-stream", b"v1"),)
    assert DIALECT.stream_of("x") == "x"

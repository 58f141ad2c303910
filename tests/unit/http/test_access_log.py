"""A request's line: what it tells, what it leaves out, and that it comes whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from holdfast.http import access_log
from holdfast.testing import simulated

START = {"type": "http.response.start", "status": 200}


def body(size: int, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": b"x" * size, "more_body": more}


class App:
    """Answers with these messages; then it fails, where it is to."""

    def __init__(self, *messages: Message, fails: BaseException | None = None) -> None:
        self._messages, self._fails = messages, fails

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for message in self._messages:
            await asyncio.sleep(1.0)
            await send(message)
        access_log.name(scope, None)
        access_log.name(scope, "r1")
        access_log.name(scope, "r2")
        if self._fails is not None:
            raise self._fails


async def line(app: Any, **more: Any) -> dict[str, Any]:
    """The one line of a request."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/streams",
        "query_string": b"key=secret",
        "client": ("192.0.2.1", 5),
        **more,
    }
    passed: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nobody reads")

    async def send(message: MutableMapping[str, Any]) -> None:
        passed.append(message)

    with capture_logs() as logs:
        try:
            await access_log.AccessLog(app)(scope, receive, send)
        finally:
            assert passed == list(app._messages)
            found = dict(logs[0]) if logs else {}
    assert len(logs) == bool(found)
    return found


@simulated.timed
async def test_it_tells_what_was_asked_and_what_came_of_it() -> None:
    ids = [(b"x-stream-id", b"s"), (b"x-connection-id", b"c"), (b"set-cookie", b"secret")]
    app = App({**START, "headers": ids}, body(3), body(4, more=False))
    assert await line(app) == {
        "event": "request_ended",
        "log_level": "info",
        "method": "GET",
        "path": "/v1/streams",
        "status": 200,
        "bytes": 7,
        "duration_ms": 3000,
        "request_id": "r1",
        "stream": "s",
        "connection": "c",
        "client": "192.0.2.1",
    }


@simulated.timed
async def test_what_is_not_known_is_null() -> None:
    told = await line(App(), client=None)
    assert (told["status"], told["bytes"], told["stream"], told["client"]) == (None, 0, None, None)


@simulated.timed
async def test_what_goes_straight_to_the_socket_counts_once() -> None:
    class Direct(App):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await super().__call__(scope, receive, send)
            access_log.sent(scope, 900)

    assert (await line(Direct(START, body(30))))["bytes"] == 900


@simulated.timed
async def test_the_answer_to_head_has_no_body() -> None:
    assert (await line(App(START, body(9, more=False)), method="HEAD"))["bytes"] == 0


@pytest.mark.parametrize("error", [KeyError("a bug"), asyncio.CancelledError()])
@simulated.timed
async def test_a_request_that_fails_has_its_line_too(error: BaseException) -> None:
    app = App(START, fails=error)
    with capture_logs() as logs, pytest.raises(type(error)):
        await access_log.AccessLog(app)(
            {"type": "http", "method": "GET", "path": "/"}, _never, _nowhere
        )
    assert [(one["event"], one["status"]) for one in logs] == [("request_ended", 200)]


@pytest.mark.parametrize("over", [0, 1])
@simulated.timed
async def test_a_path_is_cut(over: int) -> None:
    told = await line(App(START), path="/" * (access_log.MAX_PATH + over))
    assert told["path"] == "/" * access_log.MAX_PATH


@simulated.timed
async def test_what_is_no_request_is_not_its_affair() -> None:
    assert await line(App(START), type="lifespan") == {}


async def _never() -> Message:
    raise AssertionError("nobody reads")


async def _nowhere(message: MutableMapping[str, Any]) -> None:
    """Takes what comes."""

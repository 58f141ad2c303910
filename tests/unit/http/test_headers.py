"""The headers of every answer: what is added, what is left alone, and what it does not touch."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from holdfast.http import headers

Field = tuple[bytes, bytes]
START = "http.response.start"


async def sent(*messages: Message, kind: str = "http") -> list[Message]:
    """What reaches the server of these messages of an application."""
    found: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async def receive() -> Message:
        raise AssertionError("nobody reads")

    async def send(message: MutableMapping[str, Any]) -> None:
        found.append(message)

    await headers.Headers(app)({"type": kind}, receive, send)
    return found


async def test_an_answer_gets_all_of_them_behind_its_own() -> None:
    own = [(b"content-type", b"application/json")]
    (start,) = await sent({"type": START, "status": 404, "headers": own})
    assert start == {"type": START, "status": 404, "headers": [*own, *headers.ALWAYS]}
    assert own == [(b"content-type", b"application/json")]


async def test_an_answer_without_headers_gets_them_too() -> None:
    (start,) = await sent({"type": START, "status": 204})
    assert start["headers"] == [*headers.ALWAYS]


@pytest.mark.parametrize("row", headers.ALWAYS, ids=lambda row: row[0].decode())
@pytest.mark.parametrize("spelled", [bytes, bytes.title])
async def test_what_an_answer_says_itself_stands(row: Field, spelled: Any) -> None:
    own = (spelled(row[0]), b"its own")
    (start,) = await sent({"type": START, "status": 200, "headers": [own]})
    assert start["headers"] == [own, *(other for other in headers.ALWAYS if other != row)]


async def test_everything_else_passes_as_it_is() -> None:
    body = {"type": "http.response.body", "body": b"x", "more_body": True}
    start = {"type": START, "status": 200, "headers": []}
    assert (await sent(start, body))[1] is body
    woken = {"type": "lifespan.startup.complete"}
    assert (await sent(woken, start, kind="lifespan")) == [woken, start]


def test_each_name_is_lower_case_and_stands_once() -> None:
    names = [name for name, _ in headers.ALWAYS]
    assert names == [name.lower() for name in names]
    assert len(set(names)) == len(names)

"""What the log holds in the end, event by event, as the API shows it.

Strategy: every stream that the server lists is read page by page, and its text is put together
and hashed here, from the events alone. What is listed and was asked for by nobody would be a
second stream for somebody's key; it is written down as such.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec
from tests.faults.chaos import book as books
from tests.faults.chaos import wire

from holdfast import events
from holdfast.testing import history

T = TypeVar("T")

LISTED = 200
"""Streams in a page of the list."""


class Event(msgspec.Struct):
    event: str
    id: str
    data: msgspec.Raw


class Shown(msgspec.Struct):
    """`GET /v1/streams/{id}?include=events`, as far as it is looked at."""

    sha256: str
    events: list[Event] = []
    next_after: str | None = None


async def keep(book: books.Book, door: wire.Door, store: str) -> None:
    """Writes down what a server holds, as the store of this name."""
    for row in await _listed(door):
        stream, label = str(row["id"]), str(row["client_id"])
        if stream != book.streams.get(label):
            book.add(history.Expected(book.now, stream, "", 1, label))
        try:
            await _keep(book, door, store, stream)
        except RuntimeError as error:  # the others are to be judged too
            book.problem(str(error))


async def _listed(door: wire.Door) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    following: str | None = ""
    while following is not None:
        before = f"&before={following}" if following else ""
        page = await _get(door, f"/v1/streams?limit={LISTED}{before}", dict[str, Any])
        found += page["streams"]
        following = page["next"]
    return found


async def _keep(book: books.Book, door: wire.Door, store: str, stream: str) -> None:
    text = hashlib.sha256()
    after: str | None = ""
    while after is not None:
        more = f"&after={after}" if after else ""
        shown = await _get(door, f"/v1/streams/{stream}?include=events{more}", Shown)
        for event in shown.events:
            data = bytes(event.data)
            epoch, _, seq = event.id.rpartition(":")[2].partition("-")
            if event.event == "rewind":
                text = hashlib.sha256()
            elif event.event == "chunk":
                text.update(_content(data))
            code = _count(book, store, data) if event.event in events.TERMINAL else ""
            whole = text.hexdigest() if event.event == "complete" else ""
            if whole and whole != shown.sha256:
                book.problem(f"{stream} is shown with another text than its events have")
            book.add(
                history.Kept(
                    book.now,
                    store,
                    stream,
                    int(epoch),
                    int(seq),
                    history.digest(event.event, data),
                    event.event,
                    whole,
                    code,
                )
            )
        after = shown.next_after


def _count(book: books.Book, store: str, data: bytes) -> str:
    """The code of an error that ended a stream; "" where it is complete."""
    code = str(msgspec.json.decode(data).get("code", ""))
    book.counts[f"{store}: {code or 'complete'}"] += 1
    return code


def _content(data: bytes) -> bytes:
    body = msgspec.json.decode(data)
    said = body["type"] == "content" and not body.get("choice")
    return body.get("delta", "").encode() if said else b""


async def _get(door: wire.Door, target: str, kind: type[T]) -> T:
    status, body = await wire.ask(door, "GET", target)
    if status != 200:
        raise RuntimeError(f"GET {target}: {status} {body[:300]!r}")
    return msgspec.json.decode(body, type=kind)

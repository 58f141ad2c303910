"""The line at a stream's end: which facts it has, and that it leaves out what nobody knows."""

from __future__ import annotations

import pytest

from holdfast import errors, events, request, storage
from holdfast.eventlog import base
from holdfast.producing import fallback, producer, summary, tally

STREAM = events.StreamId("s" * 26)
HEADER = storage.Header(
    "acme/alice",
    0,
    "first",
    "m/1",
    request_id="r",
    dialect="openai_chat",
    request=b"a prompt",
    client_id="tab",
    session_id="chat",
    user_id="alice",
)


def work(header: storage.Header | None, *bodies: events.Body) -> producer.Work:
    so_far = tally.Tally()
    for body in bodies:
        so_far.add(body)
    step = fallback.GiveUp(errors.Interrupted())
    nothing = request.Request("m", [])
    return producer.Work(STREAM, base.Life(1, 1), nothing, step, so_far, header=header)


def test_it_tells_who_asked_what_came_and_how_it_ended() -> None:
    done = work(
        HEADER,
        events.Chunk("content", "é"),
        events.Attempt(1, "first", "m/1", "provider_failed"),
        events.Attempt(2, "second", "m/2", how="continue"),
        events.Fallback("first/m/1", "second/m/2", "provider_failed", False, 0, 1),
        events.Adopted(1 << 16),
        events.Chunk("content", "b"),
        events.Usage(7, 2, 9),
    )
    told = summary.facts(done, done.tally.complete(1, 2, 900), 900, 40)
    assert list(told.items()) == [
        ("stream", STREAM),
        ("request_id", "r"),
        ("tenant", "acme"),
        ("session_id", "chat"),
        ("client_id", "tab"),
        ("dialect", "openai_chat"),
        ("provider", "second"),
        ("model", "m/2"),
        ("status", "completed"),
        ("finish_reason", "other"),
        ("chunks", 2),
        ("bytes", 3),
        ("input_tokens", 7),
        ("output_tokens", 2),
        ("attempts", 2),
        ("fallbacks", 1),
        ("adoptions", 1),
        ("duration_ms", 900),
        ("first_chunk_ms", 40),
    ]


@pytest.mark.parametrize(
    ("ending", "status", "code"),
    [
        (events.failure(errors.ProviderFailed("A secret.")), "error", "provider_failed"),
        (events.failure(errors.Cancelled()), "cancelled", "cancelled"),
        (None, "taken_over", None),
    ],
)
def test_what_is_not_known_is_left_out(
    ending: events.Error | None, status: str, code: str | None
) -> None:
    header = storage.Header("", 0, "demo", "demo", request_id="r")
    told = summary.facts(work(header), ending, 900, None)
    assert (told["status"], told.get("code")) == (status, code)
    assert {"chunks", "attempts", "duration_ms"} <= told.keys()
    unknown = {"tenant", "session_id", "client_id", "input_tokens", "output_tokens"}
    assert not told.keys() & {*unknown, "first_chunk_ms", "finish_reason"}


def test_of_a_stream_that_could_not_be_read_nothing_is_known_but_its_end() -> None:
    told = summary.facts(work(None), events.failure(errors.HoldfastError()), 5, None)
    assert told == {"stream": STREAM, "status": "error", "code": "internal"}

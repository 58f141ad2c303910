"""The story of a stream: what of its events is told, in which order, and how much of it."""

from __future__ import annotations

import pytest

from holdfast import errors, events, timeline

EPOCH = 1 << 16 | 7

START = events.Start("s" * 26, "r", "a", "m", "2026-01-01T00:00:00.000Z")
COMPLETE = events.Complete("stop", "stop", None, 2, 10, 10, "ab", 5, 2, False)


def event(seq: int, body: events.Body, ts: int = 0) -> events.Event:
    said = events.draft(body)
    return events.Event(said.kind, said.data, EPOCH, seq, ts or 1000 + seq)


def fold(*bodies: events.Body) -> timeline.Timeline:
    told = timeline.Timeline()
    for seq, body in enumerate(bodies, 1):
        told.add(event(seq, body))
    return told


def content(text: str = "Kelp") -> events.Chunk:
    return events.Chunk("content", text)


@pytest.mark.parametrize(
    ("body", "what", "detail"),
    [
        (START, "start", {"provider": "a", "model": "m"}),
        (content(), "first_chunk", {"type": "content"}),
        (
            events.Attempt(2, "b", "m", how="continue"),
            "attempt",
            {"number": 2, "provider": "b", "model": "m", "how": "continue"},
        ),
        (
            events.Attempt(1, "a", "m", "provider_failed", "SECRET", 31),
            "attempt",
            {
                "number": 1,
                "provider": "a",
                "model": "m",
                "error": "provider_failed",
                "duration_ms": 31,
            },
        ),
        (
            events.Fallback("a/m", "b/m", "provider_failed", False, 3, 44),
            "fallback",
            {
                "from": "a/m",
                "to": "b/m",
                "reason": "provider_failed",
                "exact": False,
                "trimmed": 3,
                "at": 44,
            },
        ),
        (events.Adopted(EPOCH), "adopted", {"epoch": EPOCH}),
        (events.Rewind("provider_failed"), "rewind", {"reason": "provider_failed"}),
        (events.Finish(1, "stop", "SECRET"), "finish", {"choice": 1, "finish_reason": "stop"}),
        (
            COMPLETE,
            "complete",
            {
                "finish_reason": "stop",
                "chunks": 2,
                "bytes": 10,
                "duration_ms": 5,
                "attempts": 2,
                "exact": False,
            },
        ),
        (
            events.Error("provider_rate_limited", "SECRET", True, 900),
            "error",
            {"code": "provider_rate_limited", "retryable": True, "retry_after_ms": 900},
        ),
        (events.failure(errors.Cancelled()), "cancelled", {}),
    ],
)
def test_what_happened_is_told_without_anybody_s_words(
    body: events.Body, what: str, detail: dict[str, timeline.Fact]
) -> None:
    told = fold(body)
    assert told.entries == [timeline.Entry(1001, what, detail)]  # type: ignore[arg-type]
    assert "SECRET" not in repr(told.entries)


@pytest.mark.parametrize(
    "body", [events.Usage(1, 2, 3), events.Citation("https://x"), events.Kept("resp_1")]
)
def test_what_is_of_the_answer_is_not_told(body: events.Body) -> None:
    assert fold(body).entries == []


def test_of_chunks_the_first_one_is_told_and_no_other_is_looked_into() -> None:
    told = fold(START, content(), content())
    torn = events.Event("chunk", b"no JSON", EPOCH, 4, 1004)
    told.add(torn)
    told.add(event(5, events.Rewind("provider_failed")))
    told.add(event(6, content()))
    assert [one.what for one in told.entries] == ["start", "first_chunk", "rewind"]


@pytest.mark.parametrize(
    ("bodies", "status"),
    [
        ((), "pending"),
        ((START,), "pending"),
        ((START, content()), "streaming"),
        ((START, content(), COMPLETE), "completed"),
        ((START, events.failure(errors.Cancelled())), "cancelled"),
        ((START, events.failure(errors.Interrupted())), "error"),
    ],
)
def test_the_status_is_that_of_the_events(
    bodies: tuple[events.Body, ...], status: events.Status
) -> None:
    assert fold(*bodies).status == status


def test_a_clock_that_is_behind_changes_no_order() -> None:
    told = timeline.Timeline()
    told.add(event(1, START, 5000))
    told.add(event(2, events.Adopted(EPOCH), 4000))
    told.add(event(3, COMPLETE, 5001))
    assert [(one.at, one.what) for one in told.entries] == [
        (5000, "start"),
        (5000, "adopted"),
        (5001, "complete"),
    ]


@pytest.mark.parametrize("more", [-1, 0, 1, 500])
def test_a_long_story_has_its_begin_and_its_end(more: int) -> None:
    count = 2 * timeline.KEPT + more
    told = fold(*(events.Adopted(number) for number in range(count)))
    seen = [one.detail["epoch"] for one in told.entries]
    assert told.left_out == max(0, more)
    assert seen[: timeline.KEPT] == list(range(timeline.KEPT))
    assert seen[timeline.KEPT :] == list(range(timeline.KEPT + told.left_out, count))

"""What a stream's events say of the calls that made it."""

from __future__ import annotations

import pytest
from tests.contract.archives import told

from holdfast import events
from holdfast.archive import attempts, memory, rows

START = events.Start("s", "r", "openai", "gpt-5", "")
TOKENS = events.Tokens(1, 2, 3)
USAGE = events.Usage(1, 2, 3)
COMPLETE = events.Complete("stop", None, None, 1, 1, 1, "", 1, 1, True)
BROKEN = events.Attempt(
    1, "openai", "gpt-5", "provider_interrupted", "secret words", 250, events.Tokens(9)
)
AGAIN = events.Attempt(2, "anthropic", "claude", how="continue")
CHUNK = events.Chunk("content", "x")


def found(*bodies: events.Body) -> list[rows.Attempt]:
    """Each event comes 100 ms after the one before it, from 1,000 on."""
    fold = attempts.Attempts()
    for index, body in enumerate(bodies):
        draft = events.draft(body)
        fold.add(events.Event(draft.kind, draft.data, 1, index + 1, 1000 + 100 * index))
    return fold.found


@pytest.mark.parametrize(
    ("bodies", "wanted"),
    [
        (
            (START, CHUNK, USAGE, COMPLETE),
            [rows.Attempt(1, "openai", "gpt-5", 1000, "", "", 300, TOKENS)],
        ),
        (
            (START, CHUNK, BROKEN, AGAIN, events.Adopted(2), CHUNK, USAGE, COMPLETE),
            [
                rows.Attempt(1, "openai", "gpt-5", 1000, "", BROKEN.error, 250, events.Tokens(9)),
                rows.Attempt(2, "anthropic", "claude", 1300, "continue", "", 400, TOKENS),
            ],
        ),
        (
            (START, USAGE, events.Error("cancelled", "secret words", False)),
            [rows.Attempt(1, "openai", "gpt-5", 1000, "", "cancelled", 200, TOKENS)],
        ),
        (
            (START, BROKEN, events.Error("provider_interrupted", "secret words", True)),
            [rows.Attempt(1, "openai", "gpt-5", 1000, "", BROKEN.error, 250, events.Tokens(9))],
        ),
        (
            (START, AGAIN, events.Attempt(3, "x", "y", "overloaded", "", 50), COMPLETE),
            [
                rows.Attempt(1, "openai", "gpt-5", 1000),
                rows.Attempt(2, "anthropic", "claude", 1100, "continue"),
                rows.Attempt(3, "x", "y", 1150, "", "overloaded", 50),
            ],
        ),
        ((), []),
        ((COMPLETE,), []),
    ],
)
def test_the_events_tell_of_each_call(
    bodies: tuple[events.Body, ...], wanted: list[rows.Attempt]
) -> None:
    assert found(*bodies) == wanted
    assert "secret words" not in repr(found(*bodies))


async def test_it_goes_with_the_pages_into_the_archive() -> None:
    archive, one, fold = memory.MemoryArchive(), told("a", "b"), attempts.Attempts()
    await archive.keep(one.info, fold.found, fold.pages(one.pages(2)))
    assert await archive.attempts(one.info.stream) == [
        rows.Attempt(1, "demo", "m", 1001, "", "", 7999)
    ]
    assert tuple((await archive.read(one.info.stream, events.BEGIN)).events) == one.all

"""Each code of an error has its cause, and without it the end is told of."""

from __future__ import annotations

import random

import msgspec
import pytest

from holdfast import errors, events
from holdfast.producing import fallback
from holdfast.testing.simulation import ends, faulty, plan, record

STREAM = events.new_stream_id()
CHUNK: events.Body = events.Chunk("content", "a")
ADOPTED: events.Body = events.Adopted(7)
FAILED: events.Body = events.Attempt(1, "demo", "demo", "provider_failed", "It failed.", 1)
END: events.Body = events.failure(errors.Interrupted())
LIVES, REPLAYS = fallback.MAX_BARREN, fallback.REPLAYS

NOTHING = ends.Troubles()


def test_nothing_comes_of_nothing() -> None:
    assert ends.possible(NOTHING, [CHUNK, END]) == set()


@pytest.mark.parametrize(
    ("troubles", "code"),
    [
        (ends.Troubles(cancelled=True), "cancelled"),
        (ends.Troubles(log=True), "log_lost"),
        (ends.Troubles(limit=ends.SMALL - 1), "stream_too_large"),
        (ends.Troubles(diverged=True), "continuation_diverged"),
        (ends.Troubles(unreached=1), "provider_unreachable"),
        (ends.Troubles(options="tokens=1 cut_at=1"), "provider_interrupted"),
        (ends.Troubles(options="tokens=1 error_at=1"), "provider_failed"),
        (ends.Troubles(options="tokens=1 stall_at=1"), "provider_timeout"),
        (ends.Troubles(options="tokens=1 status=503"), "provider_overloaded"),
    ],
)
def test_of_a_trouble_comes_its_own_code(troubles: ends.Troubles, code: str) -> None:
    assert ends.possible(troubles, [CHUNK, END]) == {code}


def test_an_answer_is_interrupted_when_its_lives_are_used_up() -> None:
    used = [CHUNK, *[ADOPTED, FAILED] * (LIVES + 1), END]
    assert ends.possible(NOTHING, used) == {"interrupted"}
    assert ends.possible(NOTHING, used[2:]) == set()
    # Whoever brings something begins the count anew.
    assert ends.possible(NOTHING, [*[ADOPTED] * LIVES, CHUNK, ADOPTED, END]) == set()


def test_an_answer_is_interrupted_when_its_replays_are_used_up() -> None:
    failing, used = ends.Troubles(options="cut_at=1"), [CHUNK, ADOPTED, *[FAILED] * REPLAYS, END]
    assert "interrupted" in ends.possible(failing, used)
    assert "interrupted" in ends.possible(ends.Troubles(unreached=REPLAYS), used)
    # A provider that is in health does not use them up, nor one that was away for a moment.
    assert ends.possible(NOTHING, used) == set()
    assert "interrupted" not in ends.possible(ends.Troubles(unreached=REPLAYS - 1), used)
    # Those of another life do not count.
    assert "interrupted" not in ends.possible(failing, [CHUNK, FAILED, *used[1:3], *used[4:]])


def told(code: str, drawn: plan.Plan, asked: plan.Asked) -> list[str]:
    """What is said of a stream of this plan that ends so."""
    seen = record.Record()
    seen.created(f"tag-{asked.number}-0", STREAM)
    end = events.Error(code, "It ended.", False)
    return list(ends.unexplained(STREAM, [CHUNK, end], drawn, seen))


def test_a_stream_is_held_against_what_was_done_to_it() -> None:
    asked = msgspec.structs.replace(
        plan.draw(random.Random(1)).answers[0], options="tokens=3", cancel_at=None
    )
    drawn = msgspec.structs.replace(
        plan.draw(random.Random(1)), answers=(asked,), faults=faulty.QUIET, outages=()
    )
    complaint = f"stream {STREAM} ended as internal, and nothing explains that"
    assert told("internal", drawn, asked) == [complaint]
    assert told("provider_failed", drawn, asked) != []
    failing = msgspec.structs.replace(asked, options="tokens=3 error_at=1")
    assert told("provider_failed", msgspec.structs.replace(drawn, answers=(failing,)), asked) == []
    # One that nobody was to get is told of elsewhere.
    assert told("internal", drawn, msgspec.structs.replace(asked, number=9)) == []


def test_a_whole_answer_needs_no_cause() -> None:
    seen = record.Record()
    seen.created("tag-0-0", STREAM)
    assert list(ends.unexplained(STREAM, [CHUNK], plan.draw(random.Random(1)), seen)) == []

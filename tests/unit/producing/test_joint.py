"""What readers are told where an answer passes from one call to the next: bodies in, bodies out."""

from __future__ import annotations

import msgspec
import pytest

from holdfast import errors, events
from holdfast.producing import joint, seam

TEXT = "The holdfast grips the rock, and the kelp grows toward the light. " * 2
CHANGE = joint.Change("a/m", "b/n", "provider_failed")
MOVED = events.Fallback("a/m", "b/n", "provider_failed", True, 0, 0)
USAGE = events.Usage(1, 2, 3)
STOP = events.Finish(0, "stop", "stop")


def content(text: str) -> events.Chunk:
    return events.Chunk("content", text)


def test_a_change_is_told_before_the_first_word_and_once() -> None:
    between = joint.Joint(CHANGE)
    assert between.take([USAGE]) == [USAGE]
    assert between.take([content("a"), content("b")]) == [MOVED, content("a"), content("b")]
    assert between.take([STOP]) == [STOP]
    assert between.end() == []


def test_a_rewind_stands_behind_the_change() -> None:
    again = events.Rewind("provider_failed")
    between = joint.Joint(CHANGE, rewind="provider_failed")
    assert between.take([content("a")]) == [MOVED, again, content("a")]
    assert joint.Joint(rewind="x").take([STOP]) == [events.Rewind("x"), STOP]


def test_what_brings_nothing_tells_nothing() -> None:
    between = joint.Joint(CHANGE, rewind="provider_failed")
    assert between.take([USAGE]) == [USAGE]
    # Unless it is the whole answer, which then is one of nothing.
    assert between.end() == [MOVED, events.Rewind("provider_failed")]


def continued(written: str = TEXT) -> tuple[joint.Joint, joint.Change]:
    change = joint.Change("a/m", "b/n", "provider_failed", len(written))
    return joint.Joint(change, seam=seam.Seam(written, prefilled=False)), change


def told(change: joint.Change, exact: bool, trimmed: int) -> events.Fallback:
    return events.Fallback("a/m", "b/n", "provider_failed", exact, trimmed, change.at)


def test_what_is_repeated_is_left_out_and_told() -> None:
    between, change = continued()
    assert between.take([content(TEXT[-30:-10])]) == []
    found = between.take([content(f"{TEXT[-10:]}And"), content(" so on.")])
    assert found == [told(change, True, 30), content("And"), content(" so on.")]


def test_what_follows_is_passed_on_as_it_is() -> None:
    between, change = continued()
    piece = content("Quite another thing.")
    found = between.take([piece])
    assert found == [told(change, False, 0), piece]
    assert found[1] is piece


def test_the_block_of_what_was_held_is_told_with_what_is_left_of_it() -> None:
    def begin(text: str) -> events.Chunk:
        return events.Chunk("content", text, block=1)

    between, change = continued()
    assert between.take([begin(TEXT[-30:-10])]) == []
    assert between.take([content(f"{TEXT[-10:]}And")]) == [told(change, True, 30), begin("And")]
    assert between.take([content(" on.")]) == [content(" on.")]
    between, change = continued()
    assert between.take([begin(""), begin(TEXT[-12:-6])]) == []
    assert between.end() == [told(change, False, 0), begin(TEXT[-12:-6])]


def test_nothing_is_told_before_the_change_is() -> None:
    signed = events.Chunk("content", "", extra=msgspec.Raw(b'{"signature":"x"}'))
    between, change = continued()
    assert between.take([signed]) == []
    assert between.take([content("Quite another.")])[0] == told(change, False, 0)
    assert between.take([signed]) == [signed]


@pytest.mark.parametrize(
    "body",
    [
        STOP,
        events.Chunk("tool_call", "{", call=0, id="c", name="f"),
    ],
)
def test_what_is_no_text_lets_go_what_was_held(body: events.Body) -> None:
    between, change = continued()
    assert between.take([content(TEXT[-12:-6])]) == []
    assert between.take([body]) == [told(change, False, 0), content(TEXT[-12:-6]), body]


def test_the_end_lets_go_what_was_held() -> None:
    between, change = continued()
    assert between.take([content(TEXT[-12:-6])]) == []
    assert between.end() == [told(change, False, 0), content(TEXT[-12:-6])]


def test_a_source_says_nothing_of_where_the_text_goes_on() -> None:
    source = events.Citation(url="https://example.org")
    between, change = continued()
    assert between.take([content(TEXT[-30:-10]), source]) == []
    found = between.take([content(f"{TEXT[-10:]}And"), source])
    assert found == [told(change, True, 30), content("And"), source, source]
    between, change = continued()
    assert between.take([content(TEXT[-12:-6]), source]) == []
    assert between.end() == [told(change, False, 0), content(TEXT[-12:-6]), source]


def test_what_it_thinks_is_not_told() -> None:
    between, _ = continued()
    silent: list[events.Body] = [
        events.Chunk("reasoning", "Let me see."),
        events.Chunk("opaque"),
    ]
    assert between.take(silent) == []


@pytest.mark.parametrize("rewind", [None, "provider_failed"])
def test_what_is_of_the_call_changes_nothing(rewind: str | None) -> None:
    kept = events.Kept("r")
    between = joint.Joint(CHANGE, rewind=rewind)
    assert between.take([kept, USAGE]) == [kept, USAGE]
    between, _ = continued()
    assert between.take([kept, USAGE]) == [kept, USAGE]


def test_an_answer_that_starts_over_otherwise_is_none() -> None:
    between, _ = continued(TEXT[:100] + "!")
    with pytest.raises(errors.ContinuationDiverged):
        between.take([content(TEXT)])
    between, _ = continued(TEXT[:66] + "X" + TEXT[67:])
    assert between.take([content(TEXT[:65])]) == []
    with pytest.raises(errors.ContinuationDiverged):
        between.take([STOP])

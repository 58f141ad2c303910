"""The seam's rules one by one: their edges, what is held back, and every short text.

Strategy: a text in which no code point comes twice shows the edges, as nothing in it is alike by
chance. With small limits every pair of short texts of two letters is tried in every cut, against
the rules said once more in another way: over both texts whole, without a fold.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pytest
from tests.seams import rules

from holdfast import errors
from holdfast.producing import seam

DISTINCT = "".join(map(chr, range(0x4E00, 0x4E00 + 3 * seam.REACH)))
"""No code point of it comes twice."""

SENTENCES = """The light must be seen from the sea, and the sea must be seen from the light. That \
is all that the light is for, and all that the keeper is for. In the morning the light is put out, \
and in the evening the light is lit; in the night the keeper sees that the light is seen. """
"""Prose that uses its words again and again."""


def fold(joint: seam.Seam, pieces: Iterable[str]) -> str:
    said = "".join(joint.take(piece) for piece in pieces)
    return said + joint.release()


def after(written: str, new: str) -> tuple[str, seam.Seam]:
    joint = seam.Seam(written, prefilled=False)
    return fold(joint, new), joint


def most_held(written: str, new: str) -> int:
    """The most that is held back at a time, where the new answer comes a code point at a time."""
    joint, given, most = seam.Seam(written, prefilled=False), 0, 0
    for place, letter in enumerate(new, 1):
        given += len(joint.take(letter))
        if joint.decided:
            break
        most = max(most, place - given)
    return most


# What is left out


@pytest.mark.parametrize(
    ("size", "trimmed"), [(0, 0), (1, 0), (23, 0), (24, 24), (4096, 4096), (4097, 0)]
)
def test_an_overlap_is_left_out_from_24_code_points_to_its_reach(size: int, trimmed: int) -> None:
    cut = 2 * seam.REACH
    said, joint = after(DISTINCT[:cut], DISTINCT[cut - size :])
    assert said == DISTINCT[cut - size + trimmed :]
    assert joint.decided
    assert (joint.trimmed, joint.exact) == (trimmed, trimmed > 0)


@pytest.mark.parametrize(("end", "size"), [(500, 24), (500, 64), (500, 200), (24, 24), (63, 63)])
def test_an_answer_that_only_repeats_the_end_adds_nothing(end: int, size: int) -> None:
    joint = seam.Seam(DISTINCT[:end], prefilled=False)
    assert joint.take(DISTINCT[end - size : end]) == ""
    assert joint.decided  # with its last code point
    assert (joint.release(), joint.trimmed, joint.exact) == ("", size, True)


def test_the_longest_overlap_is_left_out() -> None:
    inner, outer = DISTINCT[:24], DISTINCT[:24] + DISTINCT[50:90] + DISTINCT[:24]
    said, joint = after(DISTINCT[500:600] + outer, outer + "!")
    assert (said, joint.trimmed) == ("!", len(outer))
    said, joint = after(DISTINCT[500:600] + outer, inner + "!")
    assert (said, joint.trimmed) == ("!", len(inner))


@pytest.mark.parametrize("same", [63, 64])
def test_an_answer_starts_over_from_64_equal_code_points(same: int) -> None:
    new = DISTINCT[:same] + "!"
    if same < 64:
        assert after(DISTINCT[:500], new)[0] == new
        return
    joint = seam.Seam(DISTINCT[:500], prefilled=False)
    assert joint.take(DISTINCT[:same]) == ""
    assert joint.swallowing
    assert not joint.exact
    with pytest.raises(errors.ContinuationDiverged):
        joint.take("!")


def test_what_is_told_again_is_swallowed_however_long_it_is() -> None:
    half = len(DISTINCT) // 2
    joint = seam.Seam(DISTINCT, prefilled=False)
    assert joint.take(DISTINCT[:half]) == ""
    assert (joint.trimmed, joint.swallowing, joint.decided) == (half, True, False)
    assert joint.take("") == ""
    assert joint.take(DISTINCT[half:] + "!") == "!"
    assert (joint.trimmed, joint.swallowing, joint.decided) == (len(DISTINCT), False, True)
    assert joint.exact
    assert joint.take(DISTINCT) == DISTINCT
    assert joint.release() == ""


def test_an_answer_that_starts_over_and_ends_too_soon_has_failed() -> None:
    joint = seam.Seam(DISTINCT, prefilled=False)
    assert joint.take(DISTINCT[:-1]) == ""
    with pytest.raises(errors.ContinuationDiverged):
        joint.release()


def test_one_that_ends_as_the_old_one_did_is_whole() -> None:
    assert after(DISTINCT, DISTINCT)[0] == ""


BEGINS_TWICE = DISTINCT[:90] + DISTINCT[200:300] + DISTINCT[:90]


def test_a_beginning_that_came_again_may_come_once_more() -> None:
    new = DISTINCT[:90] + DISTINCT[300:400]
    assert after(BEGINS_TWICE + DISTINCT[400:500], new)[0] == new


def test_such_an_answer_that_starts_over_is_an_overlap_as_far_as_that_reaches() -> None:
    short = BEGINS_TWICE + DISTINCT[400:500]
    assert after(short, short + "!")[0] == "!"
    long = BEGINS_TWICE + DISTINCT[400 : 400 + seam.REACH]
    assert after(long, long + "!")[0] == long + "!"


@pytest.mark.parametrize("rule", ["=" * 64, "-" * 70, "- " * 40, "=-+" * 22])
def test_a_beginning_that_is_a_ruled_line_is_no_start(rule: str) -> None:
    written = rule + DISTINCT[:100]
    assert after(written, rule + "!")[0] == rule + "!"


# A text that is one block again and again


@pytest.mark.parametrize("period", [1, 2, 9, 23, 24, 25, 31, 32, 33, 37, 63, 64, 65, 100])
def test_a_block_that_is_written_once_is_lost_and_later_ones_never(period: int) -> None:
    text = DISTINCT[:period] * (800 // period)
    for cut in range(min(4 * period, len(text))):
        said, joint = after(text[:cut], text[cut:])
        ambiguous = period >= seam.OVERLAP and period <= cut < 2 * period
        assert said == text[cut + (period if ambiguous else 0) :]
        assert joint.exact is ambiguous


def test_at_the_end_of_another_text_too() -> None:
    before, block = DISTINCT[:300], DISTINCT[300:337]
    for times in range(1, 5):
        new = block * 3
        lost = len(block) if times == 1 else 0
        assert after(before + block * times, new)[0] == new[lost:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("a", False),
        ("aa", True),
        ("ab", False),
        ("aba", False),
        ("abab", True),
        ("ababa", True),
        ("abaab", False),
        ("abcabca", True),
        ("abcab", False),
        ("0" * 4096, True),
        ("0" * 4095 + "1", False),
    ],
)
def test_what_is_periodic(text: str, expected: bool) -> None:
    assert seam.periodic(text) is expected


# What is held back


def test_at_most_the_reach_is_held_back() -> None:
    zeros = "0" * (3 * seam.REACH)
    joint = seam.Seam(zeros, prefilled=False)
    assert [joint.take("0") for _ in range(seam.REACH - 1)] == [""] * (seam.REACH - 1)
    assert not joint.decided
    assert joint.take("0") == "0" * seam.REACH
    assert joint.decided
    assert joint.take("0") == "0"


def test_prose_that_goes_on_exactly_is_let_go_within_its_first_words() -> None:
    text = SENTENCES + DISTINCT[: seam.REACH] + SENTENCES[50:]
    held = [most_held(SENTENCES[:cut], SENTENCES[cut:]) for cut in range(len(SENTENCES))]
    assert max(held) <= 32
    assert sum(held) <= 8 * len(held)
    assert most_held(text, "!") == 0


def test_what_is_too_short_to_be_an_overlap_is_not_held_back() -> None:
    assert most_held(DISTINCT[:100], DISTINCT[77:]) == 0
    assert most_held(DISTINCT[:100], DISTINCT[76:]) == 23


def test_of_an_answer_that_may_start_over_at_most_63_are_held_back() -> None:
    for same in range(64):
        assert most_held(DISTINCT, DISTINCT[:same] + "!") == same


@pytest.mark.parametrize("written", ["", "x", "x" * (seam.OVERLAP - 1)])
def test_with_too_little_written_nothing_is_held_back(written: str) -> None:
    joint = seam.Seam(written, prefilled=False)
    assert joint.decided
    assert not joint.exact
    assert joint.take("x") == "x"
    assert joint.release() == ""


def test_what_is_held_back_is_let_go_when_something_else_comes() -> None:
    joint = seam.Seam(DISTINCT[:100], prefilled=False)
    assert joint.take("") == ""
    assert joint.take(DISTINCT[50:80]) == ""
    assert joint.release() == DISTINCT[50:80]
    assert (joint.decided, joint.exact, joint.trimmed) == (True, False, 0)
    assert joint.release() == ""
    assert joint.take(DISTINCT[80:100]) == DISTINCT[80:100]


def test_nothing_comes_at_all() -> None:
    said, joint = after(DISTINCT[:100], "")
    assert (said, joint.decided, joint.exact) == ("", True, False)


# After a prefill


def test_after_a_prefill_the_text_follows() -> None:
    joint = seam.Seam(DISTINCT[:100], prefilled=True)
    assert joint.decided
    assert joint.exact
    assert joint.take(DISTINCT[:100]) == DISTINCT[:100]
    assert joint.release() == ""
    assert joint.trimmed == 0


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize(
    ("stripped", "new", "trimmed"),
    [
        ("\n\n", "\n\nThe end", 2),
        ("\n\n", "The end", 0),
        ("\n\n", "\nThe end", 1),
        ("\n\n", "\n\n\nThe end", 2),
        ("\n", "\n\nThe end", 1),
        (" \n", "\nThe end", 0),
        (" \n", " The end", 1),
        (" \n\t", " \n", 2),
        (" ", " ", 1),
        (" ", "", 0),
    ],
)
def test_stripped_whitespace_is_not_said_twice(
    stripped: str, new: str, trimmed: int, size: int
) -> None:
    joint = seam.Seam("The light." + stripped, prefilled=True, stripped=stripped)
    assert not joint.decided
    assert fold(joint, cut(new, size)) == new[trimmed:]
    assert (joint.trimmed, joint.exact, joint.decided) == (trimmed, True, True)
    assert joint.take(stripped) == stripped


def test_of_stripped_whitespace_nothing_is_held_back_once_it_is_known() -> None:
    joint = seam.Seam("The light. \n", prefilled=True, stripped=" \n")
    assert joint.take("") == ""
    assert joint.take(" ") == ""
    assert not joint.decided
    assert joint.take("x") == "x"
    assert joint.decided
    whole = seam.Seam("The light. \n", prefilled=True, stripped=" \n")
    assert whole.take(" \n") == ""
    assert whole.decided


# Every short text


def cut(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(0, len(text), size))


def words(longest: int) -> Iterator[str]:
    for length in range(longest + 1):
        yield from map("".join, itertools.product("ab", repeat=length))


@pytest.mark.parametrize(
    ("overlap", "start", "reach"), [(1, 2, 3), (2, 3, 5), (2, 4, 9), (3, 3, 4)]
)
def test_every_short_text_goes_on_by_the_rules(
    overlap: int, start: int, reach: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seam, "OVERLAP", overlap)
    monkeypatch.setattr(seam, "START", start)
    monkeypatch.setattr(seam, "REACH", reach)
    for written, new in itertools.product(words(6), words(6)):
        expected = rules(written, new)
        for size in (1, 2, 6):
            joint = seam.Seam(written, prefilled=False)
            try:
                said = fold(joint, cut(new, size))
            except errors.ContinuationDiverged:
                assert expected is None, (written, new, size)
            else:
                assert said == expected, (written, new, size)
                assert joint.trimmed == len(new) - len(said)
                assert joint.exact is (joint.trimmed > 0)

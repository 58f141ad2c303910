"""An answer cut anywhere and gone on with in every way: what readers have in the end.

Strategy: a text is cut at every tenth place, and the new answer behaves in one of five ways; a test
for each says what comes of it. The new answer comes whole and in pieces of seeded sizes, which must
not matter. Of a text that does not repeat itself the end is always the text, but for overlaps that
are too short to be known and new answers that go on otherwise; of one that is nothing but a
repetition all that comes stays. Above all, an exact continuation never loses a character: 10,000
cuts at random.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from tests.seams import ALL, MIXED, RUNS, TEXTS

from holdfast import errors
from holdfast.producing import seam

OTHER = "\N{SNOWMAN}"  # in no text
Ending = str | Literal["diverged"]


def told(written: str, new: str, rng: random.Random | None = None) -> Ending:
    """What readers have in the end; the new answer comes whole, or in pieces of 1 to 12 code
    points."""
    joint = seam.Seam(written, prefilled=False)
    try:
        said = "".join(map(joint.take, [new] if rng is None else pieces(new, rng)))
        return written + said + joint.release()
    except errors.ContinuationDiverged:
        return "diverged"


def pieces(text: str, rng: random.Random) -> Iterator[str]:
    at = 0
    while at < len(text):
        size = rng.randint(1, 12)
        yield text[at : at + size]
        at += size


def cuts(text: str) -> range:
    return range(0, len(text) + 1, 10)


def both_ways(written: str, new: str, expected: Ending) -> None:
    seed = f"{len(written)} {len(new)}"
    assert told(written, new) == expected
    assert told(written, new, random.Random(seed)) == expected


@pytest.mark.parametrize("text", ALL.values(), ids=ALL)
def test_one_that_goes_on_exactly_is_the_rest(text: str) -> None:
    for cut in cuts(text):
        both_ways(text[:cut], text[cut:], text)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_overlap_of_24_to_200_is_left_out(text: str) -> None:
    rng = random.Random(text)
    for cut in cuts(text):
        for size in {24, 200, *(rng.randint(24, 200) for _ in range(3))}:
            if size <= cut:
                both_ways(text[:cut], text[cut - size :], text)


@pytest.mark.parametrize("text", ALL.values(), ids=ALL)
def test_an_overlap_of_1_to_23_stays_doubled(text: str) -> None:
    for cut in cuts(text):
        for size in (1, 2, 7, 12, 22, 23):
            if size <= cut:
                both_ways(text[:cut], text[cut - size :], text[:cut] + text[cut - size :])


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_one_that_starts_over_and_goes_on_is_swallowed(text: str) -> None:
    for cut in cuts(text):
        # What is under 24 code points cannot be told from one that goes on with the same words.
        both_ways(text[:cut], text, text if cut >= seam.OVERLAP else text[:cut] + text)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_one_that_starts_over_and_tells_something_else_has_failed(text: str) -> None:
    rng = random.Random(text)
    for cut in cuts(text):
        for same in {1, 63, 64, cut - 1, rng.randint(0, cut)} & set(range(cut)):
            known = same >= seam.START
            for new in (text[:same] + OTHER + text[same + 1 :], text[:same]):
                both_ways(text[:cut], new, "diverged" if known else text[:cut] + new)


@pytest.mark.parametrize("text", RUNS.values(), ids=RUNS)
def test_of_a_text_that_only_repeats_itself_all_stays(text: str) -> None:
    for cut in cuts(text):
        overlaps = [text[cut - size :] for size in (24, 60, 199, 200) if size <= cut]
        other = text[: cut // 2] + OTHER + text[cut // 2 :]
        for new in [*overlaps, text, text[: cut // 2], other]:
            both_ways(text[:cut], new, text[:cut] + new)


@pytest.mark.parametrize(("before", "after"), MIXED.values(), ids=MIXED)
def test_an_overlap_is_left_out_where_it_is_more_than_a_run(before: str, after: str) -> None:
    text = before + after
    run = len(before) - before.rindex("(") - 1
    for cut in cuts(text):
        in_run = max(0, run - len(before) + cut) if cut <= len(before) else 0
        for size in {24, 60, 200, in_run, in_run + 1, in_run + 12}:
            if seam.OVERLAP <= size <= cut:
                stays = text[:cut] + text[cut - size :]
                both_ways(text[:cut], text[cut - size :], stays if size <= in_run else text)


def cut_anywhere(texts: list[str], times: int, rng: random.Random) -> None:
    for _ in range(times):
        text = rng.choice(texts)
        cut = rng.randint(0, len(text))
        assert told(text[:cut], text[cut:], rng) == text, (text[:20], cut)


def test_10_000_exact_continuations_lose_nothing() -> None:
    cut_anywhere(list(ALL.values()), 10_000, random.Random(24))


def test_nor_do_10_000_of_recorded_answers(shared: Path) -> None:
    files = sorted((shared / "recordings").rglob("*.expected.json"))
    said = [json.loads(path.read_bytes()).get("final_text") for path in files]
    texts = [text for text in said if text]
    assert len(texts) > 20
    cut_anywhere(texts, 10_000, random.Random(64))

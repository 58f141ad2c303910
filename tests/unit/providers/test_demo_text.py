"""The demo's text: the same everywhere, and as long as anybody wants."""

from __future__ import annotations

import itertools
import math

import msgspec
import pytest

from holdfast.providers import demo_text

SEEDS = range(0, 200, 7)


def test_a_seed_gives_its_text_on_every_machine() -> None:
    assert "".join(demo_text.answer(0, "", False)).startswith(
        "Kelp has no roots. Where a plant would have roots"
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_pieces_are_words_with_their_space(seed: int) -> None:
    pieces = list(demo_text.answer(seed, "A question?", False))
    assert all(piece.strip() and " " not in piece.strip() for piece in pieces)
    assert not pieces[0].startswith(" ")
    assert 80 <= len(pieces) <= 170


def test_all_sentences_come_before_one_comes_again() -> None:
    assert all(math.gcd(step, len(demo_text.SENTENCES)) == 1 for step in demo_text._STEPS)
    for seed in SEEDS:
        said = itertools.islice(demo_text._sentences(seed, ""), len(demo_text.SENTENCES))
        assert {sentence.strip() for sentence in said} == set(demo_text.SENTENCES)


def test_endless_begins_like_the_answer() -> None:
    answer = list(demo_text.answer(3, "t", True))
    assert list(itertools.islice(demo_text.endless(3, "t", True), len(answer))) == answer
    assert len(list(itertools.islice(demo_text.endless(3, "", False), 5000))) == 5000
    assert len(list(itertools.islice(demo_text.thoughts(3), 5000))) == 5000


def test_arguments_are_json() -> None:
    for seed in SEEDS:
        pieces = list(demo_text.arguments(seed))
        assert len(pieces) > 3
        assert msgspec.json.decode("".join(pieces))["place"] == "Kelp Bay"

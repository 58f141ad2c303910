"""What is filled up shows no length, and is the same for each reader."""

from __future__ import annotations

import re
import zlib

from hypothesis import given
from hypothesis import strategies as st

from holdfast.dialects import padding

STREAM = "a" * 26


@given(st.integers(0, 2**60), st.integers(0, 10_000))
def test_a_piece_is_filled_up_to_whole_blocks(number: int, length: int) -> None:
    mine = padding.Padding(STREAM)
    said = mine.of(number, length)
    assert len(said) < padding.BLOCK
    assert (length + len(said)) % padding.BLOCK == 0
    assert re.fullmatch(rb"[A-Za-z0-9+/]*", said)
    assert said == mine.of(number, length) == padding.Padding(STREAM).of(number, length)


def test_no_compression_takes_the_letters_away() -> None:
    """Base64 has six bits a letter; what repeats itself would come to less."""
    mine = padding.Padding(STREAM)
    said = b"".join(mine.of(number, 1) for number in range(1000))
    assert len(zlib.compress(said, 9)) > len(said) * 6 / 8
    assert mine.of(1, 1) != padding.Padding("b" * 26).of(1, 1)

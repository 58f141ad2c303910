"""What is filled up shows no length, is the same for each reader, and says nothing.

Strategy: each dialect that pads is beside itself without padding. Of its frames the letters are
taken away again as the rules of SSE or of the protocol say, and what is left has to be the same.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dialects.ai_sdk import reading
from tests.unit.dialects.anthropic import telling

from holdfast import events, storage
from holdfast.dialects import (
    ai_sdk,
    anthropic,
    base,
    native,
    openai_chat,
    openai_responses,
    padding,
)

STREAM = events.StreamId("a" * 26)
LETTERS = re.compile(rb"[A-Za-z0-9+/]*")


@given(st.integers(0, 2**60), st.integers(0, 10_000))
def test_a_piece_is_filled_up_to_whole_blocks(number: int, length: int) -> None:
    mine = padding.Padding(STREAM)
    said = mine.of(number, length)
    assert len(said) < padding.BLOCK
    assert (length + len(said)) % padding.BLOCK == 0
    assert re.fullmatch(rb"[A-Za-z0-9+/]*", said)
    assert said == mine.of(number, length) == padding.Padding(STREAM).of(number, length)


@pytest.mark.case("4.24")
def test_no_compression_takes_the_letters_away() -> None:
    """Base64 has six bits a letter; what repeats itself would come to less."""
    mine = padding.Padding(STREAM)
    said = b"".join(mine.of(number, 1) for number in range(1000))
    assert len(zlib.compress(said, 9)) > len(said) * 6 / 8
    assert mine.of(1, 1) != padding.Padding("b" * 26).of(1, 1)


# What the dialects make of it

START = events.Start(STREAM, "r", "p", "m", "2026-01-01T00:00:00.000Z")
TOKENS = ["a", "ab", 'a"\n', "🌊", "x" * 32]
SAID: list[events.Body] = [
    START,
    events.Chunk("reasoning", "Hm"),
    *(events.Chunk("content", token) for token in TOKENS),
    events.Chunk("tool_call", '{"at":', call=0, id="c", name="tide"),
    events.Chunk("tool_call", "7}", call=0),
    events.Chunk("opaque", extra=msgspec.Raw(b'{"signature":"s"}')),
    events.Citation("https://a.example/long", "A"),
    events.Finish(0, "stop", "stop"),
    telling.complete(),
]
HEADER = storage.Header("o", 1_000, "p", "m")
Fold = Callable[[], base.Fold]


def listed(bodies: list[events.Body]) -> list[events.Event]:
    """Their numbers have the same digits, so that those make no length."""
    return [telling.event(body, seq) for seq, body in enumerate(bodies, 100)]


def rendered(fold: base.Fold, bodies: list[events.Body] = SAID) -> list[bytes]:
    return [fold.render(event) for event in listed(bodies)]


def in_native(block: bytes) -> bytes:
    return re.sub(rb',"obfuscation":"[A-Za-z0-9+/]*"}\n', b"}\n", block)


def in_comments(block: bytes) -> bytes:
    return re.sub(rb"\n: [A-Za-z0-9+/]*\n\n\Z", b"\n\n", block)


FOLDS: dict[str, tuple[Fold, Fold, Callable[[bytes], bytes]]] = {
    "native": (
        lambda: native.Native(padded=True).fold(STREAM),
        lambda: native.Native().fold(STREAM),
        in_native,
    ),
    "anthropic": (
        lambda: anthropic.Dialect(padded=True).fold(STREAM, HEADER),
        lambda: anthropic.Dialect().fold(STREAM, HEADER),
        in_comments,
    ),
    "ai_sdk": (
        lambda: ai_sdk.Dialect(padded=True).fold(STREAM, HEADER),
        lambda: ai_sdk.Dialect().fold(STREAM, HEADER),
        in_comments,
    ),
}
each = pytest.mark.parametrize("name", FOLDS)


@each
def test_without_its_letters_an_answer_is_what_it_was(name: str) -> None:
    padded, plain, without = FOLDS[name]
    found = rendered(padded())
    assert [without(block) for block in found] == rendered(plain())
    filled = [block != without(block) for block in found]
    assert filled[0] is filled[-1] is False
    assert filled[1:-1] == [bool(block) for block in rendered(plain())[1:-1]]


@pytest.mark.case("4.24")
@each
def test_no_token_has_a_length_of_its_own(name: str) -> None:
    padded, plain, _ = FOLDS[name]
    bodies: list[events.Body] = [
        START,
        *(events.Chunk("content", "x" * n) for n in (1, *range(1, 65))),
    ]
    sizes = [len(block) for block in rendered(padded(), bodies)][2:]
    assert len({len(block) for block in rendered(plain(), bodies)[2:]}) == 64
    assert sizes == [sizes[0]] * 32 + [sizes[0] + padding.BLOCK] * 32


@pytest.mark.case("4.24")
@each
def test_every_piece_is_of_whole_blocks_whatever_it_says(name: str) -> None:
    padded, _, without = FOLDS[name]
    sizes = {len(block) % padding.BLOCK for block in rendered(padded()) if block != without(block)}
    # In a native block the name of the event stands beside the data.
    assert len(sizes) == (2 if name == "native" else 1)


@pytest.mark.case("4.24")
@each
def test_every_reader_gets_the_same_letters(name: str) -> None:
    padded, _, _ = FOLDS[name]
    assert rendered(padded()) == rendered(padded())


def test_a_native_reader_who_comes_late_gets_the_same() -> None:
    late = native.Native(padded=True).fold(STREAM)
    assert [late.render(event) for event in listed(SAID)[5:]] == rendered(FOLDS["native"][0]())[5:]


def test_native_bytes() -> None:
    block = native.Native(padded=True).fold(STREAM).render(telling.event(SAID[1], 2))
    letters = padding.Padding(STREAM).of(2, 4)  # "reasoning" has two letters more
    assert len(letters) == 28
    assert block == (
        b'event: chunk\ndata: {"type":"reasoning","delta":"Hm","obfuscation":"%b"}\nid: %b:1-2\n\n'
        % (letters, STREAM.encode())
    )
    assert events.decode("chunk", block.split(b"\n")[1][6:]) == SAID[1]


def test_bytes_in_comments() -> None:
    said: list[events.Body] = [START, *(events.Chunk("content", one) for one in ("Hm", "So"))]
    letters = padding.Padding(STREAM).of(102, 2)
    assert len(letters) == 30
    assert rendered(FOLDS["anthropic"][0](), said)[2] == (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"So"}}\n: %b\n\n' % letters
    )
    assert rendered(FOLDS["ai_sdk"][0](), said)[2] == (
        b'data: {"type":"text-delta","id":"0","delta":"So"}\n: %b\n\n' % letters
    )


@pytest.mark.parametrize("name", ["anthropic", "ai_sdk"])
def test_what_ends_an_answer_ends_it_behind_letters_too(name: str) -> None:
    padded, plain, _ = FOLDS[name]
    for bodies in (SAID, [*SAID[:4], events.Rewind("restart")]):
        one, other = padded(), plain()
        assert rendered(one, bodies)[-1] == rendered(other, bodies)[-1]
        for fold in (one, other):
            assert fold.ended  # type: ignore[attr-defined]
        assert one.failed == other.failed == (bodies is not SAID)  # type: ignore[attr-defined]
        assert one.rewind("lost") == other.rewind("lost")


def test_openai_s_apis_pad_by_themselves() -> None:
    """Unless a request says no, whatever the settings are."""
    for dialect in (openai_chat.Dialect(), openai_responses.Dialect()):
        bodies: list[events.Body] = [START, events.Chunk("content", "a")]
        bodies += [events.Chunk("content", "x" * (n or 1)) for n in [0] * 10 + [*range(1, 33)]]
        told = rendered(dialect.fold(STREAM, HEADER), bodies)[-32:]
        assert len({len(block) for block in told}) == 1
        said = [json.loads(block.split(b"data: ")[1]) for block in told]
        assert all(LETTERS.fullmatch(one["obfuscation"].encode()) for one in said)


def test_the_strictest_page_reads_it() -> None:
    blocks = [in_comments(block) for block in rendered(FOLDS["ai_sdk"][0]())]
    assert reading.message(reading.chunks(b"".join(blocks)))["parts"]

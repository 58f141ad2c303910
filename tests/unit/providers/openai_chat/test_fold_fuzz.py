"""The chat translator on bytes that no provider should send.

Strategy: arbitrary bytes, and good answers damaged in arbitrary places, cut at random. Whatever
comes: nothing is raised, what is said can be written and read back, and what the translator
keeps stays within its limits.
"""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.providers import said as told

from holdfast import events
from holdfast.providers.openai_chat import deltas, tool_calls
from holdfast.testing import recordings

PIECES = [
    b"data: ",
    b"\n\n",
    b"\r\n",
    b"event: error\n",
    b'{"choices":[{"delta":{"content":"',
    b'"}}]}',
    b"\\ud83d",
    b"\\ude00",
    b"\xff",
    b"{",
    b"[DONE]",
    b'{"error":',
    b"NaN",
    b"9" * 400,
    b'"reasoning":"a",',
    b'"tool_calls":[{"index":0,"function":{"arguments":"',
    b'"finish_reason":"stop"',
    b'"usage":{"prompt_tokens":1e400}',
]
WIRES = [recording.wire for recording in told.FIXTURES]
fragments = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=40)


def check(wire: bytes, seed: int) -> None:
    said, translator = told.play(recordings.at_random(wire, seed), choices=2)
    for body in said:
        draft = events.draft(body)
        assert events.decode(draft.kind, draft.data) is not None
        assert draft.data.decode()
    assert len(str(translator.error)) < 400
    whole, other = told.play([wire], choices=2)
    assert told.drafts(whole) == told.drafts(said)
    assert (other.done, other.finished) == (translator.done, translator.finished)
    assert str(other.error) == str(translator.error)


@given(fragments, st.integers(0, 10))
def test_arbitrary_bytes(pieces: list[bytes], seed: int) -> None:
    check(b"".join(pieces), seed)


@settings(max_examples=300)
@given(st.sampled_from(WIRES), st.randoms(use_true_random=False), st.integers(1, 6))
def test_damaged_answers(wire: bytes, dice: random.Random, wounds: int) -> None:
    damaged = bytearray(wire)
    for _ in range(wounds):
        place = dice.randrange(len(damaged) + 1)
        match dice.randrange(4):
            case 0:
                damaged[place:place] = dice.choice(PIECES)
            case 1:
                del damaged[place : place + dice.randrange(30)]
            case 2:
                damaged[place : place + 1] = bytes([dice.randrange(256)])
            case _:
                damaged += damaged[place : place + dice.randrange(200)]
    check(bytes(damaged), dice.randrange(100))


def call(index: int, id: str) -> bytes:
    return (
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":%d,"id":"%b",'
        b'"function":{"name":"f","arguments":"{}"}}]}}]}\n\n' % (index, id.encode())
    )


def test_tool_calls_are_bounded_in_number() -> None:
    translator = told.translator()
    for n in range(deltas.MAX_CALLS):
        assert translator.feed(call(n, f"id{n}"))
    assert translator.error is None
    assert translator.feed(call(0, "another")) == []
    assert told.verdict(translator) == "ProviderMalformed"


def test_tool_calls_are_bounded_in_size() -> None:
    translator = told.translator()
    assert translator.feed(call(0, "x" * tool_calls.MAX_ID))
    assert translator.feed(call(1, "x" * (tool_calls.MAX_ID + 1))) == []
    assert told.verdict(translator) == "ProviderMalformed"


@pytest.mark.parametrize("index", [-1, deltas.MAX_CHOICES, 10**30])
def test_choices_are_bounded(index: int) -> None:
    _, translator = told.play(
        [b'data: {"choices":[{"index":%d,"delta":{"content":"a"}}]}\n\n' % index]
    )
    assert told.verdict(translator) == "ProviderMalformed"


def test_citations_are_bounded() -> None:
    urls = b",".join(b'"https://x.example/%d"' % n for n in range(deltas.MAX_CITATIONS + 9))
    long = b'"https://x.example/%b"' % (b"y" * deltas.MAX_URL)
    wire = b'data: {"choices":[],"citations":[%b,%b]}\n\n' % (long, urls)
    said, _ = told.play([wire])
    assert len(said) == deltas.MAX_CITATIONS


def test_what_stays_after_a_long_answer_is_small() -> None:
    """No body, frame or text of an answer is kept by the translator."""
    translator = told.translator()
    event = b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % (b"x" * 1000)
    translator.feed(event)
    tracemalloc.start()
    try:
        for _ in range(1000):
            translator.feed(event)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10_000

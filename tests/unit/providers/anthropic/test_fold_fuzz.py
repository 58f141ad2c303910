"""The Anthropic translator on bytes that no provider should send.

Strategy: arbitrary bytes, JSON of the format's shape with arbitrary values, and good answers
damaged in arbitrary places, cut at random. Whatever comes: nothing is raised, what is said can
be written and read back, and what the translator keeps stays within its limits.
"""

from __future__ import annotations

import json
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.providers import said as told
from tests.unit.providers.anthropic import wires

from holdfast import events
from holdfast.providers import kept
from holdfast.providers.anthropic import answer, wire
from holdfast.testing import recordings

KIND = wires.KIND
event, begin = wires.event, wires.begin

PIECES = [
    b"data: ",
    b"\n\n",
    b"event: error\n",
    b"event: content_block_delta\n",
    b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"',
    b'{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a"',
    b'"}}',
    b"\\ud83d",
    b"\xff",
    b"{",
    b'{"error":',
    b"NaN",
    b"9" * 400,
    b'"stop_reason":"end_turn"',
    b'"usage":{"input_tokens":1e400}',
]
fragments = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=40)
words = st.sampled_from(
    [
        *sorted(wire.EVENTS | wire.DELTAS),
        *("text", "thinking", "tool_use", "server_tool_use", "compaction", "end_turn", ""),
        "\ud83d",
    ]
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.just(10**30),
    st.floats(),
    st.text(max_size=5),
    words,
)
names = st.sampled_from(
    [
        "type",
        "index",
        "delta",
        "content_block",
        "message",
        "usage",
        "error",
        "text",
        "thinking",
        "signature",
        "partial_json",
        "citation",
        "citations",
        "content",
        "stop_reason",
        "input",
        "id",
        "name",
        "url",
        "title",
        "input_tokens",
    ]
)
shapes = st.recursive(
    leaves, lambda inner: st.dictionaries(names, inner, max_size=5) | st.lists(inner, max_size=2)
)
frames = st.builds(
    lambda kind, index, fields: fields | {"type": kind, "index": index},
    words,
    st.integers(0, 2),
    st.dictionaries(names, shapes, max_size=5),
)


def check(wire: bytes, seed: int) -> None:
    said, translator = told.play(recordings.at_random(wire, seed), kind=KIND)
    for body in said:
        draft = events.draft(body)
        assert events.decode(draft.kind, draft.data) is not None
        assert draft.data.decode()
    assert len(str(translator.error)) < 400
    assert sum(isinstance(body, events.Finish) for body in said) <= 1
    whole, other = told.play([wire], kind=KIND)
    assert told.drafts(whole) == told.drafts(said)
    assert (other.done, other.finished) == (translator.done, translator.finished)
    assert str(other.error) == str(translator.error)


@given(fragments, st.integers(0, 10))
def test_arbitrary_bytes(pieces: list[bytes], seed: int) -> None:
    check(b"".join(pieces), seed)


@settings(max_examples=300)
@given(st.lists(frames, max_size=6), st.integers(0, 10))
def test_arbitrary_values(said: list[dict[str, Any]], seed: int) -> None:
    check(b"".join(b"data: %b\n\n" % json.dumps(frame).encode() for frame in said), seed)


@settings(max_examples=300)
@given(st.sampled_from(wires.FIXTURES), st.randoms(use_true_random=False), st.integers(1, 6))
def test_damaged_answers(fixture: recordings.Recording, dice: random.Random, wounds: int) -> None:
    damaged = bytearray(fixture.wire)
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


@pytest.mark.parametrize("name", sorted(wire.EVENTS - {"ping", "message_stop"}))
@pytest.mark.parametrize("value", ["[" * 5000, "{}", "null", "5", "[]", '"a"'])
def test_a_frame_that_is_no_event(name: str, value: str) -> None:
    check(b"event: %b\ndata: %b\n\n" % (name.encode(), value.encode()), 1)


def call(index: int, id: str, name: str = "f") -> bytes:
    return begin(index, b'{"type":"tool_use","id":"%b","name":"%b"}' % (id.encode(), name.encode()))


END = event("content_block_stop", b',"index":0')


def test_tool_calls_are_bounded_in_number() -> None:
    translator = told.translator(KIND)
    for n in range(answer.MAX_CALLS):
        assert translator.feed(call(0, f"id{n}") + END)
    assert translator.error is None
    assert translator.feed(call(0, "another")) == []
    assert told.verdict(translator) == "ProviderMalformed"


@pytest.mark.parametrize("at", [0, 1])
def test_tool_calls_are_bounded_in_size(at: int) -> None:
    translator = told.translator(KIND)
    assert translator.feed(call(0, *(["x" * answer.MAX_ID] * (at + 1))))
    over = ["f", "f"]
    over[at] = "x" * (answer.MAX_ID + 1)
    assert translator.feed(call(1, *over)) == []
    assert told.verdict(translator) == "ProviderMalformed"


def test_open_blocks_are_bounded() -> None:
    translator = told.translator(KIND)
    for n in range(answer.MAX_OPEN):
        translator.feed(begin(n, b'{"type":"text"}'))
    assert translator.error is None
    translator.feed(begin(answer.MAX_OPEN, b'{"type":"text"}'))
    assert told.verdict(translator) == "ProviderMalformed"


def test_blocks_that_have_ended_are_forgotten() -> None:
    wire = (begin(0, b'{"type":"text","text":"a"}') + END) * (answer.MAX_OPEN * 3)
    said, translator = told.play([wire], kind=KIND)
    assert len(said) == answer.MAX_OPEN * 3
    assert translator.error is None


def cite(url: str, title: str = "t") -> bytes:
    citation = json.dumps({"url": url, "title": title}).encode()
    delta = b',"index":0,"delta":{"type":"citations_delta","citation":%b}' % citation
    return event("content_block_delta", delta)


def test_citations_are_bounded() -> None:
    reads = [begin(0, b'{"type":"text"}'), cite("https://x.example/1") * (answer.MAX_CITATIONS + 9)]
    said, _ = told.play(reads, kind=KIND)
    assert len(said) == answer.MAX_CITATIONS


def test_urls_and_titles_are_bounded() -> None:
    long = "https://x.example/" + "y" * answer.MAX_URL
    fits = long[: answer.MAX_URL]
    reads = [begin(0, b'{"type":"text"}'), cite(long), cite(fits, "z" * 9999), cite("mailto:a", "")]
    said, _ = told.play(reads, kind=KIND)
    got = [(body.url, body.title) for body in said if isinstance(body, events.Citation)]
    assert got == [(None, "t"), (fits, "z" * answer.MAX_URL), (None, None)]


def test_what_stays_after_a_long_answer_is_small() -> None:
    """No body, frame or text of an answer is kept by the translator, nor arguments."""
    translator = told.translator(KIND)
    text = b',"index":0,"delta":{"type":"text_delta","text":"%b"}' % (b"x" * 1000)
    more = b',"index":1,"delta":{"type":"input_json_delta","partial_json":"%b"}' % (b"x" * 1000)
    reads = event("content_block_delta", text) + event("content_block_delta", more)
    translator.feed(call(1, "a") + reads)
    tracemalloc.start()
    try:
        for _ in range(1000):
            translator.feed(reads)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert translator.error is None
    assert grown < 10_000


def test_a_kept_block_is_bounded_while_it_comes() -> None:
    translator = told.translator(KIND)
    translator.feed(begin(0, b'{"type":"server_tool_use","id":"a","name":"f","input":{}}'))
    more = b',"index":0,"delta":{"type":"input_json_delta","partial_json":"%b"}' % (b"x" * 1000)
    tracemalloc.start()
    try:
        for _ in range(1000):
            translator.feed(event("content_block_delta", more))
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < kept.MAX_KEPT * 2
    assert told.extras(translator.feed(END), "opaque") == [
        {
            "content_block": {
                "type": "server_tool_use",
                "id": "a",
                "name": "f",
                "input": None,
                "truncated": True,
            }
        }
    ]

"""Coalescing: what becomes one event, and that nothing is changed by it.

Strategy: the rule is a table of pairs; over arbitrary sequences the text of every choice, call
and type stays what it was, borders stay borders, and no joined piece is over the limit.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import events
from holdfast.producing import pending

RAW = msgspec.Raw(b'{"signature":"abc"}')


def chunk(delta: str = "a", type: events.ChunkType = "content", **fields: Any) -> events.Chunk:
    return events.Chunk(type, delta, **fields)


def gathered(*bodies: events.Body, chunk_bytes: int = 100) -> list[events.Body]:
    held = pending.Pending(chunk_bytes)
    for body in bodies:
        held.add(body)
    return held.take()


@pytest.mark.parametrize(
    ("first", "more", "joined"),
    [
        (chunk("a"), chunk("b"), chunk("ab")),
        (chunk("a"), chunk(""), chunk("a")),
        (chunk("a", "reasoning"), chunk("b", "reasoning"), chunk("ab", "reasoning")),
        (chunk("a", "refusal"), chunk("b", "refusal"), chunk("ab", "refusal")),
        (chunk("a", choice=1), chunk("b", choice=1), chunk("ab", choice=1)),
        (chunk("a", block=1), chunk("b"), chunk("ab", block=1)),
        (chunk("a", block=1), chunk("b", block=1), chunk("ab", block=1)),
        (
            chunk("", "tool_call", call=0, id="c", name="f"),
            chunk("{}", "tool_call", call=0),
            chunk("{}", "tool_call", call=0, id="c", name="f"),
        ),
        (
            chunk("{", "tool_call", call=1),
            chunk("}", "tool_call", call=1),
            chunk("{}", "tool_call", call=1),
        ),
    ],
)
def test_pieces_of_one_text_become_one(
    first: events.Chunk, more: events.Chunk, joined: events.Chunk
) -> None:
    assert gathered(first, more) == [joined]


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (chunk(), chunk(type="reasoning")),
        (chunk(type="refusal"), chunk()),
        (chunk(), chunk(choice=1)),
        (chunk(choice=1), chunk()),
        (chunk(type="tool_call", call=0), chunk(type="tool_call", call=1)),
        (chunk(type="tool_call", call=0), chunk(type="tool_call")),
        (chunk(type="tool_call", call=0), chunk(type="tool_call", call=0, id="c")),
        (chunk(type="tool_call", call=0), chunk(type="tool_call", call=0, name="f")),
        (chunk(), chunk(block=0)),
        (chunk(block=0), chunk(block=1)),
        (chunk(extra=RAW), chunk()),
        (chunk(), chunk(extra=RAW)),
        (chunk(extra=RAW), chunk(extra=RAW)),
        (chunk(type="opaque"), chunk(type="opaque")),
        (chunk(), events.Finish(0, "stop", "stop")),
        (events.Finish(0, "stop", "stop"), chunk()),
        (events.Usage(1, 2, 3), events.Usage(1, 2, 3)),
    ],
)
def test_a_border_stays_a_border(first: events.Body, more: events.Body) -> None:
    assert gathered(first, more) == [first, more]


def test_what_lies_between_two_pieces_keeps_them_apart() -> None:
    usage = events.Usage(1, 2, 3)
    said = (chunk("a"), chunk("b"), usage, chunk("c"), chunk("d"))
    assert gathered(*said) == [chunk("ab"), usage, chunk("cd")]


@pytest.mark.parametrize(
    ("limit", "deltas", "expected"),
    [
        (4, ["ab", "cd"], ["abcd"]),
        (4, ["ab", "cd", "e"], ["abcd", "e"]),
        (4, ["abc", "de"], ["abc", "de"]),
        (4, ["abc", "de", "f"], ["abc", "def"]),
        (4, ["abcdef", "g"], ["abcdef", "g"]),
        (4, ["é", "é", "é"], ["éé", "é"]),
        (4, ["🌊", "a"], ["🌊", "a"]),
        (5, ["🌊", "a"], ["🌊a"]),
        (1, ["a", "b"], ["a", "b"]),
    ],
)
def test_a_joined_piece_has_no_more_bytes_than_the_limit(
    limit: int, deltas: list[str], expected: list[str]
) -> None:
    found = gathered(*[chunk(delta) for delta in deltas], chunk_bytes=limit)
    assert found == [chunk(delta) for delta in expected]


def test_size_is_bytes_of_text_and_extras_and_a_constant_for_each_event() -> None:
    held, each = pending.Pending(100), pending.Pending.OVERHEAD
    sizes = []
    for body in (
        chunk("abc"),
        chunk("d"),
        chunk("é🌊"),
        chunk("x", "reasoning"),
        chunk("", "opaque", extra=RAW),
        events.Usage(1, 2, 3),
    ):
        held.add(body)
        sizes.append(held.size)
    first = each + 3
    assert sizes == [
        first,
        first + 1,
        first + 7,
        first + 7 + each + 1,
        first + 7 + each + 1 + each + len(RAW),
        first + 7 + each + 1 + each + len(RAW) + each,
    ]
    assert len(held.take()) == 4
    assert held.size == 0
    assert held.take() == []


def test_gathering_never_fails() -> None:
    held = pending.Pending(100)
    held.add(chunk("a\ud83d"))
    assert held.size == pending.Pending.OVERHEAD + 4
    assert held.take() == [chunk("a\ud83d")]


def test_a_piece_does_not_join_what_was_taken() -> None:
    held = pending.Pending(100)
    held.add(chunk("a"))
    assert held.take() == [chunk("a")]
    held.add(chunk("b"))
    assert held.take() == [chunk("b")]


texts = st.text(st.sampled_from("abé🌊"), max_size=6)
chunks = st.builds(
    events.Chunk,
    type=st.sampled_from(["content", "reasoning", "refusal", "tool_call", "opaque"]),
    delta=texts,
    choice=st.integers(0, 1),
    call=st.none() | st.integers(0, 1),
    id=st.none() | st.none() | st.just("c"),
    name=st.none() | st.none() | st.just("f"),
    block=st.none() | st.none() | st.integers(0, 1),
    extra=st.just(msgspec.UNSET) | st.just(msgspec.UNSET) | st.just(RAW),
)
bodies = st.lists(
    chunks
    | st.builds(chunk, texts)
    | st.builds(events.Finish, st.integers(0, 1), st.just("stop"), st.none())
    | st.builds(events.Usage, st.integers(0, 9)),
    max_size=25,
)


def spelled(sequence: list[events.Body]) -> list[object]:
    """What a reader can tell of a sequence: every border in its place, and the text between them
    letter by letter, so that it does not matter how the text was cut."""
    told: list[object] = []
    block: int | None = None
    for body in sequence:
        if not isinstance(body, events.Chunk):
            told.append(body)
            continue
        if body.extra is not msgspec.UNSET or body.type == "opaque":
            told.append(body)
            continue
        where = (body.type, body.choice, body.call)
        if body.id is not None or body.name is not None:
            told.append((where, body.id, body.name))
        if body.block not in (None, block):
            told.append((where, body.block))
            block = body.block
        told.extend((where, letter) for letter in body.delta)
    return told


def lengths(sequence: list[events.Body]) -> list[int]:
    return [len(body.delta.encode()) for body in sequence if isinstance(body, events.Chunk)]


@settings(max_examples=400)
@given(bodies, st.integers(1, 20), st.sets(st.integers(0, 24)))
def test_nothing_is_changed_by_gathering(
    sequence: list[events.Body], limit: int, ticks: set[int]
) -> None:
    held = pending.Pending(limit)
    begin = 0
    for number, body in enumerate(sequence):
        held.add(body)
        assert held.size >= pending.Pending.OVERHEAD
        if number in ticks or number == len(sequence) - 1:
            said, taken = sequence[begin : number + 1], held.take()
            begin = number + 1
            assert held.size == 0
            assert spelled(taken) == spelled(said)
            # Over the limit is only what came so.
            assert all(length <= limit or length in lengths(said) for length in lengths(taken))
    assert held.take() == []


@settings(max_examples=100)
@given(st.lists(texts, min_size=1, max_size=25), st.integers(1, 30))
def test_joined_text_is_all_the_text_in_as_few_pieces_as_fit(deltas: list[str], limit: int) -> None:
    found = gathered(*[chunk(delta) for delta in deltas], chunk_bytes=limit)
    pieces = [body.delta for body in found if isinstance(body, events.Chunk)]
    assert "".join(pieces) == "".join(deltas)
    expected: list[str] = []
    for delta in deltas:
        if expected and len((expected[-1] + delta).encode()) <= limit:
            expected[-1] += delta
        else:
            expected.append(delta)
    assert pieces == expected

"""Whatever bytes a provider sends: every translator takes them, within bounds.

Strategy: arbitrary bytes, real answers with something wrong in them, and bytes that are far too
many. A translator may only answer with bodies or with an error of our tree; what it keeps of an
answer is counted, and does not grow with it.
"""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract import attempting, test_provider_ends
from tests.integration import replaying

from holdfast import errors, events, request, sse
from holdfast.providers import failures
from holdfast.providers import translator as translators
from holdfast.testing import recordings

KINDS = sorted(attempting.FORMATS)
FIXTURES = Path(__file__).parents[1] / "fixtures" / "recordings"
MIB = 1 << 20
KEPT = 64 << 10
"""Bytes that may stay of anything but what must be given back."""


def translator(kind: str) -> translators.Translator:
    source = failures.Source("provider")
    wanted = request.Request(model="m", messages=[])
    return translators.Translator(attempting.FORMATS[kind].fold(wanted, source), source)


def drain(kind: str, reads: Iterable[bytes]) -> translators.Translator:
    """Feeds everything; every body can be written, and an error is one of ours."""
    made = translator(kind)
    for read in reads:
        for body in made.feed(read):
            events.draft(body)
    for body in [*made.end(), *made.cut()]:
        events.draft(body)
    assert made.error is None or isinstance(made.error, errors.ProviderError)
    return made


def answers(kind: str) -> list[bytes]:
    """Our recordings of this kind."""
    found = recordings.load_recordings(FIXTURES)
    wires = [r.wire for r in found if replaying.FORMATS.get(r.expected["protocol"]) == kind]
    assert wires, f"no recording of ours is of the kind {kind}: tests/fixtures/recordings"
    return wires


PIECES = (b"data: ", b"event: ", b"error", b"{", b"}", b"[", b"]", b"null", b'"', b"\\ud83d")
ENDS = (b"\n", b"\r", b"\r\n", b"\n\n", b"data: [DONE]\n\n", b"data: {", b'{"error":')
anything = st.binary(max_size=200) | st.lists(st.sampled_from(PIECES + ENDS)).map(b"".join)


@pytest.mark.parametrize("kind", KINDS)
@given(reads=st.lists(anything, max_size=20))
def test_arbitrary_bytes(kind: str, reads: list[bytes]) -> None:
    drain(kind, reads)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=75)
@given(data=st.data())
def test_an_answer_with_a_field_of_another_kind(kind: str, data: st.DataObject) -> None:
    """Somewhere in a real answer something else stands than always stood there."""
    wire = data.draw(st.sampled_from(answers(kind)))
    frames = sse.Parser().feed(wire.replace(b"\r", b"") + b"\n\n")
    payloads = [decoded for frame in frames for decoded in _decoded(frame.data)]
    if not payloads:
        return
    at = data.draw(st.integers(0, len(payloads) - 1))
    place = data.draw(st.sampled_from([(), *_places(payloads[at])]))
    payloads[at] = _replaced(payloads[at], place, data.draw(values))
    drain(kind, [b"data: " + _json(payload) + b"\n\n" for payload in payloads])


def _decoded(payload: bytes) -> Iterator[Any]:
    try:
        yield msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return


def _json(value: Any) -> bytes:
    """With lone surrogates and NaN, which msgspec does not write."""
    return json.dumps(value).encode()


def _places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        inner = list(value.items() if isinstance(value, dict) else enumerate(value))
    for key, item in inner:
        yield (*here, key)
        yield from _places(item, (*here, key))


def _replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = _replaced(value[place[0]], place[1:], new)
    return copy


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_with_bytes_changed_cut_out_and_put_in(kind: str) -> None:
    roll = random.Random(kind)
    wires = answers(kind)
    for _ in range(300):
        wire = bytearray(roll.choice(wires))
        for _ in range(roll.randint(1, 4)):
            at = roll.randrange(len(wire))
            wire[at : at + roll.randint(0, 3)] = roll.randbytes(roll.randint(0, 3))
        drain(kind, recordings.at_random(bytes(wire), roll.randrange(99), 400))


def traced(kind: str, reads: Iterator[bytes]) -> tuple[int, int, translators.Translator]:
    """Bytes that are kept after all reads, and that were held at most meanwhile."""
    made = translator(kind)
    made.feed(b": warm\n\n")
    tracemalloc.start()
    try:
        read = b""
        for read in reads:
            made.feed(read)
        del read, reads
        return *tracemalloc.get_traced_memory(), made
    finally:
        tracemalloc.stop()


@pytest.mark.case("4.16")
@pytest.mark.case("1.5")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("begin", [b"data: ", b": ", b"", b'{"error": "', b"event: "])
def test_an_endless_line_ends_the_answer(kind: str, begin: bytes) -> None:
    kept, most, made = traced(kind, (begin if n == 0 else b"x" * MIB for n in range(65)))
    assert isinstance(made.error, errors.ProviderMalformed)
    assert kept < KEPT
    assert most < 4 * sse.MAX_LINE


@pytest.mark.case("1.5")
@pytest.mark.parametrize("kind", KINDS)
def test_an_endless_event_ends_the_answer(kind: str) -> None:
    lines = (b"data: " + b"x" * (MIB - 7) + b"\n" for _ in range(64))
    _, most, made = traced(kind, lines)
    assert isinstance(made.error, errors.ProviderMalformed)
    assert most < 4 * sse.MAX_EVENT


@pytest.mark.case("1.5")
@pytest.mark.parametrize("kind", KINDS)
def test_a_million_comments_are_nothing(kind: str) -> None:
    comments = b": ping\n\n" * 1000
    made = drain(kind, (comments for _ in range(1000)))
    assert (made.error, made.done, made.finished) == (None, False, False)
    kept, most, _ = traced(kind, (comments for _ in range(50)))
    assert kept < KEPT
    assert most < 2 * MIB


@pytest.mark.case("4.16")
@pytest.mark.case("1.5")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"choices":[', b'{"type":{"x":'])
def test_deep_nesting(kind: str, opening: bytes) -> None:
    for levels in (50, 2_000, 200_000):
        drain(kind, [b"data: " + opening * levels + b"\n\n"])
        drain(kind, [opening * levels + b"\n"])
        closed = {b"[": b"]"}.get(opening[-1:], b"0" + b"}" * opening.count(b"{")) * levels
        drain(kind, [b"data: " + opening * levels + closed + b"\n\n"])


def deltas(kind: str, count: int) -> Iterator[bytes]:
    """An answer's beginning, and so many deltas of its text."""
    *begin, delta = recordings.per_event(test_provider_ends.WIRES[kind].text)
    yield from begin
    for _ in range(count):
        yield delta


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_long_answer_nothing_is_kept(kind: str) -> None:
    """Ten times the text, and no more memory."""
    (short, *_), (long, *_) = traced(kind, deltas(kind, 2_000)), traced(kind, deltas(kind, 20_000))
    assert long - short < 1_000


@pytest.mark.parametrize("kind", KINDS)
def test_of_any_answer_little_is_kept(kind: str) -> None:
    """Each of our recordings, over and over, without its end."""
    for wire in answers(kind):
        frames = recordings.per_event(wire)[:-2]
        if not frames:
            continue
        kept, _, _ = traced(kind, (frame for _ in range(200) for frame in frames))
        assert kept < 8 * KEPT

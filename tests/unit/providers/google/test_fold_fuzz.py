"""The Gemini translator on bytes and JSON that Google should not send.

Strategy: good answers damaged in arbitrary places, and arbitrary JSON in the format's shape, cut
at random. Whatever comes: nothing is raised, what is said can be written and read back, and the
cut makes no difference.
"""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.providers import said as told

from holdfast import events
from holdfast.testing import recordings

WIRES = [recording.wire for recording in recordings.load_recordings(told.FOLDER / "google")]
PIECES = [
    b"data: ",
    b"\r\n\r\n",
    b'{"candidates":[{"content":{"parts":[{"text":"',
    b'"}]}}]}',
    b"\\ud83d",
    b"\xff",
    b"NaN",
    b"9" * 400,
    b'"finishReason":"STOP"',
    b'"thought":true,',
    b'{"error":',
    b'"functionCall":{"name":"f","partialArgs":[{"jsonPath":"$.a',
    b'"usageMetadata":{"promptTokenCount":1e400}',
]
fragments = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=40)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=6)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def maybe(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the fields, mostly of the right kind."""
    return st.fixed_dictionaries({}, optional=fields)


words = st.sampled_from(["STOP", "MAX_TOKENS", "MALFORMED_RESPONSE", "", "NEW"]) | scalars
texts = st.sampled_from(["a", "", "\ud83c", "\udf0a"])
flags = st.sampled_from([True, False, None])
paths = st.sampled_from(["$.a", "$.a.b", "$.a[0]", "$.l[0].x", "$['q']", "$", "a", "$.l[9]"])
pieces = maybe(
    jsonPath=paths,
    stringValue=texts,
    numberValue=st.integers() | st.floats(),
    boolValue=flags,
    willContinue=flags,
)
calls = maybe(
    name=st.sampled_from(["f", "", "\ud83c"]),
    id=texts,
    args=values,
    partialArgs=st.lists(pieces, max_size=4),
    willContinue=flags,
)
parts = maybe(
    text=texts,
    thought=flags,
    thoughtSignature=texts,
    functionCall=calls,
    executableCode=values,
    inlineData=values,
)
links = st.dictionaries(st.text(max_size=3), maybe(uri=texts | scalars, title=scalars), max_size=2)
candidates = maybe(
    content=maybe(parts=st.lists(parts, max_size=4)),
    index=st.sampled_from([0, 1, 2, 127]),
    finishReason=words,
    groundingMetadata=maybe(groundingChunks=st.lists(links | scalars, max_size=3)),
    citationMetadata=maybe(citations=st.lists(maybe(uri=texts, startIndex=scalars), max_size=3)),
    urlContextMetadata=values,
)
frames = maybe(
    candidates=st.lists(candidates, max_size=3),
    usageMetadata=values | maybe(promptTokenCount=scalars, candidatesTokenCount=scalars),
    responseId=texts,
    promptFeedback=maybe(blockReason=words),
    error=st.none() | values,
)


def check(wire: bytes, seed: int) -> None:
    said, translator = told.play(recordings.at_random(wire, seed), 2, "google")
    for body in said:
        draft = events.draft(body)
        assert events.decode(draft.kind, draft.data) is not None
        assert draft.data.decode()
    assert len(str(translator.error)) < 400
    whole, other = told.play([wire], 2, "google")
    assert told.drafts(whole) == told.drafts(said)
    assert other.finished == translator.finished
    assert str(other.error) == str(translator.error)
    ends = [body.choice for body in said if isinstance(body, events.Finish)]
    assert len(ends) == len(set(ends))
    assert not translator._fold.done


@settings(max_examples=60)
@given(fragments, st.integers(0, 10))
def test_arbitrary_bytes(pieces: list[bytes], seed: int) -> None:
    check(b"".join(pieces), seed)


@settings(max_examples=150)
@given(st.lists(frames, max_size=5), st.integers(0, 10))
def test_arbitrary_json_in_the_shape_of_an_answer(bodies: list[Any], seed: int) -> None:
    check(b"".join(b"data: %b\n\n" % json.dumps(body).encode() for body in bodies), seed)


@settings(max_examples=150)
@given(st.sampled_from(WIRES), st.randoms(use_true_random=False), st.integers(1, 6))
def test_damaged_answers(wire: bytes, dice: random.Random, wounds: int) -> None:
    damaged = bytearray(wire)
    for _ in range(wounds):
        place = dice.randrange(len(damaged) + 1)
        match dice.randrange(3):
            case 0:
                damaged[place:place] = dice.choice(PIECES)
            case 1:
                del damaged[place : place + dice.randrange(30)]
            case _:
                damaged[place : place + 1] = bytes([dice.randrange(256)])
    check(bytes(damaged), dice.randrange(100))

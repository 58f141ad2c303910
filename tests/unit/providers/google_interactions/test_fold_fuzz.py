"""The Interactions translator on bytes and JSON that Google should not send."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.providers import said as told

from holdfast import events
from holdfast.testing import recordings

KIND = "google_interactions"
FOLDER = told.FOLDER / "google-interactions"
WIRES = [recording.wire for recording in recordings.load_recordings(FOLDER)]
PIECES = [b"data: ", b"\n\n", b"event: error\n", b"[DONE]", b"\\ud83d", b"\xff", b"9" * 400]

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.floats()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
texts = st.sampled_from(["a", "", "\ud83c", "\udf0a"])
kinds = st.sampled_from(
    [
        *("model_output", "thought", "function_call", "google_search_call", "new"),
        *("text", "thought_summary", "thought_signature", "arguments_delta", "image"),
        "text_annotation_delta",
    ]
)
statuses = st.sampled_from(["completed", "in_progress", "requires_action", "failed"]) | scalars


def maybe(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


contents = maybe(type=kinds, text=texts, annotations=st.lists(maybe(url=texts) | scalars))
items = maybe(
    type=kinds,
    text=texts,
    arguments=texts | values,
    content=contents | st.lists(contents, max_size=2),
    summary=st.lists(contents, max_size=2),
    signature=texts,
    annotations=values,
    id=texts,
    name=texts | scalars,
)
frames = maybe(
    event_type=st.sampled_from(
        ["step.start", "step.delta", "step.stop", "interaction.status_update", "error", "new"]
    ),
    index=st.sampled_from([0, 1, -1]),
    step=items | values,
    delta=items,
    interaction=maybe(status=statuses, usage=values),
    status=statuses,
    usage=values | maybe(total_input_tokens=scalars),
    metadata=values,
)


def check(wire: bytes, seed: int) -> None:
    said, translator = told.play(recordings.at_random(wire, seed), 1, KIND)
    for body in said:
        draft = events.draft(body)
        assert events.decode(draft.kind, draft.data) is not None
        assert draft.data.decode()
    assert len(str(translator.error)) < 400
    whole, other = told.play([wire], 1, KIND)
    assert told.drafts(whole) == told.drafts(said)
    assert (other.done, other.finished) == (translator.done, translator.finished)
    assert str(other.error) == str(translator.error)
    assert sum(isinstance(body, events.Finish) for body in said) <= 1


@settings(max_examples=120)
@given(st.lists(frames, max_size=6), st.integers(0, 10))
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

"""The Responses translator on what no provider should send.

Strategy: arbitrary bytes, events of the format's shape with arbitrary fields, and good answers
damaged in arbitrary places. Whatever comes: nothing is raised, what is said can be written and
read back, however it is cut, and what is kept stays within its limits.
"""

from __future__ import annotations

import json
import random
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.providers import said as told

from holdfast import events
from holdfast.providers import failures, kept, openai_responses, values
from holdfast.providers import translator as translators
from holdfast.providers.openai_responses import answer, background, fold
from holdfast.testing import recordings

KIND = "openai_responses"
BACKGROUND = openai_responses.Format(background=True)
WIRES = [each.wire for each in recordings.load_recordings(told.FOLDER / "openai-responses")]
PIECES = [
    b"data: ",
    b"\n\n",
    b"\r\n",
    b"event: error\n",
    b'{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"',
    b'{"type":"response.completed","response":{"output":[',
    b'"}',
    b"\\ud83d",
    b"\\ude00",
    b"\xff",
    b"{",
    b"[DONE]",
    b'{"error":',
    b"NaN",
    b"9" * 400,
]

TYPES = [*fold.READ, "error", "response.new", ""]
texts = st.one_of(
    st.text(max_size=6), st.sampled_from(["\ud83d", "\ude00", "message", "reasoning"])
)
words = st.sampled_from(
    ["message", "reasoning", "function_call", "custom_tool_call", "local_shell_call", "x_output"]
)
scalars = st.one_of(
    st.none(), st.booleans(), texts, words, st.integers(-1, 3), st.just(10**30), st.floats()
)
names = st.sampled_from(
    [
        *("type", "id", "call_id", "name", "text", "refusal", "arguments", "input", "content"),
        *("summary", "encrypted_content", "annotations", "url", "file_id", "start_index"),
        *("phase", "execution"),
    ]
)
any_value = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=5)),
    max_leaves=12,
)
fields = [
    *("delta", "text", "refusal", "arguments", "input", "output_index", "content_index"),
    *("summary_index", "item_id", "logprobs", "item", "part", "annotation", "response"),
    *("error", "code", "message"),
]
bodies = st.builds(
    lambda type, rest: {"type": type, **rest},
    st.sampled_from(TYPES),
    st.dictionaries(st.sampled_from(fields), any_value, max_size=6),
)


def check(wire: bytes, seed: int) -> None:
    said, translator = told.play(recordings.at_random(wire, seed), kind=KIND)
    for body in said:
        draft = events.draft(body)
        assert events.decode(draft.kind, draft.data) is not None
        assert draft.data.decode()
    assert len(str(translator.error)) < 500
    assert translator.finished == (told.finish(said) is not None)
    told.tool_calls(said)
    whole, other = told.play([wire], kind=KIND)
    assert told.drafts(whole) == told.drafts(said)
    assert (other.done, other.finished) == (translator.done, translator.finished)
    assert str(other.error) == str(translator.error)
    source = failures.Source("fixture")
    keeping = translators.Translator(BACKGROUND.fold(told.ASKED, source), source)
    kept_too = keeping.feed(wire) + keeping.end()
    first = kept_too[0] if kept_too else None
    if isinstance(first, events.Kept):
        assert background.path(first.id)
        del kept_too[0]
    assert told.drafts(kept_too) == told.drafts(whole)


@given(
    st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=40),
    st.integers(0, 10),
)
def test_arbitrary_bytes(pieces: list[bytes], seed: int) -> None:
    check(b"".join(pieces), seed)


@settings(max_examples=150)
@given(st.lists(bodies, max_size=12), st.integers(0, 10))
def test_arbitrary_events(sent: list[dict[str, Any]], seed: int) -> None:
    check(b"".join(b"data: %b\n\n" % loose(body) for body in sent), seed)


def loose(body: Any) -> bytes:
    """JSON with lone surrogates as escapes, and numbers that are none, as some write it."""
    return json.dumps(body).encode()


@settings(max_examples=150)
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


def frame(type: str, **fields: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode({"type": f"response.{type}", **fields})


def call(index: int, id: str, name: str = "f") -> bytes:
    item = {"type": "function_call", "call_id": id, "name": name, "arguments": ""}
    return frame("output_item.added", output_index=index, item=item)


def test_tool_calls_are_bounded_in_number() -> None:
    translator = told.translator(KIND)
    for n in range(answer.MAX_CALLS):
        assert translator.feed(call(n, f"id{n}"))
    assert translator.error is None
    assert translator.feed(call(answer.MAX_CALLS, "another")) == []
    assert told.verdict(translator) == "ProviderMalformed"


@pytest.mark.parametrize("long", ["id", "name"])
def test_tool_calls_are_bounded_in_size(long: str) -> None:
    translator = told.translator(KIND)
    assert translator.feed(call(0, **{"id": "a", long: "x" * answer.MAX_ID}))
    assert translator.feed(call(1, **{"id": "b", long: "x" * (answer.MAX_ID + 1)})) == []
    assert told.verdict(translator) == "ProviderMalformed"


def test_items_and_parts_are_bounded_in_number() -> None:
    translator = told.translator(KIND)
    item = {"type": "message", "content": []}
    for n in range(answer.MAX_PARTS):
        translator.feed(frame("output_item.added", output_index=n, item=item))
    assert translator.error is None
    translator.feed(frame("output_item.added", output_index=answer.MAX_PARTS, item=item))
    assert told.verdict(translator) == "ProviderMalformed"
    translator = told.translator(KIND)
    for n in range(answer.MAX_PARTS + 1):
        assert translator.error is None
        delta = {"output_index": 0, "content_index": n, "delta": "a"}
        translator.feed(frame("output_text.delta", **delta))
    assert told.verdict(translator) == "ProviderMalformed"


def test_citations_are_bounded() -> None:
    def cite(url: str) -> bytes:
        note = {"type": "url_citation", "url": url}
        return frame("output_text.annotation.added", output_index=0, annotation=note)

    urls = [f"https://x.example/{n}" for n in range(answer.MAX_CITATIONS + 9)]
    long = cite("https://x.example/" + "y" * answer.MAX_URL)
    said, _ = told.play([long, *map(cite, urls), cite(urls[0])], kind=KIND)
    assert [body.url for body in said if isinstance(body, events.Citation)] == urls[:-9]


def test_a_citation_is_cut_where_too_much_stands_beside_it() -> None:
    note = {"url": "https://x.example", "title": "t" * 9999, "quote": "q" * kept.MAX_KEPT}
    said, _ = told.play([frame("output_text.annotation.added", annotation=note)], kind=KIND)
    cut = {"annotation": {**note, "quote": None, "truncated": True}}
    (citation,) = told.drafts(said)
    assert citation == events.draft(
        events.Citation("https://x.example", "t" * answer.MAX_URL, extra=values.extra(**cut))
    )


@pytest.mark.parametrize(
    "event",
    [
        frame("output_text.delta", output_index=0, content_index=0, delta="x" * 1000),
        frame("reasoning_text.delta", output_index=0, content_index=0, delta="x" * 1000),
        frame("function_call_arguments.delta", output_index=1, delta="x" * 1000),
        frame("output_text.delta", delta="x" * 1000),
        frame("new_thing", delta="x" * 1000),
    ],
)
def test_what_stays_after_a_long_answer_is_small(event: bytes) -> None:
    """No body, frame or text of an answer is kept by the translator."""
    translator = told.translator(KIND)
    translator.feed(call(1, "a"))
    translator.feed(event)
    tracemalloc.start()
    try:
        for _ in range(1000):
            translator.feed(event)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10_000

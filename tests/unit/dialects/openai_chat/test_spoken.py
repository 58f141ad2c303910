"""What events are in the words of chat completions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.dialects.openai_chat import told

from holdfast import events

CHUNK = events.Chunk


def choices(*bodies: events.Body) -> list[Any]:
    """The choices of all chunks."""
    found = told.chunks(told.frames(*bodies))
    return [choice for one in found if one != "[DONE]" for choice in one["choices"]]


def reasons(*bodies: events.Body) -> list[str]:
    return [one["finish_reason"] for one in choices(*bodies) if one["finish_reason"]]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("content", "content"), ("reasoning", "reasoning_content"), ("refusal", "refusal")],
)
def test_texts(kind: events.ChunkType, name: str) -> None:
    assert told.deltas(CHUNK(kind, "a"), CHUNK(kind, "b")) == [{name: "a"}, {name: "b"}]


def test_each_choice_begins_with_its_role_and_all_in_order() -> None:
    bodies = [CHUNK("content", text, index) for text, index in (("a", 1), ("b", 0), ("c", 2))]
    got = choices(*bodies, told.finish())
    role = {"role": "assistant", "content": ""}
    assert [(one["index"], one["delta"]) for one in got] == [
        (0, role),
        (1, role),
        (1, {"content": "a"}),
        (0, {"content": "b"}),
        (2, role),
        (2, {"content": "c"}),
        (0, {}),
    ]
    read = told.accumulated(told.frames(*bodies))["choices"]
    assert [one["message"]["content"] for one in read] == ["b", "a", "c"]


def test_a_tool_call() -> None:
    got = told.deltas(
        CHUNK("tool_call", call=0, id="c1", name="get"),
        CHUNK("tool_call", '{"a":', call=0),
        CHUNK("tool_call", "{}", call=1, id="c2", name="put"),
        CHUNK("tool_call", "1}", call=0),
    )

    def begun(index: int, id: str, name: str, arguments: str) -> dict[str, Any]:
        function = {"name": name, "arguments": arguments}
        return {"index": index, "id": id, "type": "function", "function": function}

    assert [one["tool_calls"] for one in got] == [
        [begun(0, "c1", "get", "")],
        [{"index": 0, "function": {"arguments": '{"a":'}}],
        [begun(1, "c2", "put", "{}")],
        [{"index": 0, "function": {"arguments": "1}"}}],
    ]


def test_a_call_has_one_id_and_one_name_whenever_they_come() -> None:
    """Accumulators add text to text: what is said twice is doubled."""
    data = told.frames(
        CHUNK("tool_call", "{", call=0),
        CHUNK("tool_call", "}", call=0, id="late", name="get"),
        CHUNK("tool_call", "", call=0, id="again", name="get"),
        CHUNK("tool_call", "{}", 1, call=0, name="put"),
        told.finish("tool_calls"),
    )
    first, second = told.accumulated(data)["choices"]
    (call,) = first["message"]["tool_calls"]
    (other,) = second["message"]["tool_calls"]
    read = [(one["function"]["name"], one["function"]["arguments"]) for one in (call, other)]
    assert read == [("get", "{}"), ("put", "{}")]
    assert call["id"] == f"call_{told.STREAM[:24]}_0_0"
    assert other["id"] != call["id"]
    assert len(call["id"]) <= 40, "OpenAI takes no longer ones"


@pytest.mark.parametrize(
    ("reason", "word", "said"),
    [
        ("stop", "end_turn", "stop"),
        ("length", "MAX_TOKENS", "length"),
        ("tool_calls", "tool_use", "tool_calls"),
        ("content_filter", "SAFETY", "content_filter"),
        ("other", "pause_turn", "pause_turn"),
        ("other", None, "other"),
        ("refusal", "refusal", "content_filter"),
    ],
)
def test_finish_reasons(reason: events.FinishReason, word: str | None, said: str) -> None:
    assert reasons(told.finish(reason, word)) == [said]
    assert reasons(told.finish(reason, word), told.complete(reason)) == [said]
    assert reasons(told.complete(reason, provider_finish_reason=word)) == [said]


def test_a_refusal_in_words_ends_as_openais_do() -> None:
    refused = CHUNK("refusal", "No.")
    assert reasons(refused, told.finish("refusal"), told.complete("refusal")) == ["stop"]


def test_a_reason_is_told_once_and_another_one_in_its_place() -> None:
    assert reasons(told.finish(), told.finish(), told.complete()) == ["stop"]
    assert reasons(told.finish(), told.finish("length"), told.complete("length")) == [
        "stop",
        "length",
    ]


def test_choices_that_never_finished_end_with_the_answer() -> None:
    ends = tuple(events.ChoiceEnd(n, r, 0, "") for n, r in ((0, "stop"), (1, "length")))  # type: ignore[arg-type]
    got = choices(CHUNK("content", "a"), told.finish(), told.complete(choices=ends))
    assert [(one["index"], one["finish_reason"]) for one in got if one["finish_reason"]] == [
        (0, "stop"),
        (1, "length"),
    ]


# What providers added


def test_logprobs_go_with_their_text_or_alone() -> None:
    probs = {"content": [{"token": "a", "logprob": -1.0}]}
    got = choices(
        CHUNK("content", "a", extra=told.extra(logprobs=probs)),
        CHUNK("opaque", extra=told.extra(logprobs=probs)),
    )
    assert [(one["delta"], one["logprobs"]) for one in got[1:]] == [
        ({"content": "a"}, probs),
        ({}, probs),
    ]


def test_details_of_reasoning_come_together_before_the_end() -> None:
    def details(*items: dict[str, Any]) -> events.Chunk:
        return CHUNK("opaque", extra=told.extra(reasoning_details=list(items)))

    got = told.deltas(
        details({"data": "x"}), CHUNK("content", "a"), details({"data": "y"}), told.finish()
    )
    both = {"reasoning_details": [{"data": "x"}, {"data": "y"}]}
    assert got == [{"content": "a"}, both, {}]


def test_fields_of_a_call() -> None:
    google = {"google": {"thought_signature": "s"}}
    call = CHUNK("tool_call", "{}", call=0, id="c", name="f")
    kept = CHUNK("tool_call", call=0, extra=told.extra(extra_content=google))
    _, first, again = told.deltas(call, kept, kept)
    assert first["tool_calls"][0]["extra_content"] == google
    # Accumulators would add the second to the first, text to text.
    assert "extra_content" not in again["tool_calls"][0]


@pytest.mark.parametrize(
    "extra",
    [
        {"signature": "s"},
        {"content_block": {"type": "redacted_thinking", "data": "d"}},
        {"item": {"type": "reasoning", "encrypted_content": "e"}},
        {"thoughtSignature": "s"},
        {"reasoning_details": "text"},
        {"logprobs": [{"token": "a"}]},
    ],
)
def test_what_another_api_added_is_not_told(extra: dict[str, Any]) -> None:
    assert told.deltas(CHUNK("opaque", extra=told.extra(**extra)), told.finish()) == [{}]
    assert told.deltas(CHUNK("content", "a", extra=told.extra(**extra))) == [{"content": "a"}]


def test_an_extra_that_is_no_object_is_not_told() -> None:
    chunk = CHUNK("opaque", extra=msgspec.Raw(b"[1]"))
    cited = events.Citation("https://a.example", extra=msgspec.Raw(b"7"))
    assert told.deltas(chunk) == []
    assert len(told.deltas(cited, told.finish())[0]["annotations"]) == 1


def test_sources_come_together_before_the_end() -> None:
    own = {"type": "url_citation", "url_citation": {"url": "https://b.example", "end_index": 4}}
    other = {"type": "url_citation", "url": "https://c.example"}  # as Google's Interactions
    got = told.deltas(
        events.Citation("https://a.example", "A"),
        CHUNK("content", "text"),
        events.Citation("https://b.example", extra=told.extra(annotations=[own])),
        events.Citation("https://c.example", extra=told.extra(annotations=[other])),
        events.Citation(None, "a document", extra=told.extra(citation={"cited_text": "x"})),
        told.finish(),
    )

    def made(url: str, title: str) -> dict[str, Any]:
        place = {"start_index": 0, "end_index": 0}
        return {"type": "url_citation", "url_citation": {"url": url, "title": title, **place}}

    assert got == [
        {"content": "text"},
        {
            "annotations": [
                made("https://a.example", "A"),
                own,
                made("https://c.example", ""),
            ]
        },
        {},
    ]


def test_sources_of_an_answer_without_a_reason_are_told_too() -> None:
    got = choices(told.finish(), events.Citation("https://a.example"), told.complete())
    assert [list(one["delta"]) for one in got] == [["role", "content"], [], ["annotations"]]

"""Chunks as content blocks: where one begins and ends, and what is told beside the text."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.dialects.anthropic import telling

from holdfast import events

Chunk = events.Chunk
TEXT = {"type": "text", "text": ""}
THINKING = {"type": "thinking", "thinking": "", "signature": ""}


def test_text_is_one_block() -> None:
    assert telling.told(Chunk("content", "a", block=0), Chunk("content", 'b"\n')) == [
        ["+", 0, TEXT],
        [0, "text_delta", "a"],
        [0, "text_delta", 'b"\n'],
    ]


def test_a_text_may_hold_what_a_format_would_take_for_its_own() -> None:
    assert telling.told(Chunk("content", "100 %b %d %"))[-1] == [0, "text_delta", "100 %b %d %"]


def test_reasoning_with_its_signature_and_then_text() -> None:
    assert telling.told(
        Chunk("reasoning", "hm", block=0),
        telling.opaque(signature="sealed"),
        Chunk("content", "a", block=1),
    ) == [
        ["+", 0, THINKING],
        [0, "thinking_delta", "hm"],
        [0, "signature_delta", "sealed"],
        ["-", 0],
        ["+", 1, TEXT],
        [1, "text_delta", "a"],
    ]


def test_a_signature_without_reasoning_has_a_block_of_its_own() -> None:
    assert telling.told(
        Chunk("reasoning", "hm", block=0), telling.opaque(1, signature="sealed")
    ) == [
        ["+", 0, THINKING],
        [0, "thinking_delta", "hm"],
        ["-", 0],
        ["+", 1, THINKING],
        [1, "signature_delta", "sealed"],
    ]


def test_the_provider_s_blocks_are_kept_apart() -> None:
    """Two texts in a row are two blocks where the provider has two: citations are of one."""
    assert telling.told(Chunk("content", "a", block=0), Chunk("content", "b", block=1)) == [
        ["+", 0, TEXT],
        [0, "text_delta", "a"],
        ["-", 0],
        ["+", 1, TEXT],
        [1, "text_delta", "b"],
    ]


@pytest.mark.parametrize(
    "between",
    [
        events.Attempt(2, "p", "m"),
        events.Fallback("a/b", "c/d", "provider_failed", True, 0, 1),
        events.Adopted(1 << 17),
    ],
)
def test_another_attempt_goes_on_in_the_open_block(between: events.Body) -> None:
    """It counts its blocks from 0: what is one text stays one for whoever reads the first block."""
    assert telling.told(
        Chunk("reasoning", "hm", block=0),
        Chunk("content", "a", block=1),
        between,
        Chunk("content", "b", block=0),
        Chunk("content", "c", block=3),
    )[3:] == [
        ["+", 1, TEXT],
        [1, "text_delta", "a"],
        [1, "text_delta", "b"],
        ["-", 1],
        ["+", 2, TEXT],
        [2, "text_delta", "c"],
    ]


def test_a_refusal_in_words_is_a_text_of_its_own() -> None:
    assert telling.told(Chunk("content", "a"), Chunk("refusal", "No.")) == [
        ["+", 0, TEXT],
        [0, "text_delta", "a"],
        ["-", 0],
        ["+", 1, TEXT],
        [1, "text_delta", "No."],
    ]


def test_a_tool_call() -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    assert telling.told(
        Chunk("content", "a", block=0),
        Chunk("tool_call", call=0, id="toolu_1", name="f", block=1),
        Chunk("tool_call", '{"a"', call=0),
        Chunk("tool_call", ":1}", call=0),
        events.Finish(0, "tool_calls", "tool_use"),
    )[2:] == [
        ["-", 0],
        ["+", 1, use],
        [1, "input_json_delta", '{"a"'],
        [1, "input_json_delta", ":1}"],
        ["-", 1],
    ]


def test_a_call_without_an_id_has_one_of_the_stream_s() -> None:
    (start,) = telling.told(Chunk("tool_call", call=3))
    assert start[2] == {
        "type": "tool_use",
        "id": f"toolu_{telling.STREAM}_3",
        "name": "",
        "input": {},
    }


def test_who_called_is_told_where_it_was_not_the_model_itself() -> None:
    caller = {"type": "code_execution_20250825", "tool_id": "s"}
    raw = msgspec.Raw(msgspec.json.encode({"caller": caller, "toolset_name": "t"}))
    (start,) = telling.told(Chunk("tool_call", call=0, id="a", name="f", extra=raw))
    assert start[2]["caller"] == caller
    assert start[2]["toolset_name"] == "t"


def test_calls_that_come_in_turns_are_told_one_after_another() -> None:
    said = telling.told(
        Chunk("tool_call", call=0, id="a", name="f"),
        Chunk("tool_call", call=1, id="b", name="g"),
        Chunk("tool_call", '{"x":', call=0),
        Chunk("tool_call", '{"y":', call=1),
        Chunk("tool_call", "1}", call=0),
        Chunk("tool_call", "2}", call=1),
    )
    deltas = [one for one in said if isinstance(one[0], int)]
    assert deltas == [
        [0, "input_json_delta", '{"x":'],
        [0, "input_json_delta", "1}"],
        [1, "input_json_delta", '{"y":'],
        [1, "input_json_delta", "2}"],
    ]
    assert [one[:2] for one in said if not isinstance(one[0], int)] == [
        ["+", 0],
        ["-", 0],
        ["+", 1],
    ]


def test_what_was_held_back_comes_before_what_follows() -> None:
    said = telling.told(
        Chunk("tool_call", '{"x', call=0, id="a", name="f"),
        Chunk("tool_call", "{}", call=1, id="b", name="g"),
        Chunk("content", "after"),
    )
    assert [one[1:] for one in said if isinstance(one[0], int)] == [
        ["input_json_delta", '{"x'],
        ["input_json_delta", "{}"],
        ["text_delta", "after"],
    ]


def test_a_whole_block_comes_as_in_a_stream_of_anthropic_s() -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": "tides"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u"}]}
    assert telling.told(
        Chunk("content", "a", block=0),
        telling.opaque(1, content_block=search),
        telling.opaque(2, content_block=found),
        Chunk("content", "b", block=3),
    )[2:] == [
        ["-", 0],
        ["+", 1, search | {"input": {}}],
        [1, "input_json_delta", '{"q":"tides"}'],
        ["-", 1],
        ["+", 2, found],
        ["-", 2],
        ["+", 3, TEXT],
        [3, "text_delta", "b"],
    ]


@pytest.mark.parametrize(
    "extra",
    [
        {"item": {"type": "reasoning", "encrypted_content": "x"}},
        {"thoughtSignature": "x"},
        {"reasoning_details": [{"signature": "x"}]},
        {"type": "thought", "signature": "x"},
        {"signature": 7},
        {"logprobs": []},
        {},
    ],
)
def test_what_a_provider_of_another_format_told_is_left_out(extra: dict[str, Any]) -> None:
    assert telling.told(telling.opaque(0, **extra)) == []


@pytest.mark.parametrize("raw", [b'"x"', b"1", b"null", b"[]"])
def test_an_extra_of_another_shape_is_left_out(raw: bytes) -> None:
    assert telling.told(Chunk("opaque", extra=msgspec.Raw(raw))) == []


def test_other_choices_are_nobody_s() -> None:
    assert telling.told(
        Chunk("content", "a"), Chunk("content", "b", choice=1), Chunk("reasoning", "c", choice=2)
    ) == [["+", 0, TEXT], [0, "text_delta", "a"]]


# Citations


def cited(index: int, text: str) -> events.Citation:
    extra = {"index": index, "citation": {"type": "char_location", "cited_text": text}}
    return events.Citation(extra=msgspec.Raw(msgspec.json.encode(extra)))


def delta(text: str) -> list[Any]:
    return ["citations_delta", {"type": "char_location", "cited_text": text}]


def test_a_citation_of_the_open_text() -> None:
    said = telling.told(Chunk("content", "a", block=0), cited(0, "x"), Chunk("content", "b"))
    assert said[2:] == [[0, *delta("x")], [0, "text_delta", "b"]]


def test_a_citation_may_begin_its_text() -> None:
    assert telling.told(
        Chunk("content", "a", block=0), cited(1, "x"), Chunk("content", "b", block=1)
    )[2:] == [["-", 0], ["+", 1, TEXT], [1, *delta("x")], [1, "text_delta", "b"]]


def test_a_citation_of_a_text_that_has_ended_is_left_out() -> None:
    said = telling.told(
        Chunk("content", "a", block=0), Chunk("content", "b", block=1), cited(0, "x")
    )
    assert said[-1] == [1, "text_delta", "b"]


def test_a_source_of_another_provider_is_a_page_that_was_found() -> None:
    source = events.Citation("https://tides.example", "Tides")
    assert telling.told(source, Chunk("content", "a"), source, events.Citation(title="T"))[2:] == [
        [
            0,
            "citations_delta",
            {
                "type": "web_search_result_location",
                "url": "https://tides.example",
                "title": "Tides",
                "cited_text": "",
                "encrypted_index": "",
            },
        ]
    ]

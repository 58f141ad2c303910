"""The message as one value."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.dialects.anthropic import telling

from holdfast import errors, events

Chunk = events.Chunk


def test_a_message() -> None:
    assert telling.whole(
        [
            Chunk("reasoning", "h", block=0),
            Chunk("reasoning", "m"),
            telling.opaque(signature="sealed"),
            Chunk("content", "a", block=1),
            Chunk("content", "b"),
            Chunk("tool_call", call=0, id="c", name="f", block=2),
            Chunk("tool_call", '{"x":', call=0),
            Chunk("tool_call", "1}", call=0),
            Chunk("tool_call", call=1, id="d", name="g", block=3),
            telling.opaque(4, content_block={"type": "redacted_thinking", "data": "d"}),
            telling.complete("tool_calls", "tool_use", events.Tokens(3, 2, 5)),
        ]
    ) == {
        "id": f"msg_{telling.STREAM}",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sealed"},
            {"type": "text", "text": "ab"},
            {"type": "tool_use", "id": "c", "name": "f", "input": {"x": 1}},
            {"type": "tool_use", "id": "d", "name": "g", "input": {}},
            {"type": "redacted_thinking", "data": "d"},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }


def test_citations_are_gathered() -> None:
    source = events.Citation("https://tides.example", "Tides")
    (block,) = telling.whole([Chunk("content", "a"), source, source])["content"]
    assert [one["url"] for one in block["citations"]] == ["https://tides.example"] * 2


@pytest.mark.parametrize("text", ['{"a":', "[]", "no", '{"a":1}{'])
def test_arguments_that_are_no_object_are_told_as_they_came(text: str) -> None:
    (block,) = telling.whole([Chunk("tool_call", text, call=0, id="c", name="f")])["content"]
    assert block["input"] == {"INVALID_JSON": text}


def test_an_answer_under_way_has_no_reason_yet() -> None:
    told = telling.whole([Chunk("content", "a")])
    assert told["stop_reason"] is None
    assert told["content"] == [{"type": "text", "text": "a"}]


def test_what_was_taken_back_is_not_there() -> None:
    told = telling.whole(
        [
            Chunk("content", "bad"),
            Chunk("tool_call", '{"a', call=0),
            events.Rewind("restart"),
            Chunk("content", "good"),
            telling.complete(),
        ]
    )
    assert told["id"] == f"msg_{telling.STREAM}"
    assert told["content"] == [{"type": "text", "text": "good"}]


def test_what_was_wrong_in_an_answer_that_began_anew_is_void_too() -> None:
    told = telling.whole(
        [
            Chunk("tool_call", "{}", call=0, name="f"),
            Chunk("content", "a"),
            Chunk("tool_call", "more", call=0),
            events.Rewind("restart"),
            Chunk("content", "good"),
            telling.complete(),
        ]
    )
    assert told["content"] == [{"type": "text", "text": "good"}]


@pytest.mark.parametrize(
    ("bodies", "error"),
    [
        ([events.Error("provider_failed", "It broke.", True)], errors.ProviderFailed),
        (
            [
                Chunk("tool_call", "{", call=0),
                Chunk("content", "a"),
                Chunk("tool_call", "}", call=0),
            ],
            errors.ProviderMalformed,
        ),
    ],
)
def test_an_answer_that_failed_is_no_message(
    bodies: list[Any], error: type[errors.HoldfastError]
) -> None:
    with pytest.raises(error):
        telling.whole(bodies)


@pytest.mark.parametrize("block", [{}, {"kind": "of later"}])
def test_a_block_without_a_type_stays_as_it_came(block: dict[str, Any]) -> None:
    assert telling.whole([telling.opaque(0, content_block=block)])["content"] == [block]

"""Events as frames: begin, end and failure of a message, and any sequence of events at all."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dialects.anthropic import telling

from holdfast import errors, events
from holdfast.dialects.anthropic import fold as folding

Chunk = events.Chunk


def test_a_message_from_its_begin_to_its_end() -> None:
    assert telling.frames(
        telling.rendered(
            [
                Chunk("content", "Hi"),
                events.Finish(0, "stop", "end_turn"),
                events.Usage(3, 1, 4),
                telling.complete(usage=events.Tokens(3, 1, 4)),
            ]
        )
    ) == [
        {
            "type": "message_start",
            "message": {
                "id": f"msg_{telling.STREAM}",
                "type": "message",
                "role": "assistant",
                "model": "claude-x",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 0, "output_tokens": 0},
            },
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Hi"},
        },
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"input_tokens": 3, "output_tokens": 1},
        },
        {"type": "message_stop"},
    ]


def test_a_block_ends_as_soon_as_the_answer_has() -> None:
    """Usage may come 2 s later: who runs tools need not wait for it."""
    said = telling.frames(
        telling.rendered([Chunk("content", "Hi"), events.Finish(0, "stop", "end_turn")])
    )
    assert said[-1] == {"type": "content_block_stop", "index": 0}


def test_what_the_provider_told_of_the_end() -> None:
    container = {"id": "c", "expires_at": "2026-01-01T00:00:00Z"}
    delta = telling.frames(
        telling.rendered(
            [
                telling.opaque(stop_sequence="END"),
                telling.opaque(container=container),
                telling.complete("stop", "stop_sequence"),
            ]
        )
    )[-2]
    assert delta["delta"] == {
        "stop_reason": "stop_sequence",
        "stop_sequence": "END",
        "container": container,
    }


def test_a_refusal_in_words() -> None:
    said = telling.frames(telling.rendered([Chunk("refusal", "No."), telling.complete()]))
    assert said[-2]["delta"]["stop_reason"] == "refusal"


def test_an_answer_that_failed_has_an_error_and_nothing_behind_it() -> None:
    fold = telling.DIALECT.fold(telling.STREAM, telling.HEADER)
    bodies: list[events.Body] = [
        Chunk("content", "Hi"),
        events.Error("provider_overloaded", "Too much.", True),
    ]
    said = b"".join(fold.render(one) for one in telling.listed(bodies))
    assert fold.ended
    assert telling.frames(said)[-1] == {
        "type": "error",
        "error": {
            "type": "overloaded_error",
            "message": "Too much.",
            "code": "provider_overloaded",
        },
        "request_id": "req",
    }
    assert b"message_stop" not in said
    assert b"message_delta" not in said
    assert fold.render(telling.event(telling.complete())) == b""
    assert fold.rewind("unknown_position") == b""


@pytest.mark.parametrize("durable", [True, False])
def test_what_would_be_taken_back_is_an_error(durable: bool) -> None:
    fold = telling.DIALECT.fold(telling.STREAM, telling.HEADER)
    for one in telling.listed([Chunk("content", "Hi")]):
        fold.render(one)
    rewind = events.Rewind("provider_failed")
    said = fold.render(telling.event(rewind)) if durable else fold.rewind("provider_failed")
    (frame,) = telling.frames(said)
    assert frame["error"]["code"] == "rewound"
    assert "(provider_failed)" in frame["error"]["message"]
    assert fold.ended
    assert fold.render(telling.event(Chunk("content", "a"))) == b""


REDACTED = telling.opaque(1, content_block={"type": "redacted_thinking", "data": "x"})
SEARCH = telling.opaque(1, content_block={"type": "server_tool_use", "id": "s", "input": {}})


def test_another_answer_follows_what_was_only_thought() -> None:
    said = telling.told(
        Chunk("reasoning", "Old", block=0),
        Chunk("reasoning", "More", block=1),
        telling.opaque(stop_sequence="old"),
        events.Rewind("restart"),
        Chunk("reasoning", "New", block=0),
        Chunk("content", "Yes", block=1),
        telling.complete(),
    )
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    assert said[:-2] == [
        ["+", 0, thinking],
        [0, "thinking_delta", "Old"],
        ["-", 0],
        ["+", 1, thinking],
        [1, "thinking_delta", "More"],
        ["-", 1],
        ["+", 2, thinking],
        [2, "thinking_delta", "New"],
        ["-", 2],
        ["+", 3, {"type": "text", "text": ""}],
        [3, "text_delta", "Yes"],
        ["-", 3],
    ]
    assert said[-2]["delta"]["stop_sequence"] is None


@pytest.mark.parametrize(
    "more",
    [
        Chunk("content", "a"),
        Chunk("refusal", "No"),
        Chunk("tool_call", call=0),
        SEARCH,
        REDACTED,
        telling.opaque(signature="s"),
    ],
)
def test_what_is_more_than_thought_cannot_be_taken_back(more: events.Body) -> None:
    fold = telling.DIALECT.fold(telling.STREAM, telling.HEADER)
    *rest, last = telling.listed([Chunk("reasoning", "Old"), more, events.Rewind("restart")])
    for event in rest:
        fold.render(event)
    assert not fold.failed
    (frame,) = telling.frames(fold.render(last))
    assert frame["error"]["code"] == "rewound"
    assert fold.failed


def test_a_call_that_goes_on_after_its_end_is_an_error() -> None:
    fold = telling.DIALECT.fold(telling.STREAM, telling.HEADER)
    bodies: list[events.Body] = [
        Chunk("tool_call", '{"a', call=0, id="a", name="f"),
        Chunk("content", "b"),
        Chunk("tool_call", '":1}', call=0),
        telling.complete(),
    ]
    said = telling.frames(b"".join(fold.render(one) for one in telling.listed(bodies)))
    assert said[-1]["error"]["code"] == "provider_malformed"
    assert fold.ended


def test_an_id_is_told_once() -> None:
    calls = [Chunk("tool_call", "{}", call=call, id="c", name="f") for call in range(2)]
    said = telling.told(*calls, telling.complete("tool_calls"))
    begun = [one[2]["id"] for one in said if isinstance(one, list) and one[0] == "+"]
    assert begun == ["c", f"toolu_{telling.STREAM}_1"]


def test_of_other_news_nothing_is_said() -> None:
    for body in (
        events.Attempt(2, "p", "m", error="e"),
        events.Fallback("a/b", "c/d", "why", True, 0, 0),
        events.Adopted(1),
        events.Kept("k"),
        events.Usage(1, 1, 2),
    ):
        assert telling.told(body) == []


# Any events at all

_TEXTS = st.one_of(st.text(max_size=5), st.sampled_from(["{}", '{"a":', "1}", '"}', "\\", "%b"]))
_EXTRAS = st.sampled_from(
    [
        msgspec.UNSET,
        *map(
            msgspec.Raw,
            [
                b"null",
                b'{"signature":"s"}',
                b'{"content_block":{"type":"redacted_thinking","data":"d"}}',
                b'{"content_block":{"type":"server_tool_use","id":"i","input":{"q":1}}}',
                b'{"stop_sequence":"x"}',
                b'{"thoughtSignature":"s"}',
                b'{"index":1,"citation":{"type":"char_location"}}',
            ],
        ),
    ]
)
_NUMBERS = st.sampled_from([None, None, 0, 1, 2])
_KINDS: Any = st.sampled_from(["content", "content", "reasoning", "refusal", "opaque", "tool_call"])
_CHUNKS = st.builds(
    events.Chunk,
    _KINDS,
    _TEXTS,
    st.sampled_from([0, 0, 0, 1]),
    _NUMBERS,
    st.sampled_from([None, "", "c"]),
    st.sampled_from([None, "f"]),
    _NUMBERS,
    _EXTRAS,
)
_NOTES = st.one_of(
    st.builds(events.Citation, st.sampled_from([None, "https://a"]), extra=_EXTRAS),
    st.sampled_from(
        [
            events.Finish(0, "stop", "x"),
            events.Usage(1, 2, 3),
            events.Attempt(2, "p", "m"),
            events.Adopted(1),
            events.Kept("k"),
        ]
    ),
)
_ENDS = st.sampled_from(
    [
        telling.complete(),
        telling.complete("tool_calls", None, events.Tokens(1, 2, 3)),
        events.Error("cancelled", "It was cancelled.", False),
    ]
)
_REWOUND = st.sampled_from([None, events.Rewind("why")])


@given(
    st.lists(st.one_of(_CHUNKS, _CHUNKS, _NOTES), max_size=20),
    _REWOUND,
    st.lists(st.one_of(_CHUNKS, _CHUNKS, _NOTES), max_size=9),
    _ENDS,
)
def test_any_events_make_one_message_with_one_end(
    old: list[Any], rewind: Any, new: list[Any], end: Any
) -> None:
    bodies = [*old, *([rewind] if rewind else []), *new]
    fold = folding.Fold(telling.STREAM, telling.HEADER)
    said = b"".join(fold.render(one) for one in telling.listed([*bodies, end]))
    assert said == telling.rendered([*bodies, end])  # for every reader the same
    assert fold.ended
    begin, *frames = telling.frames(said)
    assert begin["type"] == "message_start"
    assert fold.failed is (fold.failure is not None)
    assert frames.pop()["type"] == ("message_stop" if fold.failure is None else "error")
    if fold.failure is None:
        assert frames.pop()["type"] == "message_delta"
    opened = -1
    is_open = False
    for frame in frames:
        assert frame["type"].startswith("content_block_")
        if frame["type"] == "content_block_start":
            assert not is_open
            opened, is_open = opened + 1, True
        assert is_open
        assert frame["index"] == opened
        is_open = frame["type"] != "content_block_stop"
    assert fold.failure is not None or not is_open


@given(st.lists(st.one_of(_CHUNKS, _CHUNKS, _NOTES), max_size=20))
def test_one_value_is_what_the_stream_tells(bodies: list[Any]) -> None:
    bodies = [*bodies, telling.complete()]
    streamed = telling.frames(telling.rendered(bodies))
    if streamed[-1]["type"] == "error":
        with pytest.raises(errors.named(streamed[-1]["error"]["code"])):
            telling.whole(bodies)
        return
    told = telling.whole(bodies)
    texts = [frame["delta"]["text"] for frame in streamed if "text" in frame.get("delta", {})]
    blocks = [frame["content_block"] for frame in streamed if "content_block" in frame]
    assert "".join(texts) == "".join(b["text"] for b in told["content"] if b["type"] == "text")
    assert [block["type"] for block in blocks] == [block["type"] for block in told["content"]]
    assert told["stop_reason"] == streamed[-2]["delta"]["stop_reason"]

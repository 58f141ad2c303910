"""Events as chunks, one case after the other."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.dialects.ai_sdk import reading

from holdfast import errors, events
from holdfast.dialects.ai_sdk import chunks

Chunk = dict[str, Any]


def told(*bodies: events.Body, terms: bytes = b"") -> list[Chunk]:
    """All chunks of a stream."""
    header = msgspec.structs.replace(reading.HEADER, terms=terms)
    fold = chunks.Chunks(reading.STREAM, header)
    events_ = reading.numbered([reading.START, *bodies])
    return [chunk for event in events_ for chunk in fold.of(event)]


def said(*bodies: events.Body) -> list[Chunk]:
    """Those behind the start."""
    found = told(*bodies)
    assert found[:2] == [
        {"type": "start", "messageId": f"msg_{reading.STREAM}"},
        {"type": "start-step"},
    ]
    return found[2:]


def types(*bodies: events.Body) -> list[str]:
    return [chunk["type"] for chunk in said(*bodies)]


def test_a_text() -> None:
    pieces = [events.Chunk("content", "Sa"), events.Chunk("content", "lt")]
    assert said(*pieces, reading.complete()) == [
        {"type": "text-start", "id": "0"},
        {"type": "text-delta", "id": "0", "delta": "Sa"},
        {"type": "text-delta", "id": "0", "delta": "lt"},
        {"type": "text-end", "id": "0"},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "stop"},
    ]


def test_a_message_that_is_gone_on_with_keeps_its_id() -> None:
    assert told(terms=chunks.terms("m7"))[0] == {"type": "start", "messageId": "m7"}


def test_reasoning_ends_where_the_text_begins() -> None:
    pieces = [events.Chunk("reasoning", "Hm"), events.Chunk("content", "A")]
    assert types(*pieces) == [
        *("reasoning-start", "reasoning-delta", "reasoning-end"),
        *("text-start", "text-delta"),
    ]


def test_a_block_of_reasoning_is_a_part_and_a_block_of_text_is_not() -> None:
    """Who goes on for another provider counts the blocks anew, in the middle of a word."""
    thought = [events.Chunk("reasoning", "a", block=0), events.Chunk("reasoning", "b", block=1)]
    assert [chunk["id"] for chunk in said(*thought)] == ["0", "0", "0", "1", "1"]
    spoken = [events.Chunk("content", "a", block=0), events.Chunk("content", "b", block=1)]
    assert [chunk["id"] for chunk in said(*spoken)] == ["0", "0", "0"]


def test_a_refusal_is_text_and_a_filter_ended_it() -> None:
    found = said(events.Chunk("refusal", "No."), reading.complete("refusal"))
    assert found[1] == {"type": "text-delta", "id": "0", "delta": "No."}
    assert found[-1]["finishReason"] == "content-filter"


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool-calls"),
        ("content_filter", "content-filter"),
        ("other", "other"),
    ],
)
def test_finish_reasons(reason: events.FinishReason, word: str) -> None:
    assert said(reading.complete(reason))[-1] == {"type": "finish", "finishReason": word}


def test_calls_side_by_side() -> None:
    pieces = [
        events.Chunk("content", "Let me see."),
        events.Chunk("tool_call", "", call=0, id="c0", name="tide"),
        events.Chunk("tool_call", '{"at":', call=0),
        events.Chunk("tool_call", "", call=1, id="c1", name="wind"),
        events.Chunk("tool_call", "7}", call=0),
    ]
    assert said(*pieces, reading.complete("tool_calls"))[2:] == [
        {"type": "text-end", "id": "0"},
        {"type": "tool-input-start", "toolCallId": "c0", "toolName": "tide"},
        {"type": "tool-input-delta", "toolCallId": "c0", "inputTextDelta": '{"at":'},
        {"type": "tool-input-start", "toolCallId": "c1", "toolName": "wind"},
        {"type": "tool-input-delta", "toolCallId": "c0", "inputTextDelta": "7}"},
        {
            "type": "tool-input-available",
            "toolCallId": "c0",
            "toolName": "tide",
            "input": {"at": 7},
        },
        {"type": "tool-input-available", "toolCallId": "c1", "toolName": "wind", "input": {}},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "tool-calls"},
    ]


def test_no_call_of_a_dead_answer_is_available() -> None:
    call = events.Chunk("tool_call", "{}", call=0, id="c0", name="pay")
    failed = types(call, events.Error("provider_failed", "It broke.", True))
    assert failed == ["tool-input-start", "tool-input-delta", "error"]


@pytest.mark.parametrize("written", ['{"at":', "no", "[" * 3000])
def test_arguments_that_are_no_json(written: str) -> None:
    call = events.Chunk("tool_call", written, call=0, id="c0", name="tide")
    assert said(call, reading.complete("length"))[2] == {
        "type": "tool-input-error",
        "toolCallId": "c0",
        "toolName": "tide",
        "input": written,
        "errorText": chunks.NOT_JSON,
    }


def test_two_calls_of_one_id_and_one_of_none() -> None:
    calls = [events.Chunk("tool_call", "", call=n, id=id) for n, id in enumerate(["c", "c", None])]
    ids = [chunk["toolCallId"] for chunk in said(*calls)]
    assert ids == ["c", f"call_{reading.STREAM}_1", f"call_{reading.STREAM}_2"]


@pytest.mark.parametrize(
    ("extra", "beside"),
    [
        (b'{"thoughtSignature":"s","more":1}', {"google": {"thoughtSignature": "s"}}),
        (b'{"extra_content":{"google":1}}', {"openai_chat": {"extra_content": {"google": 1}}}),
        (b'{"item":{}}', None),
        (b'"x"', None),
    ],
)
def test_what_a_provider_needs_back_with_a_call_is_beside_it(
    extra: bytes, beside: Chunk | None
) -> None:
    call = events.Chunk("tool_call", "{}", call=0, id="c", name="f", extra=msgspec.Raw(extra))
    (available,) = [c for c in said(call, reading.complete()) if c["type"].endswith("available")]
    assert available.get("providerMetadata") == beside


def test_usage_by_their_names() -> None:
    tokens = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8, "cached_tokens": 0}
    wanted = {"inputTokens": 5, "outputTokens": 3, "totalTokens": 8, "cachedInputTokens": 0}
    by_end = said(reading.complete(usage=events.Tokens(**tokens)))
    before = said(events.Usage(**tokens), reading.complete())
    assert by_end[-1]["messageMetadata"] == before[-1]["messageMetadata"] == {"usage": wanted}


def test_sources_have_an_address() -> None:
    named = [
        events.Citation("https://a.example", "A"),
        events.Citation(title="a book"),
        events.Citation("https://b.example"),
        events.Citation("https://c.example", choice=1),
    ]
    assert said(*named) == [
        {"type": "source-url", "sourceId": "source-0", "url": "https://a.example", "title": "A"},
        {"type": "source-url", "sourceId": "source-1", "url": "https://b.example"},
    ]


def test_what_is_for_nobody_here_says_nothing() -> None:
    assert (
        said(
            events.Chunk("content", "another choice", choice=1),
            events.Chunk("opaque", extra=msgspec.Raw(b'{"signature":"s"}')),
            events.Chunk("content", ""),
            events.Attempt(2, "p", "m"),
            events.Fallback("a/b", "c/d", "why", True, 0, 0),
            events.Adopted(1 << 16),
            events.Kept("r"),
            events.Finish(0, "stop", "stop"),
        )
        == []
    )


def test_an_answer_that_was_stopped_is_no_failure() -> None:
    stopped = events.Error(errors.Cancelled.code, "Stopped.", False)
    assert types(events.Chunk("content", "Sa"), stopped)[2:] == ["text-end", "abort"]


def test_an_error_says_why_and_nothing_follows() -> None:
    failed = events.Error("provider_failed", "It broke.", True)
    (chunk,) = said(failed, reading.complete())
    assert chunk["type"] == "error"
    told = {"message": "It broke.", "code": "provider_failed", "retryable": True}
    assert list(msgspec.json.decode(chunk["errorText"]).items()) == list(told.items())


def test_a_rewind_cannot_be_said() -> None:
    found = said(events.Chunk("content", "Sa"), events.Rewind("restart"), reading.complete())
    (chunk,) = found[2:]
    assert chunk["type"] == "error"
    assert "begun again" in chunk["errorText"]


def test_another_answer_follows_what_was_only_thought() -> None:
    found = said(
        events.Chunk("reasoning", "Old"),
        events.Usage(9, 4, 13),
        events.Rewind("restart"),
        events.Chunk("reasoning", "New"),
        events.Chunk("content", "Yes"),
        reading.complete(),
    )
    parts = reading.message([*found, {"type": "done"}])["parts"]
    assert parts[-3:] == [
        {"type": "reasoning", "text": "Old", "state": "done"},
        {"type": "reasoning", "text": "New", "state": "done"},
        {"type": "text", "text": "Yes", "state": "done"},
    ]
    assert found[-1] == {"type": "finish", "finishReason": "stop"}


@pytest.mark.parametrize(
    "more",
    [
        events.Chunk("content", "a"),
        events.Chunk("refusal", "No"),
        events.Chunk("tool_call", call=0),
        events.Citation(url="https://x.example"),
    ],
)
def test_what_is_more_than_thought_cannot_be_taken_back(more: events.Body) -> None:
    told = chunks.Chunks(reading.STREAM, reading.HEADER)
    for event in reading.numbered([events.Chunk("reasoning", "Old"), more]):
        list(told.of(event))
    assert not told.failed
    (last,) = told.of(*reading.numbered([events.Rewind("restart")]))
    assert last["type"] == "error"
    assert told.failed

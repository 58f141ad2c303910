"""Events as frames: order, ends, numbers, and that any stream can be read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dialects.openai_responses import reading
from tests.unit.dialects.openai_responses.reading import content, numbered, raw, told

from holdfast import errors, events
from holdfast.dialects import openai_responses

DIALECT = openai_responses.Dialect()
ID = reading.STREAM
ANSWER: list[events.Body] = [reading.START, content("Hel"), content("lo"), reading.complete()]


def rendered(bodies: list[Any], claims: tuple[int, ...] = (), **terms: Any) -> list[reading.Fields]:
    fold = DIALECT.fold(ID, reading.header(**terms))
    return told(b"".join(map(fold.render, numbered(bodies, claims))))


def types(said: list[reading.Fields]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in said]


def test_the_order_of_a_plain_answer() -> None:
    said = rendered(ANSWER)
    assert types(said) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in said] == list(range(10))
    response = reading.Reader().read(said).response
    assert response["id"] == f"resp_{ID}"
    assert response["created_at"] == 1_700_000_000
    assert response["completed_at"] == 1_700_000_002
    assert response["status"] == "completed"
    text = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    message = {"type": "message", "id": f"msg_{ID}_0", "status": "completed", "role": "assistant"}
    assert response["output"] == [message | {"content": [text]}]


def test_one_in_the_background_is_queued_first() -> None:
    said = rendered([reading.START], background=True)
    assert types(said) == ["created", "queued", "in_progress"]
    assert [event["response"]["status"] for event in said] == ["queued", "queued", "in_progress"]


@pytest.mark.parametrize("text", ["", '"', "\\", 'a","b":"c', '"}', "\n\u2028", "é😀"])
def test_any_text_goes_on(text: str) -> None:
    """The way that copies bytes and the way that decodes them say the same."""
    said = rendered([reading.START, content("a"), content(text), content("b"), reading.complete()])
    reader = reading.Reader().read(said)
    assert reader.response["output"][0]["content"][0]["text"] == f"a{text}b"


def test_a_copied_delta_reads_like_a_decoded_one() -> None:
    first, second = (e for e in rendered(ANSWER) if e["type"] == "response.output_text.delta")
    assert [(k, v) for k, v in first.items() if k not in ("delta", "sequence_number")] == [
        (k, v) for k, v in second.items() if k not in ("delta", "sequence_number")
    ]


def test_deltas_are_padded_to_blocks_unless_that_is_not_wanted() -> None:
    bodies = [reading.START, *(content("x" * n) for n in range(1, 70)), reading.complete()]
    padded = [e for e in rendered(bodies, padded=True) if e["type"].endswith(".delta")]
    assert {(len(e["delta"]) + len(e["obfuscation"])) % 32 for e in padded} == {0}
    assert len({e["obfuscation"] for e in padded}) > 60
    assert not any("obfuscation" in event for event in rendered(bodies))


# Items


def output(*bodies: Any) -> list[reading.Fields]:
    said = rendered([reading.START, *bodies, reading.complete()])
    found: list[reading.Fields] = reading.Reader().read(said).response["output"]
    return found


def test_what_is_thought_comes_before_what_is_said() -> None:
    thought, message = output(
        events.Chunk("reasoning", "Hm"), events.Chunk("reasoning", "."), content("Yes.")
    )
    assert thought == {
        "type": "reasoning",
        "id": f"rs_{ID}_0",
        "status": "completed",
        "summary": [{"type": "summary_text", "text": "Hm."}],
    }
    assert message["content"][0]["text"] == "Yes."


def test_sealed_reasoning_is_the_providers_with_an_id_of_ours() -> None:
    own = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    sealed = own | {"encrypted_content": "s"}
    (item, _) = output(
        events.Chunk("reasoning", "Hm."),
        events.Chunk("opaque", extra=raw(item=sealed)),
        content("Yes."),
    )
    assert item == sealed | {"id": f"rs_{ID}_0", "status": "completed"}


def test_raw_reasoning_keeps_the_text_that_was_read_as_its_summary() -> None:
    text = [{"type": "reasoning_text", "text": "Hm."}]
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "content": text}
    (item,) = output(events.Chunk("reasoning", "Hm."), events.Chunk("opaque", extra=raw(item=own)))
    assert item["content"] == text
    assert item["summary"] == [{"type": "summary_text", "text": "Hm."}]


def test_an_item_of_the_same_format_is_told_as_it_came() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"q": "x"}}
    hidden = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "s"}
    items = output(*(events.Chunk("opaque", extra=raw(item=item)) for item in (hidden, search)))
    assert items == [hidden, search]


@pytest.mark.parametrize(
    "extra",
    [
        {"content_block": {"type": "thinking"}},
        {"signature": "s"},
        {"item": "x"},
        {"item": {"id": "no type"}},
        {"step": {"type": "thought"}},
    ],
)
def test_what_is_of_another_format_is_left_out(extra: reading.Fields) -> None:
    assert output(events.Chunk("opaque", extra=raw(**extra))) == []


def test_each_id_is_told_once() -> None:
    search = {"type": "web_search_call", "id": "ws_1"}
    call = {"type": "shell_call", "id": "", "call_id": "c"}
    chunks = [events.Chunk("opaque", extra=raw(item=i)) for i in (search, search, call, call)]
    items = output(*chunks)
    assert [item["id"] for item in items] == ["ws_1", *(f"item_{ID}_{n}" for n in (1, 2, 3))]
    assert [item.get("call_id") for item in items[2:]] == ["c", f"call_{ID}_3"]


def test_calls_may_come_in_turns() -> None:
    first, second = output(
        events.Chunk("tool_call", call=0, id="a", name="f"),
        events.Chunk("tool_call", '{"x":', call=0),
        events.Chunk("tool_call", call=1, id="b", name="g"),
        events.Chunk("tool_call", "{}", call=1),
        events.Chunk("tool_call", "1}", call=0),
    )
    made = {"type": "function_call", "status": "completed"}
    call = {"call_id": "a", "name": "f", "arguments": '{"x":1}'}
    assert first == made | {"id": f"fc_{ID}_0"} | call
    assert second["arguments"] == "{}"


def test_a_call_waits_for_its_name() -> None:
    (call,) = output(
        events.Chunk("tool_call", '{"x"', call=0, id="a"),
        events.Chunk("tool_call", ":1}", call=0, name="f"),
    )
    assert (call["call_id"], call["name"], call["arguments"]) == ("a", "f", '{"x":1}')
    (call,) = output(events.Chunk("tool_call", "{}", call=0))
    assert (call["name"], call["call_id"], call["arguments"]) == ("", f"call_{ID}_0", "{}")


def test_a_call_of_the_same_format_has_its_own_fields() -> None:
    own = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "a", "name": "sh"}
    (call,) = output(
        events.Chunk("tool_call", "l", call=0, id="a", name="sh", extra=raw(item=own)),
        events.Chunk("tool_call", "s", call=0),
    )
    assert call == own | {"status": "completed", "input": "ls"}


def test_a_message_of_the_same_format_has_its_phase() -> None:
    first = {"type": "message", "id": "msg_1", "role": "assistant", "phase": "commentary"}
    second = first | {"id": "msg_2", "phase": "final_answer"}
    items = output(
        events.Chunk("opaque", extra=raw(item=first)),
        content("Hm."),
        events.Chunk("opaque", extra=raw(item=second)),
        content("Yes."),
    )
    assert [(item["id"], item["phase"]) for item in items] == [
        ("msg_1", "commentary"),
        ("msg_2", "final_answer"),
    ]


def test_a_refusal_is_a_part_of_its_own() -> None:
    (message,) = output(content("Well. "), events.Chunk("refusal", "No."))
    assert [part["type"] for part in message["content"]] == ["output_text", "refusal"]
    assert message["content"][1] == {"type": "refusal", "refusal": "No."}


def test_logprobs_of_the_same_format_are_told() -> None:
    one, two = {"token": "a", "logprob": -1.0}, {"token": "b", "logprob": -2.0}
    chat = content("c", extra=raw(logprobs={"content": [one]}))
    bodies = [
        content("a", extra=raw(logprobs=[one])),
        content("b", extra=raw(logprobs=[two])),
        chat,
    ]
    (message,) = output(*bodies)
    assert message["content"][0]["logprobs"] == [one, two]


def test_sources_stand_where_they_were_told() -> None:
    own = {"type": "file_citation", "file_id": "f", "index": 1}
    (message,) = output(
        events.Citation(url="https://a"),
        content("Yeß"),
        events.Citation(url="https://b", title="B"),
        content('\n"😀'),
        events.Citation(url="https://d"),
        events.Citation(extra=raw(annotation=own)),
        events.Citation(title="nowhere"),
        events.Citation(url="https://c", choice=1),
    )
    assert message["content"][0]["annotations"] == [
        {"type": "url_citation", "url": "https://a", "title": "", "start_index": 0, "end_index": 0},
        {
            "type": "url_citation",
            "url": "https://b",
            "title": "B",
            "start_index": 3,
            "end_index": 3,
        },
        {"type": "url_citation", "url": "https://d", "title": "", "start_index": 6, "end_index": 6},
        own,
    ]


def test_a_source_waits_for_the_text() -> None:
    (message,) = output(events.Citation(url="https://a"), content("Yes."))
    assert [one["url"] for one in message["content"][0]["annotations"]] == ["https://a"]
    assert output(events.Citation(url="https://a")) == []


# Ends


@pytest.mark.parametrize(
    ("reason", "word", "end"),
    [
        ("stop", None, None),
        ("tool_calls", None, None),
        ("length", "MAX_TOKENS", "max_output_tokens"),
        ("content_filter", "SAFETY", "content_filter"),
        ("refusal", "refusal", "content_filter"),
        ("other", "pause_turn", "pause_turn"),
        ("other", None, "other"),
    ],
)
@pytest.mark.parametrize("finish", [True, False])
def test_how_an_answer_ends(reason: Any, word: str | None, end: str | None, finish: bool) -> None:
    finishes = [events.Finish(0, reason, word)] if finish else []
    last = reading.complete(reason, provider_finish_reason=word)
    said = rendered([reading.START, content("Hm"), *finishes, last])
    response = reading.Reader().read(said).response
    status = "incomplete" if end else "completed"
    assert (response["status"], said[-1]["type"]) == (status, f"response.{status}")
    assert response["incomplete_details"] == (end and {"reason": end})
    assert response["output"][0]["status"] == status
    assert (response["completed_at"] is None) == bool(end)


def test_a_refusal_in_words_is_whole() -> None:
    said = rendered([reading.START, events.Chunk("refusal", "No."), reading.complete("refusal")])
    assert said[-1]["type"] == "response.completed"


def test_usage_in_openais_words() -> None:
    counted = events.Tokens(9, 4, 13, reasoning_tokens=2, cached_tokens=5)
    said = rendered([reading.START, content("Hm"), reading.complete(usage=counted)])
    assert said[-1]["response"]["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 13,
    }


def test_a_dead_answer_is_an_error_and_no_end_like_others() -> None:
    call = events.Chunk("tool_call", '{"x', call=0, id="a", name="f")
    failed = events.Error("provider_overloaded", "Too much.", True)
    said = rendered([reading.START, content("Hm"), call, failed, content("late")])
    assert types(said)[-2:] == ["error", "failed"]
    assert said[-2] == {
        "type": "error",
        "sequence_number": said[-2]["sequence_number"],
        "code": "provider_overloaded",
        "message": "Too much.",
        "param": None,
        "error": {
            "message": "Too much.",
            "type": "server_error",
            "param": None,
            "code": "provider_overloaded",
        },
    }
    response = reading.Reader().read(said).response
    assert response["error"] == {"code": "provider_overloaded", "message": "Too much."}
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


def test_a_cancelled_answer_is_an_error_too() -> None:
    gone = events.failure(errors.Cancelled())
    said = rendered([reading.START, content("Hm"), gone])
    assert said[-2]["code"] == "cancelled"
    assert (said[-1]["response"]["status"], said[-1]["response"]["error"]) == ("cancelled", None)


@pytest.mark.parametrize("durable", [True, False])
def test_what_began_anew_is_an_error_and_nothing_follows(durable: bool) -> None:
    fold = DIALECT.fold(ID, reading.header())
    first, second, rewound, *rest = numbered(
        [
            reading.START,
            content("Old."),
            events.Rewind("restart"),
            content("New."),
            reading.complete(),
        ]
    )
    fold.render(first)
    fold.render(second)
    said = told(fold.render(rewound) if durable else fold.rewind("unknown_position"))
    assert [event["type"] for event in said] == ["error", "response.failed"]
    assert said[0]["code"] == "rewound"
    assert fold.ended
    assert [fold.render(event) for event in rest] == [b"", b""]


THOUGHT = events.Chunk("reasoning", "Old")
SEALED = events.Chunk(
    "opaque", extra=reading.raw(item={"type": "reasoning", "id": "rs", "encrypted_content": "x"})
)


def test_another_answer_follows_what_was_only_thought() -> None:
    bodies: list[events.Body] = [
        reading.START,
        THOUGHT,
        events.Usage(9, 4, 13),
        events.Rewind("restart"),
        events.Chunk("reasoning", "New"),
        content("Yes"),
        reading.complete(),
    ]
    said = rendered(bodies)
    old, new, message = reading.Reader().read(said).response["output"]
    assert [(one["summary"][0]["text"], one["status"]) for one in (old, new)] == [
        ("Old", "incomplete"),
        ("New", "completed"),
    ]
    assert message["content"][0]["text"] == "Yes"
    assert (said[-1]["type"], said[-1]["response"]["usage"]) == ("response.completed", None)
    whole = DIALECT.whole(ID, reading.header())
    for event in numbered(bodies):
        whole.add(event)
    assert msgspec.json.decode(whole.body()) == said[-1]["response"]


@pytest.mark.parametrize(
    "more",
    [
        content("a"),
        events.Chunk("refusal", "No"),
        events.Chunk("tool_call", call=0),
        events.Chunk("tool_call", call=0, name="f"),
        events.Chunk("opaque", extra=reading.raw(item={"type": "web_search_call", "id": "w"})),
        SEALED,
    ],
)
def test_what_is_more_than_thought_cannot_be_taken_back(more: events.Body) -> None:
    fold = DIALECT.fold(ID, reading.header())
    *rest, last = numbered([reading.START, THOUGHT, more, events.Rewind("restart")])
    for event in rest:
        fold.render(event)
    assert not fold.failed
    assert told(fold.render(last))[0]["code"] == "rewound"
    assert fold.failed


def test_usage_of_a_call_that_failed_is_not_the_answers() -> None:
    counted = events.Usage(9, 4, 13)
    failed = events.Attempt(1, "p", "m", "provider_failed", "No.")
    said = rendered([reading.START, counted, failed, events.Error("provider_failed", "No.", False)])
    assert said[-1]["response"]["usage"] is None
    said = rendered([reading.START, counted, events.Adopted(2), content("Hm"), reading.complete()])
    assert said[-1]["response"]["usage"] is None


# Numbers


def test_numbers_go_on_in_a_range_of_their_own_after_a_claim() -> None:
    bodies = [reading.START, content("a"), events.Adopted(2), content("b"), reading.complete()]
    said = rendered(bodies, claims=(2,))
    numbers = [event["sequence_number"] for event in said]
    assert numbers[:5] == [0, 1, 2, 3, 4]
    assert numbers[5:] == [(2 << 32) + n for n in range(5)]


def test_numbers_count_from_0_whatever_life_is_the_first() -> None:
    late = [msgspec.structs.replace(e, epoch=e.epoch + 7 * reading.EPOCH) for e in numbered(ANSWER)]
    fold = DIALECT.fold(ID, reading.header())
    assert told(fold.render(late[0]))[0]["sequence_number"] == 0


# Any stream

TEXT_OF = st.one_of(
    st.text(max_size=6), st.sampled_from(['","', '\\","name":"x', '"}', "\\", "\n", "\u2028", '",'])
)
ITEMS: list[Any] = [
    {"type": "message", "id": "msg_1", "role": "assistant", "phase": "final_answer"},
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "s"},
    {"type": "web_search_call", "id": "ws_1"},
    {"type": "shell_call", "call_id": "c"},
    {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "namespace": "n"},
    {"type": "custom_tool_call", "id": "ctc_1"},
    {"type": 7},
    ["x"],
    None,
]
EXTRAS = st.one_of(
    st.just(msgspec.UNSET),
    st.sampled_from(ITEMS).map(lambda item: raw(item=item)),
    st.sampled_from([b'{"logprobs":[{"token":"a"}]}', b'{"logprobs":{}}', b'"x"', b"[]"]).map(
        msgspec.Raw
    ),
)
TYPES: Any = st.sampled_from(["content", "content", "content", "reasoning", "refusal", "opaque"])
CHUNKS = st.builds(
    events.Chunk,
    TYPES,
    TEXT_OF,
    choice=st.sampled_from([0, 0, 0, 0, 1]),
    block=st.sampled_from([None, None, 0, 1]),
    extra=EXTRAS,
)
CALLS = st.builds(
    events.Chunk,
    st.just("tool_call"),
    st.sampled_from(["", "{", "}", '"a":', "1"]),
    call=st.sampled_from([None, 0, 1, 2]),
    id=st.sampled_from([None, "", "c", "d"]),
    name=st.sampled_from([None, "", "f"]),
    extra=EXTRAS,
)
REASONS: Any = st.sampled_from(["stop", "length", "tool_calls", "refusal", "other"])
BESIDE = st.one_of(
    st.builds(events.Finish, st.sampled_from([0, 1]), REASONS, st.sampled_from([None, "w"])),
    st.builds(events.Usage, st.integers(0, 9), st.integers(0, 9)),
    st.builds(events.Citation, st.sampled_from([None, "https://a"]), extra=EXTRAS),
    st.just(events.Attempt(2, "p", "m")),
    st.just(events.Fallback("p/m", "q/m", "provider_failed", True, 0, 2)),
    st.just(events.Kept("resp_1")),
)
ENDS = st.one_of(
    st.builds(reading.complete, REASONS),
    st.just(events.Error("provider_failed", "No.", True)),
    st.just(events.failure(errors.Cancelled())),
    st.just(events.Rewind("restart")),
)
STREAMS = st.tuples(
    st.lists(st.one_of(CHUNKS, CHUNKS, CALLS, BESIDE), max_size=25),
    ENDS,
    st.sets(st.integers(2, 9)),
)


def told_texts(bodies: list[Any]) -> dict[str, str]:
    """What these events say of the one choice, by kind. Calls may come in turns: of those it is
    the letters alone."""
    mine = [b for b in bodies if isinstance(b, events.Chunk) and not b.choice]
    kinds: Any = ("content", "reasoning", "refusal", "tool_call")
    found = {kind: "".join(b.delta for b in mine if b.type == kind) for kind in kinds}
    return found | {"tool_call": "".join(sorted(found["tool_call"]))}


def read_texts(items: Any) -> dict[str, str]:
    """The same, of items that a reader has built."""
    parts = [part for item in items for part in item.get("content") or item.get("summary") or ()]
    calls = [item.get("arguments", item.get("input")) or "" for item in items]
    return {
        "content": "".join(part["text"] for part in parts if part["type"] == "output_text"),
        "reasoning": "".join(part["text"] for part in parts if part["type"] == "summary_text"),
        "refusal": "".join(part["refusal"] for part in parts if part["type"] == "refusal"),
        "tool_call": "".join(sorted("".join(calls))),
    }


@given(STREAMS, st.booleans())
def test_any_stream_is_read_to_its_one_end(drawn: Any, padded: bool) -> None:
    bodies, end, claims = drawn
    if isinstance(end, events.Rewind):
        bodies = [*bodies, content("void")]  # which cannot be taken back
    stream = numbered([reading.START, *bodies, end, content("late")], claims)
    fold = DIALECT.fold(ID, reading.header(padded=padded))
    frames = [fold.render(event) for event in stream]
    said = told(b"".join(frames))
    reader = reading.Reader().read(said)
    assert reader.ended
    assert fold.ended
    numbers = [event["sequence_number"] for event in said]
    assert numbers == sorted(set(numbers))
    assert sum(event["type"] in reading.ENDS for event in said) == 1
    if isinstance(end, events.Complete):
        assert read_texts(reader.output.values()) == told_texts(bodies)
    again = DIALECT.fold(ID, reading.header(padded=padded))
    assert [again.render(event) for event in stream] == frames


@given(STREAMS)
def test_the_whole_is_what_the_stream_says(drawn: Any) -> None:
    bodies, end, claims = drawn
    if isinstance(end, events.Rewind):
        bodies = [*bodies, content("void")]
    stream = numbered([reading.START, *bodies, end], claims)
    fold = DIALECT.fold(ID, reading.header())
    said = told(b"".join(map(fold.render, stream)))
    whole = DIALECT.whole(ID, reading.header())
    for event in stream:
        whole.add(event)
    value = msgspec.json.decode(whole.body())
    if isinstance(end, events.Rewind):
        assert value["output"] == []
        assert value["status"] == "in_progress"
    else:
        assert value == said[-1]["response"]

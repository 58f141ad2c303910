"""What single events say, where servers differ. Whole answers: test_fold_answers.py."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest
from tests.unit.providers import said as told

from holdfast import events
from holdfast.providers.openai_responses import answer

KIND = "openai_responses"


def event(type: str, **fields: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode({"type": f"response.{type}", **fields})


def delta(text: str, index: int = 0, part: int = 0, **more: Any) -> bytes:
    place = {"output_index": index, "content_index": part}
    return event("output_text.delta", delta=text, **place, **more)


def item(type: str, index: int = 0, when: str = "added", **fields: Any) -> bytes:
    told = {"type": type, **fields}
    return event(f"output_item.{when}", output_index=index, item=told)


def end(status: str = "completed", **fields: Any) -> bytes:
    return event(status, response={"status": status, **fields})


def play(*reads: bytes) -> list[events.Body]:
    return told.play(reads, kind=KIND)[0]


def chunks(*reads: bytes) -> list[tuple[str, str, int | None]]:
    said = [body for body in play(*reads) if isinstance(body, events.Chunk)]
    return [(chunk.type, chunk.delta, chunk.block) for chunk in said]


def test_half_a_character_is_given_up_before_the_text_that_follows() -> None:
    broken = delta("@").replace(b"@", b"a\\ud83d")
    said = play(broken, delta("b"), delta("c"), end())
    assert told.text(said, "content") == "a\ufffdbc"


def test_a_new_item_at_the_same_place_is_another_block() -> None:
    first, second = item("message"), item("message")
    assert chunks(first, delta("a"), delta("b"), second, delta("c"), delta("d")) == [
        ("content", "a", 0),
        ("content", "b", None),
        ("content", "c", 1),
        ("content", "d", None),
    ]


def test_parts_that_take_turns_name_their_block_each_time() -> None:
    turns = [delta("a"), delta("b", part=1), delta("c"), delta("d"), delta("e", index=1)]
    assert [block for _, _, block in chunks(*turns)] == [0, 1, 0, None, 2]


def test_a_half_waits_in_its_own_part() -> None:
    high, low = delta("@").replace(b"@", b"\\ud83d"), delta("@").replace(b"@", b"\\ude00")
    said = play(high, delta("b", part=1), low, end())
    assert told.text(said, "content") == "b\U0001f600"


def test_the_whole_text_makes_a_half_whole() -> None:
    high = delta("@").replace(b"@", b"a\\ud83d")
    whole = event("output_text.done", output_index=0, content_index=0, text="a\U0001f600")
    assert told.text(play(high, whole, end()), "content") == "a\U0001f600"


def test_log_probabilities_stay_with_their_text() -> None:
    one = [{"token": "a", "logprob": -1.5}]
    said = play(delta("a", logprobs=one), delta("b", logprobs=[]), delta("c", logprobs="odd"))
    assert told.extras(said, "content") == [{"logprobs": one}]
    assert told.text(said, "content") == "abc"


def test_a_call_begins_where_its_name_is_known() -> None:
    said = play(
        event("function_call_arguments.delta", output_index=0, delta='{"a'),
        item("function_call", call_id="c", arguments=""),
        event("function_call_arguments.delta", output_index=0, delta='":1}'),
        event("function_call_arguments.done", output_index=0, arguments='{"a":1}'),
        item("function_call", 0, "done", call_id="c", name="f", arguments='{"a":1}'),
        end(),
    )
    assert told.tool_calls(said) == [{"name": "f", "arguments": '{"a":1}', "id": "c"}]


def test_deltas_before_their_call_are_told_with_the_whole() -> None:
    said = play(
        event("function_call_arguments.delta", output_index=0, delta='{"a'),
        item("function_call", call_id="c", name="f", arguments=""),
        event("function_call_arguments.delta", output_index=0, delta='":1}'),
        event("function_call_arguments.done", output_index=0, arguments='{"a":1}'),
        item("function_call", 0, "done", call_id="c", name="f", arguments='{"a":1}'),
        item("function_call", 0, call_id="d", name="g", arguments=""),
        event("function_call_arguments.delta", output_index=0, delta="{}"),
        end(),
    )
    assert told.tool_calls(said) == [
        {"name": "f", "arguments": '{"a":1}', "id": "c"},
        {"name": "g", "arguments": "{}", "id": "d"},
    ]


def whole(text: str, **place: Any) -> bytes:
    return event("output_text.done", text=text, **place)


def part(text: str, **place: Any) -> bytes:
    return event("content_part.done", part={"type": "output_text", "text": text}, **place)


@pytest.mark.parametrize("complete", ["Kelp", "Kelp grows"])
@pytest.mark.parametrize("extent", ["text", "part", "item", "all"])
@pytest.mark.parametrize("placed", [{"output_index": 0, "content_index": 1}, {}])
def test_no_text_is_told_twice(placed: dict[str, Any], extent: str, complete: str) -> None:
    deltas = [event("output_text.delta", delta=text, **placed) for text in ("Ke", "lp")]
    place = {"output_index": 0 if placed else 3, "content_index": 0}
    content = [{"type": "output_text", "text": complete}]
    ends = {
        "text": whole(complete, **place),
        "part": part(complete, **place),
        "item": item("message", place["output_index"], "done", content=content),
    }
    told_so = [*ends.values()] if extent == "all" else [ends[extent]]
    output = [{"type": "message", "content": content}]
    said = play(*deltas, *told_so, end(output=output))
    assert told.text(said, "content") == complete


def test_texts_that_differ_are_parts_apart() -> None:
    said = play(
        event("output_text.delta", delta="Yes."),
        whole("Yes."),
        item("message", 4, "done", content=[{"type": "output_text", "text": "Yes. No."}]),
        delta("a", 5),
        whole("b", output_index=5, content_index=1),
        whole("a", output_index=6, content_index=0),
        end(),
    )
    assert told.text(said, "content") == "Yes.Yes. No.aba"


def test_the_same_part_under_many_places_is_bounded() -> None:
    made = told.translator(KIND)
    made.feed(delta("Kelp"))
    for number in range(1, answer.MAX_PARTS + 1):
        made.feed(part("Kelp", output_index=0, content_index=number))
    assert told.verdict(made) == "ProviderMalformed"


@pytest.mark.parametrize("named", ["completed", "incomplete", "cancelled", "failed"])
@pytest.mark.parametrize("status", ["completed", "incomplete", "cancelled", "failed", "odd", None])
def test_the_worse_of_an_end_s_name_and_status_counts(named: str, status: str | None) -> None:
    made = told.translator(KIND)
    response = {"status": status, "incomplete_details": {"reason": "max_output_tokens"}}
    said = made.feed(event(named, response=response))
    order = ("completed", "incomplete", "cancelled", "failed")
    place = max(order.index(each) for each in (named, status) if each in order)
    finish = told.finish(said)
    assert (finish.finish_reason if finish else told.verdict(made)) == (
        ("stop", "length", "ProviderInterrupted", "ProviderFailed")[place]
    )


def test_only_the_tail_of_a_part_is_kept() -> None:
    made = told.translator(KIND)
    tracemalloc.start()
    try:
        for index in range(20):
            made.feed(delta("x" * 100_000, index))
            made.feed(delta("y" * 100_000, index))
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert made.error is None
    assert grown < 500_000


def test_what_is_told_with_its_item_is_gathered() -> None:
    made = told.translator(KIND)
    sizes = [0]
    for read in (
        event("code_interpreter_call_code.delta", output_index=0, delta="x"),
        event("mcp_call_arguments.delta", output_index=1, delta={"a": 1}),
        event("image_generation_call.partial_image", output_index=2, partial_image_b64="AA"),
        event("function_call_arguments.delta", output_index=3, delta="{"),
    ):
        assert not made.feed(read)
        sizes.append(made.gathered)
    assert sizes == sorted(set(sizes))
    made.feed(delta("a", 4) + delta("b", 4) + delta("", 4))
    for state in ("queued", "in_progress", "keepalive", "code_interpreter_call.in_progress"):
        made.feed(event(state, delta="x"))
    assert made.gathered == sizes[-1]


def test_calls_of_one_id_are_apart_where_both_began() -> None:
    said = play(
        item("function_call", 0, call_id="c", name="f", arguments=""),
        item("function_call", 1, call_id="c", name="g", arguments=""),
        item("function_call", 1, "done", call_id="c", name="g", arguments="{}"),
        item("function_call", 0, "done", call_id="c", name="f", arguments='{"a":1}'),
        end(),
    )
    assert [(call["name"], call["arguments"]) for call in told.tool_calls(said)] == [
        ("f", '{"a":1}'),
        ("g", "{}"),
    ]


def test_the_final_response_repeats_no_call() -> None:
    call = {"type": "function_call", "id": "fc_9", "name": "f", "arguments": "{}"}
    streamed = {**call, "id": "fc_1"}
    said = play(event("output_item.done", output_index=3, item=streamed), end(output=[call, call]))
    assert [call["id"] for call in told.tool_calls(said)] == ["fc_1"]
    named = {**call, "call_id": "c"}
    said = play(event("output_item.done", output_index=3, item=named), end(output=[named]))
    assert [call["id"] for call in told.tool_calls(said)] == ["c"]
    alone = play(end(output=[call, {**call, "id": "fc_8"}]))
    assert [call["id"] for call in told.tool_calls(alone)] == ["fc_9", "fc_8"]


def test_what_comes_after_the_end_of_a_call_is_left_out() -> None:
    said = play(
        item("function_call", call_id="c", name="f"),
        event("function_call_arguments.done", output_index=0, arguments="{}"),
        event("function_call_arguments.delta", output_index=0, delta="{}"),
        end(),
    )
    assert told.tool_calls(said)[0]["arguments"] == "{}"


def test_reasoning_that_ends_a_paragraph_gets_no_second_one() -> None:
    def think(text: str, index: int) -> bytes:
        place = {"output_index": 0, "summary_index": index}
        return event("reasoning_summary_text.delta", delta=text, **place)

    said = play(think("a\n\n", 0), think("b", 1), think("c", 1), think("d", 2))
    assert told.text(said, "reasoning") == "a\n\nbc\n\nd"


def test_the_first_names_of_reasoning() -> None:
    said = play(
        event("reasoning.delta", output_index=0, content_index=0, delta="raw"),
        event("reasoning_summary.delta", output_index=1, summary_index=0, delta="brief"),
        event("reasoning_summary.done", output_index=1, summary_index=0, text="brief."),
    )
    assert told.text(said, "reasoning") == "raw\n\nbrief."


def test_reasoning_that_cannot_be_given_back_is_not_kept() -> None:
    brief = {"summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": None}
    said = play(item("reasoning", 0, "done", id="rs", **brief), end())
    assert told.text(said, "reasoning") == "s"
    assert told.extras(said, "opaque") == []


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        (
            {"input_tokens": 5, "output_tokens": 2},
            events.Usage(input_tokens=5, output_tokens=2, total_tokens=7),
        ),
        (
            {
                "output_tokens": 1,
                "total_tokens": 9,
                "output_tokens_details": {"reasoning_tokens": 1},
            },
            events.Usage(output_tokens=1, total_tokens=9, reasoning_tokens=1),
        ),
        (
            {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 2}},
            events.Usage(input_tokens=3, total_tokens=3, cached_tokens=2),
        ),
        ({"input_tokens": -1, "output_tokens": "many"}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage(counts: Any, wanted: events.Usage | None) -> None:
    said = play(end(usage=counts))
    assert said == [events.Finish(0, "stop", "completed"), *([wanted] if wanted else [])]


@pytest.mark.parametrize(
    ("reason", "ours"),
    [
        ("max_output_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("content_filter", "content_filter"),
        ("max_messages", "other"),
        ("x" * 1000, "other"),
    ],
)
def test_incomplete_answers(reason: str, ours: str) -> None:
    (finish,) = play(end("incomplete", incomplete_details={"reason": reason}))
    assert finish == events.Finish(0, ours, reason[:100])  # type: ignore[arg-type]


def test_a_long_answer_of_calls_that_was_cut_ended_by_length() -> None:
    said = play(
        item("function_call", call_id="c", name="f"),
        end("incomplete", incomplete_details={"reason": "max_output_tokens"}),
    )
    finish = told.finish(said)
    assert finish == events.Finish(0, "length", "max_output_tokens")


def test_the_end_of_an_odd_status_is_what_its_type_says() -> None:
    (finish,) = play(event("completed", response={"status": "in_progress"}))
    assert finish == events.Finish(0, "stop", "completed")
    (finish,) = play(event("incomplete", response=None))
    assert finish == events.Finish(0, "other", "incomplete")


def test_an_error_tells_when_to_come_back() -> None:
    sent = {"code": "rate_limit_exceeded", "message": "Limit reached. Please try again in 1.5s."}
    for wire in (
        b"data: " + msgspec.json.encode({"type": "error", **sent}),
        end("failed", error=sent).strip(),
        event("failed", error=sent).strip(),
        b"event: error\ndata: " + msgspec.json.encode(sent),
        b'data: {"type":"upstream_error","error":%b}' % msgspec.json.encode(sent),
    ):
        _, translator = told.play([wire, b"\n\n"], kind=KIND)
        assert told.verdict(translator) == "ProviderRateLimited", wire
        assert translator.error is not None
        assert translator.error.retry_after == 1.5


def test_the_fast_way_says_what_the_slow_way_says() -> None:
    """A frame that msgspec refuses takes the other way, with the same result."""
    quick = [delta("a"), delta("b"), delta("c", part=1)]
    slow = [read.replace(b'"type"', b'"odd":1e999,"x":"\\ud83d","type"') for read in quick]
    assert told.drafts(play(*quick)) == told.drafts(play(*slow))

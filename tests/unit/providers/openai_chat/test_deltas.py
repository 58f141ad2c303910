"""What each field of a chunk says. Whole answers: test_openai_chat.py."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.providers import said as told

from holdfast import errors, events
from holdfast.providers import failures
from holdfast.providers.openai_chat import deltas, wire


def take(*chunks: Any, wanted: int = 1, broken: bool = False) -> list[events.Body]:
    folded = deltas.Deltas(wanted, failures.Source("p"))
    out: list[events.Body] = []
    for chunk in chunks:
        decoded = wire.decode(msgspec.json.encode(chunk))
        folded.take(decoded, out, mended=False, broken=broken)
    return out


def choice(**fields: Any) -> dict[str, Any]:
    return {"choices": [fields]}


def usage(counts: Any) -> events.Body | None:
    out = take(choice(finish_reason="stop"), {"choices": [], "usage": counts})
    return out[1] if len(out) > 1 else None


@pytest.mark.parametrize("raw", deltas.REASONS)
def test_finish_reasons(raw: str) -> None:
    assert take(choice(finish_reason=raw.upper())) == [
        events.Finish(0, deltas.REASONS[raw], raw.upper())
    ]


@pytest.mark.parametrize(("raw", "verdict"), deltas.BROKEN_OFF.items())
def test_a_finish_reason_may_be_an_error(raw: str, verdict: type[errors.ProviderError]) -> None:
    with pytest.raises(verdict, match=raw):
        take(choice(finish_reason=raw))


def test_a_long_finish_reason_is_cut() -> None:
    (finish,) = take(choice(finish_reason="x" * 1000))
    assert isinstance(finish, events.Finish)
    assert finish.finish_reason == "other"
    assert finish.provider_finish_reason == "x" * 100


def test_an_error_beside_goes_before_the_finish_reason() -> None:
    out = take(choice(delta={"content": "a"}, finish_reason="stop"), broken=True)
    assert out == [events.Chunk("content", "a")]


def test_stop_means_what_was_said() -> None:
    call = {"index": 0, "function": {"name": "f"}}
    refused = take(choice(delta={"refusal": "no"}), choice(finish_reason="stop"))
    assert refused[-1] == events.Finish(0, "refusal", "stop")
    called = take(choice(delta={"tool_calls": [call]}, finish_reason="stop"))
    assert called[-1] == events.Finish(0, "tool_calls", "stop")
    cut = take(choice(delta={"tool_calls": [call]}, finish_reason="length"))
    assert cut[-1] == events.Finish(0, "length", "length")


def test_in_one_delta_reasoning_comes_first() -> None:
    delta = {"content": "c", "refusal": "r", "reasoning": "t"}
    kinds = [body.type for body in take(choice(delta=delta)) if isinstance(body, events.Chunk)]
    assert kinds == ["reasoning", "content", "refusal"]


@pytest.mark.case("2.22")
@pytest.mark.case("2.23")
def test_a_call_after_a_role_alone_is_whole_and_said_once() -> None:
    def fragment(arguments: str, **more: str) -> dict[str, Any]:
        call = {"index": 0, **more, "function": {"arguments": arguments, "name": "f"}}
        return choice(delta={"tool_calls": [call]})

    said = take(
        choice(delta={"role": "assistant", "content": None}),
        fragment("", id="c"),
        fragment('{"a":'),
        fragment(""),
        fragment("1}"),
        choice(delta={}, finish_reason="tool_calls"),
        choice(delta={}, finish_reason="tool_calls"),
    )
    calls = [body for body in said if isinstance(body, events.Chunk)]
    assert [(body.type, body.call) for body in calls] == [("tool_call", 0)] * len(calls)
    assert "".join(body.delta for body in calls) == '{"a":1}'
    assert [body.id for body in calls if body.id] == ["c"]
    assert [body.name for body in calls if body.name] == ["f"]
    assert [type(body) for body in said if not isinstance(body, events.Chunk)] == [events.Finish]


def test_a_delta_of_only_a_role_says_nothing() -> None:
    assert take(choice(delta={"role": "assistant", "content": ""}), choice(delta={})) == []


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        (
            {"prompt_tokens": 5, "completion_tokens": 2},
            events.Usage(input_tokens=5, output_tokens=2, total_tokens=7),
        ),
        (
            {"prompt_tokens": 5, "prompt_cache_hit_tokens": 4, "total_tokens": 9},
            events.Usage(input_tokens=5, total_tokens=9, cached_tokens=4),
        ),
        (
            {"completion_tokens": 1, "cached_tokens": 3, "reasoning_tokens": 1},
            events.Usage(output_tokens=1, total_tokens=1, cached_tokens=3, reasoning_tokens=1),
        ),
        (
            {"prompt_tokens": 2**53 + 1, "completion_tokens": 1, "prompt_tokens_details": 3},
            events.Usage(output_tokens=1, total_tokens=1),
        ),
        ({"prompt_tokens": -1, "completion_tokens": None, "total_tokens": 3}, None),
        ({"prompt_tokens": 1.5}, None),
        ({"prompt_tokens": True}, None),
        ({}, None),
        ([], None),
        ("many", None),
    ],
)
def test_usage(counts: Any, wanted: events.Usage | None) -> None:
    assert usage(counts) == wanted


def test_usage_in_every_chunk_is_told_when_the_choices_have_finished() -> None:
    counted = [
        {**choice(delta={"content": "a"}), "usage": {"prompt_tokens": 1, "completion_tokens": n}}
        for n in range(3)
    ]
    out = take(*counted, choice(finish_reason="stop"), choice(finish_reason="stop"))
    assert [type(body) for body in out] == [events.Chunk] * 3 + [events.Finish, events.Usage]
    assert out[-1] == events.Usage(input_tokens=1, output_tokens=2, total_tokens=3)


def test_a_later_usage_is_told_where_it_differs() -> None:
    counts = {"prompt_tokens": 1, "completion_tokens": 1}
    again = {"choices": [], "usage": counts}
    more = {"choices": [], "usage": {**counts, "completion_tokens": 2}}
    out = take({**choice(finish_reason="stop"), "usage": counts}, again, more)
    assert [body.output_tokens for body in out if isinstance(body, events.Usage)] == [1, 2]


def test_groqs_own_usage() -> None:
    out = take(
        {**choice(finish_reason="stop"), "x_groq": {"usage": {"prompt_tokens": 3}}},
        {"choices": [], "x_groq": "odd"},
    )
    assert out[-1] == events.Usage(input_tokens=3, total_tokens=3)


def test_sources_are_named_once_with_their_titles() -> None:
    out = take(
        {
            "choices": [],
            "citations": ["https://a.example", "", 3, None],
            "search_results": [{"url": "https://a.example", "title": "A"}, {"url": 3}],
        },
        {"choices": [], "citations": ["https://a.example", "https://b.example"]},
        {"choices": [], "citations": {"odd": 1}},
    )
    assert out == [
        events.Citation(url="https://a.example", title="A"),
        events.Citation(url="https://b.example"),
    ]


def test_annotations_name_a_source_for_each_part_of_the_text() -> None:
    def note(begin: int) -> dict[str, Any]:
        source = {"url": "https://a.example", "title": "A", "start_index": begin, "end_index": 9}
        return {"type": "url_citation", "url_citation": source}

    out = take(
        choice(delta={"annotations": [note(1), note(2), {"type": "file"}, 7]}, index=1),
        choice(delta={"annotations": [note(2)]}, index=1),
        choice(delta={"annotations": "odd"}, index=1),
        wanted=2,
    )
    assert [
        (body.url, body.title, body.choice) for body in out if isinstance(body, events.Citation)
    ] == [("https://a.example", "A", 1)] * 2
    assert isinstance(out[0], events.Citation)
    assert isinstance(out[0].extra, msgspec.Raw)
    assert msgspec.json.decode(out[0].extra) == {"annotations": [note(1)]}


def test_thought_signatures_of_a_tool_call_are_kept() -> None:
    signed = {"google": {"thought_signature": "c2ln"}}
    fragment = {"index": 0, "id": "a", "function": {"name": "f"}, "extra_content": signed}
    out = take(choice(delta={"tool_calls": [fragment]}))
    assert told.extras(out, "tool_call") == [{"extra_content": signed}]


def test_reasoning_details_of_odd_shapes_are_ignored() -> None:
    odd = [{"text": 3}, 7, {"data": "ZW5j", "type": "reasoning.encrypted"}]
    out = take(
        choice(delta={"reasoning_details": odd}), choice(delta={"reasoning_details": {"a": 1}})
    )
    assert told.extras(out, "opaque") == [{"reasoning_details": [odd[2]]}]
    assert len(out) == 1


def test_an_argument_object_is_its_json() -> None:
    out = take(choice(delta={"tool_calls": [{"id": "a", "function": {"arguments": {}}}]}))
    assert told.tool_calls(out) == [{"name": "", "arguments": "{}", "id": "a"}]


def test_a_tool_call_fragment_of_nothing_says_nothing() -> None:
    assert take(choice(delta={"tool_calls": [{}, {"index": 0, "function": None}]})) == []


def test_parts_of_thinking_may_be_text() -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "thinking"}, {"type": "text"}]
    assert take(choice(delta={"content": parts})) == [events.Chunk("reasoning", "hm")]


def test_log_probabilities_go_with_the_text() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.5}]}
    out = take(
        choice(delta={"content": "a"}, logprobs=logprobs),
        choice(delta={"refusal": "b"}, logprobs=logprobs),
        choice(delta={"reasoning": "c"}, logprobs=logprobs),
        choice(delta={"content": "d"}, logprobs={"content": None}),
        choice(delta={"content": "e"}, logprobs=[1]),
    )
    assert told.extras(out, "content", "refusal", "opaque") == [{"logprobs": logprobs}] * 3
    assert [body.type for body in out if isinstance(body, events.Chunk)] == [
        "content",
        "refusal",
        "reasoning",
        "opaque",
        "content",
        "content",
    ]


def test_released_at_the_end_is_what_was_held_and_the_usage() -> None:
    folded = deltas.Deltas(1, failures.Source("p"))
    out: list[events.Body] = []
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "\ud83d"}}
    chunk = {"choices": [{"delta": {"tool_calls": [call]}}], "usage": {"prompt_tokens": 1}}
    folded.take(wire.convert(chunk), out, mended=True, broken=False)
    folded.release(out)
    assert out[1:] == [
        events.Chunk("tool_call", "\ufffd", 0, 0),
        events.Usage(input_tokens=1, total_tokens=1),
    ]


@pytest.mark.parametrize(
    "place", [10**4400, [[]] * 50, None, "x"], ids=["digits", "lists", "none", "word"]
)
def test_a_source_may_say_anything_of_its_place(place: Any) -> None:
    source = {"url": "https://a.example", "start_index": place}
    chunk = wire.convert(
        {
            "choices": [
                {"delta": {"annotations": [{"url_citation": source}, {"url_citation": source}]}}
            ]
        }
    )
    out: list[events.Body] = []
    folded = deltas.Deltas(1, failures.Source("p"))
    folded.take(chunk, out, mended=False, broken=False)
    assert [type(body) for body in out] == [events.Citation]

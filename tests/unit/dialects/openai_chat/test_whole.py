"""One value: what the stock client accumulates of the same events as a stream."""

from __future__ import annotations

import itertools
import string
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from tests.unit.dialects.openai_chat import told

from holdfast import errors, events

CHUNK = events.Chunk


def test_an_answer() -> None:
    got = told.whole(
        CHUNK("reasoning", "Hm. "),
        CHUNK("reasoning", "So."),
        CHUNK("content", "Ti"),
        CHUNK("content", "de"),
        events.Citation("https://a.example", "A"),
        told.finish(),
        told.complete(usage=events.Tokens(3, 2, 5)),
    )
    (choice,) = got.pop("choices")
    assert got == {
        "id": f"chatcmpl-{told.STREAM}",
        "object": "chat.completion",
        "created": 1_795_000_000,
        "model": "p/m",
        "system_fingerprint": None,
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    assert choice["finish_reason"] == "stop"
    assert choice["logprobs"] is None
    message = choice["message"]
    assert message["content"] == "Tide"
    assert message["reasoning_content"] == "Hm. So."
    assert message["annotations"][0]["url_citation"]["title"] == "A"
    assert message["refusal"] is None
    assert "tool_calls" not in message
    ChatCompletion.model_validate(got | {"choices": [choice]})


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (CHUNK("tool_call", "{}", call=0, id="c", name="f"), None),
        (CHUNK("refusal", "No."), None),
        (CHUNK("reasoning", "Hm."), ""),
        (CHUNK("content", "a"), "a"),
    ],
)
def test_content_that_is_not_there(body: events.Body, content: str | None) -> None:
    (choice,) = told.whole(body, told.complete())["choices"]
    assert choice["message"]["content"] == content


def test_it_may_be_asked_for_twice() -> None:
    made = told.DIALECT.whole(told.STREAM, told.header())
    for event in told.numbered([told.START, CHUNK("tool_call", "{}", call=0, id="c", name="f")]):
        made.add(event)
    assert made.body() == made.body()


def test_calls_and_choices_stand_in_their_order() -> None:
    got = told.whole(
        CHUNK("tool_call", "{}", 1, call=1, id="c1", name="b"),
        CHUNK("tool_call", "{}", 1, call=0, id="c0", name="a"),
        CHUNK("content", "first"),
        told.complete(),
    )
    assert [choice["index"] for choice in got["choices"]] == [0, 1]
    calls = got["choices"][1]["message"]["tool_calls"]
    assert [(call["id"], call["function"]["name"]) for call in calls] == [("c0", "a"), ("c1", "b")]
    assert all(call.keys() == {"id", "type", "function"} for call in calls)


def test_a_call_in_pieces() -> None:
    extra = told.extra(extra_content={"google": {"thought_signature": "s"}})
    got = told.whole(
        CHUNK("tool_call", "", call=0, id="c0"),
        CHUNK("tool_call", '{"a":', call=0, name="f"),
        CHUNK("tool_call", "1}", call=0, extra=extra),
        CHUNK("tool_call", call=0),
        told.complete("tool_calls"),
    )
    assert got["choices"][0]["message"]["tool_calls"] == [
        {
            "id": "c0",
            "type": "function",
            "extra_content": {"google": {"thought_signature": "s"}},
            "function": {"name": "f", "arguments": '{"a":1}'},
        }
    ]


# Whatever the events are

TEXT = st.text(string.printable + "é🌊\u2028", max_size=6)
WORD = st.none() | st.text(string.ascii_letters, min_size=1, max_size=4)
REASONS = st.sampled_from(["stop", "length", "tool_calls", "content_filter", "refusal", "other"])
EXTRAS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"signature": "s"},
        {"logprobs": {"content": [{"token": "a", "logprob": -1, "top_logprobs": []}]}},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "d"}]},
        {"extra_content": {"google": {"s": "t"}}},
    ]
)


@st.composite
def chunk(draw: st.DrawFn) -> events.Chunk:
    kind: Any = draw(st.sampled_from(["content", "reasoning", "refusal", "tool_call", "opaque"]))
    fields: dict[str, Any] = {"delta": draw(TEXT), "choice": draw(st.integers(0, 2))}
    if kind == "tool_call":
        fields |= {"call": draw(st.integers(0, 2)), "id": draw(WORD), "name": draw(WORD)}
    if given_extra := draw(EXTRAS):
        fields["extra"] = told.extra(**given_extra)
    return CHUNK(kind, **fields)


EVENTS = st.one_of(
    chunk(),
    st.builds(events.Finish, st.integers(0, 2), REASONS, WORD),
    st.builds(events.Citation, st.none() | st.just("https://a.example"), WORD),
    st.just(events.Usage(1, 2, 3)),
    st.just(events.Adopted(7)),
)
ENDS = st.one_of(
    st.just(events.failure(errors.Cancelled())),
    st.just(events.Rewind("restarted")),
    st.builds(lambda reason: told.complete(reason, usage=events.Tokens(1, 2, 3)), REASONS),
)


def in_order(bodies: list[events.Body]) -> list[events.Body]:
    """The calls of each choice numbered as they come."""
    numbers: dict[int, dict[int | None, int]] = {}
    found = []
    for body in bodies:
        if isinstance(body, events.Chunk) and body.type == "tool_call":
            calls = numbers.setdefault(body.choice, {})
            call = calls.setdefault(body.call, len(calls))
            body = msgspec.structs.replace(body, call=call)
        found.append(body)
    return found


def comparable(completion: told.Chunk) -> list[Any]:
    """What the answer says, in the words of both sides: one that nothing was said of is empty."""
    found = []
    for choice in sorted(completion["choices"], key=lambda one: one["index"]):
        message = dict(choice["message"])
        calls = [
            {name: value for name, value in call.items() if name not in ("index", "parsed")}
            for call in message.pop("tool_calls", None) or ()
        ]
        for call in calls:
            call["function"].pop("parsed_arguments", None)
        said = {name: value for name, value in message.items() if value and name != "parsed"}
        probs = {name: value for name, value in (choice["logprobs"] or {}).items() if value}
        found.append([choice["index"], said, calls, probs, choice["finish_reason"]])
    return found


@given(st.lists(EVENTS, max_size=20), ENDS, st.booleans())
def test_whatever_happens_there_is_one_end_and_the_stream_says_what_the_whole_does(
    bodies: list[events.Body], end: events.Body, padded: bool
) -> None:
    bodies = in_order(bodies)
    if isinstance(end, events.Rewind):
        bodies.append(CHUNK("content", "void"))  # which cannot be taken back
    data = told.frames(*bodies, end, CHUNK("content", "behind"), padded=padded, usage=True)
    *frames, last = told.chunks(data)
    errors_told = [one for one in frames if "error" in one]
    assert errors_told == []
    if not isinstance(end, events.Complete):
        assert "error" in last
        return
    assert last == "[DONE]"
    assert "[DONE]" not in frames
    assert frames[-1]["usage"]["total_tokens"] == 3
    # Late sources make a second list, which the client cannot join; see `spoken`.
    listed = [
        (choice["index"], name)
        for one in frames
        for choice in one["choices"]
        for name in choice["delta"].keys() & {"annotations", "reasoning_details"}
    ]
    if len(listed) != len(set(listed)):
        return
    made = told.whole(*bodies, end)
    assert comparable(told.accumulated(data)) == comparable(made)


def test_an_answer_that_began_anew_is_the_new_one_alone() -> None:
    old: list[events.Body] = [CHUNK("content", "Sa"), CHUNK("tool_call", call=0, id="c", name="f")]
    new: list[events.Body] = [CHUNK("content", "Tide"), told.finish(), told.complete()]
    assert told.whole(*old, events.Rewind("restart"), *new) == told.whole(*new)


def test_the_stock_client_cannot_join_lists_whose_items_have_no_index() -> None:
    """Why they are told at once; where this passes no more, they need not wait."""
    details = CHUNK("opaque", extra=told.extra(reasoning_details=[{"data": "x"}]))
    late = told.frames(details, told.finish(), details, told.complete())
    with pytest.raises(RuntimeError, match="index"):
        told.accumulated(late)
    early = told.frames(details, details, told.finish(), told.complete())
    assert len(told.accumulated(early)["choices"][0]["message"]["reasoning_details"]) == 2


def test_any_order_of_choices() -> None:
    bodies = [CHUNK("content", f"{n}", n) for n in range(3)]
    for order in itertools.permutations(bodies):
        for got in (told.whole(*order), told.accumulated(told.frames(*order))):
            assert [one["message"]["content"] for one in got["choices"]] == ["0", "1", "2"]

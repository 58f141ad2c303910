"""Bodies of chat completions: what becomes of each field, and what is refused by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import completion_create_params
from tests.unit.dialects.openai_chat import told

from holdfast import errors, request
from holdfast.dialects import base
from holdfast.dialects.openai_chat import asking, spoken

USER = {"role": "user", "content": "Why is the sea salt?"}
LEAST = {"model": "openai/gpt", "messages": [USER]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def parse(**fields: Any) -> base.Asked:
    """The least body with these fields changed; `...` leaves one out."""
    body = {name: value for name, value in (LEAST | fields).items() if value is not ...}
    return told.DIALECT.parse(json.dumps(body).encode())


def test_the_least_body() -> None:
    got = parse()
    assert got.request == request.Request(
        "openai/gpt",
        [request.Message("user", "Why is the sea salt?")],
        foreign=request.Foreign("openai_chat", whole=True, revocable=spoken.REVOCABLE),
    )
    assert got.stream is False
    assert asking.terms(got.terms) == asking.Terms(usage=False, padded=True)


def test_our_fields() -> None:
    got = parse(
        temperature=0.5,
        top_p=0.9,
        max_completion_tokens=100,
        tools=[TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
        response_format={"type": "json_object"},
        stop="END",
        n=3,
        modalities=["text"],
        stream=True,
    )
    assert got.stream is True
    assert got.request == request.Request(
        "openai/gpt",
        [request.Message("user", "Why is the sea salt?")],
        temperature=0.5,
        top_p=0.9,
        max_tokens=100,
        tools=[TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
        response_format={"type": "json_object"},
        stop=["END"],
        n=3,
        foreign=request.Foreign("openai_chat", revocable=spoken.REVOCABLE),
    )
    assert parse(max_tokens=7).request.max_tokens == 7
    assert parse(stop=["a", "b"]).request.stop == ["a", "b"]


def test_null_is_left_out() -> None:
    body: dict[str, Any] = dict.fromkeys(
        ["temperature", "seed", "audio", "functions", "stream_options", "n"]
    )
    assert parse(**body) == parse()


def test_other_fields_stay_as_they_are() -> None:
    fields = {
        "seed": 7,
        "logit_bias": {"50256": -100},
        "reasoning_effort": "low",
        "user": "ann",
        "metadata": {"a": "b"},
        "provider": {"order": ["x"]},
    }
    foreign = parse(**fields).request.foreign
    assert foreign is not None
    assert foreign.fields == fields
    assert sorted(foreign.harmless) == ["metadata", "user"]


def test_every_field_of_the_stock_client_has_its_place() -> None:
    """A new one of theirs is looked at once: harmless, refused, ours, or for its provider alone."""
    theirs = completion_create_params.CompletionCreateParamsStreaming.__annotations__
    theirs |= completion_create_params.CompletionCreateParamsBase.__annotations__
    alone = {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "moderation",
        "prediction",
        "presence_penalty",
        "reasoning_effort",
        "seed",
        "top_logprobs",
        "verbosity",
        "web_search_options",
    }
    ours = set(asking.Body.__struct_fields__)
    placed = ours | set(asking.HARMLESS) | set(asking.REFUSED) | alone
    assert theirs.keys() - placed == set()
    assert (set(asking.HARMLESS) | set(asking.REFUSED) | alone) - theirs.keys() == set()


@pytest.mark.parametrize(
    ("options", "usage", "padded", "rest"),
    [
        ({}, False, True, {}),
        ({"include_usage": True}, True, True, {}),
        ({"include_obfuscation": False}, False, False, {}),
        ({"include_usage": None}, False, True, {}),
        ({"continuous_usage_stats": True}, False, True, {"continuous_usage_stats": True}),
    ],
)
def test_stream_options(
    options: dict[str, Any], usage: bool, padded: bool, rest: dict[str, Any]
) -> None:
    got = parse(stream_options=options)
    assert asking.terms(got.terms) == asking.Terms(usage, padded)
    assert got.request.foreign is not None
    assert got.request.foreign.fields == ({"stream_options": rest} if rest else {})


def test_terms_hold_nothing_of_what_was_asked() -> None:
    assert parse(stream_options={"include_usage": True}, user="ann").terms == b'{"usage":true}'


# Messages


def message(**fields: Any) -> request.Message:
    return parse(messages=[fields]).request.messages[0]


def test_an_answer_goes_back_as_the_client_holds_it() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    empty: dict[str, Any] = {
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
    }
    got = message(role="assistant", content=None, tool_calls=[call], **empty)
    assert got == request.Message("assistant", tool_calls=[call])
    assert message(role="assistant", content="A", annotations=[{}]) == request.Message(
        "assistant", "A"
    )


def test_what_a_provider_made_for_itself_becomes_a_part() -> None:
    said = {"type": "text", "text": "A"}
    assert message(role="assistant", content="A", reasoning_content="Hm.").content == [
        said,
        {"reasoning_content": "Hm."},
    ]
    assert message(role="assistant", content=[said], reasoning_details=[{"data": "d"}]).content == [
        said,
        {"reasoning_details": [{"data": "d"}]},
    ]
    assert message(role="assistant", refusal="No.").content == [
        {"type": "refusal", "refusal": "No."}
    ]
    assert message(role="assistant", content="", reasoning_content="Hm.").content == [
        {"reasoning_content": "Hm."}
    ]


def test_roles_names_and_parts() -> None:
    parts = [{"type": "image_url", "image_url": {"url": "https://a.example/i.png"}}]
    assert message(role="developer", content="x").role == "developer"
    assert message(role="user", content=parts, name="ann") == request.Message(
        "user", parts, name="ann"
    )
    assert message(role="tool", content="7", tool_call_id="c").tool_call_id == "c"


# What is refused

BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": ...}, "model"),
    ({"model": ""}, "model"),
    ({"model": 7}, "model"),
    ({"model": "m" * 257}, "model"),
    ({"messages": ...}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": [7]}, "messages"),
    ({"messages": [USER, {"role": "function", "content": "x"}]}, "messages[1].role"),
    ({"messages": [USER, {"content": "x"}]}, "messages[1]"),
    ({"messages": [{**USER, "prefix": True}]}, "messages[0]"),
    ({"messages": [{**USER, "content": 7}]}, "messages[0].content"),
    ({"messages": [{**USER, "tool_calls": 7}]}, "messages[0].tool_calls"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": 10_000_001}, "max_completion_tokens"),
    ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
    ({"n": 0}, "n"),
    ({"n": 129}, "n"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": 1}}, "include_usage"),
    ({"stream_options": []}, "stream_options"),
    ({"tools": {}}, "tools"),
    ({"tools": [TOOL, {"type": "custom", "custom": {"name": "c"}}]}, "tools[1]"),
    ({"tool_choice": 7}, "tool_choice"),
    ({"response_format": "json"}, "response_format"),
    ({"stop": 7}, "stop"),
    ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"functions": []}, "functions"),
    ({"function_call": "auto"}, "function_call"),
]


@pytest.mark.parametrize(("fields", "named"), BAD, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_refused_by_its_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        parse(**fields)
    assert named in caught.value.message
    status, body = told.DIALECT.refusal(caught.value, "r")
    assert status == 400
    param = json.loads(body)["error"]["param"]
    assert param is not None
    assert named in param or param in named


@pytest.mark.parametrize("n", [1, 128])
def test_the_edges_are_taken(n: int) -> None:
    assert parse(n=n, temperature=2, max_tokens=10_000_000, model="m" * 256).request.n == n


def test_more_messages_than_may_be() -> None:
    most = asking.MAX_MESSAGES
    assert len(parse(messages=[USER] * most).request.messages) == most
    with pytest.raises(errors.InvalidField, match="messages"):
        parse(messages=[USER] * (most + 1))


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{", b'{"model":"\xff"}', b"null"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(errors.MalformedBody):
        told.DIALECT.parse(body)

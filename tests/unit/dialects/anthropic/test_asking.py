"""Bodies as requests: what is named anew, what stays as it is, what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast import errors, request
from holdfast.dialects import base
from holdfast.dialects.anthropic import asking, blocks

USER = {"role": "user", "content": "Why is the sea salt?"}
LEAST: dict[str, Any] = {"model": "claude-x", "max_tokens": 100, "messages": [USER]}


def ask(betas: str = "", **fields: Any) -> base.Asked:
    """The least body with these fields changed; `...` leaves one out."""
    body = {name: value for name, value in (LEAST | fields).items() if value is not ...}
    return asking.parse(msgspec.json.encode(body), betas)


def parse(**fields: Any) -> request.Request:
    return ask(**fields).request


def test_the_least_body() -> None:
    assert ask() == base.Asked(
        request.Request(
            "claude-x",
            [request.Message("user", "Why is the sea salt?")],
            max_tokens=100,
            foreign=request.Foreign("anthropic", whole=True, revocable=blocks.REVOCABLE),
        )
    )


def test_every_field_has_its_place() -> None:
    tool = {"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    schema = {"type": "object"}
    asked = ask(
        system=system,
        stream=True,
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        stop_sequences=["END"],
        tools=[tool],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        thinking=thinking,
        output_config={"format": {"type": "json_schema", "schema": schema}, "effort": "low"},
        metadata={"user_id": "u"},
        service_tier="auto",
        mcp_servers=[{"type": "url", "url": "u", "name": "n"}],
    )
    assert asked.stream
    assert asked.request == request.Request(
        "claude-x",
        [
            request.Message("system", system),
            request.Message("user", "Why is the sea salt?"),
        ],
        temperature=0.5,
        top_p=0.9,
        max_tokens=100,
        tools=[tool],
        tool_choice="required",
        parallel_tool_calls=False,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema},
        },
        stop=["END"],
        metadata=request.Metadata(user_id="u"),
        foreign=request.Foreign(
            "anthropic",
            {
                "top_k": 5,
                "thinking": thinking,
                "metadata": {"user_id": "u"},
                "service_tier": "auto",
                "mcp_servers": [{"type": "url", "url": "u", "name": "n"}],
                "output_config": {"effort": "low"},
            },
            ["metadata", "service_tier"],
            revocable=blocks.REVOCABLE,
        ),
    )


def test_blocks_stay_as_they_are() -> None:
    blocks = [
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "text", "text": "a", "citations": [{"type": "char_location"}]},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        {"type": "of tomorrow", "x": 1},
    ]
    messages = [{"role": role, "content": blocks} for role in ("assistant", "user", "system")]
    assert [one.content for one in parse(messages=messages).messages] == [blocks] * 3


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_which_tool(choice: dict[str, Any], expected: object) -> None:
    assert parse(tool_choice=choice).tool_choice == expected
    assert parse(tool_choice=choice).parallel_tool_calls is None


def test_a_format_that_others_cannot_be_told_of_stays_as_it_is() -> None:
    for format in (
        {"type": "json_schema", "schema": {}, "more": 1},
        {"type": "grammar"},
        {"type": "json_schema"},
    ):
        asked = parse(output_config={"format": format})
        assert asked.response_format is None
        assert asked.foreign is not None
        assert asked.foreign.fields == {"output_config": {"format": format}}


def test_what_was_never_signed_is_not_given_back() -> None:
    """It was told of an answer of another kind of provider, and Anthropic refuses it."""
    found = {"type": "web_search_result_location", "url": "u", "encrypted_index": ""}
    real = {"type": "web_search_result_location", "url": "u", "encrypted_index": "sealed"}
    content = [
        {"type": "thinking", "thinking": "t", "signature": ""},
        {"type": "thinking", "thinking": "", "signature": "s"},
        {"type": "thinking", "thinking": "t"},
        {"type": "text", "text": "a", "citations": [found]},
        {"type": "text", "text": "b", "citations": [found, real]},
        {"type": "text", "text": "c", "citations": [real]},
        {"type": "text", "text": "d", "citations": None},
    ]
    (told,) = parse(messages=[{"role": "assistant", "content": content}]).messages
    assert told.content == [
        *content[1:3],
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b", "citations": [real]},
        *content[5:],
    ]
    (alone,) = parse(messages=[{"role": "assistant", "content": content[:1]}]).messages
    assert alone.content == ""


def test_harmless_fields_are_known() -> None:
    fields = {
        "cache_control": {"type": "ephemeral"},
        "diagnostics": {},
        "metadata": {},
        "service_tier": "auto",
        "thinking": {"type": "disabled"},
        "top_k": 1,
    }
    foreign = parse(**fields).foreign
    assert foreign is not None
    assert foreign.fields == fields
    assert foreign.harmless == sorted(set(fields) - {"top_k"})


@pytest.mark.parametrize("user", ["u" * 257, 7, None])
def test_a_user_that_is_no_label_is_none_here(user: object) -> None:
    asked = parse(metadata={"user_id": user})
    assert asked.metadata.user_id is None
    assert asked.foreign is not None
    assert asked.foreign.fields == {"metadata": {"user_id": user}}


def test_what_is_null_is_left_out() -> None:
    assert ask(system=None, tools=None, top_k=None, stream=None, stop_sequences=None) == ask()
    assert ask(system="", tools=[], stop_sequences=[]) == ask()


def test_betas_are_sent_along() -> None:
    foreign = ask("a-2025-01-01,b-2026-02-02").request.foreign
    assert foreign is not None
    assert foreign.headers == {"anthropic-beta": "a-2025-01-01,b-2026-02-02"}


@pytest.mark.parametrize("betas", ["a\r\nx-api-key: b", "\u00e9", "a" * 2049, "a;b"])
def test_betas_that_are_no_list_are_refused(betas: str) -> None:
    with pytest.raises(errors.InvalidField, match="`anthropic-beta`"):
        ask(betas)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"model": ...}, "`model` is missing"),
        ({"model": ""}, r"\$.model"),
        ({"model": 1}, r"\$.model"),
        ({"messages": ...}, "`messages` is missing"),
        ({"messages": []}, "`messages` is missing"),
        ({"messages": "hi"}, r"\$.messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, r"\$.messages\[0\].role"),
        ({"messages": [USER, {"role": "user"}]}, r"\$.messages\[1\]"),
        ({"messages": [{"role": "user", "content": 7}]}, r"\$.messages\[0\].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, r"content\[0\]"),
        ({"messages": [{**USER, "name": "x"}]}, r"`name` - at `\$.messages\[0\]`"),
        ({"messages": [USER] * (asking.MAX_MESSAGES + 1)}, r"\$.messages"),
        ({"max_tokens": ...}, "`max_tokens` is missing"),
        ({"max_tokens": None}, "`max_tokens` is missing"),
        ({"max_tokens": 0}, r"\$.max_tokens"),
        ({"max_tokens": "9"}, r"\$.max_tokens"),
        ({"max_tokens": asking.MAX_TOKENS + 1}, r"\$.max_tokens"),
        ({"system": 1}, r"\$.system"),
        ({"temperature": 1.1}, r"\$.temperature"),
        ({"temperature": "warm"}, r"\$.temperature"),
        ({"top_p": -1}, r"\$.top_p"),
        ({"stop_sequences": "END"}, r"\$.stop_sequences"),
        ({"tools": {}}, r"\$.tools"),
        ({"tool_choice": "auto"}, r"\$.tool_choice"),
        ({"tool_choice": {"type": "required"}}, r"\$.tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "`tool_choice.name` is missing"),
        ({"output_config": "json"}, r"\$.output_config"),
        ({"stream": "yes"}, r"\$.stream"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(errors.InvalidField, match=named):
        ask(**fields)


def test_limits_are_inclusive() -> None:
    messages = [USER] * asking.MAX_MESSAGES
    asked = parse(messages=messages, max_tokens=asking.MAX_TOKENS, temperature=1, top_p=0)
    assert len(asked.messages) == asking.MAX_MESSAGES


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(errors.MalformedBody):
        asking.parse(body)

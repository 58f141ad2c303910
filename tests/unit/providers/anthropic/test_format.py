"""How Anthropic is asked: each field but the messages, or its refusal by name."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.providers.anthropic import asking

from holdfast.providers.anthropic import models

FORMAT, MODEL, USER = asking.FORMAT, asking.MODEL, asking.USER
message, payload, refused, said = asking.message, asking.payload, asking.refused, asking.said
Made = dict[str, Any]


def test_where_and_with_what() -> None:
    assert FORMAT.kind == "anthropic"
    assert FORMAT.path("claude/x") == "/v1/messages"
    version = ("anthropic-version", "2023-06-01")
    assert FORMAT.headers("key") == (("x-api-key", "key"), version)
    assert FORMAT.headers(None) == (version,)


def test_the_smallest_request() -> None:
    assert payload() == {
        "model": MODEL,
        "max_tokens": 64_000,
        "messages": [{"role": "user", "content": [said("Hi")]}],
        "stream": True,
    }


def test_every_option() -> None:
    made = payload(
        message("system", "Be kind."),
        USER,
        temperature=0.0,
        top_p=0.0,
        max_tokens=7,
        stop=["END"],
        n=1,
        tools=[{"type": "function", "function": {"name": "now"}}],
        response_format={
            "type": "json_schema",
            "json_schema": {
                "name": "depth",
                "description": "How deep.",
                "strict": True,
                "schema": {"type": "object"},
            },
        },
    )
    assert made == {
        "model": MODEL,
        "max_tokens": 7,
        "messages": [{"role": "user", "content": [said("Hi")]}],
        "stream": True,
        "system": [said("Be kind.")],
        "temperature": 0.0,
        "top_p": 0.0,
        "stop_sequences": ["END"],
        "tools": [{"name": "now", "input_schema": {"type": "object", "properties": {}}}],
        "output_config": {
            "format": {
                "type": "json_schema",
                "schema": {"type": "object", "description": "How deep."},
            }
        },
    }


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"n": 2}, "n: "),
        ({"temperature": 1.1}, "temperature: "),
        ({"temperature": -0.1}, "temperature: "),
        ({"response_format": {"type": "json_object"}}, "response_format: "),
        ({"tools": [{"type": "web_search"}]}, "tools[0]: "),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools[0]: "),
        ({"tools": [{"googleSearch": {}}]}, "tools[0]: "),
    ],
)
def test_what_is_refused_by_name(fields: Made, says: str) -> None:
    assert refused(**fields).startswith(says)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_a_temperature_in_its_range_is_sent(temperature: float) -> None:
    assert payload(temperature=temperature)["temperature"] == temperature


def test_text_is_no_response_format() -> None:
    assert "output_config" not in payload(response_format={"type": "text"})


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
        {"type": "tool_search_tool_bm25", "name": "tool_search_tool_bm25"},
        {"type": "mcp_toolset", "mcp_server_name": "sea"},
        {"type": "custom", "name": "x", "input_schema": {"type": "object"}},
        {"name": "x", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}},
    ],
)
def test_tools_in_the_providers_words_go_verbatim(tool: Made) -> None:
    assert payload(tools=[tool])["tools"] == [tool]


def test_a_function_with_all_its_fields() -> None:
    schema = {"type": "object", "properties": {"at": {"type": "string"}}}
    function = {"name": "depth", "description": "How deep", "parameters": schema, "strict": True}
    assert payload(tools=[{"type": "function", "function": function}])["tools"] == [
        {"name": "depth", "description": "How deep", "input_schema": schema, "strict": True}
    ]


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-3-haiku-20240307", 4_096),
        ("claude-3-5-sonnet-20241022", 8_192),
        ("claude-3-7-sonnet-20250219", 32_000),
        ("claude-opus-4-20250514", 32_000),
        ("claude-opus-4-1", 32_000),
        ("claude-opus-4-0", 32_000),
        ("claude-sonnet-4-20250514", 64_000),
        ("claude-opus-4-5-20251101", 64_000),
        ("claude-haiku-4-5", 64_000),
        ("anthropic/claude-fable-5-2", 64_000),
        ("minnow-1", 4_096),
    ],
)
def test_an_answer_may_be_as_long_as_the_family_allows(model: str, most: int) -> None:
    assert payload(model=model)["max_tokens"] == most


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("claude-3-5-sonnet-20241022", False),
        ("claude-3-opus-20240229", False),
        ("claude-opus-4-20250514", False),
        ("claude-opus-4-7", False),
        ("claude-sonnet-4-6", False),
        ("claude-haiku-4-5-20251001", False),
        ("claude-mythos-preview", False),
        ("minnow-5", False),
        ("claude-opus-4-8", True),
        ("claude-opus-5", True),
        ("claude-sonnet-5-5", True),
        ("claude-haiku-5-5-20260901", True),
        ("anthropic/claude-fable-5-2", True),
        ("claude-opus-10", True),
    ],
)
def test_which_models_take_instructions_among_the_turns(model: str, takes: bool) -> None:
    assert models.takes_system_turns(model) is takes

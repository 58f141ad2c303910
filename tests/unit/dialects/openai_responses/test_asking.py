"""A body as a request: what all providers know, what one kind knows, and what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.dialects.openai_responses import reading

from holdfast import errors, request
from holdfast.dialects import base, openai_responses
from holdfast.dialects.openai_responses import output

DIALECT = openai_responses.Dialect()


def parsed(**fields: Any) -> base.Asked:
    return DIALECT.parse(msgspec.json.encode({"model": "p/m", "input": "Hi", **fields}))


def foreign(asked: base.Asked) -> request.Foreign:
    assert asked.request.foreign is not None
    return asked.request.foreign


def told(asked: base.Asked) -> dict[str, Any]:
    """The response object as it is when the answer has not begun."""
    header = msgspec.structs.replace(reading.HEADER, terms=asked.terms)
    whole = DIALECT.whole(reading.STREAM, header)
    found: dict[str, Any] = msgspec.json.decode(whole.body())
    return found


def test_the_least_there_is() -> None:
    asked = parsed()
    assert asked.request == request.Request(
        "p/m",
        [request.Message("user", "Hi")],
        foreign=request.Foreign("openai_responses", whole=True, revocable=output.REVOCABLE),
    )
    assert (asked.stream, asked.detached) == (False, False)
    assert told(asked) == {
        "id": f"resp_{reading.STREAM}",
        "object": "response",
        "created_at": 1_700_000_000,
        "completed_at": None,
        "model": "m",
        "status": "in_progress",
        "background": False,
        "output": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": None,
        "user": None,
    }


def test_what_all_providers_know() -> None:
    tool = {"name": "f", "description": "F.", "parameters": {"type": "object"}, "strict": True}
    schema = {"name": "s", "schema": {"type": "object"}, "strict": True}
    asked = parsed(
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=7,
        tools=[{"type": "function", **tool}, {"type": "function", "name": "g", "strict": None}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "description": None, **schema}, "verbosity": "low"},
        instructions="Be brief.",
        stream=True,
    )
    assert asked.request == request.Request(
        "p/m",
        [request.Message("developer", "Be brief."), request.Message("user", "Hi")],
        temperature=0.5,
        top_p=0.9,
        max_tokens=7,
        tools=[
            {"type": "function", "function": tool},
            {"type": "function", "function": {"name": "g"}},
        ],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": schema},
        foreign=request.Foreign(
            "openai_responses", {"text": {"verbosity": "low"}}, revocable=output.REVOCABLE
        ),
    )
    assert asked.stream
    response = told(asked)
    assert response["text"] == {"format": {"type": "json_schema", "name": "s"}, "verbosity": "low"}
    assert response["tool_choice"] == {"type": "function", "name": "f"}
    assert (response["temperature"], response["top_p"]) == (0.5, 0.9)
    assert (response["max_output_tokens"], response["parallel_tool_calls"]) == (7, False)


def test_what_one_kind_knows_stays_as_it_is() -> None:
    fields = {
        "reasoning": {"effort": "low", "summary": "auto", "generate_summary": None},
        "include": ["file_search_call.results"],
        "metadata": {"a": "b"},
        "user": "ada",
        "safety_identifier": "s",
        "service_tier": "flex",
        "prompt_cache_key": "k",
        "truncation": "disabled",
        "max_tool_calls": 3,
        "n": 2,
    }
    asked = parsed(**fields, store=False, unknown=None)
    assert foreign(asked).fields == fields
    lost = set(fields) - set(foreign(asked).harmless)
    assert lost == {"reasoning", "max_tool_calls", "n"}
    response = told(asked)
    assert response["reasoning"] == {"effort": "low", "summary": "auto"}
    assert (response["metadata"], response["user"]) == ({"a": "b"}, "ada")
    assert response["store"] is False


@pytest.mark.parametrize(
    "fields", [{"include": ["message.output_text.logprobs"]}, {"truncation": "auto"}]
)
def test_what_is_a_part_of_the_answer_is_not_harmless(fields: dict[str, Any]) -> None:
    assert foreign(parsed(**fields)).harmless == []


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search", "search_context_size": "low"},
        {"type": "function", "name": "f", "parameters": {}, "defer_loading": True},
        {"type": "custom", "name": "sh"},
    ],
)
def test_a_tool_of_its_own_stays_as_it_is(tool: dict[str, Any]) -> None:
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}
    asked = parsed(tools=[tool], tool_choice=choice)
    assert asked.request.tools == [tool]
    assert asked.request.tool_choice == choice
    assert told(asked)["tool_choice"] == {"type": "allowed_tools", "mode": "auto"}


def test_plain_formats() -> None:
    assert parsed(text={"format": {"type": "text"}}).request.response_format is None
    asked = parsed(text={"format": {"type": "json_object"}})
    assert asked.request.response_format == {"type": "json_object"}


def test_the_background() -> None:
    asked = parsed(background=True)
    assert (asked.stream, asked.detached) == (False, True)
    assert told(asked)["status"] == "queued"
    assert told(asked)["background"] is True
    asked = parsed(background=True, stream=True)
    assert (asked.stream, asked.detached) == (True, False)


def test_padding_is_on_unless_it_is_not_wanted() -> None:
    def padded(asked: base.Asked) -> bool:
        header = msgspec.structs.replace(reading.HEADER, terms=asked.terms)
        fold = DIALECT.fold(reading.STREAM, header)
        bodies: list[Any] = [reading.START, reading.content("a"), reading.content("b")]
        frames = b"".join(map(fold.render, reading.numbered(bodies)))
        return b"obfuscation" in frames

    assert padded(parsed())
    assert padded(parsed(stream_options={"include_obfuscation": True}))
    asked = parsed(stream_options={"include_obfuscation": False, "more": 1})
    assert not padded(asked)
    assert foreign(asked).fields == {"stream_options": {"more": 1}}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": None}, "^`model` is missing"),
        ({"input": None}, "^`input` is missing"),
        ({"input": []}, "^`input` is missing"),
        ({"input": 7}, r"\$\.input"),
        ({"background": True, "store": False}, "^`store`"),
        ({"previous_response_id": "resp_1"}, "^`previous_response_id`: .* `input`"),
        ({"conversation": "conv_1"}, "^`conversation`"),
        ({"prompt": {"id": "pmpt_1"}}, "^`prompt`"),
        ({"temperature": 3}, r"\$\.temperature"),
        ({"top_p": "x"}, r"\$\.top_p"),
        ({"max_output_tokens": 0}, r"\$\.max_output_tokens"),
        ({"stream": "yes"}, r"\$\.stream"),
        ({"metadata": {"a": 1}}, r"\$\.metadata"),
        ({"metadata": {str(n): "" for n in range(17)}}, r"\$\.metadata"),
        ({"metadata": {"a": "x" * 513}}, r"\$\.metadata"),
        ({"user": "x" * 513}, r"\$\.user"),
        ({"reasoning": {"effort": 7}}, r"\$\.reasoning\.effort"),
        ({"truncation": "some"}, r"\$\.truncation"),
        ({"text": {"format": "json"}}, "^`text.format`"),
        ({"stream_options": {"include_obfuscation": 1}}, "^`stream_options.include_obfuscation`"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.InvalidField, match=said):
        parsed(**fields)


def test_what_is_told_again_is_small() -> None:
    """Terms stand in the header of each stream: no prompt, no tool, no schema, no long name."""
    long = "x" * 100_000
    fields = {
        "instructions": long,
        "input": long,
        "tools": [{"type": "function", "name": long, "parameters": {"x": long}}],
        "tool_choice": {"type": "function", "name": long},
        "text": {"format": {"type": "json_schema", "name": long, "schema": {"x": long}}},
        "metadata": {str(n) * 32: "x" * 512 for n in range(10, 26)},
        "user": "x" * 512,
        "unknown": long,
    }
    assert len(parsed(**fields).terms) < 11_000

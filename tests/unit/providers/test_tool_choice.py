"""Which tools may be called: how it is read, and what each format makes of it.

The vendors' own clients say which words their API has: what is sent is held against their types.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pydantic
import pytest
from anthropic.types import tool_choice_param as anthropic_types
from google.genai import interactions
from google.genai import types as google_types
from openai.types.chat import chat_completion_tool_choice_option_param as chat_types
from openai.types.responses import response_create_params as responses_types

from holdfast import errors, request
from holdfast.providers import asked, tool_choice, vendors

USER = request.Message("user", "Hi")
FUNCTION = {"type": "function", "function": {"name": "tide"}}
NAMED = FUNCTION
Chosen = tool_choice.ToolChoice

FORMATS = (
    "openai",
    "openai_chat",
    "openai_responses",
    "anthropic",
    "google",
    "google_interactions",
)


def wanted(**fields: Any) -> request.Request:
    return request.Request(**{"model": "m", "messages": [USER], "tools": [FUNCTION], **fields})


def sent(kind: str, **fields: Any) -> dict[str, Any]:
    """What the vendor gets beyond what it gets where nothing is said of calls."""
    format = vendors.VENDORS[kind].format
    said = msgspec.to_builtins(format.payload(wanted(**fields), "m"))
    quiet = {name: fields[name] for name in fields if name == "tools"}
    unsaid = msgspec.to_builtins(format.payload(wanted(**quiet), "m"))
    return {name: value for name, value in said.items() if unsaid.get(name) != value}


def refused(kind: str, **fields: Any) -> str:
    with pytest.raises(errors.InvalidField) as caught:
        vendors.VENDORS[kind].format.payload(wanted(**fields), "m")
    return caught.value.message


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (None, None),
        ("auto", Chosen("auto")),
        ("none", Chosen("none")),
        ("required", Chosen("required")),
        (NAMED, Chosen("function", "tide")),
        ({"type": "any"}, asked.Native("any", {"type": "any"}, "tool_choice")),
        ({"type": 7}, asked.Native("", {"type": 7}, "tool_choice")),
        ({}, asked.Native("", {}, "tool_choice")),
    ],
)
def test_what_is_asked_for(said: Any, found: Any) -> None:
    assert tool_choice.of(wanted(tool_choice=said)) == found


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ("any", "tool_choice: "),
        ("function", "tool_choice: "),
        ("", "tool_choice: "),
        ({"type": "function"}, "tool_choice.function.name: "),
        ({"type": "function", "name": "tide"}, "tool_choice.function.name: "),
        ({"type": "function", "function": "tide"}, "tool_choice.function.name: "),
        ({"type": "function", "function": {"name": ""}}, "tool_choice.function.name: "),
        ({"type": "function", "function": {"name": 7}}, "tool_choice.function.name: "),
    ],
)
@pytest.mark.parametrize("kind", FORMATS)
def test_what_makes_no_sense_is_refused(kind: str, said: Any, where: str) -> None:
    assert refused(kind, tool_choice=said).startswith(where)


@pytest.mark.parametrize("tools", [None, []])
def test_without_tools_nothing_can_be_demanded_and_nothing_need_be_forbidden(tools: Any) -> None:
    for said in ("required", NAMED, {"type": "any"}):
        with pytest.raises(errors.InvalidField, match=r"^tool_choice: .*`tools`"):
            tool_choice.of(wanted(tools=tools, tool_choice=said))
    for kind in FORMATS:
        for said in ("auto", "none"):
            assert sent(kind, tools=tools, tool_choice=said) == {}
        for several in (True, False):
            assert sent(kind, tools=tools, parallel_tool_calls=several) == {}


def test_a_word_that_is_none_is_refused_without_tools_too() -> None:
    with pytest.raises(errors.InvalidField, match=r"^tool_choice: "):
        tool_choice.of(wanted(tools=None, tool_choice="any"))


# How each says it

_CALLING = google_types.ToolConfig
_ALLOWED = {"allowed_tools": {"mode": "any", "tools": ["tide"]}}
_GOOGLE = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def google(mode: str, **more: Any) -> dict[str, Any]:
    return {"toolConfig": {"functionCallingConfig": {"mode": mode} | more}}


WORDS: dict[str, dict[str, Any]] = {
    "openai": {each: {"tool_choice": each} for each in _GOOGLE},
    "openai_responses": {each: {"tool_choice": each} for each in _GOOGLE},
    "anthropic": {
        "auto": {"tool_choice": {"type": "auto"}},
        "none": {"tool_choice": {"type": "none"}},
        "required": {"tool_choice": {"type": "any"}},
    },
    "google": {each: google(mode) for each, mode in _GOOGLE.items()},
    "google_interactions": {
        "auto": {"generation_config": {"tool_choice": "auto"}},
        "none": {"generation_config": {"tool_choice": "none"}},
        "required": {"generation_config": {"tool_choice": "any"}},
    },
}
ONE_FUNCTION: dict[str, dict[str, Any]] = {
    "openai": {"tool_choice": NAMED},
    "openai_responses": {"tool_choice": {"type": "function", "name": "tide"}},
    "anthropic": {"tool_choice": {"type": "tool", "name": "tide"}},
    "google": google("ANY", allowedFunctionNames=["tide"]),
    "google_interactions": {"generation_config": {"tool_choice": _ALLOWED}},
}


@pytest.mark.parametrize("kind", WORDS)
def test_each_format_says_it_in_its_own_words(kind: str) -> None:
    for said, words in WORDS[kind].items():
        assert sent(kind, tool_choice=said) == words
    assert sent(kind, tool_choice=NAMED) == ONE_FUNCTION[kind]


def closed(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(list[kind], config=pydantic.ConfigDict(extra="forbid"))


@pytest.mark.parametrize("said", ["auto", "none", "required", NAMED])
def test_the_vendors_own_clients_have_these_words(said: Any) -> None:
    chat = sent("openai", tool_choice=said)["tool_choice"]
    closed(chat_types.ChatCompletionToolChoiceOptionParam).validate_python([chat])
    responses = sent("openai_responses", tool_choice=said)["tool_choice"]
    closed(responses_types.ToolChoice).validate_python([responses])
    for several in (None, False):
        said_too = {"tool_choice": said, "parallel_tool_calls": several}
        anthropic = sent("anthropic", **said_too)["tool_choice"]
        closed(anthropic_types.ToolChoiceParam).validate_python([anthropic])
    google_types.ToolConfig.model_validate(sent("google", tool_choice=said)["toolConfig"])
    own = sent("google_interactions", tool_choice=said)["generation_config"]
    closed(interactions.GenerationConfigParam).validate_python([own])


# A provider's own words


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("openai", {"type": "custom", "custom": {"name": "tide"}}),
        ("openai", {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}),
        ("openai_chat", {"type": "grammar"}),
        ("openai_responses", {"type": "mcp", "server_label": "sea"}),
        ("openai_responses", {"type": "allowed_tools", "mode": "auto", "tools": []}),
        ("anthropic", {"type": "tool", "name": "web_search"}),
        ("anthropic", {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_what_a_provider_has_alone_is_handed_on(kind: str, said: dict[str, Any]) -> None:
    assert sent(kind, tool_choice=said) == {"tool_choice": said}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("openai_responses", {"type": "any"}),
        ("openai_responses", {"type": "tool", "name": "tide"}),
        ("openai_responses", {"type": "custom", "custom": {"name": "tide"}}),
        ("openai_responses", {"type": "allowed_tools", "allowed_tools": {}}),
        ("openai_responses", {}),
        ("anthropic", {"type": "mcp", "server_label": "sea"}),
        ("anthropic", {"type": "allowed_tools", "mode": "auto"}),
        ("google", {"type": "any"}),
        ("google", {"mode": "ANY"}),
        ("google_interactions", {"type": "any"}),
        ("google_interactions", _ALLOWED),
    ],
)
def test_what_is_anothers_is_refused(kind: str, said: dict[str, Any]) -> None:
    assert refused(kind, tool_choice=said).startswith("tool_choice: ")


# One at a time


@pytest.mark.parametrize("kind", ["openai", "openai_chat", "mistral", "openai_responses"])
@pytest.mark.parametrize("several", [True, False])
def test_how_many_at_once_is_said_in_the_same_words(kind: str, several: bool) -> None:
    assert sent(kind, parallel_tool_calls=several) == {"parallel_tool_calls": several}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}),
        ("auto", {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", {"type": "any", "disable_parallel_tool_use": True}),
        (NAMED, {"type": "tool", "name": "tide", "disable_parallel_tool_use": True}),
        ("none", {"type": "none"}),
        ({"type": "any"}, {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_anthropic_hears_of_it_beside_the_choice(said: Any, words: dict[str, Any]) -> None:
    made = sent("anthropic", tool_choice=said, parallel_tool_calls=False)
    assert made == {"tool_choice": words}
    assert sent("anthropic", parallel_tool_calls=True) == {}


@pytest.mark.parametrize("kind", ["google", "google_interactions", "ollama", "zai"])
def test_who_cannot_be_held_to_one_says_so(kind: str) -> None:
    assert refused(kind, parallel_tool_calls=False).startswith("parallel_tool_calls: ")
    assert sent(kind, parallel_tool_calls=True) == {}


# What some do not heed


def test_a_vendor_that_would_not_heed_a_choice_is_not_asked() -> None:
    for said in ("none", "required", NAMED):
        assert refused("ollama", tool_choice=said) == (
            "tool_choice: of the choices this provider heeds auto alone."
        )
    assert sent("ollama", tool_choice="auto") == {"tool_choice": "auto"}
    assert refused("lmstudio", tool_choice=NAMED).startswith("tool_choice: ")
    assert sent("lmstudio", tool_choice="required") == {"tool_choice": "required"}


def test_googles_own_tools_cannot_be_chosen() -> None:
    own: list[dict[str, Any]] = [{"googleSearch": {}}]
    for said in ("none", "required", NAMED):
        assert refused("google", tools=own, tool_choice=said).startswith("tool_choice: ")
    assert sent("google", tools=own, tool_choice="auto") == {}
    assert sent("google", tools=[*own, FUNCTION], tool_choice="none") == google("NONE")

"""The request that a vendor of the chat format gets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast import errors, request
from holdfast.providers import openai_chat, vendors

USER = request.Message("user", "Hi")
TOOL = {"type": "function", "function": {"name": "f"}}


def body(kind: str = "openai", **fields: Any) -> dict[str, Any]:
    wanted = request.Request(**{"model": "mine/m", "messages": [USER], **fields})
    sent = msgspec.json.encode(vendors.VENDORS[kind].format.payload(wanted, "m"))
    decoded = msgspec.json.decode(sent)
    assert isinstance(decoded, dict)
    return decoded


def test_everything_that_is_asked_for_is_sent() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    said = [
        request.Message("developer", "Be brief."),
        request.Message("user", [{"type": "text", "text": "Hi"}], name="ann"),
        request.Message("assistant", tool_calls=[{"id": "a", "type": "function"}]),
        request.Message("tool", "5", tool_call_id="a"),
    ]
    sent = body(
        messages=said,
        temperature=0.0,
        top_p=0.0,
        max_tokens=9,
        tools=[tool],
        response_format={"type": "json_object"},
        stop=["\n"],
        n=2,
        buffer_size=1,
        fallback=request.Fallback(mode="none"),
        metadata=request.Metadata(user_id="u"),
    )
    assert sent == {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "ann"},
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]},
            {"role": "tool", "content": "5", "tool_call_id": "a"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
        "n": 2,
        "temperature": 0.0,
        "top_p": 0.0,
        "max_completion_tokens": 9,
        "tools": [tool],
        "response_format": {"type": "json_object"},
        "stop": ["\n"],
    }


def test_obfuscation_is_switched_off_where_it_is_known_alone() -> None:
    assert body("deepseek")["stream_options"] == {"include_usage": True}
    assert body("openai_chat")["stream_options"] == {"include_usage": True}
    assert "stream_options" not in body("mistral")


def test_the_developer_role_is_system_elsewhere() -> None:
    messages = [request.Message("developer", "Be brief.")]
    assert body("groq", messages=messages)["messages"][0]["role"] == "system"


def test_what_a_vendor_cannot_take_is_refused_by_name() -> None:
    with pytest.raises(errors.InvalidField, match=r"^n: "):
        body("groq", n=2)
    with pytest.raises(errors.InvalidField, match=r"^messages\[1\]\.name: "):
        body("groq", messages=[USER, request.Message("user", "Hi", name="ann")])


def test_the_key_is_a_bearer_token() -> None:
    assert openai_chat.Format().headers("k") == (("Authorization", "Bearer k"),)
    assert openai_chat.Format().headers(None) == ()


def test_reasoning_with_its_signature_is_given_back_as_it_came() -> None:
    one, other = {"type": "reasoning.text", "signature": "s"}, {"type": "reasoning.encrypted"}
    text = {"type": "text", "text": "Hi"}
    content: list[dict[str, Any]] = [
        {"reasoning_details": [one]},
        text,
        {"reasoning_details": other},
    ]
    calls = [{"id": "a", "type": "function"}]
    said = request.Message("assistant", content, tool_calls=calls)
    sent = body("openrouter", messages=[USER, said])["messages"][1]
    assert sent == {
        "role": "assistant",
        "content": "Hi",
        "tool_calls": calls,
        "reasoning_details": [one, other],
    }
    # OpenAI itself knows none of it, and nothing is lost that people wrote.
    assert body("openai", messages=[USER, said])["messages"][1] == {
        "role": "assistant",
        "content": "Hi",
        "tool_calls": calls,
    }
    alone = request.Message("assistant", [{"reasoning_details": [one]}])
    assert body("openrouter", messages=[alone])["messages"][0] == {
        "role": "assistant",
        "content": None,
        "reasoning_details": [one],
    }


def test_reasoning_of_an_earlier_answer_is_given_back_as_a_field() -> None:
    content: list[dict[str, Any]] = [{"reasoning_content": "Hm. "}, {"reasoning_content": "Yes."}]
    said = request.Message("assistant", content, tool_calls=[{"id": "a"}])
    assert body("deepseek", messages=[said])["messages"][0] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "a"}],
        "reasoning_content": "Hm. Yes.",
    }


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        (
            "messages[0].content[1]",
            {
                "messages": [
                    request.Message(
                        "assistant",
                        [{"type": "text", "text": "a"}, {"type": "thinking", "signature": "s"}],
                    )
                ]
            },
        ),
        ("messages[0].content[0]", {"messages": [request.Message("user", [{"a": 1}])]}),
        ("tools[0]", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ("messages[0].content[0]", {"messages": [request.Message("user", [{"type": []}])]}),
        ("tools[0]", {"tools": [{"type": {}}]}),
        ("response_format", {"response_format": {"type": "grammar"}}),
        ("tool_choice", {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}}),
        ("tool_choice", {"tools": [TOOL], "tool_choice": {"type": []}}),
    ],
)
def test_what_openai_does_not_have_is_refused_there_alone(
    field: str, asked: dict[str, Any]
) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        body("openai", **asked)
    assert str(caught.value).startswith(f"{field}: ")
    assert body("openai_chat", **asked)

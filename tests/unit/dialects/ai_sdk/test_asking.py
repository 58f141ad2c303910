"""What `useChat` sends, and what an application adds to it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from holdfast import errors, request
from holdfast.dialects import ai_sdk, base
from holdfast.dialects.ai_sdk import asking, chunks, messages

USER: dict[str, Any] = {
    "id": "m1",
    "role": "user",
    "parts": [{"type": "text", "text": "Why is the sea salt?"}],
}
ANSWER = {"id": "m2", "role": "assistant", "parts": [{"type": "text", "text": "Because"}]}
LEAST = {"id": "chat-1", "messages": [USER], "trigger": "submit-message"}
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}}
TIDE = {"type": "function", "function": {"name": "tide", "parameters": SCHEMA}}


def asked(**fields: Any) -> base.Asked:
    return ai_sdk.Dialect("usual").parse(json.dumps(LEAST | fields).encode())


def wanted(**fields: Any) -> request.Request:
    return asked(**fields).request


def refused(**fields: Any) -> str:
    with pytest.raises(errors.InvalidField) as caught:
        asked(**fields)
    return caught.value.message


def test_what_the_transport_sends_by_itself() -> None:
    found = asked()
    assert found.stream
    assert found.terms == b""
    assert found.request == request.Request(
        "usual",
        [request.Message("user", "Why is the sea salt?")],
        metadata=request.Metadata(session_id="chat-1"),
        foreign=request.Foreign("ai_sdk", revocable=chunks.REVOCABLE),
    )


def test_what_an_application_adds() -> None:
    by_us = wanted(
        model="m",
        system="Be brief.",
        temperature=0.5,
        top_p=0.9,
        max_tokens=7,
        tools=[TIDE],
        tool_choice="required",
        fallback={"mode": "none"},
    )
    by_them = wanted(
        model="m",
        system="Be brief.",
        temperature=0.5,
        topP=0.9,
        maxOutputTokens=7,
        tools={"tide": {"inputSchema": SCHEMA}},
        toolChoice="required",
        fallback={"mode": "none"},
    )
    assert by_us == by_them
    assert by_us.messages[0] == request.Message("system", "Be brief.")
    assert (by_us.temperature, by_us.top_p, by_us.max_tokens) == (0.5, 0.9, 7)
    assert by_us.tools == [TIDE]
    assert by_us.tool_choice == "required"
    assert by_us.fallback == request.Fallback(mode="none")


def test_a_tool_that_is_chosen_by_name() -> None:
    wanted_tool = wanted(toolChoice={"type": "tool", "toolName": "tide"}).tool_choice
    assert wanted_tool == {"type": "function", "function": {"name": "tide"}}


@pytest.mark.parametrize("schema", ["inputSchema", "parameters"])
def test_tools_by_name(schema: str) -> None:
    tools = {"tide": {"description": "The tide.", schema: SCHEMA, "strict": True}}
    function = {"name": "tide", "description": "The tide.", "parameters": SCHEMA}
    assert wanted(tools=tools).tools == [{"type": "function", "function": function}]


@pytest.mark.parametrize("tools", [{}, [], None])
def test_no_tools(tools: Any) -> None:
    assert wanted(tools=tools).tools is None


def test_what_else_an_application_sends_is_its_own_business() -> None:
    own = {"userId": 7, "selectedChatModel": "x", "metadata": {"a": 1}, "messageId": None}
    assert wanted(**own) == wanted()


def test_a_message_that_is_gone_on_with_is_named_in_the_terms() -> None:
    assert asked(messages=[USER, ANSWER]).terms == chunks.terms("m2") != b""
    assert asked(messages=[USER, ANSWER, USER]).terms == b""


def test_the_model_of_the_body_wins_and_one_there_must_be() -> None:
    assert wanted(model="m").model == "m"
    with pytest.raises(errors.InvalidField, match="chat_model"):
        ai_sdk.Dialect().parse(json.dumps(LEAST).encode())


def test_a_chat_without_an_id_is_taken_and_has_no_session() -> None:
    assert wanted(id=None).metadata.session_id is None
    assert wanted(id="").metadata.session_id is None


def test_a_conversation_is_of_the_kind_that_sealed_its_newest_call() -> None:
    """So that what is beside the call goes to providers of that kind, and to no others."""
    call = {"type": "tool-tide", "toolCallId": "c", "state": "output-available", "output": 1}
    sealed = {**call, "callProviderMetadata": {"google": {"thoughtSignature": "s"}}}
    message = {"role": "assistant", "parts": [sealed]}
    assert wanted(messages=[USER, message]).foreign == request.Foreign(
        "google", revocable=chunks.REVOCABLE
    )


def test_the_answer_as_one_message() -> None:
    whole = asked(stream=False)
    assert not whole.stream
    assert whole.request.foreign == request.Foreign(
        "ai_sdk", whole=True, revocable=chunks.REVOCABLE
    )


@pytest.mark.parametrize("messages", [None, [], [{"role": "user", "parts": []}]])
def test_somebody_must_say_something(messages: Any) -> None:
    assert "messages" in refused(messages=messages)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 7),
        ("id", "x" * 257),
        ("model", ""),
        ("system", ["Be brief."]),
        ("temperature", 3),
        ("topP", -1),
        ("maxOutputTokens", 0),
        ("tools", ["tide"]),
        ("tools", {"tide": {"inputSchema": "object"}}),
        ("toolChoice", 1),
        ("fallback", {"mode": "x"}),
        ("stream", "yes"),
        ("messages", {}),
        ("messages", [{"role": "tool", "parts": []}]),
        ("messages", [{"role": "user", "content": "Why?"}]),
        ("messages", [{"role": "assistant", "parts": [], "id": "x" * 257}]),
    ],
)
def test_what_is_of_a_wrong_type_is_named(field: str, value: Any) -> None:
    assert field in refused(**{field: value})


def test_a_session_holds_the_longest_id() -> None:
    assert wanted(id="x" * 256).metadata.session_id == "x" * 256


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff"])
def test_what_is_no_object(body: bytes) -> None:
    with pytest.raises(errors.MalformedBody):
        ai_sdk.Dialect("m").parse(body)


def test_a_conversation_and_a_message_have_a_limit() -> None:
    many = [USER] * asking.MAX_MESSAGES
    assert len(wanted(messages=many).messages) == asking.MAX_MESSAGES
    assert "10000" in refused(messages=[*many, USER])
    parts = USER["parts"] * messages.MAX_PARTS
    assert len(wanted(messages=[{**USER, "parts": parts}]).messages[0].content or "") == 10_000
    assert "10000" in refused(messages=[{**USER, "parts": [*parts, *parts[:1]]}])


def test_terms_are_small() -> None:
    assert len(asked(messages=[{**ANSWER, "id": "ä" * 256}]).terms) < 1024
    assert msgspec.json.decode(asked(messages=[ANSWER]).terms) == {"message": "m2"}

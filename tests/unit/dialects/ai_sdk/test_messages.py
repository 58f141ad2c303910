"""UI messages as a conversation: each part, and what becomes of a turn with tools."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast import errors, request
from holdfast.dialects.ai_sdk import messages
from holdfast.providers import asked

Part = dict[str, Any]

STEP = {"type": "step-start"}
TIDE = {"type": "tool-tide", "toolCallId": "c1", "input": {"at": 7}}
WIND = {"type": "dynamic-tool", "toolName": "wind", "toolCallId": "c2", "input": {}}
PICTURE = "data:image/png;base64,iVBORw0KGgo="


def text(said: str, **more: Any) -> Part:
    return {"type": "text", "text": said, "state": "done", **more}


def read(role: str, *parts: Part) -> list[request.Message]:
    return messages.read(
        msgspec.convert([{"role": role, "parts": parts}], list[messages.UiMessage])
    )


def call(id: str, name: str, arguments: str) -> Part:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def refused(role: str, *parts: Part) -> str:
    with pytest.raises(errors.InvalidField) as caught:
        read(role, *parts)
    return caught.value.message


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_one_text_is_text_and_several_are_parts(role: Any) -> None:
    assert read(role, text("A"), text("")) == [request.Message(role, "A")]
    both = [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]
    assert read(role, text("A"), text("B")) == [request.Message(role, both)]


def test_pictures_sounds_and_files() -> None:
    def file(media_type: str, url: str, **more: Any) -> Part:
        return {"type": "file", "mediaType": media_type, "url": url, **more}

    parts = [
        text("What is this?"),
        file("image/png", PICTURE),
        file("image", "https://a.example/x.jpg"),
        file("audio/mpeg", "data:audio/mpeg;base64,AAAA"),
        file("application/pdf", "data:application/pdf;base64,AAAA", filename="a.pdf"),
        file("text/plain", "data:text/plain;base64,AAAA"),
    ]
    (message,) = read("user", *parts)
    assert message.content == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "image_url", "image_url": {"url": "https://a.example/x.jpg"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        {
            "type": "file",
            "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
        },
        {"type": "file", "file": {"file_data": "data:text/plain;base64,AAAA"}},
    ]
    kinds = [type(one).__name__ for one in asked.parts(message, "messages[0]")]
    assert kinds == ["Text", *["Media"] * 5], "every provider reads them"


def test_a_turn_with_tools_is_a_message_for_each_step() -> None:
    parts = [
        STEP,
        {"type": "reasoning", "text": "Hm", "state": "done"},
        text("Let me see."),
        {**TIDE, "state": "output-available", "output": {"height": 2}},
        {**WIND, "state": "output-error", "errorText": "No wind."},
        STEP,
        text("Two metres."),
    ]
    calls = [call("c1", "tide", '{"at":7}'), call("c2", "wind", "{}")]
    assert read("assistant", *parts) == [
        request.Message("assistant", "Let me see.", tool_calls=calls),
        request.Message("tool", '{"height":2}', tool_call_id="c1"),
        request.Message("tool", "No wind.", tool_call_id="c2"),
        request.Message("assistant", "Two metres."),
    ]


@pytest.mark.parametrize(
    ("output", "told"), [("calm", "calm"), (None, "null"), ([1, {"a": "ü"}], '[1,{"a":"ü"}]')]
)
def test_outputs_are_text_or_json(output: Any, told: str) -> None:
    found = read("assistant", {**TIDE, "state": "output-available", "output": output})
    assert found[1].content == told


@pytest.mark.parametrize(
    ("state", "approval", "told"),
    [
        ("output-denied", {"approved": False, "reason": "Not now."}, "Not now."),
        ("output-denied", None, messages.DENIED),
        ("approval-responded", {"approved": False}, messages.DENIED),
    ],
)
def test_what_the_user_forbids_is_the_output(state: str, approval: Any, told: str) -> None:
    found = read("assistant", {**TIDE, "state": state, "approval": approval})
    assert found[1].content == told


@pytest.mark.parametrize(
    ("state", "more"),
    [
        ("input-streaming", {"input": None}),
        ("input-available", {}),
        ("approval-requested", {"approval": {"id": "a"}}),
        ("approval-responded", {"approval": {"approved": True}}),
        ("output-available", {"output": 1, "providerExecuted": True}),
    ],
)
def test_a_call_without_an_output_of_ours_is_left_out(state: str, more: Part) -> None:
    part = {**TIDE, "state": state, **more}
    assert read("assistant", text("A"), part) == [request.Message("assistant", "A")]
    assert read("assistant", part) == []


GOOGLE = {"google": {"thoughtSignature": "s"}}
CHAT = {"openai_chat": {"extra_content": {"google": {"thought_signature": "t"}}}}


@pytest.mark.parametrize(
    ("beside", "kind", "went"),
    [
        ([GOOGLE, GOOGLE], "google", [GOOGLE, GOOGLE]),
        ([CHAT], "openai_chat", [CHAT["openai_chat"]["extra_content"]]),
        ([GOOGLE, CHAT], "openai_chat", [None, CHAT["openai_chat"]["extra_content"]]),
        ([CHAT, None, GOOGLE, None], "google", [None, None, GOOGLE, None]),
        ([{"google": "s"}], "", [None]),
        ([{"openai_chat": {}}], "", [None]),
        (["s"], "", [None]),
        ([{"openai": {"itemId": "i"}}], "", [None]),
    ],
)
def test_what_a_provider_has_put_beside_a_call_goes_back(
    beside: list[Any], kind: str, went: list[Part | None]
) -> None:
    parts: list[Part] = [STEP]
    for metadata in beside:
        parts.append({**TIDE, "state": "output-available", "output": 1})
        parts[-1] |= {"callProviderMetadata": metadata} if metadata else {}
    said = msgspec.convert([{"role": "assistant", "parts": parts}], list[messages.UiMessage])
    assert messages.sealing(said) == kind
    (turn, *_) = messages.read(said)
    assert [one.get("extra_content") for one in turn.tool_calls or ()] == went


def test_arguments_that_were_no_json_go_back_as_none() -> None:
    part = {**TIDE, "state": "output-error", "input": None, "rawInput": "{", "errorText": "Bad."}
    (first, second) = read("assistant", part)
    assert first.tool_calls == [call("c1", "tide", "{}")]
    assert second.content == "Bad."


def test_what_is_for_the_page_alone() -> None:
    parts: list[Part] = [
        {"type": "reasoning", "text": "Hm"},
        {"type": "source-url", "sourceId": "s", "url": "https://a.example"},
        {"type": "source-document", "sourceId": "s"},
        {"type": "data-weather", "data": {"sun": 1}},
        {"type": "custom", "kind": "a.b"},
        {"type": "file", "mediaType": "image/png", "url": PICTURE},
    ]
    assert read("assistant", *parts) == []
    assert read("user", {"type": "data-weather", "data": 1}) == []


def test_what_the_user_says_in_between() -> None:
    steering = {"type": "steering-message", "id": "s", "parts": [text("In feet!")]}
    assert read("assistant", text("Two metres"), steering, STEP, text("Six feet")) == [
        request.Message("assistant", "Two metres"),
        request.Message("user", "In feet!"),
        request.Message("assistant", "Six feet"),
    ]


@pytest.mark.parametrize(
    ("role", "part", "where"),
    [
        ("user", {}, "messages[0].parts[0].type"),
        ("user", {"type": "hologram"}, "messages[0].parts[0].type"),
        ("user", {"type": "text"}, "messages[0].parts[0].text"),
        ("user", {"type": "file", "mediaType": "image/png"}, "messages[0].parts[0].url"),
        ("user", {"type": "file", "url": PICTURE}, "messages[0].parts[0].mediaType"),
        (
            "user",
            {"type": "file", "mediaType": "application/pdf", "url": "https://a.example"},
            "messages[0].parts[0].url",
        ),
        ("user", {**TIDE, "state": "output-available"}, "messages[0].parts[0]"),
        ("assistant", TIDE, "messages[0].parts[0].state"),
        ("assistant", {**TIDE, "state": "output-error"}, "messages[0].parts[0].errorText"),
        (
            "assistant",
            {**TIDE, "toolCallId": 1, "state": "output-available"},
            "messages[0].parts[0].toolCallId",
        ),
        (
            "assistant",
            {**WIND, "toolName": None, "state": "output-available"},
            "messages[0].parts[0].toolName",
        ),
        (
            "assistant",
            {"type": "steering-message", "parts": [{"type": "text", "text": 1}]},
            "messages[0].parts[0].parts[0].text",
        ),
        ("assistant", {"type": "steering-message", "parts": 1}, "messages[0].parts[0].parts"),
        ("assistant", {"type": "steering-message", "parts": [1]}, "messages[0].parts[0].parts"),
    ],
)
def test_what_makes_no_sense_is_named(role: str, part: Part, where: str) -> None:
    assert where in refused(role, part)

"""The conversation as Anthropic takes it: each part of a message, or its refusal by name."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.unit.providers.anthropic import asking

from holdfast import errors, request

FORMAT, MODEL, USER = asking.FORMAT, asking.MODEL, asking.USER
message, payload, refused, said = asking.message, asking.payload, asking.refused, asking.said
Made = dict[str, Any]
turns = asking.turns
OLDER = "claude-sonnet-4-5"
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def call(id: str = "toolu_1", arguments: str = '{"at": 1}', name: str = "depth") -> Made:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_instructions_at_the_begin() -> None:
    cached = {"type": "text", "text": "B", "cache_control": {"type": "ephemeral"}}
    made = payload(message("system", "A"), message("developer", [cached]), message("system"), USER)
    assert made["system"] == [said("A"), cached]
    assert [turn["role"] for turn in made["messages"]] == ["user"]


DIALOGUE = (
    message("system", "A"),
    message("user", "1"),
    message("system", "B"),
    message("developer", "C"),
    message("user", "2"),
    message("assistant", "3"),
    message("system", "D"),
    message("user", "4"),
)


def test_later_instructions_stand_at_the_end_of_their_users_turn() -> None:
    made = payload(*DIALOGUE)
    assert made["system"] == [said("A")]
    assert made["messages"] == [
        {"role": "user", "content": [said("1"), said("2")]},
        {"role": "system", "content": [said("B"), said("C")]},
        {"role": "assistant", "content": [said("3")]},
        {"role": "user", "content": [said("4")]},
        {"role": "system", "content": [said("D")]},
    ]


def test_older_models_get_all_instructions_at_the_begin() -> None:
    made = payload(*DIALOGUE, model=OLDER)
    assert made["system"] == [said(name) for name in "ABCD"]
    assert [turn["role"] for turn in made["messages"]] == ["user", "assistant", "user"]


def test_instructions_without_a_place_go_to_the_begin() -> None:
    made = payload(USER, message("assistant", "So"), message("system", "Go on."))
    assert made["system"] == [said("Go on.")]
    assert [turn["role"] for turn in made["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ({"type": "text", "text": "a"}, said("a")),
        (
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}},
            {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": PIXEL}},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
            },
        ),
        (
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
            },
            {
                "type": "document",
                "source": {
                    "type": "base64",
                    "media_type": "application/pdf",
                    "data": "JVBERi0=",
                },
                "title": "a.pdf",
            },
        ),
        (
            {
                "type": "file",
                "file": {
                    "file_data": "data:text/markdown;base64,"
                    + base64.b64encode("# Tîde".encode()).decode()
                },
            },
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "# Tîde"},
            },
        ),
        (
            {"type": "file", "file": {"file_id": "file_1"}},
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        ),
    ],
)
def test_parts_of_a_user(part: Made, block: Made) -> None:
    assert turns(message("user", [part])) == [{"role": "user", "content": [block]}]
    result = message("tool", [part], tool_call_id="toolu_1")
    asked_for = message("assistant", tool_calls=[call()])
    assert turns(USER, asked_for, result)[-1]["content"][0]["content"] == [block]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "document", "source": {"type": "url", "url": "https://x.example/a.pdf"}},
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        {"type": "search_result", "source": "s", "title": "t", "content": []},
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x", "is_error": True},
    ],
)
def test_the_providers_own_parts_of_a_user(part: Made) -> None:
    assert turns(message("user", [part]))[0]["content"] == [part]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZW5j"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "mcp_tool_result", "tool_use_id": "s", "content": [], "is_error": False},
        {"type": "compaction", "content": "So far."},
        {"type": "text", "text": "a", "citations": [{"type": "char_location"}]},
    ],
)
def test_the_providers_own_parts_of_an_answer(part: Made) -> None:
    told = message("assistant", [part, {"type": "text", "text": "And."}])
    assert turns(USER, told, USER)[1]["content"] == [part, said("And.")]


IMAGE = {"type": "image_url", "image_url": {"url": PIXEL}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}


def file(media_type: str, data: str) -> Made:
    return {"type": "file", "file": {"file_data": f"data:{media_type};base64,{data}"}}


@pytest.mark.parametrize(
    ("role", "part", "says"),
    [
        ("user", SOUND, "messages[0].content[0]: this provider takes no audio"),
        ("user", {"type": "thinking", "thinking": ""}, "messages[0].content[0]: "),
        ("user", {"type": "input_image", "image_url": PIXEL}, "messages[0].content[0]: "),
        ("user", {"type": "image", "image": PIXEL}, "messages[0].content[0]: must hold a source"),
        ("user", {"type": "document", "source": "x"}, "messages[0].content[0]: must hold a source"),
        ("user", {"inlineData": {}}, "messages[0].content[0]: "),
        (
            "user",
            {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AAAA"}},
            "messages[0].content[0]: the picture",
        ),
        ("user", file("application/zip", "AAAA"), "messages[0].content[0].file.file_data: "),
        ("user", file("text/plain", "/w=="), "messages[0].content[0].file.file_data: "),
        ("user", file("text/plain", "AAA"), "messages[0].content[0].file.file_data: "),
        (
            "user",
            {"type": "file", "file": {"file_id": "file-1"}},
            "messages[0].content[0].file.file_id: ",
        ),
        ("assistant", IMAGE, "messages[0].content[0]: an assistant message"),
        ("assistant", {"type": "reasoning", "summary": []}, "messages[0].content[0]: "),
        ("assistant", {"thought": True, "text": "x"}, "messages[0].content[0]: "),
        ("system", IMAGE, "messages[0].content[0]: instructions"),
        ("system", {"type": "thinking"}, "messages[0].content[0]: "),
        ("tool", SOUND, "messages[0].content[0]: this provider takes no audio"),
        ("tool", {"type": "tool_use"}, "messages[0].content[0]: "),
    ],
)
def test_parts_that_are_refused(role: str, part: Made, says: str) -> None:
    told = message(role, [part], **({"tool_call_id": "x"} if role == "tool" else {}))
    assert refused(told, USER).startswith(says)


def test_calls_and_their_results() -> None:
    made = turns(
        USER,
        message("assistant", "Let me look.", tool_calls=[call(), call("functions.depth:1", "")]),
        message("tool", "deep", tool_call_id="toolu_1"),
        message("tool", "", tool_call_id="functions.depth:1", name="depth"),
        message("user", "And?"),
    )
    assert made[1:] == [
        {
            "role": "assistant",
            "content": [
                said("Let me look."),
                {"type": "tool_use", "id": "toolu_1", "name": "depth", "input": {"at": 1}},
                {"type": "tool_use", "id": "functions_depth_1", "name": "depth", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [said("deep")]},
                {"type": "tool_result", "tool_use_id": "functions_depth_1"},
                said("And?"),
            ],
        },
    ]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (message("tool", "x"), "messages[1].tool_call_id: is missing"),
        (
            message("assistant", tool_calls=[call(id="")]),
            "messages[1].tool_calls[0].id: is missing",
        ),
        (
            message("assistant", tool_calls=[call(arguments="[]")]),
            "messages[1].tool_calls[0].function.arguments: ",
        ),
        (message("user", "x", name="Ann"), "messages[1].name: "),
        (message("user", ""), "messages[1].content: is empty"),
        (message("user", " \n"), "messages[1].content: is empty"),
        (message("user", []), "messages[1].content: is empty"),
    ],
)
def test_messages_that_are_refused(told: request.Message, says: str) -> None:
    assert refused(USER, told).startswith(says)


def test_messages_of_one_role_become_one() -> None:
    made = turns(USER, message("user", "B"), message("assistant", "C"), message("assistant", "D"))
    assert made == [
        {"role": "user", "content": [said("Hi"), said("B")]},
        {"role": "assistant", "content": [said("C"), said("D")]},
    ]


@pytest.mark.parametrize("content", [None, "", "  ", []])
def test_an_empty_answer_is_left_out(content: Any) -> None:
    assert turns(USER, message("assistant", content), USER) == [
        {"role": "user", "content": [said("Hi"), said("Hi")]}
    ]


@pytest.mark.parametrize("messages", [(), (message("system", "A"),), (message("assistant"),)])
def test_a_conversation_without_turns_is_refused(messages: tuple[request.Message, ...]) -> None:
    wanted = request.Request(model="asked", messages=list(messages))
    with pytest.raises(errors.InvalidField, match=r"^messages: "):
        FORMAT.payload(wanted, MODEL)


def test_the_begin_of_an_answer_is_sent_without_white_space_at_its_end() -> None:
    begin = message("assistant", [{"type": "text", "text": "A "}, {"type": "text", "text": "b \n"}])
    assert turns(USER, begin)[-1]["content"] == [said("A "), said("b")]
    assert turns(USER, begin, USER)[1]["content"] == [said("A "), said("b \n")]


def test_the_begin_of_an_answer_may_end_with_no_text() -> None:
    thought = {"type": "thinking", "thinking": "Hm ", "signature": "c2ln"}
    assert turns(USER, message("assistant", [thought]))[-1]["content"] == [thought]
    odd = {"type": "text", "text": 5, "citations": []}
    assert turns(USER, message("assistant", [odd]))[-1]["content"] == [odd]


def test_what_came_from_the_client_is_not_changed() -> None:
    first, second = message("user", "A"), message("user", "B")
    assert turns(first, second) == turns(first, second)
    assert (first.content, second.content) == ("A", "B")

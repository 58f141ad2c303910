"""What was written for Anthropic, as providers of each other kind get it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast import errors, request
from holdfast.producing import disclosing
from holdfast.providers import anthropic, registry

CACHED = {"cache_control": {"type": "ephemeral"}}
KINDS = ("anthropic", "openai", "openai_responses", "google", "google_interactions")
PROVIDERS = registry.Registry(
    [registry.ProviderConfig(name=kind, kind=kind, api_key="k") for kind in KINDS]
)


def common(*messages: request.Message, tools: Any = None) -> request.Request:
    return anthropic.common(request.Request("m", list(messages), tools=tools))


def user(*blocks: dict[str, Any]) -> request.Message:
    return request.Message("user", list(blocks))


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def test_plain_messages_stay() -> None:
    said = [request.Message("system", "a"), request.Message("user", "b")]
    assert common(*said).messages == said


def test_results_of_tools_are_messages_of_their_own() -> None:
    result = {"type": "tool_result", "tool_use_id": "t"}
    assert common(
        user(
            {**result, "content": "one", **CACHED},
            {**result, "tool_use_id": "u", "is_error": True, "content": [text("two")]},
            text("and?"),
            {**result, "tool_use_id": "v"},
        )
    ).messages == [
        request.Message("tool", "one", tool_call_id="t"),
        request.Message("tool", [text("two")], tool_call_id="u"),
        request.Message("user", [text("and?")]),
        request.Message("tool", "", tool_call_id="v"),
    ]


def test_calls_of_tools_are_the_message_s() -> None:
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1, "é"]}, **CACHED}
    (told,) = common(
        request.Message("assistant", [text("a"), use, text("b"), {**use, "id": "u", "input": {}}])
    ).messages
    assert told == request.Message(
        "assistant",
        [text("a"), text("b")],
        tool_calls=[
            {
                "id": "t",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a":[1,"é"]}'},
            },
            {"id": "u", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ],
    )
    (alone,) = common(request.Message("assistant", [use])).messages
    assert alone.content is None


def test_pictures_and_files() -> None:
    picture = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
    (told,) = common(
        user(
            {"type": "image", "source": picture, **CACHED},
            {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
            {"type": "document", "source": pdf, "title": "Tides"},
            {"type": "document", "source": pdf, "citations": {"enabled": False}},
        )
    ).messages
    data = "data:application/pdf;base64,AAAA"
    assert told.content == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
        {"type": "file", "file": {"filename": "Tides", "file_data": data}},
        {"type": "file", "file": {"filename": "document", "file_data": data}},
    ]


def test_documents_of_text_are_text() -> None:
    plain = {"type": "text", "media_type": "text/plain", "data": "Salt."}
    listed = {"type": "content", "content": [text("Salt.", **CACHED)]}
    (told,) = common(
        user(
            {"type": "document", "source": plain, "title": "T", "context": "C", **CACHED},
            {"type": "document", "source": {"type": "content", "content": "Salt."}},
            {"type": "document", "source": listed, "title": "T"},
            {"type": "document", "source": listed},
            {
                "type": "search_result",
                "source": "https://a.example",
                "title": "T",
                "content": [text("Salt."), text("Water.")],
            },
        )
    ).messages
    assert told.content == [
        *(text("T"), text("C"), text("Salt.")),
        text("Salt."),
        text("T"),
        text("Salt.", **CACHED),
        text("Salt.", **CACHED),
        *(text("https://a.example"), text("T"), text("Salt."), text("Water.")),
    ]


@pytest.mark.parametrize(
    ("block", "place"),
    [
        (
            {
                "type": "document",
                "source": {"type": "text", "data": "x"},
                "citations": {"enabled": True},
            },
            ".citations",
        ),
        ({"type": "document", "source": {"type": "url", "url": "https://a.example"}}, ".source"),
        ({"type": "document"}, ".source"),
        ({"type": "image", "source": {"type": "file", "file_id": "file_1"}}, ""),
        ({"type": "container_upload", "file_id": "file_1"}, ""),
        ({"type": "tool_result", "content": "x"}, ".tool_use_id"),
        ({"type": "tool_result", "tool_use_id": "t", "content": 7}, ".content"),
        ({"type": "tool_result", "tool_use_id": "t", "content": ["x"]}, ".content"),
        (
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "content": [{"type": "text", "text": "a"}, {"type": "tool_reference"}],
            },
            ".content[1]",
        ),
        ({"type": "of tomorrow"}, ""),
        ({}, ""),
    ],
)
def test_what_has_no_other_form_is_refused_by_its_place(block: dict[str, Any], place: str) -> None:
    """As the client counts its messages, which the instructions are none of."""
    for before in ([], [request.Message("system", "Be brief.")]):
        with pytest.raises(errors.InvalidField) as raised:
            common(*before, user(text("a")), user(text("a"), block))
        assert raised.value.message.startswith(f"messages[1].content[1]{place}: ")


def test_instructions_are_refused_as_such() -> None:
    with pytest.raises(errors.InvalidField, match=r"^system\[0\]: "):
        common(request.Message("system", [{"type": "image"}]), user(text("a")))


def test_what_has_the_common_form_already_stays() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    (told,) = common(user(*parts)).messages
    assert told.content == parts


def test_tools() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    own = {"name": "f", "description": "d", "input_schema": schema, "strict": True, **CACHED}
    web = {"type": "web_search_20250305", "name": "web_search"}
    limited = {"name": "h", "input_schema": schema, "allowed_callers": ["code_execution_20250825"]}
    told = common(
        tools=[own, {"type": "custom", "name": "g", "input_schema": schema}, web, limited]
    )
    function = {"name": "f", "description": "d", "strict": True, "parameters": schema}
    assert told.tools == [
        {"type": "function", "function": function},
        {"type": "function", "function": {"name": "g", "parameters": schema}},
        web,
        limited,
    ]


# As it is sent

CONVERSATION = [
    request.Message("system", [text("Be brief.", **CACHED)]),
    user(
        text("Look."),
        {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
    ),
    request.Message(
        "assistant",
        [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            text("Wait.", citations=[{"type": "char_location"}]),
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
            {"type": "redacted_thinking", "data": "d"},
            {"type": "tool_use", "id": "u", "name": "f", "input": {}},
        ],
    ),
    user(
        {"type": "tool_result", "tool_use_id": "t", "content": "7", **CACHED},
        {"type": "tool_result", "tool_use_id": "u", "content": "8", "is_error": True},
        text("So?"),
    ),
]


def sent(kind: str, messages: list[request.Message], **fields: Any) -> Any:
    """What a provider of this kind is asked for."""
    wanted = request.Request(
        f"{kind}/claude-sonnet-4-5",
        messages,
        max_tokens=100,
        foreign=request.Foreign("anthropic"),
        **fields,
    )
    (target,) = PROVIDERS.targets(wanted)
    seen = disclosing.shown(wanted, target, "anthropic", strict=True)
    return msgspec.json.decode(target.provider.prepare(seen, target.model).body)


def test_a_provider_of_anthropic_s_gets_it_untouched() -> None:
    body = sent("anthropic", CONVERSATION)
    assert body["system"] == CONVERSATION[0].content
    assert [turn["content"] for turn in body["messages"]] == [
        message.content for message in CONVERSATION[1:]
    ]


def test_a_chat() -> None:
    calls = [
        {"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "u", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]
    picture = {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
    assert sent("openai", CONVERSATION)["messages"] == [
        {"role": "system", "content": [text("Be brief.")]},
        {"role": "user", "content": [text("Look."), picture]},
        {"role": "assistant", "content": [text("Wait.")], "tool_calls": calls},
        {"role": "tool", "content": "7", "tool_call_id": "t"},
        {"role": "tool", "content": "8", "tool_call_id": "u"},
        {"role": "user", "content": [text("So?")]},
    ]


def test_responses() -> None:
    kinds = [
        item.get("type") if item.get("type") != "message" else item["role"]
        for item in sent("openai_responses", CONVERSATION)["input"]
    ]
    assert kinds[-6:] == [
        "assistant",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
        "user",
    ]


def test_gemini() -> None:
    body = sent("google", CONVERSATION)
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    *_, said, results = body["contents"]
    assert said["parts"] == [
        {"text": "Wait."},
        {"functionCall": {"id": "t", "name": "f", "args": {"a": 1}}},
        {"functionCall": {"id": "u", "name": "f", "args": {}}},
    ]
    assert results["parts"] == [
        {"functionResponse": {"id": "t", "name": "f", "response": {"output": "7"}}},
        {"functionResponse": {"id": "u", "name": "f", "response": {"output": "8"}}},
        {"text": "So?"},
    ]


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_tool_that_anthropic_runs_is_refused_by_its_place(kind: str) -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    with pytest.raises(errors.InvalidField, match=r"tools\[0\]"):
        sent(kind, [user(text("a"))], tools=tools)

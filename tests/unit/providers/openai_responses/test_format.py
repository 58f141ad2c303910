"""The request that a Responses API gets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast import errors, request
from holdfast.providers import failures, vendors
from holdfast.providers.openai_responses import fold

USER = request.Message("user", "Hi")
PNG = "data:image/png;base64,aGk="
PDF = "data:application/pdf;base64,aGk="


def body(kind: str = "openai_responses", model: str = "gpt-5", **fields: Any) -> dict[str, Any]:
    wanted = request.Request(**{"model": "mine/m", "messages": [USER], **fields})
    sent = msgspec.json.encode(vendors.VENDORS[kind].format.payload(wanted, model))
    decoded = msgspec.json.decode(sent)
    assert isinstance(decoded, dict)
    return decoded


def input_of(*messages: request.Message, kind: str = "openai_responses") -> Any:
    return body(kind, messages=list(messages))["input"]


def user(*parts: dict[str, Any]) -> request.Message:
    return request.Message("user", list(parts))


def assistant(*parts: dict[str, Any], **more: Any) -> request.Message:
    return request.Message("assistant", list(parts), **more)


def test_the_plain_request() -> None:
    assert body() == {
        "model": "gpt-5",
        "input": [{"type": "message", "role": "user", "content": "Hi"}],
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "stream_options": {"include_obfuscation": False},
    }


def test_every_option() -> None:
    sent = body(model="gpt-4o", temperature=0.5, top_p=0.0, max_tokens=9, stop=[], tools=[])
    assert sent["temperature"] == 0.5
    assert sent["top_p"] == 0.0
    assert sent["max_output_tokens"] == 9
    assert not {"include", "stop", "tools", "text", "max_tokens"} & set(sent)


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("gpt-5", True),
        ("gpt-5.3-codex", True),
        ("o3", True),
        ("o4-mini", True),
        ("openai/gpt-5-mini", True),
        ("openai/gpt-oss-20b", True),
        ("gpt-5-chat-latest", False),
        ("gpt-4o", False),
        ("gpt-4.1-mini", False),
        ("deepseek-v4", False),
    ],
)
def test_encrypted_reasoning_is_asked_of_models_that_reason(model: str, asked: bool) -> None:
    assert ("include" in body(model=model)) == asked


def test_another_server_gets_what_all_understand() -> None:
    sent = body("open_responses", model="m", messages=[request.Message("developer", "Be brief")])
    assert "stream_options" not in sent
    assert sent["input"] == [{"type": "message", "role": "system", "content": "Be brief"}]


def test_where_and_how() -> None:
    vendor = vendors.VENDORS["openai_responses"]
    assert (vendor.base_url, vendor.format.kind) == (
        "https://api.openai.com/v1",
        "openai_responses",
    )
    assert vendor.api_key_env == ("OPENAI_API_KEY",)
    assert vendor.base_url_env == "OPENAI_BASE_URL"
    assert vendor.models == ()
    assert vendor.format.path("any/model") == "/responses"
    assert vendor.format.headers("k-1") == (("Authorization", "Bearer k-1"),)
    assert vendor.format.headers(None) == ()
    wanted = request.Request(model="m", messages=[USER])
    assert isinstance(vendor.format.fold(wanted, failures.Source("p")), fold.Fold)


def test_messages_keep_their_order_and_roles() -> None:
    assert input_of(
        request.Message("system", "S"),
        USER,
        request.Message("assistant", "A"),
        request.Message(
            "developer", [{"type": "text", "text": "D"}, {"type": "text", "text": "E"}]
        ),
        request.Message("system", ""),
        request.Message("user", ""),
    ) == [
        {"type": "message", "role": "system", "content": "S"},
        {"type": "message", "role": "user", "content": "Hi"},
        {"type": "message", "role": "assistant", "content": "A"},
        {"type": "message", "role": "developer", "content": "D\n\nE"},
        {"type": "message", "role": "user", "content": ""},
    ]


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}},
            {"type": "input_image", "image_url": "https://x.example/a.png", "detail": "low"},
        ),
        (
            {"type": "image_url", "image_url": PNG},
            {"type": "input_image", "image_url": PNG, "detail": "auto"},
        ),
        (
            {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
            {"type": "input_file", "filename": "a.pdf", "file_data": PDF},
        ),
        (
            {"type": "file", "file": {"file_data": PDF}},
            {"type": "input_file", "filename": "file.pdf", "file_data": PDF},
        ),
        (
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "input_file", "file_id": "file-1"},
        ),
        ({"type": "input_image", "file_id": "f"}, {"type": "input_image", "file_id": "f"}),
        (
            {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
        ),
    ],
)
def test_parts_of_a_user(part: dict[str, Any], sent: dict[str, Any]) -> None:
    (message,) = input_of(user(part))
    assert message == {"type": "message", "role": "user", "content": [sent]}
    (both,) = input_of(user({"type": "text", "text": "See"}, part))
    assert both["content"] == [{"type": "input_text", "text": "See"}, sent]


def test_an_answer_is_given_back_item_by_item() -> None:
    reasoning = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gAAA"}
    search = {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"a": [1]}}
    phased = {"type": "message", "role": "assistant", "phase": "commentary", "content": "Hm"}
    vendors_own = {"type": "acme:sonar", "id": "x"}
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    assert input_of(
        assistant(
            reasoning,
            {"type": "text", "text": "One"},
            search,
            phased,
            vendors_own,
            {"type": "text", "text": "Two"},
            {"type": "refusal", "refusal": "No"},
            tool_calls=[call],
        ),
        request.Message("tool", "done", tool_call_id="call_1", name="f"),
    ) == [
        reasoning,
        {"type": "message", "role": "assistant", "content": "One"},
        search,
        phased,
        vendors_own,
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "Two"},
                {"type": "refusal", "refusal": "No"},
            ],
        },
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "done"},
    ]


def test_an_answer_of_calls_alone_has_no_message() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f"}}
    (item,) = input_of(request.Message("assistant", None, tool_calls=[call]))
    assert item == {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("content", "output"),
    [
        (None, ""),
        ([], ""),
        ("a", "a"),
        ([{"type": "text", "text": "a"}], "a"),
        (
            [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": PNG}],
            [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": PNG, "detail": "auto"},
            ],
        ),
    ],
)
def test_outputs_of_tools(content: Any, output: Any) -> None:
    (item,) = input_of(request.Message("tool", content, tool_call_id="c"))
    assert item == {"type": "function_call_output", "call_id": "c", "output": output}


def test_outputs_of_the_providers_own_tools_are_given_back() -> None:
    shell = {"type": "local_shell_call_output", "call_id": "c", "output": "ls"}
    assert input_of(request.Message("tool", [shell])) == [shell]
    approval = {"type": "mcp_approval_response", "approval_request_id": "r", "approve": True}
    assert input_of(user(approval, {"type": "text", "text": "Go"})) == [
        approval,
        {"type": "message", "role": "user", "content": "Go"},
    ]


def test_tools() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    search = {"type": "web_search", "user_location": {"type": "approximate"}}
    custom = {"type": "custom", "name": "patch", "format": {"type": "text"}}
    flat = {"type": "function", "name": "h", "parameters": {}, "strict": True}
    sent = body(
        tools=[
            {
                "type": "function",
                "function": {"name": "f", "description": "F", "parameters": schema, "strict": True},
            },
            {"type": "function", "function": {"name": "g"}},
            search,
            custom,
            flat,
        ]
    )["tools"]
    assert sent == [
        {
            "type": "function",
            "name": "f",
            "parameters": schema,
            "strict": True,
            "description": "F",
        },
        {
            "type": "function",
            "name": "g",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        },
        search,
        custom,
        flat,
    ]


def test_response_formats() -> None:
    assert "text" not in body(response_format={"type": "text"})
    sent = body(response_format={"type": "json_object"})
    assert sent["text"] == {"format": {"type": "json_object"}}
    schema = {"name": "s", "schema": {"type": "object"}, "strict": True, "description": "D"}
    sent = body(response_format={"type": "json_schema", "json_schema": schema})
    assert sent["text"] == {"format": {"type": "json_schema", **schema}}
    plain = {"name": "s", "schema": {"type": "object"}}
    sent = body(response_format={"type": "json_schema", "json_schema": plain})
    assert sent["text"] == {"format": {"type": "json_schema", **plain}}


CALL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"n": 2}, "n"),
        ({"stop": ["x"]}, "stop"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"messages": [request.Message("user", "a", name="bob")]}, "messages[0].name"),
        ({"messages": [USER, request.Message("tool", "a")]}, "messages[1].tool_call_id"),
        (
            {"messages": [request.Message("assistant", None, tool_calls=[CALL])]},
            "messages[0].tool_calls[0].id",
        ),
        (
            {
                "messages": [
                    user(
                        {"type": "text", "text": "a"},
                        {"type": "input_audio", "input_audio": {"format": "wav", "data": "aGk="}},
                    )
                ]
            },
            "messages[0].content[1]",
        ),
        ({"messages": [user({"type": "thinking", "thinking": "a"})]}, "messages[0].content[0]"),
        ({"messages": [user({"type": "tool_use", "id": "a"})]}, "messages[0].content[0]"),
        ({"messages": [user({"inlineData": {}})]}, "messages[0].content[0]"),
        ({"messages": [user({"type": "refusal", "refusal": "a"})]}, "messages[0].content[0]"),
        (
            {"messages": [assistant({"type": "thinking", "thinking": "", "signature": "s"})]},
            "messages[0].content[0]",
        ),
        (
            {"messages": [assistant({"type": "image_url", "image_url": PNG})]},
            "messages[0].content[0]",
        ),
        (
            {"messages": [request.Message("system", [{"type": "image_url", "image_url": PNG}])]},
            "messages[0].content[0]",
        ),
        (
            {
                "messages": [
                    request.Message(
                        "tool",
                        [{"type": "text", "text": "a"}, {"type": "shell_call_output"}],
                        tool_call_id="c",
                    )
                ]
            },
            "messages[0].content[1]",
        ),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
        ({"tools": [{"type": "custom", "name": "f", "input_schema": {}}]}, "tools[0]"),
        ({"tools": [{"name": "f", "input_schema": {}}]}, "tools[0]"),
        ({"tools": [{"google_search": {}}]}, "tools[0]"),
        ({"tools": [{"type": "google_search"}]}, "tools[0]"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].custom"),
    ],
)
def test_what_is_not_taken_is_refused_by_name(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(errors.InvalidField) as refused:
        body(**fields)
    assert refused.value.message.startswith(f"{where}: ")

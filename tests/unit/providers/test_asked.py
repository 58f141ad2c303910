"""What of a request every format reads in the same way, and what is refused by its field."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import errors, request
from holdfast.providers import asked

PNG = "data:image/png;base64,aGk="


def parts(content: Any) -> list[asked.Part]:
    return asked.parts(request.Message("user", content), "messages[0]")


def one(part: Any) -> asked.Part:
    (found,) = parts([part])
    return found


def test_text_is_a_part_and_empty_text_none() -> None:
    assert parts("Hi") == [asked.Text("Hi", "messages[0].content")]
    for nothing in (None, "", [], [{"type": "text", "text": ""}]):
        assert parts(nothing) == []
    for kind in ("text", "input_text", "output_text"):
        assert one({"type": kind, "text": "Hi"}) == asked.Text("Hi", "messages[0].content[0].text")


WHERE = "messages[0].content[0]"


@pytest.mark.parametrize(
    ("part", "found"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}},
            asked.Media("image", WHERE, url="https://x.example/a.png", detail="low"),
        ),
        (
            {"type": "image_url", "image_url": PNG},
            asked.Media("image", WHERE, media_type="image/png", data="aGk="),
        ),
        (
            {"type": "image_url", "image_url": "data:image/png;base64,-_-_aA"},
            asked.Media("image", WHERE, media_type="image/png", data="+/+/aA=="),
        ),
        (
            {"type": "image_url", "image_url": "data:image/png;base64,-_-_"},
            asked.Media("image", WHERE, media_type="image/png", data="+/+/"),
        ),
        (
            {"type": "image_url", "image_url": "data:image/png;base64,a+/="},
            asked.Media("image", WHERE, media_type="image/png", data="a+/="),
        ),
        (
            {"type": "input_audio", "input_audio": {"format": "wav", "data": "_-8"}},
            asked.Media("audio", WHERE, media_type="audio/wav", data="/+8="),
        ),
        (
            {"type": "thinking", "truncated": False},
            asked.Native("thinking", {"type": "thinking", "truncated": False}, WHERE),
        ),
        (
            {"type": "input_audio", "input_audio": {"format": "wav", "data": "aGk="}},
            asked.Media("audio", WHERE, media_type="audio/wav", data="aGk="),
        ),
        (
            {
                "type": "file",
                "file": {
                    "filename": "a.pdf",
                    "file_data": "data:application/pdf;name=a.pdf;base64,aGk=",
                },
            },
            asked.Media(
                "file", f"{WHERE}.file", media_type="application/pdf", data="aGk=", name="a.pdf"
            ),
        ),
        (
            {"type": "file", "file": {"file_id": "file-1"}},
            asked.Media("file", f"{WHERE}.file", file_id="file-1"),
        ),
        (
            {"type": "thinking", "thinking": "Hm", "signature": "s"},
            asked.Native(
                "thinking", {"type": "thinking", "thinking": "Hm", "signature": "s"}, WHERE
            ),
        ),
        ({"googleSearch": {}}, asked.Native("", {"googleSearch": {}}, WHERE)),
        (
            {"type": "text", "text": "Hi", "cache_control": {}},
            asked.Native("text", {"type": "text", "text": "Hi", "cache_control": {}}, WHERE),
        ),
    ],
)
def test_parts(part: Any, found: asked.Part) -> None:
    assert one(part) == found


@pytest.mark.parametrize(
    ("part", "where"),
    [
        ({"type": 5}, "content[0].type"),
        ({"type": "text"}, "content[0].text"),
        ({"type": "text", "text": 5}, "content[0].text"),
        ({"type": "image_url"}, "content[0].image_url"),
        ({"type": "image_url", "image_url": {}}, "content[0].url"),
        ({"type": "image_url", "image_url": "data:image/png,hi"}, "content[0]"),
        ({"type": "image_url", "image_url": "data:image/png;base64,!"}, "content[0]"),
        ({"type": "image_url", "image_url": "data:image/png;base64,aG=k"}, "content[0]"),
        ({"type": "text", "text": "Hi", "truncated": True}, "content[0]"),
        ({"type": "web_search_tool_result", "content": None, "truncated": True}, "content[0]"),
        ({"inlineData": None, "truncated": True}, "content[0]"),
        (
            {"type": "image_url", "image_url": PNG, "cache_control": {}},
            "content[0].cache_control",
        ),
        (
            {"type": "image_url", "image_url": {"url": PNG, "width": 5}},
            "content[0].image_url.width",
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav", "a": 1}},
            "content[0].input_audio.a",
        ),
        ({"type": "input_audio", "input_audio": {}, "a": 1}, "content[0].a"),
        ({"type": "file", "file": {"file_id": "f", "a": 1}}, "content[0].file.a"),
        ({"type": "file", "file": {"file_id": "f"}, "a": 1}, "content[0].a"),
        ({"type": "input_audio", "input_audio": {"data": "aGk="}}, "content[0].format"),
        ({"type": "file", "file": {}}, "content[0].file"),
        ({"type": "file", "file": {"file_data": "aGk="}}, "content[0].file.file_data"),
    ],
)
def test_parts_that_make_no_sense(part: Any, where: str) -> None:
    with pytest.raises(errors.InvalidField, match=r"^messages\[0\]\.") as caught:
        one(part)
    assert str(caught.value).startswith(f"messages[0].{where}: ")


def test_a_message_holds_a_bounded_number_of_parts() -> None:
    part = {"type": "text", "text": "Hi"}
    assert len(parts([part] * asked.MAX_PARTS)) == asked.MAX_PARTS
    with pytest.raises(errors.InvalidField, match="parts"):
        parts([part] * (asked.MAX_PARTS + 1))


def test_a_message_of_text_alone() -> None:
    message = request.Message("system", [{"type": "text", "text": t} for t in ("a", "", "b")])
    assert asked.text(message, "messages[0]") == "a\n\nb"
    with pytest.raises(errors.InvalidField, match=r"^messages\[0\]\.content\[0\]: a system"):
        asked.text(
            request.Message("system", [{"type": "image_url", "image_url": PNG}]), "messages[0]"
        )


def calls(item: Any) -> list[asked.Call]:
    return asked.calls(request.Message("assistant", tool_calls=[item]), "messages[1]")


def test_tool_calls() -> None:
    item = {
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"a": 1}'},
        "extra_content": {"google": {"thought_signature": "s"}},
    }
    assert calls(item) == [
        asked.Call(
            "c1",
            "f",
            {"a": 1},
            '{"a": 1}',
            "messages[1].tool_calls[0]",
            {"google": {"thought_signature": "s"}},
        )
    ]
    (bare,) = calls({"function": {"name": "f"}, "extra_content": 5})
    assert (bare.id, bare.arguments, bare.text, bare.extra) == ("", {}, "{}", {})
    assert asked.calls(request.Message("assistant", "Hi"), "m") == []


@pytest.mark.parametrize(
    ("item", "where"),
    [
        ({}, "function"),
        ({"function": {}}, "function.name"),
        ({"function": {"name": "f", "arguments": "{"}}, "function.arguments"),
        ({"function": {"name": "f", "arguments": "[]"}}, "function.arguments"),
        ({"function": {"name": "f", "arguments": "[" * 100_000}}, "function.arguments"),
        ({"function": {"name": "f", "arguments": 5}}, "function.arguments"),
        ({"id": 5, "function": {"name": "f"}}, "id"),
    ],
)
def test_tool_calls_that_make_no_sense(item: Any, where: str) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        calls(item)
    assert str(caught.value).startswith(f"messages[1].tool_calls[0].{where}: ")


def tools(*items: Any) -> list[asked.Tool | asked.Native]:
    return asked.tools(request.Request(model="m", messages=[], tools=list(items)))


def test_tools() -> None:
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    found = tools({"type": "function", "function": function}, {"type": "web_search"})
    assert found == [
        asked.Tool("f", "tools[0].function", "d", {"type": "object"}, True),
        asked.Native("web_search", {"type": "web_search"}, "tools[1]"),
    ]
    assert asked.tools(request.Request(model="m", messages=[])) == []


@pytest.mark.parametrize(
    ("function", "where"),
    [
        ({}, "name"),
        ({"name": "f", "parameters": []}, "parameters"),
        ({"name": "f", "strict": 1}, "strict"),
        ({"name": "f", "description": 1}, "description"),
        ({"name": "f", "cache_control": {}}, "cache_control"),
        ({"name": "f", "x" * 200: 1}, "x" * 100),
    ],
)
def test_tools_that_make_no_sense(function: Any, where: str) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        tools({"type": "function", "function": function})
    assert str(caught.value).startswith(f"tools[0].function.{where}: ")


def test_a_field_beside_a_function_is_not_lost() -> None:
    tool = {"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}
    with pytest.raises(errors.InvalidField, match=r"^tools\[0\]\.cache_control: is not known"):
        tools(tool)
    (found,) = tools(tool | {"cache_control": None})
    assert found == asked.Tool("f", "tools[0].function")


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
def test_the_fields_of_tool_use_belong_to_their_roles(role: Any) -> None:
    fine = request.Message("user", "Hi", tool_calls=[], tool_call_id="")
    told: tuple[tuple[str, str, Any], ...] = (
        ("tool_calls", "assistant", [{"id": "a"}]),
        ("tool_call_id", "tool", "a"),
    )
    for field, owner, value in told:
        messages = [fine, fine, request.Message(role, "Hi", **{field: value})]
        if role == owner:
            asked.check_tool_fields(messages)
            continue
        with pytest.raises(errors.InvalidField, match=rf"^messages\[2\]\.{field}: .* {owner}\."):
            asked.check_tool_fields(messages)


def shape(response_format: Any) -> asked.AnyObject | asked.Schema | None:
    wanted = request.Request(model="m", messages=[], response_format=response_format)
    return asked.response_format(wanted)


def test_response_formats() -> None:
    assert shape(None) is None
    assert shape({"type": "text"}) is None
    assert shape({"type": "json_object"}) == asked.AnyObject()
    schema = {"name": "n", "schema": {"type": "object"}, "description": "d", "strict": False}
    assert shape({"type": "json_schema", "json_schema": schema}) == asked.Schema(
        "n", {"type": "object"}, "d", False
    )
    bare = {"type": "json_schema", "json_schema": {"schema": {}}}
    assert shape(bare) == asked.Schema("answer", {})


@pytest.mark.parametrize(
    "response_format",
    [{}, {"type": "x"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": {}}],
)
def test_response_formats_that_make_no_sense(response_format: Any) -> None:
    with pytest.raises(errors.InvalidField, match=r"^response_format"):
        shape(response_format)


# What may be shown to another kind

TEXT = {"type": "text", "text": "People wrote this."}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
DOCUMENT = {"type": "document", "source": {"type": "text", "data": "A contract."}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def only(*parts: dict[str, Any], role: Any = "assistant") -> list[Any]:
    """What is left of a message of these parts."""
    shown = asked.portable([request.Message(role, list(parts))])
    return [message.content for message in shown]


@pytest.mark.parametrize(
    "hidden",
    [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "redacted_thinking", "data": "s"},
        {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "s"},
        {"reasoning_content": "Hm."},
        {"text": "Hm.", "thought": True, "thoughtSignature": "s"},
    ],
    ids=str,
)
@pytest.mark.parametrize("role", ["assistant", "user", "tool"])
def test_what_a_provider_thought_is_for_its_own_kind(hidden: dict[str, Any], role: str) -> None:
    assert only(hidden, TEXT, role=role) == [[TEXT]]


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
@pytest.mark.parametrize(
    "beside",
    [{"cache_control": {"type": "ephemeral"}}, {"thoughtSignature": "s"}, {"citations": []}],
)
def test_a_text_stays_without_what_stands_beside_it(role: str, beside: dict[str, Any]) -> None:
    assert only({**TEXT, **beside}, role=role) == [[TEXT]]
    assert only({"text": TEXT["text"], **beside}, role=role) == [[TEXT]]


def test_what_people_gave_stays_to_be_taken_or_refused() -> None:
    assert only(DOCUMENT, IMAGE, TEXT, role="user") == [[DOCUMENT, IMAGE, TEXT]]
    assert only(IMAGE, TEXT) == [[IMAGE, TEXT]]


def test_a_providers_own_tool_goes_with_its_result() -> None:
    own = {"type": "shell_call", "call_id": "own", "action": {"commands": ["ls"]}}
    messages = [
        request.Message("user", "Look."),
        request.Message("assistant", [own]),
        request.Message("tool", "a.txt", tool_call_id="own"),
        request.Message("assistant", None, tool_calls=[{**CALL, "extra_content": {"google": {}}}]),
        request.Message("tool", "b.txt", tool_call_id="c"),
        request.Message("user", "And?", name="Ada"),
    ]
    assert asked.portable(messages) == [
        messages[0],
        request.Message("assistant", None, tool_calls=[CALL]),
        *messages[4:],
    ]


def test_nothing_is_changed_where_nothing_is_hidden() -> None:
    messages = [
        request.Message("system", "Be brief."),
        request.Message("user", [TEXT, IMAGE]),
        request.Message("assistant", "Yes.", tool_calls=[CALL]),
        request.Message("tool", "", tool_call_id="c"),
    ]
    assert asked.portable(messages) == messages


@pytest.mark.parametrize("content", [TEXT["text"], [TEXT], [{**TEXT, "annotations": []}]])
@pytest.mark.parametrize("role", ["assistant", "user"])
def test_a_message_with_fields_of_its_own_is_opened(content: Any, role: str) -> None:
    """Else nothing would be left of what it says."""
    whole = {"type": "message", "role": role, "phase": "commentary", "content": content}
    assert only(whole, IMAGE, role=role) == [[TEXT, IMAGE]]

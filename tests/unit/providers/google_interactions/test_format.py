"""The request that the Interactions API gets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.providers import said as told

from holdfast import errors, request
from holdfast.providers import google_interactions, vendors

FORMAT = google_interactions.Format()
USER = request.Message("user", "Hi")
DATA = "data:image/png;base64,aGk="
IMAGE = {"type": "image_url", "image_url": {"url": DATA}}


def body(**fields: Any) -> dict[str, Any]:
    wanted = request.Request(**{"model": "mine/m", "messages": [USER], **fields})
    sent = msgspec.json.decode(msgspec.json.encode(FORMAT.payload(wanted, "models/m")))
    assert isinstance(sent, dict)
    return sent


def said(kind: str, *contents: Any) -> dict[str, Any]:
    return {"type": kind, "content": list(contents)}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def called(id: str = "c1", arguments: str = '{"a": 1}') -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}


def test_the_shortest_request_stores_nothing() -> None:
    assert body() == {
        "model": "m",
        "input": [said("user_input", text("Hi"))],
        "stream": True,
        "store": False,
    }


def test_everything_that_is_asked_for_is_sent() -> None:
    schema = {"type": "object"}
    sent = body(
        messages=[
            request.Message("system", "Be brief."),
            USER,
            request.Message("developer", "Now."),
        ],
        temperature=0.0,
        top_p=0.0,
        max_tokens=9,
        stop=["\n"],
        tools=[
            {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}},
            {"type": "google_search"},
        ],
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
    )
    assert sent == body() | {
        "system_instruction": "Be brief.\n\nNow.",
        "generation_config": {
            "temperature": 0.0,
            "top_p": 0.0,
            "max_output_tokens": 9,
            "stop_sequences": ["\n"],
        },
        "tools": [
            {"type": "function", "name": "f", "parameters": schema},
            {"type": "google_search"},
        ],
        "response_format": {"type": "text", "mime_type": "application/json", "schema": schema},
    }
    any_json = body(response_format={"type": "json_object"})["response_format"]
    assert any_json == {"type": "text", "mime_type": "application/json"}


def test_a_conversation_is_a_list_of_steps() -> None:
    thought = {"type": "thought", "signature": "cw=="}
    messages = [
        request.Message("user", [{"type": "text", "text": "a"}, IMAGE]),
        request.Message(
            "assistant", [thought, {"type": "text", "text": "b"}], tool_calls=[called()]
        ),
        request.Message("tool", "5", tool_call_id="c1", name="f"),
        request.Message("tool", [{"type": "text", "text": "c"}, IMAGE], tool_call_id="c1"),
        request.Message("assistant", ""),
        request.Message("assistant", [{"type": "text", "text": "d"}, thought, thought]),
    ]
    image = {"type": "image", "mime_type": "image/png", "data": "aGk="}
    assert body(messages=messages)["input"] == [
        said("user_input", text("a"), image),
        thought,
        said("model_output", text("b")),
        {"type": "function_call", "id": "c1", "name": "f", "arguments": {"a": 1}},
        {"type": "function_result", "call_id": "c1", "name": "f", "result": "5"},
        {"type": "function_result", "call_id": "c1", "result": [text("c"), image]},
        said("model_output", text("d")),
        thought,
        thought,
    ]


def test_what_an_answer_kept_goes_back() -> None:
    for name in ("thought", "own-tools", "citations-and-media"):
        wire = (told.FOLDER / "google-interactions" / f"{name}.sse").read_bytes()
        kept = told.extras(told.play([wire], 1, FORMAT.kind)[0], "opaque")
        sent = body(messages=[USER, request.Message("assistant", kept)])["input"][1:]
        assert [each for step in sent for each in step.get("content", [step])] == kept


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (
            {"type": "image_url", "image_url": "https://x.example/a.webp"},
            {"type": "image", "mime_type": "image/webp", "uri": "https://x.example/a.webp"},
        ),
        (
            {"type": "file", "file": {"file_id": "https://x.example/files/a"}},
            {"type": "document", "uri": "https://x.example/files/a"},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
            {"type": "audio", "mime_type": "audio/mp3", "data": "aGk="},
        ),
        ({"type": "video", "uri": "gs://a"}, {"type": "video", "uri": "gs://a"}),
    ],
)
def test_media(part: dict[str, Any], content: dict[str, Any]) -> None:
    sent = body(messages=[request.Message("user", [part])])["input"]
    assert sent == [said("user_input", content)]


def refused(role: Any, *parts: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [request.Message(role, list(parts) or "a", **fields)]}


@pytest.mark.parametrize(
    ("where", "fields"),
    [
        ("n: ", {"n": 2}),
        ("messages: ", refused("system")),
        ("messages[0].name: ", refused("user", name="ann")),
        ("messages[0].tool_call_id: ", refused("tool")),
        ("messages[0].tool_calls[0].id: ", refused("assistant", tool_calls=[called("")])),
        ("messages[0].content[0]: ", refused("user", {"type": "thought", "signature": "s"})),
        ("messages[0].content[0]: ", refused("assistant", {"type": "reasoning"})),
        ("messages[0].content[0]: ", refused("assistant", {"type": "image", "truncated": True})),
        ("messages[0].content[0]: ", refused("assistant", {"type": "thought", "truncated": True})),
        (
            "messages[0].content[0]: ",
            refused("user", {"type": "image_url", "image_url": "ftp://a"}),
        ),
        ("tools[0]: ", {"tools": [{"googleSearch": {}}]}),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(where: str, fields: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidField) as raised:
        body(**fields)
    assert raised.value.message.startswith(where)


def test_the_way_and_the_key() -> None:
    assert FORMAT.path("m") == "/v1beta/interactions"
    revision = ("Api-Revision", "2026-05-20")
    assert FORMAT.headers("k") == (("x-goog-api-key", "k"), revision)
    assert FORMAT.headers(None) == (revision,)
    assert vendors.VENDORS["google_interactions"].models == ()

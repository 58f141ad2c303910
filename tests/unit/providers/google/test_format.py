"""The request that Gemini gets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.providers import said as told

from holdfast import errors, events, request
from holdfast.providers import google, vendors

FORMAT = google.Format()
USER = request.Message("user", "Hi")
DATA = "data:image/png;base64,aGk="


def body(**fields: Any) -> dict[str, Any]:
    wanted = request.Request(**{"model": "mine/m", "messages": [USER], **fields})
    sent = msgspec.json.decode(msgspec.json.encode(FORMAT.payload(wanted, "m")))
    assert isinstance(sent, dict)
    return sent


def parts(*content: Any) -> list[Any]:
    """What one user message of this content becomes."""
    (made,) = body(messages=[request.Message("user", list(content))])["contents"]
    assert made["role"] == "user"
    assert isinstance(made["parts"], list)
    return made["parts"]


def called(id: str = "c1", name: str = "tide", **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": '{"place": "Brest"}'}
    return {"id": id, "type": "function", "function": function} | more


def test_the_shortest_request() -> None:
    assert body() == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_everything_that_is_asked_for_is_sent() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    shape = {"name": "s", "schema": schema, "strict": True}
    sent = body(
        temperature=0.0,
        top_p=0.0,
        max_tokens=9,
        stop=["\n"],
        n=2,
        response_format={"type": "json_schema", "json_schema": shape},
        tools=[
            {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}},
            {"googleSearch": {}},
            {"type": "function", "function": {"name": "g", "description": "d"}},
        ],
        buffer_size=1,
        metadata=request.Metadata(user_id="u"),
    )
    assert sent == {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "f", "parametersJsonSchema": schema},
                    {"name": "g", "description": "d"},
                ]
            },
            {"googleSearch": {}},
        ],
        "generationConfig": {
            "candidateCount": 2,
            "temperature": 0.0,
            "topP": 0.0,
            "maxOutputTokens": 9,
            "stopSequences": ["\n"],
            "responseMimeType": "application/json",
            "responseJsonSchema": schema,
        },
    }


def test_any_json() -> None:
    sent = body(response_format={"type": "json_object"})
    assert sent["generationConfig"] == {"responseMimeType": "application/json"}
    assert body(response_format={"type": "text"}, stop=[]) == body()


def test_instructions_stand_apart_and_roles_alternate() -> None:
    sent = body(
        messages=[
            request.Message("system", "Be brief."),
            request.Message("user", "a"),
            request.Message("user", ""),
            request.Message("user", [{"type": "text", "text": "b"}]),
            request.Message("assistant", ""),
            request.Message("developer", "Be kind."),
            request.Message("assistant", "c"),
            request.Message("assistant", "d"),
            request.Message("user", "e"),
            request.Message("system", ""),
        ]
    )
    assert sent["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]}
    assert [[each["role"], *each["parts"]] for each in sent["contents"]] == [
        ["user", {"text": "a"}, {"text": "b"}],
        ["model", {"text": "c"}, {"text": "d"}],
        ["user", {"text": "e"}],
    ]


def test_tool_calls_and_their_results() -> None:
    image = {"type": "image_url", "image_url": {"url": DATA}}
    sent = body(
        messages=[
            USER,
            request.Message("assistant", "Wait.", tool_calls=[called(), called("c2", "wind")]),
            request.Message("tool", '{"m": 3}', tool_call_id="c2"),
            request.Message("tool", [{"type": "text", "text": "high"}, image], tool_call_id="c1"),
            request.Message("tool", "[1]", name="late"),
        ]
    )
    assert sent["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "Wait."},
                {"functionCall": {"id": "c1", "name": "tide", "args": {"place": "Brest"}}},
                {"functionCall": {"id": "c2", "name": "wind", "args": {"place": "Brest"}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "c2", "name": "wind", "response": {"m": 3}}},
                {
                    "functionResponse": {
                        "id": "c1",
                        "name": "tide",
                        "response": {"output": "high"},
                        "parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}],
                    }
                },
                {"functionResponse": {"name": "late", "response": {"output": "[1]"}}},
            ],
        },
    ]


def test_a_call_may_have_no_id() -> None:
    sent = body(messages=[USER, request.Message("assistant", tool_calls=[called("")])])
    call = {"name": "tide", "args": {"place": "Brest"}}
    assert sent["contents"][1]["parts"] == [{"functionCall": call}]


def test_the_nearest_call_of_an_id_counts() -> None:
    """Clients that make ids of their own may use one again in a later turn."""
    sent = body(
        messages=[
            USER,
            request.Message("assistant", tool_calls=[called("a", "one")]),
            request.Message("tool", "1", tool_call_id="a"),
            request.Message("assistant", tool_calls=[called("a", "two")]),
            request.Message("tool", "2", tool_call_id="a"),
        ]
    )
    results = [sent["contents"][n]["parts"][0]["functionResponse"]["name"] for n in (2, 4)]
    assert results == ["one", "two"]


@pytest.mark.parametrize(
    ("model", "word"),
    [
        ("gemini-3-pro", "skip_thought_signature_validator"),
        ("models/gemini-3.5-flash", "skip_thought_signature_validator"),
        ("gemini-10-pro", "skip_thought_signature_validator"),
        ("gemini-2.5-pro", None),
        ("gemma-3", None),
    ],
)
def test_calls_that_lost_their_signature(model: str, word: str | None) -> None:
    """Gemini 3 answers 400 where the first of them has none: what another model called, or what
    comes from a client that keeps no such thing."""
    signed = called("c0", extra_content={"google": {"thought_signature": "cw=="}})
    asked = [
        USER,
        request.Message("assistant", "So.", tool_calls=[called("c1"), called("c2")]),
        request.Message("tool", "7", tool_call_id="c1"),
        request.Message("assistant", tool_calls=[signed, called("c3")]),
    ]
    wanted = request.Request("m", asked)
    contents = FORMAT.payload(wanted, model)["contents"]
    calls = [part for turn in contents for part in turn["parts"] if "functionCall" in part]
    assert [call.get("thoughtSignature") for call in calls] == [word, None, "cw==", None]


@pytest.mark.parametrize("name", ["thought_signature", "thoughtSignature"])
def test_a_signature_goes_back_with_its_call(name: str) -> None:
    call = called(extra_content={"google": {name: "cw=="}})
    sent = body(messages=[USER, request.Message("assistant", tool_calls=[call])])
    (part,) = sent["contents"][1]["parts"]
    assert part["thoughtSignature"] == "cw=="
    call = called(extra_content={"other": 1})
    sent = body(messages=[USER, request.Message("assistant", tool_calls=[call])])
    assert sent["contents"][1]["parts"][0].keys() == {"functionCall"}


def test_an_answer_can_be_given_back_by_its_blocks() -> None:
    """As PROTOCOL says: each block is a part, and the `extra` of an opaque chunk is one."""
    for name in ("thoughts", "signed-text", "code-execution", "grounding"):
        said = told.play([(told.FOLDER / "google" / f"{name}.sse").read_bytes()], 1, "google")[0]
        blocks: list[dict[str, Any]] = []
        for chunk in (each for each in said if isinstance(each, events.Chunk)):
            extra = told.extras([chunk], chunk.type)
            if chunk.type == "opaque":
                blocks.append(extra[0])
                continue
            if chunk.block is not None:
                thought = {"thought": True} if chunk.type == "reasoning" else {}
                blocks.append({"text": "", **thought})
            blocks[-1]["text"] += chunk.delta
            blocks[-1].update(extra[0] if extra else {})
        again = request.Message("assistant", blocks)
        sent = body(messages=[USER, again, request.Message("user", "Go on.")])
        assert sent["contents"][1]["parts"] == [b for b in blocks if "groundingMetadata" not in b]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (
            {"type": "image_url", "image_url": {"url": DATA, "detail": "low"}},
            {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        ),
        (
            {"type": "image_url", "image_url": "https://x.example/a.PNG?w=1#f"},
            {"fileData": {"fileUri": "https://x.example/a.PNG?w=1#f", "mimeType": "image/png"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "http://[x.example/a"}},
            {"fileData": {"fileUri": "http://[x.example/a"}},
        ),
        (
            {"type": "file", "file": {"filename": "a", "file_data": "data:a/b;base64,aGk="}},
            {"inlineData": {"mimeType": "a/b", "data": "aGk="}},
        ),
        (
            {"type": "file", "file": {"file_id": "https://files.example/v1beta/files/abc"}},
            {"fileData": {"fileUri": "https://files.example/v1beta/files/abc"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
            {"inlineData": {"mimeType": "audio/wav", "data": "aGk="}},
        ),
        ({"text": "a", "thought": True}, {"text": "a", "thought": True}),
    ],
)
def test_media_and_own_parts(content: dict[str, Any], part: dict[str, Any]) -> None:
    assert parts(content) == [part]


def test_what_says_something_about_an_answer_is_no_part_of_it() -> None:
    about = {"groundingMetadata": {"webSearchQueries": None, "truncated": True}}
    assert parts({"type": "text", "text": "a"}, about) == [{"text": "a"}]


@pytest.mark.parametrize(
    ("where", "fields"),
    [
        ("n: ", {"n": 9}),
        ("stop: ", {"stop": list("abcdef")}),
        ("messages: ", {"messages": [request.Message("system", "a")]}),
        ("messages: ", {"messages": []}),
        ("messages[0].name: ", {"messages": [request.Message("user", "a", name="ann")]}),
        ("messages[0].content[0]: ", {"messages": [request.Message("user", [{"type": "odd"}])]}),
        ("messages[0].content[0]: ", {"messages": [request.Message("user", [{}])]}),
        (
            "messages[0].content[0]: ",
            {"messages": [request.Message("user", [{"inlineData": None, "truncated": True}])]},
        ),
        (
            "messages[0].content[0]: ",
            {"messages": [request.Message("user", [{"type": "image_url", "image_url": "a.png"}])]},
        ),
        (
            "messages[0].content[0].file: ",
            {
                "messages": [
                    request.Message("user", [{"type": "file", "file": {"file_id": "file-1"}}])
                ]
            },
        ),
        (
            "messages[0].content[0]: ",
            {"messages": [request.Message("system", [{"type": "image_url", "image_url": DATA}])]},
        ),
        (
            "messages[0].tool_call_id: ",
            {"messages": [request.Message("tool", "a", tool_call_id="x")]},
        ),
        (
            "messages[0].content[0]: ",
            {
                "messages": [
                    request.Message(
                        "tool", [{"type": "image_url", "image_url": "http://a"}], name="f"
                    )
                ]
            },
        ),
        (
            "messages[0].tool_calls[0].extra_content.google: ",
            {
                "messages": [
                    request.Message("assistant", tool_calls=[called(extra_content={"google": "s"})])
                ]
            },
        ),
        (
            "messages[0].tool_calls[0].extra_content.google.thought_signature: ",
            {
                "messages": [
                    request.Message(
                        "assistant",
                        tool_calls=[called(extra_content={"google": {"thought_signature": 1}})],
                    )
                ]
            },
        ),
        ("tools[0]: ", {"tools": [{"type": "web_search"}]}),
        ("tools[0]: ", {"tools": [{}]}),
    ],
)
def test_what_gemini_cannot_take_is_refused_by_name(where: str, fields: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidField) as raised:
        body(**fields)
    assert raised.value.message.startswith(where)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-3-pro", "models/gemini-3-pro"),
        ("models/gemini-3-pro", "models/gemini-3-pro"),
        ("tunedModels/mine", "tunedModels/mine"),
        ("a/b?c=d:x", "models/a%2Fb%3Fc%3Dd%3Ax"),
    ],
)
def test_the_model_stands_in_the_path(model: str, path: str) -> None:
    assert FORMAT.path(model) == f"/v1beta/{path}:streamGenerateContent?alt=sse"


def test_the_key_is_a_header() -> None:
    assert FORMAT.headers("k") == (("x-goog-api-key", "k"),)
    assert FORMAT.headers(None) == ()


def test_the_vendor() -> None:
    """GOOGLE_API_KEY wins in Google's own client where both are set."""
    vendor = vendors.VENDORS["google"]
    assert vendor.format.kind == "google"
    assert vendor.api_key_env == ("GOOGLE_API_KEY", "GEMINI_API_KEY")
    assert vendor.base_url == "https://generativelanguage.googleapis.com"

"""Chats of `ai` 5, 6 and 7 against the running server: what is said, called, refused and broken."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.integration import (
    asking,
    conftest,
    harness,
    node_with_keys,
    peers,
    replaying,
)
from tests.integration.dialects.ai_sdk import chat_pages
from tests.integration.dialects.ai_sdk.chat_pages import VERSIONS, Stage, delta

from holdfast.testing import recordings

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("version", VERSIONS),
]

PICTURE = "data:image/png;base64,iVBORw0KGgo="
DEMO: dict[str, Any] = {"body": {"model": "demo"}}


async def test_a_chat_with_heartbeats_in_the_middle(on: Stage, version: int) -> None:
    gate = asyncio.Event()
    on.vendor.will_say(delta(reasoning_content="Hm"), "The sea", gate, " is old.")
    page = await on.page(version, f"text-{version}")
    await page.ask("Why is the sea salt?")
    await page.until("The sea")
    other = await harness.Reader.open(on.server.port, "GET", f"/api/chat/text-{version}/stream")
    async with asyncio.timeout(harness.PATIENCE):
        await other.until(lambda reader: bytes(reader.body).count(b": ping\n") >= 3)
    await other.close()
    gate.set()
    seen = await page.until("is old.", "ready")
    assert chat_pages.parts(seen) == [
        "step",
        ("reasoning", "Hm", "done"),
        ("text", "The sea is old.", "done"),
    ]
    usage = {"inputTokens": 5, "outputTokens": 3, "totalTokens": 8}
    assert chat_pages.answer(seen)["metadata"] == {"usage": usage}
    (finished,) = seen["finished"]
    assert finished == {
        "finishReason": "stop",
        "isAbort": False,
        "isDisconnect": False,
        "isError": False,
    }
    assert seen["headers"]["x-vercel-ai-ui-message-stream"] == "v1"
    assert seen["asked"] == [["POST", "/api/chat", 200]]
    assert on.vendor.asked[-1]["messages"] == [{"role": "user", "content": "Why is the sea salt?"}]


async def test_a_conversation_goes_on(on: Stage, version: int) -> None:
    page = await on.page(version, f"talk-{version}")
    for text in ("One.", "Two."):
        on.vendor.will_say(text)
        await page.send(f"Say {text}")
    assert on.vendor.asked[-1]["messages"] == [
        {"role": "user", "content": "Say One."},
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": "Say Two."},
    ]


async def test_what_the_application_adds_and_what_is_its_own(on: Stage, version: int) -> None:
    schema = {"type": "object", "properties": {}}
    ours: dict[str, Any] = {
        "model": "vendor/other",
        "system": "Be brief.",
        "temperature": 0.5,
        "topP": 0.9,
        "maxOutputTokens": 9,
        "tools": {"tide": {"description": "The tide.", "inputSchema": schema}},
        "toolChoice": "none",
    }
    body = {**ours, "userId": 7, "selectedVisibilityType": "private"}
    on.vendor.will_say("Yes.")
    page = await on.page(version, f"body-{version}", transport={"body": body})
    files = [{"type": "file", "mediaType": "image/png", "url": PICTURE}]
    await page.send("And this?", files=files)
    asked = on.vendor.asked[-1]
    function = {"name": "tide", "description": "The tide.", "parameters": schema}
    assert asked.pop("stream_options")["include_usage"]
    assert asked == {
        "model": "other",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": PICTURE}},
                    {"type": "text", "text": "And this?"},
                ],
            },
        ],
        "stream": True,
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 9,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "none",
    }


async def test_tools_are_called_and_their_outputs_go_back(on: Stage, version: int) -> None:
    """Two calls side by side, of which the page answers one after the other; the answer goes on in
    the same message."""
    on.vendor.will_say(
        "See.", *(delta(tool_calls=[c]) for c in chat_pages.CALLS), finish="tool_calls"
    )
    on.vendor.will_say("Low.")
    page = await on.page(version, f"tools-{version}", auto=True)
    seen = await page.send("High or low?")
    assert chat_pages.parts(seen) == [
        "step",
        ("text", "See.", "done"),
        ("tool-tide", "input-available", {"at": 7}),
        ("tool-wind", "input-available", {}),
    ]
    assert [call["toolName"] for call in seen["called"]] == ["tide", "wind"]
    asked = len(on.vendor.asked)
    for id, output in (("c0", {"height": 1}), ("c1", "calm")):
        told = {"tool": "any", "toolCallId": id, "output": output}
        await page.tell("call", method="addToolOutput", args=[told])
    seen = await page.until("Low.", "ready")
    assert len(on.vendor.asked) == asked + 1
    assert chat_pages.parts(seen) == [
        "step",
        ("text", "See.", "done"),
        ("tool-tide", "output-available", {"at": 7}),
        ("tool-wind", "output-available", {}),
        "step",
        ("text", "Low.", "done"),
    ]
    assert len(seen["messages"]) == 2
    _, turn, *outputs = on.vendor.asked[-1]["messages"]
    assert [call["function"]["arguments"] for call in turn["tool_calls"]] == ['{"at":7}', "{}"]
    assert outputs == [
        {"role": "tool", "tool_call_id": "c0", "content": '{"height":1}'},
        {"role": "tool", "tool_call_id": "c1", "content": "calm"},
    ]


async def test_googles_calls_go_back_with_their_signatures(pages: peers.Peer, version: int) -> None:
    """Gemini 3 refuses a conversation without them."""
    (recording,) = [
        one
        for one in recordings.load_recordings(conftest.FIXTURES / "google")
        if one.name == "tools"
    ]
    part = replaying.Part(recording, "tools", recordings.whole(recording.wire))
    async with replaying.stage([part]) as on:
        transport = {
            "api": f"{on.server.url}/api/chat",
            "body": {"model": f"{replaying.kind_of(recording)}/{part.model}"},
        }
        page = await chat_pages.opened(pages, version, "google", transport, auto=True)
        seen = await page.send()
        for call in seen["called"]:
            told = {"tool": "any", "toolCallId": call["toolCallId"], "output": {"it": "is"}}
            await page.tell("call", method="addToolOutput", args=[told])
        await asking.until(lambda: len(on.provider.requests) > 1)
        await page.until(status="ready")
        sent = on.provider.requests[-1].json()
    went = [part for turn in sent["contents"] for part in turn["parts"]]
    calls = [part for part in went if "functionCall" in part]
    assert len(calls) == len(seen["called"]) > 0
    came = recording.wire.count(b"thoughtSignature")
    assert sum("thoughtSignature" in call for call in calls) == came > 0


async def test_arguments_that_are_no_json_are_an_error_of_the_call(on: Stage, version: int) -> None:
    call = {"index": 0, "id": "c0", "function": {"name": "tide", "arguments": '{"at":'}}
    on.vendor.will_say(delta(tool_calls=[call]), finish="length")
    page = await on.page(version, f"json-{version}")
    seen = await page.send()
    assert seen["status"] == "ready"
    assert seen["called"] == []
    (part,) = [one for one in chat_pages.answer(seen)["parts"] if one["type"] == "tool-tide"]
    assert part["state"] == "output-error"
    assert part["errorText"] == "The model wrote arguments that are not JSON."
    # What the page has kept can be sent again.
    on.vendor.will_say("Sorry.")
    assert (await page.send())["status"] == "ready"


@pytest.mark.parametrize(
    ("options", "reason", "text"),
    [("refuse=1", "content-filter", "I "), ("finish=length tokens=2", "length", "")],
)
async def test_other_ends(on: Stage, version: int, options: str, reason: str, text: str) -> None:
    page = await on.page(version, f"{options}-{version}", transport=DEMO)
    seen = await page.send(f"/demo rate=10000 {options}")
    assert seen["status"] == "ready"
    assert seen["finished"][0]["finishReason"] == reason
    assert text in chat_pages.parts(seen)[1][1]


async def test_an_error_before_the_first_word_is_a_status(on: Stage, version: int) -> None:
    page = await on.page(version, f"before-{version}", transport=DEMO)
    seen = await page.send("/demo status=429")
    assert (seen["status"], seen["asked"]) == ("error", [["POST", "/api/chat", 429]])
    told = json.loads(seen["error"])
    assert told["code"] == "provider_rate_limited"
    assert told["retryable"]
    assert told["request_id"] == seen["headers"]["x-request-id"]
    assert int(seen["headers"]["retry-after"]) >= 1
    assert len(seen["messages"]) == 1
    # The page asks again by itself, and never the client.
    again = await page.tell("call", method="regenerate")
    assert len(again["asked"]) == 2


async def test_an_error_in_mid_answer_is_an_error(on: Stage, version: int) -> None:
    page = await on.page(version, f"middle-{version}", transport=DEMO)
    seen = await page.send("/demo rate=10000 error_at=3 error=overloaded")
    assert (seen["status"], seen["asked"]) == ("error", [["POST", "/api/chat", 200]])
    assert json.loads(seen["error"]) == {
        "message": "demo: The demo failed, as it was asked to.",
        "code": "provider_overloaded",
        "retryable": True,
    }
    assert seen["finished"][0]["isError"]
    assert chat_pages.parts(seen)[1][2] == "streaming"


async def test_a_bad_body_is_told(on: Stage, version: int) -> None:
    page = await on.page(version, f"bad-{version}", transport={"body": {"temperature": "hot"}})
    seen = await page.send()
    told = json.loads(seen["error"])
    assert (seen["asked"][0][2], told["code"]) == (400, "invalid_field")
    assert "temperature" in told["message"]


async def test_a_key(pages: peers.Peer, version: int) -> None:
    async with chat_pages.stage(pages, archive={"url": "memory://"}) as stage:
        key = await node_with_keys.made(stage.server)
        wrong = {"Authorization": "Bearer " + "x" * 40}
        answers = {}
        for name, headers in (("none", {}), ("wrong", wrong), ("right", key.headers)):
            transport = {"headers": headers, **DEMO}
            page = await stage.page(version, f"key-{version}", transport=transport)
            answers[name] = await page.send("/demo tokens=2 rate=1000")
        for name in ("none", "wrong"):
            assert answers[name]["asked"] == [["POST", "/api/chat", 401]]
            assert json.loads(answers[name]["error"])["code"] == "unauthorized"
        assert answers["right"]["status"] == "ready"

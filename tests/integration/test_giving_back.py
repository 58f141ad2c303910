"""What a provider needs back with the next question comes to the client and goes back whole.

Strategy: for each kind a recorded answer with something signed is read from the running server
as a client reads it. A small client of the test's builds the next request by the words of
PROTOCOL 2.12 alone, and the provider must get what it had sent. PROTOCOL 2.7, 2.11 and 2.12.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration import conftest, harness, replaying

from holdfast.testing import recordings

Data = dict[str, Any]

USER = {"role": "user", "content": "And now?"}


def found(name: str) -> recordings.Recording:
    kind, _, name = name.partition("/")
    return next(
        each for each in recordings.load_recordings(conftest.FIXTURES / kind) if each.name == name
    )


async def answered_and_asked_again(recording: recordings.Recording, build: Any) -> Data:
    """The body of the second request, which `build` made from the chunks of the first answer."""
    body = recordings.whole(recording.wire)
    first, second = (replaying.Part(recording, label, body) for label in ("first", "second"))
    async with replaying.stage([first, second]) as on:
        answer = await replaying.play(on.server, first)
        chunks = [each.data for each in harness.said(answer.body) if each.event == "chunk"]
        await replaying.play(on.server, second, messages=[USER, *build(chunks), USER])
        sent = on.provider.requests[-1].json()
        assert isinstance(sent, dict)
        return sent


def blocks(chunks: list[Data]) -> list[list[Data]]:
    """The chunks, block by block."""
    gathered: list[list[Data]] = []
    for chunk in chunks:
        if "block" in chunk or not gathered:
            gathered.append([])
        gathered[-1].append(chunk)
    return gathered


def text(chunks: list[Data], kind: str) -> str:
    return "".join(each.get("delta", "") for each in chunks if each["type"] == kind)


def tool_calls(chunks: list[Data]) -> list[Data]:
    calls: dict[int, Data] = {}
    for chunk in chunks:
        if chunk["type"] == "tool_call":
            call = calls.setdefault(
                chunk["call"], {"type": "function", "function": {"name": "", "arguments": ""}}
            )
            call["id"] = chunk.get("id", call.get("id"))
            call["function"]["name"] += chunk.get("name", "")
            call["function"]["arguments"] += chunk.get("delta", "")
            if "extra" in chunk:
                call["extra_content"] = {"google": chunk["extra"]}
    return list(calls.values())


def of_anthropic(chunks: list[Data]) -> list[Data]:
    content = []
    for block in blocks(chunks):
        extras = [each["extra"] for each in block if each["type"] == "opaque"]
        content += [extra["content_block"] for extra in extras if "content_block" in extra]
        signatures = [extra["signature"] for extra in extras if "signature" in extra]
        if signatures:
            thought = text(block, "reasoning")
            content.append({"type": "thinking", "thinking": thought, "signature": signatures[0]})
        if text(block, "content"):
            content.append({"type": "text", "text": text(block, "content")})
    return [{"role": "assistant", "content": content}]


async def test_anthropics_thinking_goes_back_with_its_signature() -> None:
    sent = await answered_and_asked_again(found("anthropic/thinking"), of_anthropic)
    turn = sent["messages"][1]
    assert turn["role"] == "assistant"
    signed = [block for block in turn["content"] if block["type"] == "thinking"]
    assert signed
    assert all(block["signature"] and block["thinking"] for block in signed)
    assert turn["content"][-1]["type"] == "text"


def of_google(chunks: list[Data]) -> list[Data]:
    calls = tool_calls(chunks)
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "{}"} for call in calls]
    return [{"role": "assistant", "tool_calls": calls}, *results]


async def test_googles_calls_go_back_with_their_signatures() -> None:
    recording = found("google/tools")
    sent = await answered_and_asked_again(recording, of_google)
    came = recording.wire.count(b"thoughtSignature")
    went = [part for turn in sent["contents"] for part in turn["parts"]]
    assert came
    assert sum("thoughtSignature" in part for part in went) == came
    calls = [part["functionCall"]["name"] for part in went if "functionCall" in part]
    assert calls == [call["name"] for call in recording.expected["tool_calls"]]
    answers = [part["functionResponse"]["name"] for part in went if "functionResponse" in part]
    assert answers == calls


def of_responses(chunks: list[Data]) -> list[Data]:
    content = []
    for block in blocks(chunks):
        items = [each["extra"]["item"] for each in block if each["type"] == "opaque"]
        content += items
        if text(block, "content"):
            content.append({"type": "text", "text": text(block, "content")})
    return [{"role": "assistant", "content": content}]


async def test_responses_reasoning_goes_back_as_an_item() -> None:
    recording = found("openai-responses/reasoning-summary")
    sent = await answered_and_asked_again(recording, of_responses)
    reasoning = [item for item in sent["input"] if item.get("type") == "reasoning"]
    assert [item["encrypted_content"] for item in reasoning] != []
    assert recording.wire.count(reasoning[0]["encrypted_content"].encode())
    assert sent["store"] is False


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("openai_responses", {"type": "thinking", "thinking": "Hm", "signature": "s"}),
        ("google", {"type": "thinking", "thinking": "Hm", "signature": "s"}),
        ("anthropic", {"type": "reasoning", "encrypted_content": "x"}),
        ("anthropic", {"text": "Hm", "thought": True, "thoughtSignature": "s"}),
    ],
)
async def test_a_part_of_another_kind_is_refused_by_its_field(kind: str, part: Data) -> None:
    rows = {"far": {"kind": kind, "base_url": "http://127.0.0.1:9", "api_key": "k"}}
    async with harness.running(harness.configured(providers=rows)) as server:
        said = [USER, {"role": "assistant", "content": [part]}, USER]
        body = harness.wanted("m", provider="far", messages=said)
        answer = await harness.ask(server.port, "POST", "/v1/streams", {}, body)
    assert answer.status == 400
    assert "messages[1].content[0]" in answer.json()["detail"]

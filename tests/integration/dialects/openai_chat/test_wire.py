"""The bytes of a stream of chat completions, where clients of others were led astray.

Strategy: the answers are scripted as elsewhere (`dialects/answers.py`); what is read are the bytes
off the socket, as every client that there is depends on some of them.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.integration import asking, harness
from tests.integration.dialects import answers

from holdfast.http.foreign import answering
from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/v1/chat/completions"


async def begin(stage: answers.Stage, name: str, **fields: Any) -> harness.Reader:
    body = harness.wanted(f"vendor/{name}", stream=True, **fields)
    return await harness.Reader.open(stage.server.port, "POST", PATH, {}, body)


async def read(stage: answers.Stage, name: str, **fields: Any) -> list[Any]:
    """All chunks; the end marker as text."""
    answer = await (await begin(stage, name, **fields)).rest()
    assert answer.clean
    blocks = answer.body.replace(b": ping\n", b"").split(b"\n\n")
    assert blocks.pop() == b""
    said = [block.removeprefix(b"data: ") for block in blocks]
    return ["[DONE]" if one == b"[DONE]" else json.loads(one) for one in said]


@pytest.mark.case("2.19")
async def test_a_provider_that_thinks_is_no_silent_connection(
    stage: answers.Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heartbeats come before its first word, and never within an event."""
    monkeypatch.setattr(answering, "HOLD_SECONDS", 0.0)
    stage.gate.clear()
    reader = await begin(stage, "thinking")
    assert reader.status == 200
    await reader.until(lambda reader: reader.body.count(b"ping") >= 3)
    assert set(bytes(reader.body).removesuffix(b"\n").split(b"\n")) == {b": ping"}
    stage.gate.set()
    answer = await reader.rest()
    for block in answer.body.replace(b": ping\n", b"").split(b"\n\n")[:-1]:
        assert block.startswith(b"data: ")
        assert b"\n" not in block
    beats = [line for line in answer.body.split(b"\n") if b"ping" in line]
    assert set(beats) == {b": ping"}


@pytest.mark.case("2.20")
async def test_proxies_are_told_to_hold_nothing_back(stage: answers.Stage) -> None:
    reader = await begin(stage, "text")
    assert reader.headers["x-accel-buffering"] == "no"
    assert reader.headers["cache-control"] == "no-cache, no-transform"
    assert reader.headers["content-type"].startswith("text/event-stream")
    await reader.rest()


@pytest.mark.case("2.21")
async def test_usage_is_one_chunk_behind_the_reasons(stage: answers.Stage) -> None:
    for name, n in (("text", 1), ("choices", 2)):
        *chunks, last, marker = await read(stage, name, n=n, stream_options={"include_usage": True})
        assert marker == "[DONE]"
        assert last["choices"] == []
        assert last["usage"]["total_tokens"] == 14
        assert {chunk["usage"] for chunk in chunks} == {None}
        assert all(len(chunk["choices"]) == 1 for chunk in chunks)
        reasons = [chunk["choices"][0] for chunk in chunks if _reason(chunk)]
        assert sorted(one["index"] for one in reasons) == list(range(n))
        assert _reason(chunks[-1])
    # Nobody who did not ask for it gets a chunk without choices.
    plain = await read(stage, "text")
    assert all(len(chunk["choices"]) == 1 for chunk in plain[:-1])
    assert not any("usage" in chunk for chunk in plain[:-1])


def _reason(chunk: Any) -> Any:
    return chunk["choices"][0]["finish_reason"]


@pytest.mark.case("2.22")
async def test_a_choice_begins_with_its_role_alone(stage: answers.Stage) -> None:
    for name in ("text", "tools", "reasoning", "refusal", "nothing"):
        first, *others = await read(stage, name)
        assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert not any("role" in one["choices"][0]["delta"] for one in others[:-1])


@pytest.mark.case("2.23")
async def test_each_piece_of_a_call_says_whose_it_is(stage: answers.Stage) -> None:
    chunks = await read(stage, "tools")
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    pieces = [piece for delta in deltas for piece in delta.get("tool_calls", ())]
    for index, (id, name, arguments) in enumerate(answers.READ["tools"]["tool calls"]):
        first, *others = [piece for piece in pieces if piece["index"] == index]
        assert (first["id"], first["type"], first["function"]["name"]) == (id, "function", name)
        assert not any("id" in one or "name" in one["function"] for one in others)
        said = "".join(one["function"]["arguments"] for one in (first, *others))
        assert said == arguments
    assert {piece["index"] for piece in pieces} == {0, 1}
    assert [_reason(chunk) for chunk in chunks[:-1] if _reason(chunk)] == ["tool_calls"]


TWICE = (
    answers.ROLE,
    answers.call(0, "", id="call_a", name="f"),
    answers.call(0, '{"a":1}', id="call_a", name="f"),
    answers.call(0, "", id="call_a", name="f"),
    answers.said(reason="tool_calls"),
    answers.said(reason="tool_calls"),
    answers.END,
)


@pytest.mark.case("2.23")
async def test_what_a_provider_says_twice_is_said_once() -> None:
    async with asking.vendor(replay.Answer(body=TWICE)) as on:
        body = harness.wanted("vendor/m", stream=True)
        answer = await harness.ask(on.server.port, "POST", PATH, {}, body)
    assert answer.body.count(b'"call_a"') == 1
    assert answer.body.count(b'{\\"a\\":1}') == 1
    assert answer.body.count(b'"finish_reason":"tool_calls"') == 1

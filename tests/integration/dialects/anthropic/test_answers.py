"""The stock `anthropic` client on our route of Messages: every kind of answer.

Strategy: the client reads an answer of the provider itself and of our server, which asked that
provider, and has to be told the same, event by event, accumulated and whole
(`dialects/messages.py`). What a provider of another format says is held to the words that it stands
for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anthropic
import msgspec
import pydantic
import pytest
from tests.integration import harness, replaying
from tests.integration.dialects import answers, messages, wire
from tests.integration.dialects.messages import MESSAGES, asked, client, told

from holdfast.dialects import anthropic as dialect
from holdfast.testing import recordings

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]


async def streamed(stock: anthropic.AsyncAnthropic, model: str, **fields: Any) -> Any:
    async with stock.messages.stream(**asked(model, **fields)) as got:
        return await got.get_final_message()


async def events_of(stock: anthropic.AsyncAnthropic, model: str) -> list[Any]:
    """What a caller gets who uses no helper; texts in one piece, and usage apart."""
    stream = await stock.messages.create(**asked(model), stream=True)
    begin, *found = [event.to_dict() async for event in stream]
    assert begin["type"] == "message_start"
    seen: list[Any] = []
    for event in found:
        event.pop("usage", None)
        delta = event.get("delta", {})
        (name,) = {"text", "thinking", "partial_json"} & delta.keys() or [""]
        before = seen[-1].get("delta", {}) if seen else {}
        if name and name in before:
            before[name] += delta[name]
        else:
            seen.append(event)
    # Arguments of a call without any may be left out.
    return [event for event in seen if event.get("delta", {}).get("partial_json") != "{}"]


@pytest.mark.parametrize("name", messages.ANSWERS)
async def test_answers(stage: answers.Stage, stock: anthropic.AsyncAnthropic, name: str) -> None:
    async with client(stage.provider.url) as direct:
        expected = told(await streamed(direct, name))
        assert await events_of(stock, f"vendor/{name}") == await events_of(direct, name)
    assert told(await streamed(stock, f"vendor/{name}")) == expected
    whole = await stock.messages.create(**asked(f"vendor/{name}"))
    assert told(whole) == expected
    assert whole.model == name


async def test_recorded_answers(shared: Path) -> None:
    """The same of what Anthropic's own servers said."""
    found = [
        replaying.Part(one, "per event", recordings.per_event(one.wire))
        for one in recordings.load_recordings(shared / "recordings")
        if one.kind == "anthropic"
    ]
    assert len(found) >= 12
    async with (
        replaying.stage(found) as on,
        client(on.provider.url) as direct,
        client(on.server.url) as stock,
    ):
        for part in found:
            expected = await streamed(direct, part.model)
            got = await streamed(stock, f"anthropic/{part.model}")
            assert _read(got) == _read(expected), part.file
            assert told(got).get("stop_details") == told(expected).get("stop_details")
            assert got.stop_reason == expected.stop_reason


def _read(message: Any) -> list[Any]:
    """The content, as far as this client reads it: it leaves out what a compaction says."""
    content = message.to_dict()["content"]
    return [{"type": "compaction"} if one["type"] == "compaction" else one for one in content]


CHATS = {
    "text": ([{"type": "text", "text": 'Neap "tide" 🌊'}], "end_turn"),
    "tools": (
        [
            {"type": "tool_use", "id": "call_a", "name": "get_weather", "input": {"city": "Oslo"}},
            {"type": "tool_use", "id": "call_b", "name": "get_time", "input": {}},
        ],
        "tool_use",
    ),
    "reasoning": (
        [
            {"type": "thinking", "thinking": "Hm. So.", "signature": ""},
            {"type": "text", "text": "Yes."},
        ],
        "end_turn",
    ),
    "refusal": ([{"type": "text", "text": "I cannot."}], "refusal"),
    "length": ([{"type": "text", "text": "Neap"}], "max_tokens"),
    "filter": ([{"type": "text", "text": "Neap"}], "refusal"),
    "cited": (
        [
            {
                "type": "text",
                "text": "Tide",
                "citations": [
                    {**messages.CITED, "cited_text": "", "encrypted_index": ""},
                ],
            }
        ],
        "end_turn",
    ),
    "nothing": ([], "end_turn"),
}


@pytest.mark.parametrize("name", CHATS)
async def test_answers_of_another_provider(stock: anthropic.AsyncAnthropic, name: str) -> None:
    content, reason = CHATS[name]
    for read in (
        await streamed(stock, f"chat/{name}"),
        await stock.messages.create(**asked(f"chat/{name}")),
    ):
        assert told(read) == {
            "type": "message",
            "role": "assistant",
            "content": content,
            "stop_reason": reason,
            "usage": {
                "input_tokens": 5,
                "cache_read_input_tokens": 4,
                "output_tokens": 5,
                "output_tokens_details": {"thinking_tokens": 2},
            },
        }


async def test_usage_that_nobody_told(stock: anthropic.AsyncAnthropic) -> None:
    read = await streamed(stock, "chat/no-usage")
    assert (read.usage.input_tokens, read.usage.output_tokens) == (0, 0)


async def test_the_client_s_own_events(stock: anthropic.AsyncAnthropic) -> None:
    seen: list[Any] = []
    latest: Any = None
    async with stock.messages.stream(**asked("vendor/tools")) as got:
        async for event in got:
            if event.type == "text":
                seen.append(event.text)
            if event.type == "input_json":
                latest = event.snapshot  # pieces that come together are one
            if event.type == "content_block_stop":
                tool = event.content_block.type == "tool_use"
                seen.append(latest if tool else event.content_block.type)
    assert seen == ["Let me see.", "text", {"city": "Oslo"}, {}]
    async with stock.messages.stream(**asked("vendor/text")) as got:
        assert "".join([text async for text in got.text_stream]) == 'Neap "tide" 🌊'


class Place(pydantic.BaseModel):
    city: str


@pytest.mark.parametrize("model", ["vendor/json", "chat/json"])
async def test_parsed_answers(
    stage: answers.Stage, stock: anthropic.AsyncAnthropic, model: str
) -> None:
    parsed = await stock.messages.parse(**asked(model), output_format=Place)
    assert parsed.parsed_output == Place(city="Oslo")
    sent = stage.asked()
    if model.startswith("vendor"):
        schema = sent["output_config"]["format"]["schema"]
    else:
        schema = sent["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["city"]
    async with stock.messages.stream(**asked(model), output_format=Place) as got:
        assert (await got.get_final_message()).parsed_output == Place(city="Oslo")


async def test_heartbeats_while_the_provider_pauses(
    stage: answers.Stage, stock: anthropic.AsyncAnthropic
) -> None:
    for whole in (False, True):
        if whole:
            made: Any = stock.messages.create(**asked("vendor/paused"))
        else:
            made = streamed(stock, "vendor/paused")
        read = await stage.held(made, 0 if whole else 9)
        assert read.content[0].text == 'Neap "tide" 🌊'


@pytest.mark.case("2.19")
async def test_what_is_sent_between_events_is_a_ping(stage: answers.Stage) -> None:
    body = msgspec.json.encode(asked("vendor/paused", stream=True))
    ping = b'event: ping\ndata: {"type":"ping"}\n\n'
    key = {"X-Api-Key": "any"}
    answer = await wire.paused(stage, "/v1/messages", body, ping, **key)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert b"\n:" not in answer.body
    assert answer.body.count(b"\n\n") == answer.body.count(b"\ndata: ")
    again = await wire.folded(stage, answer, dialect.Dialect())
    assert answer.body.replace(ping, b"") == again  # as for every reader


async def test_the_same_answer_may_be_read_natively(
    stage: answers.Stage, stock: anthropic.AsyncAnthropic
) -> None:
    got = await stock.messages.with_raw_response.create(**asked("vendor/text"))
    stream = got.headers["x-stream-id"]
    message = await got.parse()
    assert message.id == f"msg_{stream}"
    assert got.headers["request-id"] == message._request_id
    shown = await harness.ask(stage.server.port, "GET", f"/v1/streams/{stream}")
    assert shown.json()["content"] == 'Neap "tide" 🌊'


async def test_a_conversation_goes_on_with_what_was_answered(
    stage: answers.Stage, stock: anthropic.AsyncAnthropic
) -> None:
    """Every block that the client was given is sent as it came, whoever is asked next."""
    for name in ("thinking", "unseen", "search", "tools"):
        read = await streamed(stock, f"vendor/{name}")
        turn = {"role": "assistant", "content": read.content}
        history = [*MESSAGES, turn, {"role": "user", "content": "Go on."}]
        await streamed(stock, "vendor/text", messages=history)
        async with client(stage.provider.url) as direct:
            sent = stage.asked()["messages"][1]
            await streamed(direct, "text", messages=history)
            assert sent == stage.asked()["messages"][1]
    read = await streamed(stock, "chat/reasoning")
    turn = {"role": "assistant", "content": read.content}
    await streamed(stock, "vendor/text", messages=[*MESSAGES, turn, *MESSAGES])
    assert stage.asked()["messages"][1]["content"] == [{"type": "text", "text": "Yes."}]

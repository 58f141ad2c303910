"""The stock `openai` client on our route of chat completions: every kind of answer.

Strategy: one server whose provider speaks the same format and gives what is scripted
(`dialects/answers.py`). Each answer is read as a stream, by the client's accumulator, and whole;
both have to be the words that the script stands for.
"""

from __future__ import annotations

from typing import Any

import openai
import pytest
from tests.integration import harness
from tests.integration.dialects import answers, wire
from tests.integration.dialects.stock_openai import MESSAGES, USAGE, GetWeather, Place, client, told

from holdfast.dialects import openai_chat

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def streamed(stock: openai.AsyncOpenAI, model: str, **fields: Any) -> Any:
    fields = {"messages": MESSAGES, "stream_options": USAGE, **fields}
    async with stock.chat.completions.stream(model=model, **fields) as got:
        async for _ in got:
            pass
        return got.current_completion_snapshot


@pytest.mark.parametrize("name", answers.READ)
async def test_answers(stock: openai.AsyncOpenAI, name: str) -> None:
    wanted = answers.expected(name)
    n: Any = len(wanted["others"]) + 1
    more: Any = {"logprobs": True} if name == "logprobs" else {}
    read = await streamed(stock, f"vendor/{name}", n=n, **more)
    assert told(read) == wanted
    whole = await stock.chat.completions.create(
        model=f"vendor/{name}", messages=MESSAGES, n=n, **more
    )
    assert told(whole) == wanted
    assert (whole.model, whole.object) == (name, "chat.completion")


async def test_chunks_one_by_one(stock: openai.AsyncOpenAI) -> None:
    """What a caller of the client gets who uses no helper."""
    got = await stock.chat.completions.create(
        model="vendor/text", messages=MESSAGES, stream=True, stream_options=USAGE
    )
    chunks = [chunk async for chunk in got]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert [deltas[0].role, deltas[0].content] == ["assistant", ""]
    assert "".join(delta.content or "" for delta in deltas) == answers.READ["text"]["text"]
    reasons = [chunk.choices[0].finish_reason for chunk in chunks[:-1]]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]
    assert all(chunk.obfuscation for chunk in chunks[1:-2])


async def test_parsed_answers_and_calls(stage: answers.Stage, stock: openai.AsyncOpenAI) -> None:
    parse = stock.chat.completions.parse
    read = await parse(model="vendor/json", messages=MESSAGES, response_format=Place)
    assert read.choices[0].message.parsed == Place(city="Oslo")
    assert stage.asked()["response_format"]["json_schema"]["schema"]["required"] == ["city"]
    tools: Any = [
        openai.pydantic_function_tool(GetWeather, name="get_weather"),
        openai.pydantic_function_tool(Place, name="get_time"),
    ]
    weather = await parse(model="vendor/tools", messages=MESSAGES, tools=tools[:1])
    calls: Any = weather.choices[0].message.tool_calls
    assert calls[0].function.parsed_arguments == GetWeather(city="Oslo")
    done = []
    async with stock.chat.completions.stream(
        model="vendor/tools", messages=MESSAGES, tools=tools[:1]
    ) as got:
        async for event in got:
            if event.type == "tool_calls.function.arguments.done":
                done.append((event.index, event.name, event.arguments))
    assert done == [(0, "get_weather", '{"city": "Oslo"}'), (1, "get_time", "{}")]
    with pytest.raises(openai.LengthFinishReasonError):
        await parse(model="vendor/length", messages=MESSAGES, response_format=Place)


async def test_heartbeats_while_the_provider_pauses(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    for whole in (False, True):
        if whole:
            made: Any = stock.chat.completions.create(model="vendor/paused", messages=MESSAGES)
        else:
            made = streamed(stock, "vendor/paused")
        assert told(await stage.held(made, 0 if whole else 3)) == answers.expected("text")


async def test_what_is_sent_between_events_is_one_line_of_comment(stage: answers.Stage) -> None:
    fields = {"stream": True, "stream_options": {"include_obfuscation": False}}
    body = harness.wanted("vendor/paused", **fields)
    answer = await wire.paused(stage, "/v1/chat/completions", body, Authorization="Bearer x")
    wire.check_comments(answer.body)


# What the provider is asked


async def test_what_is_asked_reaches_the_provider(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    messages: Any = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "7"},
    ]
    await streamed(
        stock,
        "vendor/text",
        messages=messages,
        temperature=0.5,
        top_p=0.9,
        max_completion_tokens=50,
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        stop=["END"],
        seed=7,
        reasoning_effort="low",
        logit_bias={"50256": -100},
        user="ann",
        metadata={"a": "b"},
        extra_body={"a_field_of_next_year": {"x": [1]}},
    )
    asked = stage.asked()
    assert asked.pop("messages") == [
        messages[0],
        messages[1],
        {"role": "assistant", "tool_calls": [call]},
        messages[3],
    ]
    assert asked == {
        "model": "text",
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
        "temperature": 0.5,
        "top_p": 0.9,
        "max_completion_tokens": 50,
        "tools": [tool],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "stop": ["END"],
        "seed": 7,
        "reasoning_effort": "low",
        "logit_bias": {"50256": -100},
        "user": "ann",
        "metadata": {"a": "b"},
        "a_field_of_next_year": {"x": [1]},
    }


async def test_an_answer_goes_back_as_it_came(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    """DeepSeek and others refuse a call whose reasoning is missing; it is nothing to the rest."""
    made = await stock.chat.completions.create(model="vendor/reasoning", messages=MESSAGES)
    held: Any = made.choices[0].message.to_dict()
    said = {"role": "assistant", "content": "Yes."}
    for model, wanted in (
        ("alike/text", said | {"reasoning_content": "Hm. So."}),
        ("vendor/text", said),
    ):
        asked: Any = [*MESSAGES, held, *MESSAGES]
        await stock.chat.completions.create(model=model, messages=asked)
        assert stage.asked()["messages"][1] == wanted
    demo: Any = [*MESSAGES, held, {"role": "user", "content": "Hi\n/demo tokens=3 rate=10000"}]
    assert (await stock.chat.completions.create(model="demo", messages=demo)).choices


async def test_a_field_that_another_provider_does_not_know_is_refused(
    stock: openai.AsyncOpenAI,
) -> None:
    fields: Any = {"model": "demo", "messages": MESSAGES, "seed": 7, "user": "ann"}
    with pytest.raises(openai.BadRequestError, match="seed: the provider demo") as caught:
        await stock.chat.completions.create(**fields)
    assert (caught.value.code, caught.value.param) == ("invalid_field", "seed")
    assert "user" not in str(caught.value)


async def test_or_dropped_where_the_settings_say_so() -> None:
    async with (
        answers.staged(dialects={"unknown_fields": "drop"}) as stage,
        client(stage.url) as stock,
    ):
        asked: Any = [{"role": "user", "content": "Hi\n/demo tokens=3 rate=10000"}]
        made = await stock.chat.completions.create(model="demo", messages=asked, seed=7)
        assert made.choices[0].message.content


async def test_the_same_answer_may_be_read_natively(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    got = await stock.chat.completions.with_raw_response.create(
        model="vendor/text", messages=MESSAGES
    )
    stream = got.headers["x-stream-id"]
    assert got.parse().id == f"chatcmpl-{stream}"
    assert got.headers["x-request-id"]
    shown = await harness.ask(stage.server.port, "GET", f"/v1/streams/{stream}")
    assert shown.json()["content"] == answers.READ["text"]["text"]


async def test_all_readers_would_get_the_same_bytes(stage: answers.Stage) -> None:
    """A fold of its own for each reader says the same of the same stream."""
    body = harness.wanted("vendor/text", stream=True)
    answer = await harness.ask(
        stage.server.port, "POST", "/v1/chat/completions", {"Authorization": "Bearer x"}, body
    )
    again = await wire.folded(stage, answer, openai_chat.Dialect())
    assert answer.body.replace(wire.PING, b"") == again

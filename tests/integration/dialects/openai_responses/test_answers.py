"""The stock `openai` client on our route of responses: every kind of answer.

Strategy: see `dialects/responding.py`. Each answer is read as a stream, by the client's
accumulator, and whole; both have to be the words that the script stands for.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import openai
import pytest
from tests.integration import asking, harness
from tests.integration.dialects import answers, responding, wire
from tests.integration.dialects.responding import ASKED, told
from tests.integration.dialects.stock_openai import GetWeather, Place, client

from holdfast import events

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def streamed(stock: openai.AsyncOpenAI, model: str, **fields: Any) -> Any:
    """The last response that a stream tells, which is what its client accumulates."""
    async with stock.responses.stream(model=model, input=ASKED, **fields) as got:
        last = [event async for event in got][-1]
        assert last.type in ("response.completed", "response.incomplete")
        if last.type == "response.completed":
            assert (await got.get_final_response()).output == last.response.output
        return last.response


@pytest.mark.parametrize("name", responding.NAMES)
async def test_answers(stock: openai.AsyncOpenAI, name: str) -> None:
    wanted = responding.expected(name)
    read = await streamed(stock, f"vendor/{name}")
    assert told(read) == wanted
    whole = await stock.responses.create(model=f"vendor/{name}", input=ASKED)
    assert told(whole) == wanted
    assert (whole.model, whole.object) == (name, "response")
    assert whole.id.startswith("resp_")


async def test_events_one_by_one(stock: openai.AsyncOpenAI) -> None:
    """What a caller of the client gets who uses no helper."""
    got = await stock.responses.create(model="vendor/text", input=ASKED, stream=True)
    said: list[Any] = [event async for event in got]
    assert [event.sequence_number for event in said] == list(range(len(said)))
    deltas = [event for event in said if event.type == "response.output_text.delta"]
    assert "".join(event.delta for event in deltas) == answers.READ["text"]["text"]
    sizes = [len(msgspec.json.encode(e.delta)) - 2 + len(e.obfuscation) for e in deltas]
    assert {size % 32 for size in sizes} == {0}
    assert [event.type for event in said if event.type == "response.completed"]


async def test_parsed_answers_and_calls(stage: answers.Stage, stock: openai.AsyncOpenAI) -> None:
    read = await stock.responses.parse(model="vendor/json", input=ASKED, text_format=Place)
    assert read.output_parsed == Place(city="Oslo")
    shape = stage.asked()["response_format"]["json_schema"]
    assert (shape["name"], shape["schema"]["required"]) == ("Place", ["city"])
    weather: Any = openai.pydantic_function_tool(GetWeather, name="get_weather")
    called = await stock.responses.parse(model="vendor/tools", input=ASKED, tools=[weather])
    first: Any = called.output[0]
    assert first.parsed_arguments == GetWeather(city="Oslo")
    async with stock.responses.stream(
        model="vendor/tools", input=ASKED, tools=[weather], text_format=Place
    ) as got:
        done = [
            (event.output_index, event.arguments)
            async for event in got
            if event.type == "response.function_call_arguments.done"
        ]
    assert done == [(0, '{"city": "Oslo"}'), (1, "{}")]


async def test_heartbeats_while_the_provider_pauses(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    for whole in (False, True):
        if whole:
            made: Any = stock.responses.create(model="vendor/paused", input=ASKED)
        else:
            made = streamed(stock, "vendor/paused")
        assert told(await stage.held(made, 0 if whole else 3)) == responding.expected("text")


async def test_what_is_sent_between_events_is_one_line_of_comment(stage: answers.Stage) -> None:
    body = b'{"model":"vendor/paused","input":"Hi","stream":true}'
    wire.check_comments((await wire.paused(stage, "/v1/responses", body)).body)


# What is asked, and what goes back


async def test_what_is_asked_reaches_a_provider_of_another_format(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    tool: Any = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    items: Any = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "7"},
    ]
    await stock.responses.create(
        model="vendor/text",
        input=items,
        instructions="Be brief.",
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=50,
        tools=[tool],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        user="ann",
        metadata={"a": "b"},
        include=["reasoning.encrypted_content"],
        truncation="disabled",
    )
    asked = stage.asked()
    function = {"name": "f", "parameters": {"type": "object"}, "strict": True}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert asked.pop("messages") == [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "7"},
    ]
    assert asked == {
        "model": "text",
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
        "temperature": 0.5,
        "top_p": 0.9,
        "max_completion_tokens": 50,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
    }


async def test_what_the_same_format_has_is_told_and_goes_back(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    read = await streamed(stock, "own/items")
    whole = await stock.responses.create(model="own/items", input=ASKED)
    assert [told(read), told(read)["text"]] == [told(whole), "Tide"]
    sealed, search, message, shell = whole.model_dump(exclude_unset=True)["output"]
    assert (sealed, search) == (responding.SEALED, responding.SEARCH)
    assert (message["id"], message["phase"]) == ("msg_68", "final_answer")
    assert message["content"][0]["annotations"] == [responding.CITED]
    assert message["content"][0]["logprobs"] == [responding.PROB]
    assert shell == responding.SHELL | {"status": "completed", "input": "ls"}

    ran: Any = {"type": "custom_tool_call_output", "call_id": "call_c", "output": "a.txt"}
    fields: Any = {
        "reasoning": {"effort": "low"},
        "include": ["web_search_call.action.sources"],
        "text": {"verbosity": "low"},
        "tools": [{"type": "web_search"}],
        "tool_choice": {"type": "web_search"},
        "metadata": {"a": "b"},
        "store": True,
        "extra_body": {"a_field_of_next_year": {"x": [1]}},
    }
    given: Any = [{"role": "user", "content": "Hi"}, *whole.output, ran]
    await stock.responses.create(model="own/items", input=given, **fields)
    asked = stage.asked()
    hi, *back, last = asked.pop("input")
    assert (hi, last) == ({"type": "message", "role": "user", "content": "Hi"}, ran)
    assert back == [sealed, search, message, shell]
    assert asked == {
        "model": "items",
        "stream": True,
        "store": False,
        "stream_options": {"include_obfuscation": False},
        "reasoning": {"effort": "low"},
        "include": ["web_search_call.action.sources"],
        "text": {"verbosity": "low"},
        "tools": [{"type": "web_search"}],
        "tool_choice": {"type": "web_search"},
        "metadata": {"a": "b"},
        "a_field_of_next_year": {"x": [1]},
    }


async def test_a_whole_answer_goes_back_to_another_format(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    """As a program does that goes on with the output of the turn before."""
    whole = await stock.responses.create(model="own/items", input=ASKED)
    given: Any = [
        {"role": "user", "content": "Hi"},
        *whole.output,
        {"role": "user", "content": "?"},
    ]
    await stock.responses.create(model="vendor/text", input=given)
    assert stage.asked()["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "text", "text": "Tide"}]},
        {"role": "user", "content": "?"},
    ]


async def test_what_was_made_here_does_not_go_back(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    """Ids that mean nothing to a provider, and a summary that is nobody's."""
    whole = await stock.responses.create(model="vendor/reasoning", input=ASKED)
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    given: Any = [*whole.output, {"role": "user", "content": "?"}]
    await stock.responses.create(model="own/items", input=given)
    assert stage.asked()["input"] == [
        {"type": "message", "role": "assistant", "content": "Yes."},
        {"type": "message", "role": "user", "content": "?"},
    ]


UNKNOWN: Any = {"extra_body": {"a_field_of_next_year": 1}, "metadata": {"a": "b"}}


async def test_a_field_that_another_format_does_not_have(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await stock.responses.create(model="vendor/text", input=ASKED, **UNKNOWN)
    assert caught.value.code == "invalid_field"
    assert "a_field_of_next_year" in caught.value.message
    assert "metadata" not in caught.value.message
    async with (
        responding.staged(dialects={"unknown_fields": "drop"}) as other,
        client(other.url) as dropping,
    ):
        read = await dropping.responses.create(model="vendor/text", input=ASKED, **UNKNOWN)
        assert told(read) == responding.expected("text")
        assert "a_field_of_next_year" not in other.asked()


# The background


async def test_an_answer_in_the_background(stage: answers.Stage, stock: openai.AsyncOpenAI) -> None:
    stage.gate.clear()
    made = await stock.responses.create(model="vendor/paused", input=ASKED, background=True)
    assert (made.status, made.background, made.output) == ("queued", True, [])
    await asking.until(lambda: len(stage.server.service.connections) == 0)
    stage.gate.set()
    await asking.idle(stage.server)
    found = await stock.responses.retrieve(made.id)
    assert (found.id, found.status) == (made.id, "completed")
    assert told(found) == responding.expected("text")
    got = await stock.responses.retrieve(made.id, stream=True)
    said: list[Any] = [event async for event in got]
    assert [event.type for event in said[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    assert said[-1].response.output == found.output


async def test_an_answer_is_cancelled(stage: answers.Stage, stock: openai.AsyncOpenAI) -> None:
    stage.gate.clear()
    ids: list[str] = []

    async def read() -> None:
        got = await stock.responses.create(model="vendor/paused", input=ASKED, stream=True)
        async for event in got:
            if event.type == "response.created":
                ids.append(event.response.id)
            if event.type == "response.output_text.delta":
                gone = await stock.responses.cancel(ids[0])
                assert (gone.status, gone.error) == ("cancelled", None)

    with pytest.raises(openai.APIError) as caught:
        await read()
    assert caught.value.code == "cancelled"
    (id,) = ids
    found = await stock.responses.retrieve(id)
    assert (found.status, found.output_text) == ("cancelled", "Neap ")
    assert (await stock.responses.cancel(id)).status == "cancelled"
    stage.gate.set()
    await asking.idle(stage.server)


async def test_who_cancels_waits_for_the_end(
    stage: answers.Stage, stock: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer may be on another node, which hears of it later."""
    stage.gate.clear()
    service = stage.server.service
    tasks: list[asyncio.Task[bool]] = []

    async def later(stream: events.StreamId, cancel: Any = service.cancel) -> bool:
        async def once_it_is_waited_for() -> bool:
            await asking.until(lambda: service.watch.watches(stream))
            return bool(await cancel(stream))

        tasks.append(asyncio.create_task(once_it_is_waited_for()))
        return False

    monkeypatch.setattr(service, "cancel", later)
    begun = await stock.responses.create(model="vendor/paused", input=ASKED, background=True)
    assert (await stock.responses.cancel(begun.id)).status == "cancelled"
    stage.gate.set()
    await asyncio.gather(*tasks)
    await asking.idle(stage.server)


async def test_what_is_not_there(stage: answers.Stage, stock: openai.AsyncOpenAI) -> None:
    """Unknown, without its prefix, or born in another dialect."""
    made = await stock.responses.create(model="vendor/text", input=ASKED)
    messages: Any = [{"role": "user", "content": ASKED}]
    chat = await stock.chat.completions.create(model="vendor/text", messages=messages)
    stream = chat.id.removeprefix("chatcmpl-")
    for id in ("resp_x", f"resp_{'0' * 26}", made.id.removeprefix("resp_"), f"resp_{stream}"):
        for call in (stock.responses.retrieve, stock.responses.cancel):
            with pytest.raises(openai.NotFoundError) as caught:
                await call(id)
            assert caught.value.code == "stream_not_found"
    path = f"/v1/streams/{made.id.removeprefix('resp_')}"
    shown = await harness.ask(stage.server.port, "GET", path)
    assert shown.json()["content"] == made.output_text

"""LangChain's `ChatOpenAI` on our route of chat completions.

Strategy: as in `test_answers`: one server, scripted answers, and the words that they
stand for. LangChain has an accumulator of its own, and adds up what chunks say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import langchain_core.messages
import langchain_openai
import openai
import pytest
import pytest_asyncio
from tests.integration.dialects import answers, stock_langchain, stock_openai
from tests.integration.dialects.stock_langchain import streamed

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("direct")]


class Stage(answers.Stage, frozen=True, kw_only=True):
    """With a client of HTTP that is closed with it; LangChain would keep its own."""

    http: httpx2.AsyncClient

    def model(self, name: str) -> langchain_openai.ChatOpenAI:
        name = f"vendor/{name}"
        return stock_langchain.model(self.url, name, self.http, stream_usage=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(stage: answers.Stage) -> AsyncIterator[Stage]:
    async with stock_openai.http() as http:
        yield Stage(stage.server, stage.provider, stage.gate, http=http)


def told(message: Any) -> dict[str, Any]:
    usage = message.usage_metadata
    return {
        "text": message.content,
        "tool calls": [[call["id"], call["name"], call["args"]] for call in message.tool_calls],
        "finish": message.response_metadata["finish_reason"],
        "usage": usage and [usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]],
    }


CALLS = [["call_a", "get_weather", {"city": "Oslo"}], ["call_b", "get_time", {}]]


@pytest.mark.parametrize("name", ["text", "reasoning", "length", "no-usage", "nothing", "logprobs"])
async def test_answers(stage: Stage, name: str) -> None:
    wanted = answers.expected(name)
    wanted = {"text": wanted["text"], "finish": wanted["finish"], "usage": wanted["usage"]}
    wanted["usage"] = wanted["usage"] and wanted["usage"][:3]
    for message in (
        await streamed(stage.model(name)),
        await stage.model(name).ainvoke("Say it."),
    ):
        assert told(message) == {**wanted, "tool calls": []}


@pytest.mark.case("2.22")
async def test_tools(stage: Stage) -> None:
    """Calls come out of chunks that are added up, the one of the role first."""

    def get_weather(city: str) -> str:
        """The weather in a city."""
        raise NotImplementedError(city)

    runnable = stage.model("tools").bind_tools([get_weather], tool_choice="required")
    for message in (await streamed(runnable), await runnable.ainvoke("Say it.")):
        assert told(message)["tool calls"] == CALLS
        assert told(message)["finish"] == "tool_calls"
    asked = stage.asked()
    assert asked["tools"][0]["function"]["name"] == "get_weather"
    assert asked["tool_choice"] == "required"
    # What was answered goes back with the results.
    results = [
        langchain_core.messages.ToolMessage("7 degrees", tool_call_id="call_a"),
        langchain_core.messages.ToolMessage("noon", tool_call_id="call_b"),
    ]
    await stage.model("text").ainvoke(["Say it.", message, *results])
    _, assistant, *given = stage.asked()["messages"]
    assert [call["id"] for call in assistant["tool_calls"]] == ["call_a", "call_b"]
    assert [one["tool_call_id"] for one in given] == ["call_a", "call_b"]


async def test_structured_output(stage: Stage) -> None:
    schema = {
        "title": "Place",
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    }
    runnable = stage.model("json").with_structured_output(schema, method="json_schema")
    assert await runnable.ainvoke("Say it.") == {"city": "Oslo"}


async def test_failures(stage: Stage) -> None:
    for name, kind in (
        ("refuse-429", openai.RateLimitError),
        ("refuse-404", openai.NotFoundError),
        ("error", openai.APIError),
        ("cut", openai.APIError),
    ):
        with pytest.raises(kind):
            await streamed(stage.model(name))
        with pytest.raises(kind):
            await stage.model(name).ainvoke("Say it.")


async def test_heartbeats(stage: Stage) -> None:
    read = await stage.held(streamed(stage.model("paused")))
    assert told(read)["text"] == answers.READ["text"]["text"]

"""LangChain's `ChatOpenAI` on our route of responses, which it is told to use.

Strategy: it has an accumulator of its own, and writes the next question's items by itself: what it
gives back of an answer has to be understood.
"""

from __future__ import annotations

from typing import Any

import httpx2
import langchain_core.messages as lc
import langchain_openai
import openai
import pytest
from tests.integration.dialects import answers, stock_langchain, stock_openai
from tests.integration.dialects.stock_langchain import streamed

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("direct")]


def model(stage: answers.Stage, name: str, http: httpx2.AsyncClient) -> langchain_openai.ChatOpenAI:
    use: Any = {"use_responses_api": True, "output_version": "responses/v1"}
    return stock_langchain.model(stage.url, name, http, **use)


async def test_a_conversation_with_tools(stage: answers.Stage) -> None:
    async with stock_openai.http() as http:
        thought = await streamed(model(stage, "vendor/reasoning", http), "Hi")
        assert thought.text == "Yes."
        called = await streamed(model(stage, "vendor/tools", http), "And the weather?")
        assert [(call["name"], call["args"], call["id"]) for call in called.tool_calls] == [
            ("get_weather", {"city": "Oslo"}, "call_a"),
            ("get_time", {}, "call_b"),
        ]
        told: Any = called.usage_metadata
        assert (told["input_tokens"], told["output_tokens"]) == (9, 5)
        results = [lc.ToolMessage(said, tool_call_id=f"call_{said}") for said in ("a", "b")]
        asked = [lc.HumanMessage("Hi"), thought, lc.HumanMessage("And?"), called, *results]
        answer = await model(stage, "vendor/text", http).ainvoke(asked)
        assert answer.text == answers.READ["text"]["text"]
        calls = [
            {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for id, name, arguments in answers.READ["tools"]["tool calls"]
        ]
        assert stage.asked()["messages"] == [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_a", "content": "a"},
            {"role": "tool", "tool_call_id": "call_b", "content": "b"},
        ]
        with pytest.raises(openai.APIError) as caught:
            await streamed(model(stage, "vendor/error", http), "Hi")
        assert caught.value.code == "provider_failed"

"""OpenAI's stock client for Node on our route of chat completions.

Strategy: the same answers as for the one of Python (`dialects/answers.py`), held to the same words.
One Node process (`tests/peers/openai.mjs`) asks for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.dialects import answers, failing, on_node
from tests.integration.dialects.stock_openai import MESSAGES

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Stage(on_node.Stage, frozen=True):
    async def did(self, way: str, name: str, **fields: Any) -> on_node.Got:
        request = {"model": f"vendor/{name}", "messages": MESSAGES, **fields}
        return await self.ask(way, self.url, request)


@pytest.fixture(scope="module")
def stage(stage: answers.Stage, pytestconfig: pytest.Config) -> Iterator[Stage]:
    with on_node.staged(Stage, stage, "openai.mjs", pytestconfig) as found:
        yield found


def told(completion: Any) -> dict[str, Any]:
    """A completion in the words of `answers.READ`; what is not there is null."""
    first, *others = sorted(completion["choices"], key=lambda choice: choice["index"])
    message, usage = first["message"], completion.get("usage")
    probs = (first.get("logprobs") or {}).get("content") or ()
    return {
        "text": message.get("content") or "",
        "reasoning": message.get("reasoning_content") or "",
        "refusal": message.get("refusal") or "",
        "tool calls": [
            [call["id"], call["function"]["name"], call["function"]["arguments"]]
            for call in message.get("tool_calls") or ()
        ],
        "finish": first["finish_reason"],
        "others": [[one["message"]["content"], one["finish_reason"]] for one in others],
        "logprobs": [one["token"] for one in probs],
        "sources": [one["url_citation"]["url"] for one in message.get("annotations") or ()],
        "usage": usage
        and [
            usage["prompt_tokens"],
            usage["completion_tokens"],
            usage["total_tokens"],
            usage["prompt_tokens_details"]["cached_tokens"],
            usage["completion_tokens_details"]["reasoning_tokens"],
        ],
    }


@pytest.mark.parametrize("name", answers.READ)
async def test_answers(stage: Stage, name: str) -> None:
    wanted = answers.expected(name)
    n = len(wanted["others"]) + 1
    read = await stage.did("stream", name, n=n, stream_options={"include_usage": True})
    # A field that its accumulator does not know has what came last.
    reasoning = "So." if name == "reasoning" else ""
    assert told(read["told"]) == {**wanted, "reasoning": reasoning}
    whole = await stage.did("whole", name, n=n)
    assert told(whole["told"]) == wanted


async def test_parsed_calls(stage: Stage) -> None:
    function = {"name": "get_weather", "strict": True, "parameters": {"type": "object"}}
    tools = [{"type": "function", "function": function}]
    got = await stage.did("parse", "tools", tools=tools)
    first, _ = got["told"]["choices"][0]["message"]["tool_calls"]
    assert first["function"]["parsed_arguments"] == {"city": "Oslo"}


async def test_heartbeats_while_the_provider_pauses(stage: Stage) -> None:
    texts = (await stage.held(stage.did("chunks", "paused")))["told"]
    assert "".join(text or "" for text in texts) == answers.READ["text"]["text"]


RAISED = {
    "refuse-400": ("BadRequestError", 400, "provider_rejected"),
    "refuse-401": ("InternalServerError", 502, "provider_auth"),
    "refuse-404": ("NotFoundError", 404, "provider_model_not_found"),
    "refuse-429": ("RateLimitError", 429, "provider_rate_limited"),
    "refuse-500": ("InternalServerError", 502, "provider_failed"),
    "refuse-503": ("InternalServerError", 503, "provider_overloaded"),
}


@pytest.mark.parametrize("name", answers.REFUSALS)
async def test_a_refusal_has_its_status(stage: Stage, name: str) -> None:
    for way in ("chunks", "stream", "whole"):
        error = (await stage.did(way, name))["error"]
        assert (error["name"], error["status"], error["code"]) == RAISED[name], way


@pytest.mark.parametrize(
    ("name", "code"), [("error", "provider_failed"), ("cut", "provider_interrupted")]
)
async def test_an_answer_that_breaks_off(stage: Stage, name: str, code: str) -> None:
    error = (await stage.did("chunks", name))["error"]
    assert (error["name"], error["code"]) == ("APIError", code)
    assert "".join(error["texts"]) == "Neap"
    assert (await stage.did("stream", name))["error"]["code"] == code
    assert (await stage.did("whole", name))["error"]["status"] == 502


async def test_an_answer_that_is_ended_under_its_reader(stage: Stage) -> None:
    for end, code, _ in failing.ENDS:
        got = await stage.held(stage.did("chunks", "paused"), 1, end)
        assert got["error"]["code"] == code


async def test_who_leaves_cancels_nothing(stage: Stage) -> None:
    stage.gate.clear()
    stream = (await stage.did("leave", "paused"))["told"]
    await failing.goes_on(stage, stream)


async def test_models(stage: Stage) -> None:
    assert (await stage.did("models", ""))["told"] == ["demo"]
    assert (await stage.did("model", "", id="vendor/a/b"))["told"]["owned_by"] == "vendor"
    assert (await stage.did("model", "", id="nobody"))["error"]["name"] == "NotFoundError"


async def test_a_field_that_another_provider_does_not_know(stage: Stage) -> None:
    await stage.did("whole", "text", seed=7)
    assert stage.asked()["seed"] == 7
    got = await stage.did("whole", "", model="demo", seed=7)
    assert (got["error"]["name"], got["error"]["code"]) == ("BadRequestError", "invalid_field")
    assert "seed" in got["error"]["said"]

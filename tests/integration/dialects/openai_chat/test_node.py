"""OpenAI's stock client for Node on our route of chat completions.

Strategy: the same answers as for the one of Python (`dialects/answers.py`), held to the same words.
One Node process (`tests/peers/openai.mjs`) asks for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.integration import asking, harness, peers
from tests.integration.dialects import answers

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "Say it."}]


class Stage(answers.Stage, frozen=True, kw_only=True):
    """With the process that asks, at a port."""

    port: int

    async def did(self, way: str, name: str, **fields: Any) -> dict[str, Any]:
        """What the client made of it, as `told`, or as `error`."""
        request = {"model": f"vendor/{name}", "messages": MESSAGES, **fields}
        asked = {"url": self.url, "way": way, "request": request}
        got = await harness.ask(self.port, "POST", "/", {}, msgspec.json.encode(asked))
        found: dict[str, Any] = got.json()
        return found


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest) -> Iterator[peers.Peer]:
    peers.installed(request.config)
    with peers.running("openai.mjs", {}) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(node: peers.Peer) -> AsyncIterator[Stage]:
    port = int(node.url.rpartition(":")[2])
    async with answers.staged() as found:
        yield Stage(found.server, found.provider, found.gate, port=port)


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
    stage.gate.clear()
    reading = asyncio.create_task(stage.did("chunks", "paused"))
    await stage.beaten()
    stage.gate.set()
    texts = (await reading)["told"]
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
    for end in ("cancelled", "draining"):
        stage.gate.clear()
        reading = asyncio.create_task(stage.did("chunks", "paused"))
        await stage.beaten(1)
        connections = stage.server.service.connections
        if end == "draining":
            connections.dismiss(end)
        else:
            path = f"/v1/streams/{next(iter(connections.all())).stream}/cancel"
            await harness.ask(stage.server.port, "POST", path, {}, b"")
        assert (await reading)["error"]["code"] == end
        stage.gate.set()
        await asking.idle(stage.server)


async def test_who_leaves_cancels_nothing(stage: Stage) -> None:
    stage.gate.clear()
    stream = (await stage.did("leave", "paused"))["told"]
    await asking.until(lambda: len(stage.server.service.connections) == 0)
    stage.gate.set()
    await asking.idle(stage.server)
    shown = await harness.ask(stage.server.port, "GET", f"/v1/streams/{stream}")
    assert shown.json()["content"] == answers.READ["text"]["text"]


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

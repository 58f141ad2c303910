"""Anthropic's stock client for Node on our route of Messages.

Strategy: as for the one of Python (`test_answers`), the client reads each answer of the
provider itself and of our server, and has to be told the same. One Node process
(`tests/peers/anthropic.mjs`) asks for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.dialects import answers, failing, messages, on_node

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Stage(on_node.Stage, frozen=True):
    async def did(self, way: str, model: str, url: str | None = None, **more: Any) -> on_node.Got:
        options = more.pop("options", {})
        request = messages.asked(model, **more)
        return await self.ask(way, url or self.server.url, request, options=options)


@pytest.fixture(scope="module")
def stage(stage: answers.Stage, pytestconfig: pytest.Config) -> Iterator[Stage]:
    with on_node.staged(Stage, stage, "anthropic.mjs", pytestconfig) as found:
        yield found


def told(got: dict[str, Any]) -> dict[str, Any]:
    """What a message says that is no provider's own name of it."""
    said = {name: value for name, value in got["told"].items() if value is not None}
    said["usage"] = {name: n for name, n in said["usage"].items() if n}
    return {name: value for name, value in said.items() if name not in ("id", "model")}


@pytest.mark.parametrize("name", messages.ANSWERS)
async def test_answers(stage: Stage, name: str) -> None:
    expected = told(await stage.did("stream", name, stage.provider.url))
    assert told(await stage.did("stream", f"vendor/{name}")) == expected
    assert told(await stage.did("whole", f"vendor/{name}")) == expected


async def test_answers_of_another_provider(stage: Stage) -> None:
    for way in ("stream", "whole"):
        reasoned = told(await stage.did(way, "chat/reasoning"))
        assert reasoned["content"] == [
            {"type": "thinking", "thinking": "Hm. So.", "signature": ""},
            {"type": "text", "text": "Yes."},
        ]
        called = told(await stage.did(way, "chat/tools"))
        assert [one["input"] for one in called["content"]] == [{"city": "Oslo"}, {}]
        assert called["stop_reason"] == "tool_use"


async def test_heartbeats_while_the_provider_pauses(stage: Stage) -> None:
    for way in ("texts", "stream"):
        got = (await stage.held(stage.did(way, "vendor/paused"), 9))["told"]
        said = "".join(got) if way == "texts" else got["content"][0]["text"]
        assert said == 'Neap "tide" 🌊'


RAISED = {
    "refuse-400": ("BadRequestError", 400, "provider_rejected"),
    "refuse-401": ("InternalServerError", 502, "provider_auth"),
    "refuse-404": ("NotFoundError", 404, "provider_model_not_found"),
    "refuse-429": ("RateLimitError", 429, "provider_rate_limited"),
    "refuse-500": ("InternalServerError", 502, "provider_failed"),
    "refuse-529": ("OverloadedError", 529, "provider_overloaded"),
}


@pytest.mark.parametrize("name", messages.REFUSALS)
async def test_a_refusal_has_its_status(stage: Stage, name: str) -> None:
    for way in ("texts", "stream", "whole"):
        error = (await stage.did(way, f"vendor/{name}"))["error"]
        code = error["body"]["error"]["code"]
        assert (error["name"], error["status"], code) == RAISED[name], way
        assert error["requestID"] == error["body"]["request_id"]


async def test_what_stays_is_not_asked_again(stage: Stage) -> None:
    """As the answer says; what may pass is asked again in `test_failures`."""
    before = len(stage.provider.requests)
    await stage.did("whole", "vendor/refuse-401", options={"maxRetries": 2})
    assert len(stage.provider.requests) == before + 1


@pytest.mark.parametrize(
    ("name", "code", "status"),
    [("error", "provider_overloaded", 529), ("cut", "provider_interrupted", 502)],
)
async def test_an_answer_that_breaks_off(stage: Stage, name: str, code: str, status: int) -> None:
    error = (await stage.did("texts", f"vendor/{name}"))["error"]
    assert (error["name"], error["body"]["error"]["code"]) == ("APIError", code)
    assert "".join(error["texts"]) == "Neap"
    helped = (await stage.did("stream", f"vendor/{name}"))["error"]
    assert helped["body"]["error"]["code"] == code
    assert (await stage.did("whole", f"vendor/{name}"))["error"]["status"] == status


async def test_an_answer_that_is_ended_under_its_reader(stage: Stage) -> None:
    for end, code, _ in failing.ENDS:
        got = await stage.held(stage.did("texts", "vendor/paused"), 1, end)
        assert got["error"]["body"]["error"]["code"] == code


async def test_a_connection_that_is_cut(stage: Stage) -> None:
    for way in ("texts", "stream"):
        assert "told" not in await stage.held(stage.did(way, "vendor/paused"), 1, failing.cut)


async def test_who_leaves_cancels_nothing(stage: Stage) -> None:
    stage.gate.clear()
    stream = (await stage.did("leave", "vendor/paused"))["told"]
    await failing.goes_on(stage, stream)


async def test_fields_and_betas(stage: Stage) -> None:
    await stage.did("beta", "vendor/text", betas=["a-2025-01-01"], top_k=7)
    assert stage.asked()["top_k"] == 7
    assert stage.provider.requests[-1].headers["anthropic-beta"] == "a-2025-01-01"
    error = (await stage.did("whole", "chat/text", top_k=7))["error"]
    assert error["name"] == "BadRequestError"
    assert error["body"]["error"]["message"].startswith("top_k: the provider chat")


async def test_what_is_not_served(stage: Stage) -> None:
    assert (await stage.did("count", "vendor/text"))["error"]["name"] == "NotFoundError"

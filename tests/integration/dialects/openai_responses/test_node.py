"""OpenAI's stock client for Node on our route of responses.

Strategy: the same answers as for the one of Python (`dialects/responding.py`), held to the same
words. One Node process (`tests/peers/responses.mjs`) asks for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai.types import responses
from tests.integration import asking, cutting_proxy
from tests.integration.dialects import answers, on_node, responding

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEAP = answers.READ["text"]["text"]


class Stage(on_node.Stage, frozen=True):
    async def did(self, way: str, url: str = "", **request: Any) -> on_node.Got:
        return await self.ask(way, url or self.url, request)

    async def asked_for(self, way: str, model: str, **request: Any) -> on_node.Got:
        return await self.did(way, model=model, input=responding.ASKED, **request)


@pytest.fixture(scope="module")
def stage(stage: answers.Stage, pytestconfig: pytest.Config) -> Iterator[Stage]:
    with on_node.staged(Stage, stage, "responses.mjs", pytestconfig) as found:
        yield found


def told(response: Any) -> dict[str, Any]:
    """A response in the words of `answers.READ`."""
    return responding.told(responses.Response.construct(**response))


@pytest.mark.parametrize("name", responding.NAMES)
async def test_answers(stage: Stage, name: str) -> None:
    for way in ("stream", "whole"):
        got = await stage.asked_for(way, f"vendor/{name}")
        assert told(got["told"]) == responding.expected(name), way
        assert got["told"]["output_text"] == responding.expected(name)["text"]


async def test_what_the_same_format_has_is_told(stage: Stage) -> None:
    for way in ("stream", "whole"):
        got = (await stage.asked_for(way, "own/items"))["told"]
        sealed, search, message, shell = got["output"]
        assert (sealed, search) == (responding.SEALED, responding.SEARCH)
        assert message["content"][0]["annotations"] == [responding.CITED]
        assert shell == responding.SHELL | {"status": "completed", "input": "ls"}


@pytest.mark.parametrize(
    ("name", "code"), [("error", "provider_failed"), ("cut", "provider_interrupted")]
)
async def test_an_answer_that_breaks_off_is_an_error(stage: Stage, name: str, code: str) -> None:
    for way, status in (("events", None), ("stream", None), ("whole", 502)):
        error = (await stage.asked_for(way, f"vendor/{name}"))["error"]
        assert (error["code"], error.get("status")) == (code, status), (way, error)


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("refuse-429", "RateLimitError", "provider_rate_limited"),
        ("refuse-404", "NotFoundError", "provider_model_not_found"),
        ("refuse-400", "BadRequestError", "provider_rejected"),
    ],
)
async def test_a_refusal_has_its_class(stage: Stage, name: str, kind: str, code: str) -> None:
    for way in ("events", "stream", "whole"):
        error = (await stage.asked_for(way, f"vendor/{name}"))["error"]
        assert (error["name"], error["code"]) == (kind, code)


async def test_heartbeats_while_the_provider_pauses(stage: Stage) -> None:
    got = await stage.held(stage.asked_for("stream", "vendor/paused"))
    assert told(got["told"]) == responding.expected("text")


async def test_the_background_and_its_end(stage: Stage) -> None:
    stage.gate.clear()
    made = (await stage.asked_for("whole", "vendor/paused", background=True))["told"]
    assert (made["status"], made["output"]) == ("queued", [])
    gone = (await stage.did("cancel", id=made["id"]))["told"]
    assert gone["status"] == "cancelled"
    left = (await stage.did("retrieve", id=made["id"]))["told"]
    assert (left["status"], left["output"]) == ("cancelled", gone["output"])
    error = (await stage.did("after", id=made["id"], number=0))["error"]
    assert error["code"] == "cancelled"
    stage.gate.set()
    await asking.idle(stage.server)
    error = (await stage.did("retrieve", id=f"resp_{'0' * 26}"))["error"]
    assert (error["name"], error["code"]) == ("NotFoundError", "stream_not_found")


async def test_reading_on(stage: Stage) -> None:
    events = (await stage.asked_for("events", "vendor/tools"))["told"]
    id = events[0]["response"]["id"]
    numbers = [event["sequence_number"] for event in events]
    assert numbers == list(range(len(events)))
    for number in (0, 4, numbers[-2], numbers[-1]):
        got = (await stage.did("after", id=id, number=number))["told"]
        assert got == events[number + 1 :]
    helped = (await stage.did("helped", id=id, number=4))["told"]
    assert [event["sequence_number"] for event in helped["events"]] == numbers[5:]
    assert told(helped["response"]) == responding.expected("tools")
    error = (await stage.did("after", id=id, number=numbers[-1] + 1))["error"]
    assert (error["status"], error["code"]) == (409, "unknown_position")


async def test_five_cuts_and_one_call_of_the_provider(stage: Stage) -> None:
    before = len(stage.provider.requests)
    left = iter((2600, 1100, 1300, 1000, 1400))

    def plan() -> cutting_proxy.Plan:
        size = next(left, None)
        return cutting_proxy.WHOLE if size is None else cutting_proxy.Plan(answered=size)

    async with cutting_proxy.cutting(stage.server.port, plan) as proxy:
        got = await stage.did(
            "follow", url=f"{proxy.url}/v1", model="vendor/tools", input=responding.ASKED
        )
    said = got["told"]["events"]
    assert proxy.cut == got["told"]["cuts"] == 5
    assert [event["sequence_number"] for event in said] == list(range(len(said)))
    assert told(said[-1]["response"]) == responding.expected("tools")
    assert len(stage.provider.requests) == before + 1

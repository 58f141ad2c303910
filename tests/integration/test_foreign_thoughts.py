"""An answer in another API's words whose provider breaks off where it cannot be gone on with.

Strategy: readers of these APIs cannot be told to forget. Where the model only thought, the old
thought stays and another answer follows it; behind half a tool call nobody is asked for what none
of them could read. Who wants the answer whole has read nothing, and gets another in either case.
Natively a `rewind` says all of this. One server and one provider serve all cases.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from tests.integration import asking, harness
from tests.integration.dialects import answers

from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

DETAILS = [{"type": "reasoning.encrypted", "data": "x", "index": 0}]
BROKEN = {
    "thought": (answers.said(reasoning_content="Old thought."),),
    "sealed": (answers.said(reasoning_content="Old thought.", reasoning_details=DETAILS),),
    "call": (answers.ROLE, answers.call(0, '{"old', id="call_a", name="f")),
}
SAID = [{"role": "user", "content": "Why?"}]
PART = {"type": "text", "text": "Why?"}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": SAID},
    "/v1/responses": {"input": "Why?"},
    "/v1/messages": {"max_tokens": 9, "messages": SAID},
    "/api/chat": {"id": "c", "messages": [{"id": "1", "role": "user", "parts": [PART]}]},
}
ENDS = {
    "/v1/chat/completions": b"data: [DONE]\n\n",
    "/v1/responses": b"event: response.completed",
    "/v1/messages": b"event: message_stop",
    "/api/chat": b"data: [DONE]\n\n",
}
SENT = {"Content-Type": "application/json", "Accept": "text/event-stream"}


class Stage(NamedTuple):
    port: int
    calls: list[str]
    """The model that each call of the provider asked for; every first one breaks off."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    calls: list[str] = []

    def choose(asked: replay.Request) -> replay.Answer:
        calls.append(json.loads(asked.body)["model"])
        if len(calls) == 1:
            return replay.Answer(body=BROKEN[calls[0]], ending="fin")
        return replay.Answer(body=answers.ANSWERS["reasoning"])

    async with replay.ReplayServer(choose) as vendor:
        row = {"kind": "openai", "base_url": f"{vendor.url}/v1", "api_key": asking.KEY}
        config = harness.configured(providers={"v": row}, fallback={"delay": "10ms"})
        async with harness.running(config) as server:
            yield Stage(server.port, calls)


async def ask(stage: Stage, path: str, breaks: str, **more: Any) -> harness.Response:
    stage.calls.clear()
    body = ASKED.get(path, {"messages": SAID})
    sent = json.dumps({**body, "model": f"v/{breaks}", **more}).encode()
    return await harness.ask(stage.port, "POST", path, SENT, sent)


@pytest.mark.case("1.7")
@pytest.mark.parametrize("path", ASKED)
async def test_another_answer_follows_a_thought_that_broke_off(stage: Stage, path: str) -> None:
    told = await ask(stage, path, "thought", stream=True)
    assert (told.status, len(stage.calls)) == (200, 2)
    assert told.body.index(b"Old thought.") < told.body.index(b"Yes.")
    assert ENDS[path] in told.body
    assert b"error" not in told.body.replace(b'"error":null', b"")


@pytest.mark.case("1.7")
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
async def test_it_does_where_what_is_sealed_is_not_told_at_once(stage: Stage, path: str) -> None:
    told = await ask(stage, path, "sealed", stream=True)
    assert (told.status, len(stage.calls)) == (200, 2)
    assert ENDS[path] in told.body
    assert b"reasoning.encrypted" not in told.body


@pytest.mark.case("1.7")
@pytest.mark.parametrize(
    ("path", "breaks"),
    [*((path, "call") for path in ASKED), ("/v1/responses", "sealed"), ("/v1/messages", "sealed")],
)
async def test_nobody_is_asked_for_what_nobody_could_read(
    stage: Stage, path: str, breaks: str
) -> None:
    told = await ask(stage, path, breaks, stream=True)
    assert (told.status, len(stage.calls)) == (200, 1)
    assert b"provider_interrupted" in told.body
    assert b"rewound" not in told.body
    assert ENDS[path] not in told.body


@pytest.mark.case("1.7")
@pytest.mark.parametrize("breaks", BROKEN)
@pytest.mark.parametrize("path", ASKED)
async def test_who_wants_it_whole_gets_the_other_answer_alone(
    stage: Stage, path: str, breaks: str
) -> None:
    told = await ask(stage, path, breaks, stream=False)
    assert (told.status, len(stage.calls)) == (200, 2)
    assert b"Yes." in told.body
    # A response is one thing, read whole or as it comes: so a thought is an item of it, and stays.
    stays = path == "/v1/responses" and breaks != "call"
    assert (b"old" in told.body.lower()) is stays


@pytest.mark.case("1.7")
@pytest.mark.parametrize("breaks", BROKEN)
async def test_natively_the_answer_is_told_anew(stage: Stage, breaks: str) -> None:
    told = await ask(stage, "/v1/streams", breaks)
    assert len(stage.calls) == 2
    assert told.body.lower().index(b"old") < told.body.index(b"event: rewind")
    assert b"Yes." in told.body[told.body.index(b"event: rewind") :]

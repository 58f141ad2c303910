"""An answer in another API's words whose model broke off while it only thought.

Strategy: its readers have the thought and cannot be told to forget it, so nobody is asked for what
none of them could read: it ends with what the provider failed with, after one call. Who reads
natively is told a `rewind` instead, and the answer. One server and one provider serve all cases.
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

BROKEN = replay.Answer(body=(answers.said(reasoning_content="Old thought."),), ending="fin")
SAID = [{"role": "user", "content": "Why?"}]
PART = {"type": "text", "text": "Why?"}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": SAID},
    "/v1/responses": {"input": "Why?"},
    "/v1/messages": {"max_tokens": 9, "messages": SAID},
    "/api/chat": {"id": "c", "messages": [{"id": "1", "role": "user", "parts": [PART]}]},
}
SENT = {"Content-Type": "application/json", "Accept": "text/event-stream"}


class Stage(NamedTuple):
    port: int
    calls: list[bytes]
    """One for each call of the provider; every first one breaks off."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    calls: list[bytes] = []

    def choose(asked: replay.Request) -> replay.Answer:
        calls.append(asked.body)
        return BROKEN if len(calls) == 1 else replay.Answer(body=answers.ANSWERS["reasoning"])

    async with replay.ReplayServer(choose) as vendor:
        row = {"kind": "openai", "base_url": f"{vendor.url}/v1", "api_key": asking.KEY}
        config = harness.configured(providers={"v": row}, fallback={"delay": "10ms"})
        async with harness.running(config) as server:
            yield Stage(server.port, calls)


async def ask(stage: Stage, path: str, body: dict[str, Any]) -> harness.Response:
    stage.calls.clear()
    sent = json.dumps({**body, "model": "v/m"}).encode()
    return await harness.ask(stage.port, "POST", path, SENT, sent)


@pytest.mark.case("1.7")
@pytest.mark.parametrize("path", ASKED)
async def test_nobody_is_asked_for_what_nobody_could_read(stage: Stage, path: str) -> None:
    told = await ask(stage, path, {**ASKED[path], "stream": True})
    assert (told.status, len(stage.calls)) == (200, 1)
    assert b"Old thought." in told.body
    assert b"provider_interrupted" in told.body
    assert b"rewound" not in told.body


@pytest.mark.case("1.7")
async def test_natively_the_answer_is_told_anew(stage: Stage) -> None:
    told = await ask(stage, "/v1/streams", {"messages": SAID})
    assert len(stage.calls) == 2
    assert told.body.index(b"Old thought.") < told.body.index(b"event: rewind")
    assert b"Yes." in told.body[told.body.index(b"event: rewind") :]

"""The stock `openai` client on our route of responses: whatever fails is an exception.

Strategy: what a provider refuses at once has the status that it would have there; what breaks off
later is an error in the stream, or a cut behind which the client may read on. It is never a short
success.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.integration import asking, node_with_keys, processes
from tests.integration.dialects import answers, failing, responding, stock_openai
from tests.integration.dialects.responding import ASKED
from tests.integration.dialects.stock_openai import CUT, client

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def texts(stock: openai.AsyncOpenAI, model: str, got: list[str], **fields: Any) -> None:
    """Reads a stream to its end; `got` are the texts so far."""
    stream = await stock.responses.create(model=model, input=ASKED, stream=True, **fields)
    async for event in stream:
        if event.type == "response.output_text.delta":
            got.append(event.delta)


# Before the first word


@pytest.mark.parametrize("name", answers.REFUSALS)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_has_its_status(stock: openai.AsyncOpenAI, name: str, stream: bool) -> None:
    with pytest.raises(stock_openai.REFUSED[name][0]) as caught:
        await stock.responses.create(model=f"vendor/{name}", input=ASKED, stream=stream)
    stock_openai.check_refusal(caught.value, name)


async def test_a_refusal_in_the_background_is_found_when_it_is_looked_for(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    made = await stock.responses.create(model="vendor/refuse-429", input=ASKED, background=True)
    await asking.idle(stage.server)
    found = await stock.responses.retrieve(made.id)
    assert found.status == "failed"
    assert found.error is not None
    assert (found.error.code, "no: rate_limit" in found.error.message) == (
        "provider_rate_limited",
        True,
    )


async def test_what_is_stored_elsewhere_is_refused(stock: openai.AsyncOpenAI) -> None:
    for field in ("previous_response_id", "conversation"):
        fields: Any = {field: "resp_1"}
        with pytest.raises(openai.BadRequestError) as caught:
            await stock.responses.create(model="vendor/text", input=ASKED, **fields)
        assert (caught.value.code, caught.value.param) == ("invalid_field", field)
    with pytest.raises(openai.BadRequestError) as refused:
        await stock.responses.create(model="vendor/text", input=ASKED, background=True, store=False)
    assert refused.value.param == "store"


async def test_what_may_pass_is_asked_again_and_what_stays_is_not(
    stage: answers.Stage, waits: failing.Waits
) -> None:
    async with client(stage.url, max_retries=2) as stock:

        async def ask(model: str) -> None:
            await stock.responses.create(model=model, input=ASKED)

        await failing.asked_again(stage, waits, ask, openai.APIStatusError)


async def test_the_same_key_never_asks_twice(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    before = len(stage.provider.requests)
    headers = {"Idempotency-Key": "the-same"}
    got: list[str] = []
    await texts(stock, "vendor/text", got, extra_headers=headers)
    whole = await stock.responses.create(model="vendor/text", input=ASKED, extra_headers=headers)
    assert "".join(got) == whole.output_text == answers.READ["text"]["text"]
    assert len(stage.provider.requests) == before + 1


# In mid-answer


@pytest.mark.parametrize(
    ("name", "code"), [("error", "provider_failed"), ("cut", "provider_interrupted")]
)
async def test_an_answer_that_breaks_off(stock: openai.AsyncOpenAI, name: str, code: str) -> None:
    got: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        await texts(stock, f"vendor/{name}", got)
    assert caught.value.code == code
    assert "".join(got) == "Neap"
    with pytest.raises(openai.APIError) as caught:
        async with stock.responses.stream(model=f"vendor/{name}", input=ASKED) as helped:
            await helped.until_done()
    assert caught.value.code == code
    with pytest.raises(openai.APIStatusError) as refused:
        await stock.responses.create(model=f"vendor/{name}", input=ASKED)
    assert (refused.value.status_code, refused.value.code) == (502, code)
    left = await stock.responses.retrieve(f"resp_{refused.value.response.headers['x-stream-id']}")
    assert (left.status, left.output_text) == ("failed", "Neap")


async def test_who_is_sent_away_is_cut_off_and_reads_on(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    """The node drains: nothing is said, since the client may come back for the rest."""
    stage.gate.clear()
    stream = await stock.responses.create(model="vendor/paused", input=ASKED, stream=True)
    said: list[Any] = []

    async def read(source: Any) -> None:
        async for event in source:
            said.append(event)
            if len(said) == 5:
                stage.server.service.connections.dismiss("draining")

    with pytest.raises(CUT):
        await read(stream)
    stage.gate.set()
    id, last = said[0].response.id, said[-1].sequence_number
    await read(await stock.responses.retrieve(id, stream=True, starting_after=last))
    assert [event.sequence_number for event in said] == list(range(len(said)))
    assert said[-1].response.output_text == answers.READ["text"]["text"]
    await asking.idle(stage.server)


async def test_who_waits_for_the_whole_is_told_why_it_does_not_come(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    stage.gate.clear()
    waiting = asyncio.create_task(stock.responses.create(model="vendor/paused", input=ASKED))
    await asking.until(lambda: len(stage.server.service.connections) == 1)
    one = next(iter(stage.server.service.connections.all()))
    await asking.until(lambda: one.status == "connected")
    await stock.responses.cancel(f"resp_{one.stream}")
    with pytest.raises(openai.APIStatusError) as caught:
        await waiting
    assert (caught.value.status_code, caught.value.code) == (499, "cancelled")
    stage.gate.set()
    await asking.idle(stage.server)


async def test_who_has_no_place_is_refused_by_status() -> None:
    """A cut would have the client come back at once, and again."""
    full = {"max_connections": 1, "heartbeat_interval": 0.1}
    async with responding.staged(server=full) as stage, client(stage.url) as stock:
        stream = await stock.responses.create(model="vendor/paused", input=ASKED, stream=True)
        id = f"resp_{stream.response.headers['x-stream-id']}"
        with pytest.raises(openai.InternalServerError) as caught:
            await stock.responses.retrieve(id, stream=True, starting_after=0)
        assert (caught.value.status_code, caught.value.code) == (503, "too_many_connections")
        assert (await stock.responses.retrieve(id)).status == "in_progress"
        await stream.close()
        stage.gate.set()
        await asking.idle(stage.server)


async def test_the_server_is_killed(tmp_path: Path) -> None:
    async with (
        processes.serving(folder=tmp_path, command="demo") as server,
        client(f"{server.url}/v1") as stock,
    ):
        stream = await stock.responses.create(model="demo", input=failing.STALLS, stream=True)
        await failing.read_until_killed(server, stream, CUT)


# Access


async def test_keys_and_what_is_somebody_elses() -> None:
    async with node_with_keys.serving() as server, contextlib.AsyncExitStack() as stack:
        mine, other = [
            await stack.enter_async_context(client(f"{server.url}/v1", failing.token(key)))
            for key in (
                await node_with_keys.made(server, "acme"),
                await node_with_keys.made(server, "other"),
            )
        ]
        made = await mine.responses.create(model="demo", input=failing.SHORT)
        assert (await mine.responses.retrieve(made.id)).output_text == made.output_text
        for call in (other.responses.retrieve, other.responses.cancel):
            with pytest.raises(openai.NotFoundError) as caught:
                await call(made.id)
            assert caught.value.code == "stream_not_found"
        with pytest.raises(openai.NotFoundError):
            await other.responses.retrieve(made.id, stream=True, starting_after=0)
        with pytest.raises(openai.AuthenticationError) as wrong:
            await mine.with_options(api_key="hfk_0_0").responses.create(model="demo", input="Hi")
        assert wrong.value.code == "unauthorized"

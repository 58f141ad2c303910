"""The stock `openai` client on our route of chat completions: whatever fails is an exception.

Strategy: what a provider refuses at once has the status that it would have there, so that the
client raises what its callers catch; what breaks off later is never a short success, be it the
provider, the caller's own cancel, the connection or this very process that ends.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from tests.integration import asking, conftest, harness, node_with_keys, processes
from tests.integration.dialects import answers, failing, stock_openai
from tests.integration.dialects.stock_openai import MESSAGES, client

from holdfast.http.foreign import answering

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def texts(stock: openai.AsyncOpenAI, model: str, got: list[str], **fields: Any) -> None:
    """Reads a stream to its end; `got` are the texts so far."""
    fields = {"messages": MESSAGES, **fields}
    stream = await stock.chat.completions.create(model=model, stream=True, **fields)
    async for chunk in stream:
        got += [choice.delta.content or "" for choice in chunk.choices]


# Before the first word


@pytest.mark.parametrize("name", answers.REFUSALS)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_has_its_status(stock: openai.AsyncOpenAI, name: str, stream: bool) -> None:
    with pytest.raises(stock_openai.REFUSED[name][0]) as caught:
        await stock.chat.completions.create(
            model=f"vendor/{name}", messages=MESSAGES, stream=stream
        )
    stock_openai.check_refusal(caught.value, name)


async def test_what_nobody_can_be_asked_for(stock: openai.AsyncOpenAI) -> None:
    for model, code in (("nobody/x", "unknown_model"), ("gpt", "unknown_model")):
        with pytest.raises(openai.NotFoundError) as caught:
            await stock.chat.completions.create(model=model, messages=MESSAGES)
        assert caught.value.code == code


async def test_a_base_url_that_lacks_v1_is_told(stage: answers.Stage) -> None:
    async with client(stage.server.url) as stock:
        with pytest.raises(openai.NotFoundError, match="base URL: OpenAI's"):
            await texts(stock, "vendor/text", [])


async def test_a_place_in_a_stream_cannot_be_named(stage: answers.Stage) -> None:
    headers = {"Last-Event-ID": f"{'0' * 26}:1-1"}
    body = harness.wanted("vendor/text", stream=True)
    got = await harness.ask(stage.server.port, "POST", "/v1/chat/completions", headers, body)
    assert (got.status, got.json()["error"]["code"]) == (400, "invalid_field")


async def test_what_may_pass_is_asked_again_and_what_stays_is_not(
    stage: answers.Stage, waits: failing.Waits
) -> None:
    async with client(stage.url, max_retries=2) as stock:

        async def ask(model: str) -> None:
            await stock.chat.completions.create(model=model, messages=MESSAGES)

        await failing.asked_again(stage, waits, ask, openai.APIStatusError)


async def test_the_same_key_never_asks_twice(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    before = len(stage.provider.requests)
    said = []
    for stream in (True, False, True):
        headers = {"Idempotency-Key": "the-same"}
        if stream:
            got: list[str] = []
            await texts(stock, "vendor/text", got, extra_headers=headers)
            said.append("".join(got))
        else:
            whole = await stock.chat.completions.create(
                model="vendor/text", messages=MESSAGES, extra_headers=headers
            )
            said.append(whole.choices[0].message.content or "")
    assert said == [answers.READ["text"]["text"]] * 3
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
        async with stock.chat.completions.stream(
            model=f"vendor/{name}", messages=MESSAGES
        ) as helped:
            await helped.until_done()
    assert caught.value.code == code
    with pytest.raises(openai.APIStatusError) as refused:
        await stock.chat.completions.create(model=f"vendor/{name}", messages=MESSAGES)
    assert (refused.value.status_code, refused.value.code) == (502, code)


@pytest.mark.parametrize(("end", "code", "status"), failing.ENDS)
async def test_an_answer_that_is_ended_under_its_reader(
    stage: answers.Stage, stock: openai.AsyncOpenAI, end: Any, code: str, status: int
) -> None:
    for stream in (True, False):
        if stream:
            reading: Any = texts(stock, "vendor/paused", [])
        else:
            reading = stock.chat.completions.create(model="vendor/paused", messages=MESSAGES)
        with pytest.raises(openai.APIError) as caught:
            await stage.held(reading, int(stream), end)
        assert caught.value.code == code
        if not stream:
            assert isinstance(caught.value, openai.APIStatusError)
            assert caught.value.status_code == status


async def test_who_leaves_cancels_nothing(stage: answers.Stage, stock: openai.AsyncOpenAI) -> None:
    stage.gate.clear()
    stream = await stock.chat.completions.create(
        model="vendor/paused", messages=MESSAGES, stream=True
    )
    await stream.close()
    await failing.goes_on(stage, stream.response.headers["x-stream-id"])


async def test_the_server_is_killed(tmp_path: Path) -> None:
    asked: Any = [{"role": "user", "content": failing.STALLS}]
    async with (
        processes.serving(folder=tmp_path, command="demo") as server,
        client(f"{server.url}/v1") as stock,
    ):
        stream = await stock.chat.completions.create(model="demo", messages=asked, stream=True)
        raised = (httpx2.TransportError, openai.APIError)
        await failing.read_until_killed(server, stream, raised)


# Access


async def test_keys_and_their_limits(waits: failing.Waits) -> None:
    async with node_with_keys.serving(quota={"requests_per_minute": 2}) as server:
        key = await node_with_keys.made(server, "acme")
        other = await node_with_keys.made(server, "other")
        asked: Any = [{"role": "user", "content": failing.SHORT}]
        async with client(f"{server.url}/v1", failing.token(key), max_retries=1) as stock:
            made = await stock.chat.completions.with_raw_response.create(
                model="demo", messages=asked
            )
            assert "ratelimit" in made.headers
            await stock.models.list()
            with pytest.raises(openai.RateLimitError) as caught:
                await stock.chat.completions.create(model="demo", messages=asked)
            assert caught.value.code == "request_limit"
            assert waits.seconds == [float(caught.value.response.headers["retry-after"])]
            with pytest.raises(openai.AuthenticationError) as wrong:
                await stock.with_options(api_key="hfk_0_0").models.list()
            assert wrong.value.code == "unauthorized"
        await failing.nobody_elses(server, made.headers["x-stream-id"], other)


async def test_a_bug_of_ours_is_told_in_the_envelope(
    stage: answers.Stage,
    stock: openai.AsyncOpenAI,
    logged: conftest.Logged,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a prompt")

    monkeypatch.setattr(answering, "streaming", broken)
    with pytest.raises(openai.InternalServerError) as caught:
        await texts(stock, "vendor/text", [])
    assert caught.value.code == "internal"
    assert "a prompt" not in str(caught.value)
    asking.expected(logged, "request_failed")


async def test_the_body_may_be_too_large() -> None:
    async with (
        answers.staged(server={"max_body": 1024, "heartbeat_interval": 0.1}) as stage,
        client(stage.url) as stock,
    ):
        asked: Any = [{"role": "user", "content": "x" * 2000}]
        with pytest.raises(openai.APIStatusError) as caught:
            await stock.chat.completions.create(model="vendor/text", messages=asked)
        assert (caught.value.status_code, caught.value.code) == (413, "body_too_large")

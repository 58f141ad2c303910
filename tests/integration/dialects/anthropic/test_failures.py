"""The stock `anthropic` client on our route of Messages: whatever fails is an exception.

Strategy: what a provider refuses at once has the status that it would have there, so that the
client raises what its callers catch; what breaks off later is never a short success, be it the
provider, the caller's own cancel, the connection or the very process that ends.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anthropic
import httpx2
import msgspec
import pytest
from tests.integration import asking, harness, node_with_keys, processes
from tests.integration.dialects import answers, failing, messages
from tests.integration.dialects.messages import asked, client

pytestmark = pytest.mark.asyncio(loop_scope="module")


def error(raised: anthropic.APIError) -> dict[str, Any]:
    """What an exception of the client's was made of."""
    body: Any = raised.body
    assert body["type"] == "error"
    return dict(body["error"])


async def texts(stock: anthropic.AsyncAnthropic, model: str, got: list[str], **more: Any) -> None:
    """Reads a stream to its end; `got` are the texts so far."""
    stream = await stock.messages.create(**asked(model, **more), stream=True)
    async for event in stream:
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            got.append(event.delta.text)


# Before the first word

RAISED: dict[str, tuple[type[anthropic.APIStatusError], int, str, str]] = {
    "refuse-400": (anthropic.BadRequestError, 400, "invalid_request_error", "provider_rejected"),
    "refuse-401": (anthropic.InternalServerError, 502, "api_error", "provider_auth"),
    "refuse-404": (anthropic.NotFoundError, 404, "not_found_error", "provider_model_not_found"),
    "refuse-429": (anthropic.RateLimitError, 429, "rate_limit_error", "provider_rate_limited"),
    "refuse-500": (anthropic.InternalServerError, 502, "api_error", "provider_failed"),
    "refuse-529": (anthropic.InternalServerError, 529, "overloaded_error", "provider_overloaded"),
}


@pytest.mark.parametrize("name", messages.REFUSALS)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_has_its_status(
    stock: anthropic.AsyncAnthropic, name: str, stream: bool
) -> None:
    kind, status, type, code = RAISED[name]
    with pytest.raises(kind) as caught:
        await stock.messages.create(**asked(f"vendor/{name}"), stream=stream)
    assert caught.value.status_code == status
    said = error(caught.value)
    assert (said["type"], said["code"]) == (type, code)
    headers = caught.value.response.headers
    again = name in ("refuse-429", "refuse-500", "refuse-529")
    assert headers["x-should-retry"] == ("true" if again else "false")
    assert ("retry-after" in headers) == (name in ("refuse-429", "refuse-529"))
    body: Any = caught.value.body
    assert body["request_id"] == caught.value.request_id == headers["request-id"]


@pytest.mark.parametrize(
    "fields", [{"max_tokens": 0}, {"messages": []}, {"extra_body": {"temperature": 2}}]
)
async def test_what_cannot_be_asked_for(
    stock: anthropic.AsyncAnthropic, fields: dict[str, Any]
) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        await stock.messages.create(**{**asked("vendor/text"), **fields})
    said = error(caught.value)
    assert (said["type"], said["code"]) == ("invalid_request_error", "invalid_field")


async def test_whom_nobody_knows(stock: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        await stock.messages.create(**asked("nobody/x"))
    said = error(caught.value)
    assert (said["type"], said["code"]) == ("not_found_error", "unknown_model")


async def test_what_is_not_served(stock: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="The path or the method is unknown"):
        await stock.messages.count_tokens(model="vendor/text", messages=messages.MESSAGES)


async def test_a_place_in_a_stream_cannot_be_named(stage: answers.Stage) -> None:
    headers = {"Last-Event-ID": f"{'0' * 26}:1-1"}
    body = msgspec.json.encode(asked("vendor/text", stream=True))
    got = await harness.ask(stage.server.port, "POST", "/v1/messages", headers, body)
    assert (got.status, got.json()["error"]["code"]) == (400, "invalid_field")


async def test_what_may_pass_is_asked_again_and_what_stays_is_not(
    stage: answers.Stage, waits: failing.Waits
) -> None:
    async with client(stage.server.url, max_retries=2) as stock:

        async def ask(model: str) -> None:
            await stock.messages.create(**asked(model))

        await failing.asked_again(stage, waits, ask, anthropic.APIStatusError)


async def test_the_same_key_never_asks_twice(
    stage: answers.Stage, stock: anthropic.AsyncAnthropic
) -> None:
    before = len(stage.provider.requests)
    for stream in (True, False, True):
        headers = {"Idempotency-Key": "the-same"}
        got: list[str] = []
        if stream:
            await texts(stock, "vendor/text", got, extra_headers=headers)
        else:
            whole = await stock.messages.create(**asked("vendor/text"), extra_headers=headers)
            got.append(whole.content[0].text)
        assert "".join(got) == 'Neap "tide" 🌊'
    assert len(stage.provider.requests) == before + 1


# In mid-answer


@pytest.mark.case("2.3")
@pytest.mark.case("2.4")
@pytest.mark.parametrize(
    ("name", "type", "code", "status"),
    [
        ("error", "overloaded_error", "provider_overloaded", 529),
        ("cut", "api_error", "provider_interrupted", 502),
    ],
)
async def test_an_answer_that_breaks_off(
    stock: anthropic.AsyncAnthropic, name: str, type: str, code: str, status: int
) -> None:
    got: list[str] = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        await texts(stock, f"vendor/{name}", got)
    said = error(caught.value)
    assert (said["type"], said["code"]) == (type, code)
    assert "".join(got) == "Neap"
    with pytest.raises(anthropic.APIStatusError) as caught:
        async with stock.messages.stream(**asked(f"vendor/{name}")) as helped:
            await helped.get_final_message()
    assert error(caught.value)["code"] == code
    with pytest.raises(anthropic.APIStatusError) as caught:
        await stock.messages.create(**asked(f"vendor/{name}"))
    assert (caught.value.status_code, error(caught.value)["code"]) == (status, code)


@pytest.mark.parametrize(("end", "code", "status"), failing.ENDS)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_is_ended_under_its_reader(
    stage: answers.Stage,
    stock: anthropic.AsyncAnthropic,
    stream: bool,
    end: Any,
    code: str,
    status: int,
) -> None:
    if stream:
        reading: Any = texts(stock, "vendor/paused", [])
    else:
        reading = stock.messages.create(**asked("vendor/paused"))
    with pytest.raises(anthropic.APIStatusError) as caught:
        await stage.held(reading, int(stream), end)
    assert error(caught.value)["code"] == code
    assert stream or caught.value.status_code == status


async def test_who_leaves_cancels_nothing(
    stage: answers.Stage, stock: anthropic.AsyncAnthropic
) -> None:
    stage.gate.clear()
    stream = await stock.messages.create(**asked("vendor/paused"), stream=True)
    await stream.close()
    await failing.goes_on(stage, stream.response.headers["x-stream-id"])


async def test_the_server_is_killed(tmp_path: Path) -> None:
    said: Any = [{"role": "user", "content": failing.STALLS}]
    async with (
        processes.serving(folder=tmp_path, command="demo") as server,
        client(server.url) as stock,
    ):
        stream = await stock.messages.create(**asked("demo", messages=said), stream=True)
        raised = (httpx2.TransportError, anthropic.APIError)
        await failing.read_until_killed(
            server, stream, raised, lambda event: event.type == "content_block_delta"
        )


@pytest.mark.parametrize("targets", [["vendor/cut", "chat/text"], ["vendor/late", "vendor/text"]])
async def test_an_answer_that_another_provider_goes_on_with(
    stage: answers.Stage, targets: list[str]
) -> None:
    """It is one text to who reads it, in one block, whatever the other counts its blocks from."""
    config = harness.configured(
        providers=_providers(stage),
        routes={"ways": {"targets": targets}},
        fallback={"attempts": 1, "mode": "continue"},
    )
    async with harness.running(config) as server, client(server.url) as stock:
        for whole in (False, True):
            if whole:
                read = await stock.messages.create(**asked("ways"))
            else:
                async with stock.messages.stream(**asked("ways")) as helped:
                    read = await helped.get_final_message()
            *_, said = read.content
            assert said.to_dict() == {"type": "text", "text": 'NeapNeap "tide" 🌊'}
            assert len(read.content) == (2 if targets[0] == "vendor/late" else 1)
    assert "Neap" in str(stage.asked()["messages"][1])


def _providers(stage: answers.Stage) -> dict[str, dict[str, Any]]:
    url = stage.provider.url
    return {
        "vendor": {"kind": "anthropic", "base_url": url, "api_key": asking.KEY},
        "chat": {"kind": "openai", "base_url": f"{url}/v1", "api_key": asking.KEY},
    }


async def test_an_answer_that_would_have_to_be_taken_back_is_not_begun_anew(
    stage: answers.Stage,
) -> None:
    """Whatever the settings say: its readers have it already."""
    config = harness.configured(
        providers=_providers(stage),
        routes={"ways": {"targets": ["vendor/error", "chat/text"]}},
        fallback={"attempts": 1, "mode": "restart"},
    )
    async with harness.running(config) as server, client(server.url) as stock:
        got: list[str] = []
        with pytest.raises(anthropic.APIStatusError) as caught:
            await texts(stock, "ways", got)
    assert error(caught.value)["code"] == "provider_overloaded"
    assert "".join(got) == "Neap"


# Access


async def test_keys_and_their_limits(waits: failing.Waits) -> None:
    async with node_with_keys.serving(quota={"requests_per_minute": 2}) as server:
        key = await node_with_keys.made(server, "acme")
        other = await node_with_keys.made(server, "other")
        said: Any = [{"role": "user", "content": failing.SHORT}]
        async with client(server.url, failing.token(key), max_retries=1) as stock:
            made = await stock.messages.with_raw_response.create(**asked("demo", messages=said))
            assert "ratelimit" in made.headers
            await stock.messages.create(**asked("demo", messages=said))
            with pytest.raises(anthropic.RateLimitError) as caught:
                await stock.messages.create(**asked("demo", messages=said))
            assert error(caught.value)["code"] == "request_limit"
            assert waits.seconds == [float(caught.value.response.headers["retry-after"])]
            with pytest.raises(anthropic.AuthenticationError) as wrong:
                await stock.with_options(api_key="hfk_0_0").messages.create(**asked("demo"))
            assert error(wrong.value) == {
                "type": "authentication_error",
                "message": "This key is not valid here, or not any more.",
                "code": "unauthorized",
            }
        async with client(server.url, auth_token=failing.token(other)) as stock:
            await stock.messages.create(**asked("demo", messages=said))
        await failing.nobody_elses(server, made.headers["x-stream-id"], other)

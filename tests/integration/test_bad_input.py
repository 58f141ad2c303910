"""Bad input gets a clear answer, and nothing is lost.

Strategy: one server meets every wrong request that we can think of, each a row of a table: what
was sent, the status, the code, and a word that `detail` must have, which is what to look at. After
each of them the server still serves a good request, and no stream, slot or task is left over
(`unharmed`). No answer holds a key, a prompt or what a provider said of a key.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.integration import asking, harness, raw_sockets

from holdfast import settings
from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "a prompt that nobody may see"
ECHOED = "sk-proj-echoed0123456789abcdef"
MAX_BODY = 64 * 1024


def refusal(asked: replay.Request) -> replay.Answer:
    """What the model's name asks for: a status, or `ok`."""
    status = str(asked.json()["model"])
    if status == "ok":
        return replay.Answer(body=(asking.chunk("Well."), asking.STOP))
    error = {"message": f"Status {status} for {ECHOED} and {asking.KEY}", "type": "x", "code": None}
    return replay.Answer(
        status=int(status),
        headers=(("Content-Type", "application/json"),),
        body=(msgspec.json.encode({"error": error}),),
    )


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configured(provider_url: str) -> settings.Settings:
    return harness.configured(
        providers={
            "vendor": {
                "kind": "openai_chat",
                "base_url": f"{provider_url}/v1",
                "api_key": asking.KEY,
                "models": ("named-*",),
            },
            "keyless": {"kind": "groq"},
            "far": {"kind": "openai_chat", "base_url": f"http://127.0.0.1:{closed_port()}"},
            "nowhere": {"kind": "openai_chat", "base_url": "http://nowhere.invalid/v1"},
        },
        server={"max_body": MAX_BODY},
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with (
        replay.ReplayServer(refusal) as provider,
        harness.running(configured(provider.url)) as running,
    ):
        yield running


async def streams(server: harness.Running) -> int:
    """How many there are; a test here makes less than a page of them."""
    query = "/v1/streams?session_id=bad"
    return len((await harness.ask(server.port, "GET", query)).json()["streams"])


@contextlib.asynccontextmanager
async def unharmed(server: harness.Running) -> AsyncIterator[None]:
    """What is asked in the block makes no stream, and leaves the server as good as it was."""
    before = await streams(server)
    yield
    assert await streams(server) == before
    good = await asking.finished(server.port, "tokens=2")
    assert asking.kinds(good.body)[-1] == "complete"
    await asking.idle(server)


def check_problem(answer: harness.Response, status: int, code: str, word: str) -> None:
    problem = answer.json()
    assert (answer.status, problem["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert word.lower() in problem["detail"].lower()
    assert "\n" not in problem["detail"]
    for secret in (SECRET, asking.KEY, ECHOED):
        assert secret.encode() not in answer.body


def body(**fields: Any) -> bytes:
    """A good body, but for these fields; ... leaves one out."""
    messages = [{"role": "user", "content": SECRET}]
    good = {"model": "demo", "messages": messages, "metadata": {"session_id": "bad"}}
    wrong = {**good, **fields}
    return msgspec.json.encode({name: said for name, said in wrong.items() if said is not ...})


def message(**fields: Any) -> bytes:
    good = {"role": "user", "content": SECRET}
    wrong = {**good, **fields}
    return body(messages=[{name: said for name, said in wrong.items() if said is not ...}])


async def post(
    server: harness.Running, sent: bytes, headers: harness.Headers | None = None
) -> harness.Response:
    return await harness.ask(server.port, "POST", "/v1/streams", headers, sent)


NO_JSON = {
    "nothing": b"",
    "a space": b" ",
    "half an object": body()[:-1],
    "two objects": body() * 2,
    "a list": b"[]",
    "a text": b'"demo"',
    "null": b"null",
    "a number": b"1",
    "no quotes": b"{model: 1}",
    "a comma too many": b'{"model": "demo",}',
    "a form": b"model=demo&messages=x",
    "html": b"<html></html>",
    "not UTF-8": b'{"model": "\xff\xfe"}',
    "half a character": b'{"model": "\\ud800"}',
    "a BOM": b"\xef\xbb\xbf" + body(),
    "UTF-16": body().decode().encode("utf-16"),
    "NaN": b'{"temperature": NaN}',
    "a NUL": b"\x00",
    "100,000 brackets": b"[" * 50_000,
    "deep lists": body(tools=[{"a": 1}]).replace(b"1", b"[" * 9000 + b"]" * 9000),
    "deep objects": body(context={"a": 1}).replace(b"1", b'{"a":' * 200 + b"1" + b"}" * 200),
}


@pytest.mark.parametrize("sent", NO_JSON.values(), ids=NO_JSON)
async def test_what_is_no_json_object_is_told_so(server: harness.Running, sent: bytes) -> None:
    async with unharmed(server):
        for headers in ({}, asking.SSE):
            check_problem(await post(server, sent, headers), 400, "malformed_body", "body")


FIELDS: dict[str, tuple[bytes, str]] = {
    "no model": (body(model=...), "`model`"),
    "an empty model": (body(model=""), "model"),
    "a model that is a number": (body(model=7), "$.model"),
    "a long model": (body(model="m" * 257), "$.model"),
    "a provider that is a list": (body(provider=["demo"]), "$.provider"),
    "no messages": (body(messages=...), "`messages`"),
    "empty messages": (body(messages=[]), "`messages`"),
    "messages that are a text": (body(messages="Hello"), "$.messages"),
    "a message that is a text": (body(messages=["Hello"]), "$.messages[0]"),
    "a message without a role": (message(role=...), "role"),
    "an unknown role": (message(role="wizard"), "$.messages[0].role"),
    "content that is a number": (message(content=7), "$.messages[0].content"),
    "temperature too high": (body(temperature=2.5), "$.temperature"),
    "temperature in words": (body(temperature="hot"), "$.temperature"),
    "no tokens": (body(max_tokens=0), "$.max_tokens"),
    "half a token": (body(max_tokens=1.5), "$.max_tokens"),
    "tools that are an object": (body(tools={}), "$.tools"),
    "response_format in words": (body(response_format="json"), "$.response_format"),
    "stop that is a number": (body(stop=1), "$.stop"),
    "no choice": (body(n=0), "$.n"),
    "17 choices": (body(n=17), "$.n"),
    "a choice that is true": (body(n=True), "$.n"),
    "a negative interval": (body(flush_interval_ms=-1), "$.flush_interval_ms"),
    "a long interval": (body(flush_interval_ms=60_001), "$.flush_interval_ms"),
    "no buffer": (body(buffer_size=0), "$.buffer_size"),
    "a large buffer": (body(buffer_size=2**21), "$.buffer_size"),
    "a priority of one's own": (body(metadata={"priority": "urgent"}), "$.metadata.priority"),
    "metadata in words": (body(metadata="chat"), "$.metadata"),
    "a session that is a number": (body(metadata={"session_id": 1}), "$.metadata.session_id"),
    "a context in words": (body(context="x"), "$.context"),
    "more context than system": (body(context={"system": "x", "user": "y"}), "`context`"),
    "a system that is a list": (body(context={"system": []}), "`context`"),
    "an unknown field": (body(modle="demo"), "modle"),
    "stream, as others have it": (body(stream=True), "stream"),
    "an unknown field of metadata": (body(metadata={"colour": "x"}), "colour"),
    "an unknown option of the demo's": (message(content="/demo speed=9"), "speed"),
    "a wrong option of the demo's": (message(content="/demo tokens=many"), "tokens"),
}


@pytest.mark.case("4.19")
@pytest.mark.parametrize(("sent", "word"), FIELDS.values(), ids=FIELDS)
async def test_a_wrong_field_is_named(server: harness.Running, sent: bytes, word: str) -> None:
    async with unharmed(server):
        for headers in ({}, asking.SSE, {"Idempotency-Key": "k"}):
            check_problem(await post(server, sent, headers), 400, "invalid_field", word)


UNKNOWN = {
    "a provider": (body(provider="nobody"), "unknown_provider", "'nobody'"),
    "a provider's name in capitals": (body(provider="Demo"), "unknown_provider", "demo"),
    "a model": (body(model="nothing"), "unknown_model", "'nothing'"),
    "a model that looks like one": (body(model="named"), "unknown_model", "named-*"),
    "a provider in a model": (body(model="nobody/m"), "unknown_model", "vendor"),
    "no model of a provider": (body(model="keyless/"), "unknown_model", "'keyless/'"),
}


@pytest.mark.parametrize(("sent", "code", "word"), UNKNOWN.values(), ids=UNKNOWN)
async def test_who_is_unknown_is_named_and_who_is_known_is_listed(
    server: harness.Running, sent: bytes, code: str, word: str
) -> None:
    async with unharmed(server):
        answer = await post(server, sent)
        check_problem(answer, 400, code, word)
        check_problem(answer, 400, code, "keyless")


async def test_a_missing_key_names_the_setting_and_the_variable(server: harness.Running) -> None:
    async with unharmed(server):
        for headers in ({}, asking.SSE):
            answer = await post(server, body(model="keyless/m"), headers)
            check_problem(answer, 503, "missing_key", "providers.keyless.api_key_env")
            check_problem(answer, 503, "missing_key", "GROQ_API_KEY")
            assert "retry-after" not in answer.headers  # no waiting mends it


async def test_what_a_vendor_does_not_take_is_named() -> None:
    row = {"kind": "groq", "api_key": asking.KEY}
    async with harness.running(harness.configured(providers={"vendor": row})) as server:
        answer = await post(server, body(model="vendor/m", n=2))
        check_problem(answer, 400, "invalid_field", "provider vendor")
        await asking.idle(server)


# Sizes


async def chunked(server: harness.Running, size: int) -> bytes:
    """The answer to a body of this size whose length is not told."""
    head = b"POST /v1/streams HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, b" " * size)
    return await raw_sockets.raw(server.port, head + body, seen=b"}", then=b"NO MORE\r\n\r\n")


async def test_a_body_over_the_limit_is_413(server: harness.Running) -> None:
    async with unharmed(server):
        sent = body(model="nothing")
        fits = await post(server, b" " * (MAX_BODY - len(sent)) + sent)
        assert fits.json()["code"] == "unknown_model"
        for size in (MAX_BODY + 1, 5 * MAX_BODY):
            answer = await post(server, b" " * size)
            check_problem(answer, 413, "body_too_large", str(MAX_BODY))
        assert b" 413 " in await chunked(server, 3 * MAX_BODY)
        assert b" 400 " in await chunked(server, MAX_BODY - 1)


async def test_a_client_that_waits_for_100_continue_is_spared_the_upload(
    server: harness.Running,
) -> None:
    async with unharmed(server):
        head = "POST /v1/streams HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        head += f"Content-Length: {MAX_BODY + 1}\r\nExpect: 100-continue\r\n\r\n"
        answer = await raw_sockets.raw(server.port, head.encode())
        assert answer.startswith(b"HTTP/1.1 413 ")


# Streams and positions


async def test_unknown_streams_and_positions_are_told_apart(server: harness.Running) -> None:
    """The rules and all their cases are in section 5 of the protocol."""
    whole, other = await asking.finished(server.port), await asking.finished(server.port)
    path = f"/v1/streams/{harness.stream_of(whole)}/events"
    async with unharmed(server):
        unknown = await harness.ask(server.port, "GET", f"/v1/streams/{'x' * 26}/events")
        check_problem(unknown, 404, "stream_not_found", "stream")
        malformed = await harness.ask(server.port, "GET", path, {"Last-Event-ID": "half"})
        check_problem(malformed, 400, "malformed_position", "<epoch>-<seq>")
        id = asking.last_id(other.body)
        foreign = await harness.ask(server.port, "GET", path, {"Last-Event-ID": id})
        check_problem(foreign, 400, "foreign_position", "another stream")
        rewound = await harness.ask(server.port, "GET", path, {"Last-Event-ID": "1-77"})
        assert asking.kinds(rewound.body)[0] == "rewind"
        assert rewound.clean


# Providers

REFUSALS = {
    400: "provider_rejected",
    401: "provider_auth",
    402: "provider_quota",
    403: "provider_auth",
    404: "provider_model_not_found",
    408: "provider_timeout",
    422: "provider_rejected",
    429: "provider_rate_limited",
    500: "provider_failed",
    502: "provider_failed",
    503: "provider_overloaded",
    504: "provider_timeout",
    529: "provider_overloaded",
}


async def failed(server: harness.Running, sent: bytes) -> tuple[harness.Said, str]:
    """The error event of a stream that is made all the same, and its last attempt's error."""
    whole = await (await harness.begin(server.port, sent)).rest()
    assert (whole.status, whole.clean) == (200, True)
    for secret in (SECRET, asking.KEY, ECHOED):
        assert secret.encode() not in whole.body
    attempt, error = harness.said(whole.body)[-2:]
    target = f"/v1/streams/{harness.stream_of(whole)}"
    shown = (await harness.ask(server.port, "GET", target)).json()
    assert shown["status"] == "error"
    assert shown["error"] == error.data
    good = await asking.finished(server.port, "tokens=2")
    assert asking.kinds(good.body)[-1] == "complete"
    await asking.idle(server)
    return error, str(attempt.data["error"])


@pytest.mark.parametrize(("status", "code"), REFUSALS.items())
async def test_a_provider_s_refusal_is_an_error_event(
    server: harness.Running, status: int, code: str
) -> None:
    error, attempt = await failed(server, body(model=f"vendor/{status}"))
    assert (error.event, error.data["code"], attempt) == ("error", code, code)
    assert f"vendor: HTTP {status}" in error.data["message"]


@pytest.mark.parametrize("provider", ["far", "nowhere"])
async def test_a_provider_that_cannot_be_reached_is_an_error_event(
    server: harness.Running, provider: str
) -> None:
    error, attempt = await failed(server, body(model=f"{provider}/m"))
    assert (error.data["code"], attempt) == ("provider_unreachable", "provider_unreachable")
    assert error.data["retryable"] is True
    assert error.data["message"]


@pytest.mark.parametrize(
    ("ending", "code"), [("fin", "provider_interrupted"), ("rst", "provider_interrupted")]
)
async def test_a_provider_that_breaks_off_is_an_error_event(ending: Any, code: str) -> None:
    answer = replay.Answer(body=(asking.chunk("Half of it"),), ending=ending)
    async with asking.vendor(answer) as on:
        error, attempt = await failed(on.server, body(model="vendor/m"))
        assert (error.data["code"], attempt) == (code, code)


@pytest.mark.parametrize("said", [b"data: {\n\n", b"data: []\n\n", b"data: 7\n\n"])
async def test_a_provider_that_speaks_gibberish_is_an_error_event(said: bytes) -> None:
    async with asking.vendor(replay.Answer(body=(said, asking.STOP))) as on:
        error, _ = await failed(on.server, body(model="vendor/m"))
        assert error.data["code"] == "provider_malformed"


async def test_no_key_is_shown_where_everything_is(server: harness.Running) -> None:
    for path in ("/v1/streams", "/v1/connections", "/openapi.json", "/readyz"):
        answer = await harness.ask(server.port, "GET", path)
        assert asking.KEY.encode() not in answer.body

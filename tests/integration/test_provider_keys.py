"""A provider's key goes to its provider, and a caller's to nobody.

Strategy: each format has a provider on one loopback server, each with a key of its own; a second
server is nobody's, and whatever would lead a call elsewhere leads there. It must never be asked
for anything, nor connected to. Of the first one every request is looked at, whole: where it went,
which key it had, and that nothing of the caller's credentials is anywhere in it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.integration import asking, harness, node_with_callers

from holdfast.testing import listening
from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

KINDS = {
    "openai_chat": "authorization",
    "open_responses": "authorization",
    "anthropic": "x-api-key",
    "google": "x-goog-api-key",
    "google_interactions": "x-goog-api-key",
}
"""By kind: the header in which it takes its key."""

KEYS = {kind: f"canary-key-of-{kind}-0123456789" for kind in KINDS}
PEOPLE = {"alice": node_with_callers.Who("acme", "alice")}
HEADERS = {"accept", "accept-encoding", "connection", "content-length", "content-type", "host"}
HEADERS |= {"user-agent", *KINDS.values(), "anthropic-version", "api-revision"}
"""All that a provider is told beside the body."""

ID = "resp_0850765c843cca5300699cc47d93c0819089a181f5feeff8eb"


class Thief(listening.Listener):
    """Counts who comes, and answers nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.came = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class World:
    """The node, the providers' server, which plays `answer`, and the one that is nobody's."""

    def __init__(self) -> None:
        self.answer = refusal()
        self.thief = Thief()
        self.provider = replay.ReplayServer(lambda asked: self.answer)
        self.stage: node_with_callers.Stage

    @property
    def port(self) -> int:
        return self.stage.server.port

    def seen(self) -> list[replay.Request]:
        """The requests since it was last asked."""
        found = list(self.provider.requests)
        self.provider.requests.clear()
        return found

    async def ask(
        self, body: bytes, more: node_with_callers.Headers | None = None, query: str = ""
    ) -> harness.Response:
        """A whole answer, read to its end."""
        sent = {**self.stage.key("alice"), **asking.SSE, **(more or {})}
        return await harness.ask(self.port, "POST", f"/v1/streams{query}", sent, body)


def refusal(status: int = 400, *headers: tuple[str, str], text: str = "no") -> replay.Answer:
    body = msgspec.json.encode({"error": {"message": text, "type": "x", "code": None}})
    kind = ("Content-Type", "application/json")
    return replay.Answer(status=status, headers=(kind, *headers), body=(body,), framing="length")


@contextlib.asynccontextmanager
async def opened(folder: Path, attempts: int = 1) -> AsyncIterator[World]:
    """A world in which a call that failed is made so often in all."""
    made = World()
    fallback = {"attempts": attempts, "delay": "1ms", "breaker_failures": 1000}
    async with made.thief, made.provider:
        rows: dict[str, dict[str, Any]] = {
            kind: {"kind": kind, "base_url": f"{made.provider.url}/{kind}", "api_key": KEYS[kind]}
            for kind in KINDS
        }
        rows["open_responses"]["background"] = True
        async with node_with_callers.staged(
            folder, PEOPLE, providers=rows, fallback=fallback
        ) as made.stage:
            yield made
    assert made.thief.came == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with opened(tmp_path_factory.mktemp("keys")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def world(shared_world: World) -> AsyncIterator[World]:
    """The one world of this file, in which nothing has been asked yet; the thief was not met."""
    shared_world.answer = refusal()
    shared_world.seen()
    yield shared_world
    assert shared_world.thief.came == 0


def check_key(asked: replay.Request) -> str:
    """That a request went to a provider's own place with its key, once, and with no other; the
    provider."""
    kind = asked.target.split("/")[1]
    assert set(asked.headers) <= HEADERS, asked.headers
    whole = repr(asked)
    carried = {name: said for name, said in asked.headers.items() if name in KINDS.values()}
    (name,) = carried
    assert name == KINDS[kind]
    assert carried[name].removeprefix("Bearer ") == KEYS[kind]
    assert [whole.count(key) for key in KEYS.values() if key in whole] == [1]
    return kind


# What a request says


def with_field(name: str, value: Any) -> bytes:
    return harness.wanted("openai_chat/m", **{name: value})


def nested(place: str, field: str, value: Any) -> bytes:
    good: dict[str, Any] = {"role": "user", "content": "Hi"}
    if place == "messages":
        return harness.wanted("openai_chat/m", messages=[{**good, field: value}])
    return harness.wanted("openai_chat/m", **{place: {field: value}})


FIELDS = (
    *("api_base", "base_url", "baseUrl", "api_url", "url", "endpoint", "host", "proxy", "port"),
    *("api_key", "apiKey", "key", "authorization", "headers", "extra_headers", "default_headers"),
    *("extra_body", "extra_query", "organization", "api_version", "azure_endpoint", "region"),
    *("custom_llm_provider", "providers", "provider_config", "target", "redirect", "webhook"),
)


@pytest.mark.case("4.8")
async def test_no_field_of_a_request_names_an_address(world: World) -> None:
    for name in FIELDS:
        for value in (world.thief.url, {"base_url": world.thief.url}, [world.thief.url], None):
            answer = await world.ask(with_field(name, value))
            assert (answer.status, answer.json()["code"]) == (400, "invalid_field"), name
            assert name in answer.json()["detail"]
            for place in ("metadata", "fallback", "messages"):
                if (place, name, value) == ("fallback", "providers", None):
                    continue  # which says nothing, and may be said
                answer = await world.ask(nested(place, name, value))
                assert answer.status == 400, (place, name)
    assert world.seen() == []


@pytest.mark.case("4.8")
async def test_no_name_of_a_provider_or_a_model_is_an_address(world: World) -> None:
    url = world.thief.url
    host = url.removeprefix("http://")
    wrong: list[dict[str, Any]] = [
        {"provider": {"kind": "openai_chat", "base_url": url}},
        {"provider": [url]},
        {"provider": url},
        {"provider": host},
        {"provider": f"openai_chat@{host}"},
        {"provider": f"openai_chat/../{host}"},
        {"provider": "openai_chat", "model": {"name": "m", "api_base": url}},
        {"model": url},
        {"model": f"{url}/v1/m"},
        {"model": f"//{host}/m"},
        {"fallback": {"providers": [{"base_url": url}]}},
        {"fallback": {"providers": [url]}},
        {"fallback": {"providers": [f"{url}/m"]}},
        {"context": {"base_url": url, "system": "x"}},
    ]
    for fields in wrong:
        answer = await world.ask(harness.wanted(**{"model": "openai_chat/m", **fields}))
        assert answer.status == 400, fields
    assert world.seen() == []


@pytest.mark.case("4.8")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_model_s_name_leaves_a_provider_s_place_by_nothing(world: World, kind: str) -> None:
    host = world.thief.url.removeprefix("http://")
    names = (
        *(f"@{host}/m", f"m@{host}", f"../../../{host}/m", f"..//{host}", f"m?x=//{host}"),
        *(f"m#@{host}", f"m\r\nHost: {host}", f"\\\\{host}", f"%2e%2e/{host}", ".."),
        *(f"models/../{host}", "tunedModels/../..", f"models/{world.thief.url}"),
    )
    for name in names:
        await world.ask(harness.wanted(name, provider=kind))
        for asked in world.seen():
            assert check_key(asked) == kind
            assert asked.headers["host"] == world.provider.url.removeprefix("http://")
            path = asked.target.partition("?")[0]
            assert ".." not in path.split("/")
            assert host not in path.split("/")


@pytest.mark.case("4.8")
@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_message_refers_to_is_not_fetched(world: World, kind: str) -> None:
    parts = [
        {"type": "text", "text": f"What is at {world.thief.url}/page ?"},
        {"type": "image_url", "image_url": {"url": f"{world.thief.url}/image.png"}},
    ]
    messages = [{"role": "user", "content": parts}]
    await world.ask(harness.wanted("m", provider=kind, messages=messages))
    for asked in world.seen():
        assert check_key(asked) == kind


# What a provider says


@pytest.mark.case("4.8")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
async def test_a_redirect_is_not_followed(world: World, kind: str, status: int) -> None:
    host = world.thief.url.removeprefix("http://")
    for place in (f"{world.thief.url}/v1/x", f"//{host}/x", "/elsewhere"):
        more = (("Refresh", f"0; url={place}"), ("Alt-Svc", f'h2="{host}"'))
        world.answer = refusal(status, ("Location", place), *more)
        answer = await world.ask(harness.wanted("m", provider=kind))
        assert asking.kinds(answer.body)[-1] == "error"
        (asked,) = world.seen()
        assert check_key(asked) == kind


# What a caller says


@pytest.mark.case("4.8")
@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_that_let_the_caller_in_reaches_a_provider(world: World, kind: str) -> None:
    stage, secret = world.stage, "canary-of-the-caller"
    own = stage.keys["alice"]
    token = stage.token("acme", "alice")["Authorization"].removeprefix("Bearer ")
    more: dict[str, str] = dict.fromkeys(
        (
            *("X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Anthropic-Version", "Cookie"),
            *("OpenAI-Organization", "OpenAI-Project", "Proxy-Authorization", "X-Amz-Security"),
            *("X-Forwarded-Host", "Forwarded", "Api-Revision", "X-Canary"),
        ),
        secret,
    )
    more |= {"X-Request-Id": secret, "X-Client-Id": secret, "Idempotency-Key": f"{secret}-{kind}"}
    query = f"?key={secret}&api_key={own}&access_token={token}"
    for number, credential in enumerate((own, token)):
        sent = {**more, "Authorization": f"Bearer {credential}"}
        sent["Idempotency-Key"] += str(number)
        answer = await world.ask(harness.wanted("m", provider=kind), sent, query)
        assert answer.status == 200
        (asked,) = world.seen()
        assert check_key(asked) == kind
        for word in (secret, own, own[-20:], token, token[-20:]):
            assert word not in repr(asked)


@pytest.mark.case("4.8")
async def test_a_key_elsewhere_than_in_its_two_headers_lets_nobody_in(world: World) -> None:
    own, body = world.stage.keys["alice"], harness.wanted("openai_chat/m")
    named = {"X-Api-Key": f"Bearer {own}"}  # there it stands by itself
    assert (await harness.ask(world.port, "POST", "/v1/streams", named, body)).status == 401
    for name in ("Api-Key", "X-Goog-Api-Key", "Cookie", "Proxy-Authorization"):
        for said in (own, f"Bearer {own}"):
            answer = await harness.ask(world.port, "POST", "/v1/streams", {name: said}, body)
            assert answer.status == 401
    for query in (f"key={own}", f"api_key={own}", f"access_token={own}", f"signature={own}"):
        answer = await harness.ask(world.port, "POST", f"/v1/streams?{query}", {}, body)
        assert answer.status == 401
    assert world.seen() == []


# Calls that nobody waits for


def state(type: str, id: str) -> bytes:
    said = {"type": f"response.{type}", "response": {"id": id, "status": type, "background": True}}
    return b"event: response.%b\ndata: %b\n\n" % (type.encode(), msgspec.json.encode(said))


def delta(text: str) -> bytes:
    said = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0}
    return b"data: %b\n\n" % msgspec.json.encode({**said, "delta": text})


def ids(thief: str) -> list[str]:
    host = thief.removeprefix("http://")
    wrong = [thief, f"//{host}/x", f"../../{host}", f"@{host}", "..", f"x/../../{host}"]
    return [ID, *wrong, f"x?{host}", f"x\r\nHost: {host}", f"x@{host}"]


@pytest.mark.case("4.8")
async def test_a_kept_answer_is_stopped_at_its_own_provider(world: World) -> None:
    """Whatever the provider says that its id is."""
    stopped = 0
    for id in ids(world.thief.url):
        body = (state("created", id), state("in_progress", id), delta("so far"))
        world.answer = replay.Answer(body=body, ending="stall")
        sent = {**world.stage.key("alice"), **asking.SSE}
        wanted = harness.wanted("m", provider="open_responses", flush_interval_ms=0)
        reader = await harness.begin(world.port, wanted, sent.items())
        await reader.until(asking.seen(b"so far"))
        path = f"/v1/streams/{harness.stream_of(reader)}/cancel"
        world.answer = refusal(200)
        await harness.ask(world.port, "POST", path, sent, b"")
        await reader.rest()
        await asking.idle(world.stage.server)
        first, *others = world.seen()
        assert check_key(first) == "open_responses"
        for asked in others:
            assert check_key(asked) == "open_responses"
            assert asked.target == f"/open_responses/responses/{ID}/cancel"
            stopped += 1
    assert stopped == 1


@pytest.mark.case("4.8")
async def test_a_kept_answer_is_told_again_by_its_own_provider(tmp_path: Path) -> None:
    again = 0
    async with opened(tmp_path, attempts=2) as world:
        for id in ids(world.thief.url):
            body = (state("created", id), state("in_progress", id), delta("so far"))
            world.answer = replay.Answer(body=body, ending="rst")
            await world.ask(harness.wanted("m", provider="open_responses"))
            await asking.idle(world.stage.server)
            for asked in world.seen():
                assert check_key(asked) == "open_responses"
                assert asked.target.partition("?")[0] in (
                    "/open_responses/responses",
                    f"/open_responses/responses/{ID}",
                    f"/open_responses/responses/{ID}/cancel",
                )
                again += asked.method == "GET"
    assert again > 0


@pytest.mark.case("4.8")
async def test_who_is_asked_next_gets_his_own_key(world: World) -> None:
    world.answer = refusal(500)
    for first in KINDS:
        others = [f"{kind}/m" for kind in KINDS if kind != first]
        await world.ask(harness.wanted("m", provider=first, fallback={"providers": others}))
        seen = [check_key(asked) for asked in world.seen()]
        assert seen[0] == first
        assert len(set(seen)) > 1

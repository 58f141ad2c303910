"""The routes of chats as they are on the wire: headers, statuses, whose chat it is."""

from __future__ import annotations

import asyncio
import contextlib
import re
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests import redis_servers
from tests.integration import asking, harness, mounting, node_with_keys

from holdfast import app, events
from holdfast.eventlog import watch
from holdfast.eventlog.redis import address, engine
from holdfast.http.foreign import ai_sdk, answering

pytestmark = pytest.mark.asyncio(loop_scope="module")

Headers = dict[str, str]


def body(text: str = "/demo rate=10000 tokens=2", **fields: Any) -> bytes:
    message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": text}]}
    return msgspec.json.encode({"id": "tide", "messages": [message], **fields})


STALL = "/demo rate=10000 tokens=3 stall_at=2"
STALLED = body(STALL)


async def ask(
    server: harness.Running, asked: bytes, headers: Headers | None = None
) -> harness.Response:
    return await harness.ask(server.port, "POST", "/api/chat", headers, asked)


async def stalled(
    server: harness.Running, asked: bytes = STALLED, headers: Headers | None = None
) -> harness.Reader:
    """A reader of an answer that stands still."""
    reader = await harness.Reader.open(server.port, "POST", "/api/chat", headers, asked)
    return await reader.until(lambda one: b"text-delta" in one.body)


async def call(
    server: harness.Running,
    method: str,
    chat: str,
    what: str,
    headers: Headers | None = None,
) -> harness.Response:
    target = f"/api/chat/{urllib.parse.quote(chat, safe='')}/{what}"
    body = b"" if method == "POST" else None
    async with asyncio.timeout(harness.PATIENCE):  # heartbeats put no wait off
        return await harness.ask(server.port, method, target, headers, body)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    config = harness.configured(server={"heartbeat_interval": 0.1})
    async with harness.running(config) as found:
        yield found


@pytest.fixture
def chat(request: pytest.FixtureRequest) -> str:
    """Of this test alone, as the server is that of others too."""
    return re.sub(r"\W", "-", request.node.name)


async def test_headers_and_frames(server: harness.Running) -> None:
    answer = await ask(server, body())
    assert (answer.status, answer.clean) == (200, True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    stream = answer.headers["x-stream-id"]
    first, *_, last = answer.blocks
    assert first == b'data: {"type":"start","messageId":"msg_%b"}\n\n' % stream.encode()
    assert last == b"data: [DONE]\n\n"


async def test_every_stream_can_be_read_natively_and_knows_its_chat(
    server: harness.Running, chat: str
) -> None:
    answer = await ask(server, body(id=chat))
    stream = answer.headers["x-stream-id"]
    natively = await harness.ask(server.port, "GET", f"/v1/streams/{stream}")
    assert natively.json()["status"] == "completed"
    listed = await harness.ask(server.port, "GET", f"/v1/streams?session_id={chat}")
    assert [one["id"] for one in listed.json()["streams"]] == [stream]


async def test_the_answer_as_one_message(server: harness.Running) -> None:
    answer = await ask(server, body(stream=False))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    told = answer.json()
    assert told["id"] == f"msg_{answer.headers['x-stream-id']}"
    assert told["role"] == "assistant"
    step, text = told["parts"]
    assert step == {"type": "step-start"}
    assert (text["type"], text["state"]) == ("text", "done")
    failed = await ask(server, body("/demo rate=10000 error_at=1", stream=False))
    assert (failed.status, failed.json()["code"]) == (502, "provider_failed")


async def test_a_cut_in_mid_answer_is_no_clean_end_and_says_nothing(
    server: harness.Running,
) -> None:
    reader = await stalled(server)
    server.service.connections.dismiss("draining")
    whole = await reader.rest()
    assert not whole.clean
    last = whole.body.replace(b": ping\n", b"").split(b"\n\n")[-2]
    assert last.startswith(b'data: {"type":"text-delta"')


async def test_an_error_is_the_last_frame(server: harness.Running) -> None:
    answer = await ask(server, body("/demo rate=10000 error_at=2"))
    assert (answer.status, answer.clean) == (200, True)
    assert b'"type":"error"' in answer.blocks[-1]
    assert b"[DONE]" not in answer.body


async def test_coming_back_and_stopping(server: harness.Running, chat: str) -> None:
    for method, what in (("GET", "stream"), ("POST", "stop")):
        assert (await call(server, method, chat, what)).status == 204
    reader = await stalled(server, body(STALL, id=chat))
    target = f"/api/chat/{chat}/stream"
    head = await harness.ask(server.port, "HEAD", target)
    assert (head.status, head.headers["x-stream-id"]) == (200, reader.headers["x-stream-id"])
    again = await harness.Reader.open(server.port, "GET", target)
    await again.until(lambda one: b"text-delta" in one.body)
    assert again.status == 200
    assert again.headers["x-stream-id"] == reader.headers["x-stream-id"]
    assert again.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert (await call(server, "POST", chat, "stop")).status == 202
    ends = [await one.rest() for one in (reader, again)]
    for end in ends:
        assert end.clean
        assert end.body.endswith(b'data: {"type":"abort"}\n\ndata: [DONE]\n\n')
    for method, what in (("POST", "stop"), ("GET", "stream"), ("HEAD", "stream")):
        assert (await call(server, method, chat, what)).status == 204
    late = await harness.ask(server.port, "GET", f"{target}?finished=true")
    assert late.body == ends[1].body.replace(b": ping\n", b"")


async def test_coming_back_and_stopping_before_the_first_word(
    server: harness.Running, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that is loaded again while the model still thinks."""
    monkeypatch.setattr(answering, "HOLD_SECONDS", 0.01)
    silent = body("/demo rate=10000 tokens=3 stall_at=0", id=chat)
    reader = await harness.Reader.open(server.port, "POST", "/api/chat", None, silent)
    await reader.until(lambda one: b"start-step" in one.body)
    again = await harness.Reader.open(server.port, "GET", f"/api/chat/{chat}/stream")
    await again.until(lambda one: b"start-step" in one.body)
    assert again.status == 200
    assert (await call(server, "POST", chat, "stop")).status == 202
    for one in (reader, again):
        assert (await one.rest()).body.endswith(b'data: {"type":"abort"}\n\ndata: [DONE]\n\n')


IDS = ("a/b", "a%2Fb", "ü ?#%", "x" * 256, "stream", "..x", "\0")


@pytest.mark.parametrize("chat", IDS)
async def test_ids_of_chats_are_whatever_an_application_takes(
    server: harness.Running, chat: str
) -> None:
    reader = await stalled(server, body(STALL, id=chat))
    assert (await call(server, "POST", chat, "stop")).status == 202
    await reader.rest()
    assert (await call(server, "GET", "x" * 257, "stream")).status == 204


@pytest.mark.parametrize("served_by", ["httptools", "hypercorn"])
@pytest.mark.parametrize("way", [mounting.alone, mounting.included, mounting.within])
async def test_ids_of_chats_under_servers_that_are_not_ours(
    way: mounting.Way, served_by: str
) -> None:
    async with mounting.serving(way(app.asgi(harness.configured())), served_by) as served:
        for chat in IDS:
            at, asked = f"{served.at}/api/chat", body(STALL, id=chat)
            reader = await harness.Reader.open(served.port, "POST", at, {}, asked)
            await reader.until(lambda one: b"text-delta" in one.body)
            stop = f"{at}/{urllib.parse.quote(chat, safe='')}/stop"
            assert (await harness.ask(served.port, "POST", stop, {}, b"")).status == 202, chat
            await reader.rest()


@pytest.mark.parametrize(("others", "status"), [(2, 202), (3, 204)])
async def test_a_chat_is_found_among_other_streams_of_its_session(
    server: harness.Running,
    chat: str,
    monkeypatch: pytest.MonkeyPatch,
    others: int,
    status: int,
) -> None:
    """Among as many as are looked at."""
    monkeypatch.setattr(ai_sdk, "LOOKED_AT", 3)
    reader = await stalled(server, body(STALL, id=chat))
    for _ in range(others):
        natively = asking.demo("tokens=1", metadata={"session_id": chat})
        await harness.ask(server.port, "POST", "/v1/streams", {}, natively)
    stopped = await call(server, "POST", chat, "stop")
    assert stopped.status == status
    if status == 202:
        assert stopped.headers["x-stream-id"] == reader.headers["x-stream-id"]
    await reader.close()


async def test_any_key_is_taken_where_nobody_needs_one(server: harness.Running) -> None:
    answer = await ask(server, body(), {"Authorization": "Bearer whatever"})
    assert answer.status == 200


async def test_somebody_elses_chat_is_none() -> None:
    async with node_with_keys.serving() as server:
        alice, bob = [await node_with_keys.made(server, "acme", user=name) for name in ("a", "b")]
        reader = await stalled(server, headers=alice.headers)
        for method, what in (("GET", "stream"), ("POST", "stop")):
            theirs = await call(server, method, "tide", what, bob.headers)
            never = await call(server, method, "never", what, bob.headers)
            assert theirs.status == never.status == 204
            assert theirs.body == never.body
            assert theirs.headers.keys() == never.headers.keys()
        # Bob may call a chat so, too.
        own = await stalled(server, headers=bob.headers)
        assert (await call(server, "POST", "tide", "stop", bob.headers)).status == 202
        assert (await own.rest()).clean
        assert not reader.ended
        assert (await call(server, "POST", "tide", "stop", alice.headers)).status == 202
        await reader.rest()


async def test_each_route_needs_its_scope() -> None:
    async with node_with_keys.serving() as server:
        reader = await node_with_keys.made(server, "acme", scopes=("read",))
        writer = await node_with_keys.made(server, "acme", scopes=("generate",))
        assert (await ask(server, body(), reader.headers)).status == 403
        assert (await call(server, "POST", "tide", "stop", reader.headers)).status == 403
        refused = await call(server, "GET", "tide", "stream", writer.headers)
        assert (refused.status, refused.json()["code"]) == (403, "forbidden")
        assert (await call(server, "GET", "tide", "stream", reader.headers)).status == 204


async def test_who_comes_back_and_finds_no_place_is_told_so() -> None:
    """In a status: the page shows it as an error, and may ask again."""
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, "acme", connections=1)
        reader = await stalled(server, headers=key.headers)
        refused = await call(server, "GET", "tide", "stream", key.headers)
        assert (refused.status, refused.json()["code"]) == (429, "connection_limit")
        assert int(refused.headers["retry-after"]) >= 1
        await call(server, "POST", "tide", "stop", key.headers)
        await reader.rest()


async def test_a_page_of_another_origin() -> None:
    config = harness.configured(server={"cors_origins": ["https://app.example"]})
    async with harness.running(config) as server:
        asked = {
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,authorization",
        }
        allowed = await harness.ask(server.port, "OPTIONS", "/api/chat", asked)
        assert allowed.status == 200
        answer = await ask(server, body(), {"Origin": "https://app.example"})
        assert answer.headers["access-control-allow-origin"] == "https://app.example"


async def test_a_chat_survives_its_node(tmp_path: Path) -> None:
    """What was said before it died is there, and the page comes back to it."""
    url = f"sqlite:///{tmp_path}/log.db"
    async with harness.running(harness.configured(url)) as server:
        reader = await stalled(server, body("/demo rate=200 tokens=60"))
        stream = reader.headers["x-stream-id"]
    assert not (await reader.rest()).clean
    async with harness.running(harness.configured(url)) as server:
        async with asyncio.timeout(harness.PATIENCE):
            async for _ in server.service.events(events.stream_id(stream)):
                pass
        late = await harness.ask(server.port, "GET", "/api/chat/tide/stream?finished=true")
        whole = await server.service.get(events.stream_id(stream))
        assert whole.status == "completed"
        assert late.body.startswith(bytes(reader.body).replace(b": ping\n", b""))
        assert late.body.endswith(b"data: [DONE]\n\n")


async def test_a_page_comes_back_to_any_node(valkey: redis_servers.Server) -> None:
    """At once, while one of them writes the answer; what stops it there stops it."""
    where = address.Address((("127.0.0.1", valkey.port),), database=redis_servers.next_database())
    async with contextlib.AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(
                harness.running_on(
                    engine.RedisLog(where), harness.configured(), watch.POLL_INTERVAL
                )
            )
            for _ in range(2)
        ]
        reader = await stalled(first)
        again = await harness.Reader.open(second.port, "GET", "/api/chat/tide/stream")
        await again.until(lambda one: b"text-delta" in one.body)
        assert (await call(second, "POST", "tide", "stop")).status == 202
        ends = [await one.rest() for one in (reader, again)]
    assert ends[0].body == ends[1].body
    assert ends[0].body.endswith(b"data: [DONE]\n\n")

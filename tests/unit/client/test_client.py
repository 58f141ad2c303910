"""What the client sends, and what it refuses to send."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.client import scripted
from tests.unit.transport import certificates

from holdfast import client, errors, events, transport

SNAPSHOT = f"GET /v1/streams/{scripted.STREAM} HTTP/1.1"
CANCEL = f"POST /v1/streams/{scripted.STREAM}/cancel HTTP/1.1"


async def sent(**wanted: Any) -> scripted.Asked:
    async with (
        scripted.serving(scripted.plain()) as server,
        scripted.connected(server, under="/", api_key="k-1") as opened,
        opened.stream(**wanted),
    ):
        return server.asked[0]


async def test_what_asking_sends() -> None:
    asked = await sent(model="demo", prompt="Why?", provider="demo", temperature=0.5, stop=None)
    assert asked.line == "POST /v1/streams HTTP/1.1"
    assert json.loads(asked.body) == {
        "model": "demo",
        "messages": [{"role": "user", "content": "Why?"}],
        "provider": "demo",
        "temperature": 0.5,
    }
    assert asked.headers["accept"] == "text/event-stream"
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["authorization"] == "Bearer k-1"
    assert len(asked.headers["idempotency-key"]) == 32


async def test_messages_and_key_go_as_they_are() -> None:
    messages = [{"role": "system", "content": "𝄞"}, {"role": "user", "content": []}]
    asked = await sent(model="m", messages=messages, idempotency_key="mine")
    assert json.loads(asked.body) == {"model": "m", "messages": messages}
    assert asked.headers["idempotency-key"] == "mine"


async def test_every_answer_has_a_key_of_its_own() -> None:
    async with scripted.serving(scripted.plain()) as server, scripted.connected(server) as opened:
        for _ in range(2):
            async with opened.stream(**scripted.PROMPT):
                pass
    assert len({asked.headers["idempotency-key"] for asked in server.asked}) == 2
    assert all("authorization" not in asked.headers for asked in server.asked)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"prompt": "a", "messages": []},
        {"prompt": "a", "metadata": object()},
        {"prompt": "\ud83d"},
        {"prompt": "a", "idempotency_key": "a\r\nX: y"},
        {"prompt": "a", "idempotency_key": "ключ"},
    ],
)
async def test_what_cannot_be_sent_is_refused_at_the_call(wanted: dict[str, Any]) -> None:
    async with client.AsyncClient("http://127.0.0.1:1") as opened:
        with pytest.raises(errors.InvalidField):
            opened.stream(model="m", **wanted)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("127.0.0.1:8080", None),
        ("ftp://127.0.0.1", None),
        ("http://user:secret@127.0.0.1", None),
        ("http://127.0.0.1", "secret\n"),
    ],
)
def test_a_bad_url_or_key_is_refused_and_not_quoted(url: str, key: str | None) -> None:
    with pytest.raises(errors.InvalidField) as refused:
        client.AsyncClient(url, key)
    assert "secret" not in refused.value.message


async def test_the_way_through_a_proxy() -> None:
    answer = scripted.says(scripted.refusal(200, b'{"a": 1}'))
    async with scripted.serving(scripted.plain(), answer, answer) as server:
        ways = transport.Proxies(http=server.url.replace("//", "//u:p@"), no=("direct.test",))
        async with client.AsyncClient("http://answers.test", proxies=ways) as opened:
            assert await opened.get(scripted.STREAM) == {"a": 1}
        with client.Client("http://answers.test", proxies=ways) as waiting:
            got = await asyncio.to_thread(waiting.get, scripted.STREAM)
            assert got == {"a": 1}
    for asked in server.asked:
        assert asked.line == f"GET http://answers.test/v1/streams/{scripted.STREAM} HTTP/1.1"
        assert asked.headers["proxy-authorization"] == "Basic dTpw"


@pytest.mark.parametrize(
    "place",
    ["{id}", "/v1/streams/{id}", "/v1/streams/{id}/events", "{url}/v1/streams/{id}",
     "{url}/v1/streams/{id}/events"],
)  # fmt: skip
async def test_a_stream_is_named_by_id_url_or_location(place: str) -> None:
    async with scripted.serving(scripted.plain()) as server, scripted.connected(server) as opened:
        named = place.format(id=scripted.STREAM, url=server.url)
        async with opened.resume(named) as answer:
            assert answer.stream_id == scripted.STREAM
            assert (await answer.final()).choice().content == "".join(scripted.TEXTS)
    assert "last-event-id" not in server.asked[0].headers


async def test_a_server_behind_a_path() -> None:
    async with scripted.serving(scripted.plain()) as server:
        base = f"{server.url}/llm"
        for named in (f"{base}/v1/streams/{scripted.STREAM}", f"/llm/v1/streams/{scripted.STREAM}"):
            server.scenes = [scripted.says(scripted.refusal(200, b'{"a": 1}'))]
            async with scripted.connected(server, under="/llm") as opened:
                assert await opened.get(named) == {"a": 1}
    lines = {asked.line for asked in server.asked}
    assert lines == {f"GET /llm/v1/streams/{scripted.STREAM} HTTP/1.1"}


@pytest.mark.parametrize(
    "place",
    ["http://127.0.0.1:2/v1/streams/{id}", "http://127.0.0.1:1.evil.test/v1/streams/{id}",
     "https://127.0.0.1:1/v1/streams/{id}", "/v1/streams/{id}/cancel", "/v1/streams/{id}?x=1",
     "x/v1/streams/{id}"],
)  # fmt: skip
async def test_another_server_s_stream_is_refused(place: str) -> None:
    async with client.AsyncClient("http://127.0.0.1:1", "secret") as opened:
        with pytest.raises(errors.InvalidField):
            opened.resume(place.format(id=scripted.STREAM))


@pytest.mark.parametrize(
    "stream", ["", "short", "../../etc/passwd", "/v1/streams/", "x" * 26 + "\n"]
)
async def test_an_id_that_cannot_exist_is_not_asked_for(stream: str) -> None:
    async with client.AsyncClient("http://127.0.0.1:1") as opened:
        with pytest.raises((errors.StreamNotFound, errors.InvalidField)):
            opened.resume(stream)
        with pytest.raises((errors.StreamNotFound, errors.InvalidField)):
            await opened.cancel(stream)


async def test_a_position_is_a_string_or_a_value() -> None:
    story = scripted.plain()
    at = events.Position(scripted.EPOCH, 2)
    async with scripted.serving(story) as server, scripted.connected(server) as opened:
        for after in (at, str(at), story.id(2)):
            async with opened.resume(scripted.STREAM, after=after) as answer:
                assert (await anext(answer)).seq == 3
        for bad in ("", "2", f"{scripted.STREAM}:2"):
            with pytest.raises(errors.MalformedPosition):
                opened.resume(scripted.STREAM, after=bad)
        with pytest.raises(errors.ForeignPosition):
            opened.resume(scripted.STREAM, after=f"{scripted.OTHER}:{at}")


async def test_get_timeline_and_cancel() -> None:
    got = scripted.says(scripted.refusal(200, b'{"status": "completed"}'))
    told = scripted.says(scripted.refusal(200, b'{"entries": []}'))
    accepted = scripted.says(scripted.refusal(202))
    async with (
        scripted.serving(scripted.plain(), got, told, accepted) as server,
        scripted.connected(server, api_key="k-1") as opened,
    ):
        assert await opened.get(scripted.STREAM) == {"status": "completed"}
        assert await opened.timeline(scripted.STREAM) == {"entries": []}
        assert await opened.cancel(scripted.STREAM) == {}
    timeline = CANCEL.replace("POST", "GET").replace("/cancel", "/timeline")
    assert [asked.line for asked in server.asked] == [SNAPSHOT, timeline, CANCEL]
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer k-1"}


async def test_a_link_is_a_whole_url() -> None:
    made = scripted.says(scripted.refusal(201, b'{"url": "/v1/streams/x/events?signature=y"}'))
    nothing = scripted.says(scripted.refusal(201, b"{}"))
    async with (
        scripted.serving(scripted.plain(), made, nothing) as server,
        scripted.connected(server) as opened,
    ):
        assert await opened.link(scripted.STREAM) == (
            f"{server.url}/v1/streams/x/events?signature=y"
        )
        with pytest.raises(errors.ClientError, match="holds no URL"):
            await opened.link(scripted.STREAM)
    assert {asked.line for asked in server.asked} == {CANCEL.replace("/cancel", "/links")}


async def test_streams_asks_for_a_page_and_gives_it_as_it_is() -> None:
    page = scripted.refusal(200, b'{"streams": [{"new": [1]}], "next": "5-x", "more": 1}')
    async with (
        scripted.serving(scripted.plain(), *[scripted.says(page)] * 2) as server,
        scripted.connected(server, api_key="k-1") as opened,
    ):
        said = {"streams": [{"new": [1]}], "next": "5-x", "more": 1}
        assert await opened.streams() == said
        assert said == await opened.streams(
            status="error", client_id="a b&c", session_id="é", created_from=1, created_to=2,
            limit=3, before="4-y",
        )  # fmt: skip
    assert [asked.line for asked in server.asked] == [
        "GET /v1/streams HTTP/1.1",
        "GET /v1/streams?status=error&client_id=a+b%26c&session_id=%C3%A9&from=1&to=2"
        "&limit=3&before=4-y HTTP/1.1",
    ]
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer k-1"}


async def test_the_first_connection_may_have_a_time_of_its_own() -> None:
    """No server: one try. A server that was there: as long as for any."""
    clock = scripted.Time()
    story = scripted.plain()
    cut = scripted.says(scripted.begin(), scripted.chunk(story.block(1)), reset=True)
    async with (
        scripted.serving(story, cut, scripted.says(scripted.refusal(503))) as server,
        scripted.connected(server, clock, give_up_at_first=0) as opened,
    ):
        async with opened.stream(**scripted.PROMPT) as answer:
            assert await scripted.texts(answer) == list(scripted.TEXTS)
        assert len(clock.slept) == 2
        await server.close()
        with pytest.raises(errors.GaveUp, match="at try 1, after 0 s"):
            await opened.get(scripted.STREAM)
        with pytest.raises(errors.GaveUp, match="at try 1, after 0 s"):
            await opened.resume(scripted.STREAM).__aenter__()
    assert len(clock.slept) == 2


async def test_a_call_is_tried_again_like_an_answer() -> None:
    clock = scripted.Time()
    good = scripted.refusal(200, b'{"a": 1}')
    scenes = [
        scripted.says(),
        scripted.says(good[:-1]),
        scripted.says(scripted.refusal(503, b"", "Retry-After: 2")),
        scripted.says(good),
    ]
    async with (
        scripted.serving(scripted.plain(), *scenes) as server,
        scripted.connected(server, clock) as opened,
    ):
        assert await opened.get(scripted.STREAM) == {"a": 1}
    assert clock.slept == [0.25, 0.5, 3.0]


async def test_a_call_is_refused_or_given_up() -> None:
    clock = scripted.Time()
    problem = b'{"detail": "There is no such stream.", "code": "stream_not_found"}'
    async with (
        scripted.serving(scripted.plain(), scripted.says(scripted.refusal(404, problem))) as server,
        scripted.connected(server, clock) as opened,
    ):
        with pytest.raises(errors.RequestRefused, match="There is no such stream") as refused:
            await opened.get(scripted.STREAM)
        assert (refused.value.status, refused.value.code) == (404, "stream_not_found")
        await server.close()
        with pytest.raises(errors.GaveUp, match="refused the connection"):
            await opened.cancel(scripted.STREAM)
    assert 285.0 < sum(clock.slept) <= 300.0


async def test_a_call_that_is_cancelled_leaves_no_connection() -> None:
    heard, left = asyncio.Event(), asyncio.Event()

    async def mute(connection: scripted.Connection) -> None:
        heard.set()
        await connection.gone()
        left.set()

    async with (
        scripted.serving(scripted.plain(), mute) as server,
        scripted.connected(server) as opened,
    ):
        task = asyncio.create_task(opened.get(scripted.STREAM))
        await heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(left.wait(), 5)


async def test_a_private_authority_is_trusted_where_it_is_named(tmp_path: Path) -> None:
    authority = certificates.Authority(tmp_path)
    server = scripted.Server(scripted.plain())
    await server.open(tls=authority.server("127.0.0.1"))
    for file in (authority.file, str(authority.file)):
        async with (
            client.AsyncClient(server.url, ca_file=file) as opened,
            opened.stream(**scripted.PROMPT) as answer,
        ):
            assert await scripted.texts(answer) == list(scripted.TEXTS)
    async with client.AsyncClient(server.url, give_up_at_first=0) as opened:
        with pytest.raises(errors.GaveUp, match="certificate"):
            await opened.get(scripted.STREAM)
    await server.close()


async def test_a_closed_client_asks_nothing() -> None:
    async with scripted.serving(scripted.plain()) as server:
        opened = client.AsyncClient(server.url)
        await opened.close()
        await opened.close()
        with pytest.raises(errors.ClientError, match="closed"):
            await opened.get(scripted.STREAM)
    assert server.asked == []

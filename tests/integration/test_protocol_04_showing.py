"""PROTOCOL 4, showing and listing: the answer so far, its events by page, the list.

Strategy: what is shown is compared with what a reader of the events got. Lists are filtered in
every way on a server of their own, so that nothing else stands in them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.integration import asking, harness, node_with_keys

from holdfast import events
from holdfast.eventlog import base, reader
from holdfast.metering import turns

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOWN = {
    *("id", "request_id", "status", "provider", "model", "content", "reasoning", "tool_calls"),
    *("refusal", "finish_reason", "provider_finish_reason", "usage", "chunks", "tokens"),
    *("latency_ms", "position", "length", "sha256", "created_at", "completed_at", "attempts"),
    "error",
}
ENTRY = {
    *("id", "request_id", "status", "provider", "model", "client_id", "session_id", "user_id"),
    *("position", "created_at", "completed_at"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with harness.running(harness.configured()) as running:
        yield running
        await asking.idle(running)


async def get(server: harness.Running, target: str) -> Any:
    answer = await harness.ask(server.port, "GET", target)
    assert answer.status == 200
    return answer.json()


async def show(
    server: harness.Running, of: harness.Reader | harness.Response, query: str = ""
) -> Any:
    return await get(server, f"/v1/streams/{harness.stream_of(of)}{query}")


# 4.1


async def test_4_1_the_fields_are_those_of_the_list(server: harness.Running) -> None:
    whole = await asking.finished(server.port, "tokens=20 unicode=1 reasoning=4")
    shown, end = await show(server, whole), harness.said(whole.body)[-1].data
    assert set(shown) == SHOWN
    assert shown["status"] == "completed"
    assert shown["content"] == asking.content(whole.body)
    assert shown["reasoning"]
    assert shown["position"] == asking.last_id(whole.body).partition(":")[2]
    for name in ("usage", "chunks", "length", "sha256", "finish_reason", "provider_finish_reason"):
        assert shown[name] == end[name]
    assert shown["tokens"] == end["usage"]["output_tokens"]
    assert shown["latency_ms"] >= 0
    assert shown["created_at"] <= shown["completed_at"]
    assert (shown["refusal"], shown["tool_calls"]) == ("", [])
    [call] = shown["attempts"]
    assert call.pop("duration_ms") >= 0
    assert call == {
        "number": 1,
        "provider": "demo",
        "model": "demo",
        "status": "completed",
        "error": None,
        "message": "",
        "usage": shown["usage"],
    }


async def test_4_1_while_it_is_written_it_shows_what_there_is(server: harness.Running) -> None:
    reader = await asking.stalled(server.port)
    shown = await show(server, reader)
    text = asking.content(bytes(reader.body))
    assert set(shown) == SHOWN
    assert shown["content"] == text
    assert shown["length"] == len(text)
    assert shown["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert (shown["finish_reason"], shown["completed_at"], shown["error"]) == (None, None, None)
    assert [call["status"] for call in shown["attempts"]] == ["running"]
    await asking.end(server, reader)
    shown = await show(server, reader)
    assert [call["status"] for call in shown["attempts"]] == ["cancelled"]


async def test_4_1_tool_calls_are_whole(server: harness.Running) -> None:
    shown = await show(server, await asking.finished(server.port, "tool=2"))
    for call in shown["tool_calls"]:
        assert set(call) == {"id", "name", "arguments"}
        assert call["arguments"].endswith("}")
    assert len(shown["tool_calls"]) == 2


async def test_4_1_a_refusal_and_an_error_are_shown(server: harness.Running) -> None:
    refused = await show(server, await asking.finished(server.port, "refuse=1"))
    assert refused["refusal"]
    assert refused["content"] == ""
    failed = await show(server, await asking.finished(server.port, "error_at=1"))
    assert failed["error"]["code"] == "provider_failed"
    assert [attempt["error"] for attempt in failed["attempts"]] == ["provider_failed"]


async def test_4_1_more_than_one_choice_is_shown(server: harness.Running) -> None:
    shown = await show(server, await asking.finished(server.port, "tokens=15", n=3))
    assert [choice["choice"] for choice in shown["choices"]] == [0, 1, 2]
    assert shown["choices"][0]["content"] == shown["content"]
    assert len({choice["content"] for choice in shown["choices"]}) == 3


# 4.2


async def test_4_2_the_events_come_by_page(server: harness.Running) -> None:
    whole = await asking.finished(server.port, "tokens=600", flush_interval_ms=0)
    events, after, pages = [], "", 0
    while after is not None:
        shown = await show(server, whole, f"?include=events&after={after}")
        assert len(shown["events"]) <= 256
        events += shown["events"]
        after, pages = shown.get("next_after"), pages + 1
    assert pages == 3
    assert [set(event) for event in events] == [{"event", "id", "ts", "data"}] * len(events)
    of_reader = [(block.event, block.id, block.data) for block in harness.said(whole.body)]
    assert [(event["event"], event["id"], event["data"]) for event in events] == of_reader


async def test_4_2_events_may_be_asked_for_after_an_id(server: harness.Running) -> None:
    whole = await asking.finished(server.port, "tokens=5", flush_interval_ms=0)
    id = harness.position(whole.blocks[2])
    shown = await show(server, whole, f"?include=events&after={id}")
    assert [event["id"] for event in shown["events"]] == [
        harness.position(block) for block in whole.blocks[3:]
    ]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("include=events&after=1-99", 409, "unknown_position"),
        ("include=events&after=x", 400, "malformed_position"),
        (f"include=events&after={'x' * 26}:1-1", 400, "foreign_position"),
        ("include=everything", 400, "invalid_field"),
    ],
)
async def test_4_2_what_cannot_be_shown_is_refused(
    server: harness.Running, query: str, status: int, code: str
) -> None:
    whole = await asking.finished(server.port)
    target = f"/v1/streams/{harness.stream_of(whole)}?{query}"
    answer = await harness.ask(server.port, "GET", target)
    assert (answer.status, answer.json()["code"]) == (status, code)


# 4.3


def ids(page: Any) -> list[str]:
    return [entry["id"] for entry in page["streams"]]


async def test_4_3_the_list_is_filtered_and_paged() -> None:
    async with harness.running(harness.configured()) as server:
        made = []
        for number in range(7):
            body = asking.demo("tokens=1", metadata={"session_id": f"s{number % 2}"})
            reader = await harness.begin(server.port, body, [("X-Client-Id", f"c{number % 3}")])
            made.append(harness.stream_of(await reader.rest()))
        newest = made[::-1]
        page = await get(server, "/v1/streams")
        assert sorted(ids(page)) == sorted(newest)
        assert page["next"] is None
        assert [set(entry) for entry in page["streams"]] == [ENTRY] * 7
        assert set(ids(await get(server, "/v1/streams?client_id=c1"))) == {made[1], made[4]}
        assert set(ids(await get(server, "/v1/streams?session_id=s1"))) == {*made[1::2]}
        assert ids(await get(server, "/v1/streams?client_id=c1&session_id=s0")) == [made[4]]
        assert ids(await get(server, "/v1/streams?client_id=nobody")) == []
        await check_pages(server, ids(page))
        await check_times(server, page["streams"])


async def check_pages(server: harness.Running, newest: list[str]) -> None:
    found: list[str] = []
    page = await get(server, "/v1/streams?limit=3")
    while page["next"] is not None:
        assert len(page["streams"]) == 3
        found += ids(page)
        page = await get(server, f"/v1/streams?limit=3&before={page['next']}")
    assert found + ids(page) == newest


async def check_times(server: harness.Running, entries: list[dict[str, Any]]) -> None:
    stamps = sorted(entry["created_at"] for entry in entries)
    assert [entry["created_at"] for entry in entries] == stamps[::-1]
    assert len(ids(await get(server, "/v1/streams?from=0"))) == 7
    assert ids(await get(server, "/v1/streams?to=0")) == []
    assert ids(await get(server, f"/v1/streams?from={10**15}")) == []
    assert len(ids(await get(server, f"/v1/streams?from=0&to={10**15}"))) == 7


@pytest.mark.parametrize(
    ("status", "options"),
    [("completed", "tokens=1"), ("error", "error_at=0"), ("streaming", "tokens=2 stall_at=1")],
)
async def test_4_3_by_status(server: harness.Running, status: str, options: str) -> None:
    reader = await harness.begin(server.port, asking.demo(options))
    await reader.until(lambda reader: len(reader.blocks) > 1)
    found = await get(server, f"/v1/streams?status={status}")
    assert harness.stream_of(reader) in ids(found)
    assert {entry["status"] for entry in found["streams"]} == {status}
    await asking.end(server, reader)


@pytest.mark.parametrize(
    "query",
    ["status=well", "limit=x", "limit=-1", "from=yesterday", "to=1.5", "before=1", "before=x-y"],
)
async def test_4_3_a_filter_that_cannot_be_is_refused(server: harness.Running, query: str) -> None:
    answer = await harness.ask(server.port, "GET", f"/v1/streams?{query}")
    assert (answer.status, answer.json()["code"]) == (400, "invalid_field")
    assert f"`{query.partition('=')[0]}`" in answer.json()["detail"]


async def test_4_3_a_page_has_fifty_and_at_most_200(server: harness.Running) -> None:
    body = asking.demo("tokens=0", metadata={"session_id": "many"})
    async with asyncio.TaskGroup() as group:
        for _ in range(203):
            group.create_task(harness.ask(server.port, "POST", "/v1/streams", None, body))
    for query, size in (("", 50), ("&limit=100000", 200)):
        page = await get(server, f"/v1/streams?session_id=many{query}")
        assert len(ids(page)) == size
        rest = await get(server, f"/v1/streams?session_id=many&limit=200&before={page['next']}")
        assert len(ids(rest)) == 203 - size


# 4.4


def whats(told: Any) -> list[str]:
    return [entry["what"] for entry in told["entries"]]


async def test_4_4_a_timeline_grows_with_its_stream(server: harness.Running) -> None:
    reader = await asking.stalled(server.port)
    told = await show(server, reader, "/timeline")
    assert (told["status"], whats(told)[0]) == ("streaming", "start")
    assert sorted(whats(told)) == ["connection_opened", "first_chunk", "start"]
    for entry in told["entries"]:
        assert set(entry) == {"at", "after_ms", "what", "detail"}
    await asking.end(server, reader)
    after = await show(server, reader, "/timeline")
    assert after["status"] == "cancelled"
    assert after["entries"][:3] == told["entries"]
    assert set(whats(after)[3:]) == {"connection_closed", "cancelled"}
    id = reader.headers["x-connection-id"]
    [closed] = [one for one in after["entries"] if one["what"] == "connection_closed"]
    assert (closed["detail"]["connection_id"], closed["detail"]["status"]) == (id, "disconnected")


@pytest.mark.parametrize("prompt", ["tokens=2", "tokens=3 error_at=1"])
async def test_4_4_a_stream_of_another_api_has_one_too(
    server: harness.Running, prompt: str
) -> None:
    whole = await harness.ask(
        server.port, "POST", "/v1/chat/completions", None, asking.demo(prompt)
    )
    assert whole.status in (200, 500, 502)
    told = await show(server, whole, "/timeline")
    assert whats(told)[:2] == ["start", "first_chunk"]
    assert told["status"] == ("error" if "error" in prompt else "completed")
    assert "text" not in str(told)


async def test_few_answers_are_put_together_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may be as large as an answer may be, and who asks may ask often."""
    go, under_way = asyncio.Event(), 0
    read = reader.LogSource.read

    async def slow(source: reader.LogSource, after: events.Position) -> base.Page:
        nonlocal under_way
        under_way += 1
        await go.wait()
        return await read(source, after)

    async with harness.running(harness.configured()) as server:
        stream = harness.stream_of(await asking.finished(server.port))
        monkeypatch.setattr(reader.LogSource, "read", slow)
        over = 3
        asked = [
            asyncio.create_task(harness.ask(server.port, "GET", f"/v1/streams/{stream}"))
            for _ in range(turns.MAX_WAITING + over)
        ]
        await asking.until(lambda: sum(one.done() for one in asked) == over)
        assert (await harness.ask(server.port, "GET", "/healthz")).status == 200
        assert under_way == 1
        go.set()
        statuses = [(await one).status for one in asked]
        assert (statuses.count(200), statuses.count(503)) == (turns.MAX_WAITING, over)
        assert under_way == turns.MAX_WAITING


async def test_nobody_waits_behind_the_many_answers_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, read, began = asyncio.Event(), reader.LogSource.read, list[str]()

    async def slow(source: reader.LogSource, after: events.Position) -> base.Page:
        began.append(source._stream)
        await gate.wait()
        return await read(source, after)

    async with node_with_keys.serving() as server:
        loud, quiet = [await node_with_keys.made(server, tenant) for tenant in ("loud", "quiet")]
        streams = []
        for key in (loud, quiet):
            made = await node_with_keys.create(server, key, asking.demo("tokens=2"))
            streams.append(str(made.json()["id"]))
        await asking.idle(server)
        monkeypatch.setattr(reader.LogSource, "read", slow)
        paths = [f"/v1/streams/{stream}" for stream in streams]
        asked = [
            asyncio.create_task(harness.ask(server.port, "GET", paths[0], loud.headers))
            for _ in range(20)
        ]
        await asking.until(lambda: began == [streams[0]])
        asked.append(asyncio.create_task(harness.ask(server.port, "GET", paths[1], quiet.headers)))
        await asking.until(lambda: began == streams)
        gate.set()
        assert {(await one).status for one in asked} == {200}

"""PROTOCOL 8, live: an event a second that says how all is; what one stream's readers were sent.

Strategy: what is told is compared with what clients have on their side of the wire.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.integration import asking, harness, node_with_keys

from holdfast import endings
from holdfast.http import live


async def shown(server: harness.Running, target: str) -> Any:
    answer = await harness.ask(server.port, "GET", target)
    assert answer.status == 200, answer.body
    return answer.json()


async def watch(server: harness.Running, **headers: str) -> harness.Reader:
    return await harness.Reader.open(server.port, "GET", "/v1/metrics/live", headers)


def chunks(body: bytes) -> int:
    return sum(one.event == "chunk" for one in harness.said(body))


def frames(reader: harness.Reader) -> list[Any]:
    said = harness.said(bytes(reader.body))
    assert {one.event for one in said} <= {"snapshot", "reconnect"}
    return [one.data for one in said if one.event == "snapshot"]


async def farewell(reader: harness.Reader) -> str:
    """Why the server sends it away."""
    answer = await reader.rest()
    assert not answer.clean
    (said,) = harness.said(asking.without_retry(answer.blocks[-1]))
    assert said.event == "reconnect"
    return str(said.data["reason"])


async def test_8_4_who_watches_sees_what_clients_see_and_counts_as_no_reader() -> None:
    async with harness.running(harness.configured()) as server:
        watcher = await watch(server)
        assert watcher.headers["content-type"].startswith("text/event-stream")
        await watcher.until(asking.has(1))
        await asking.finished(server.port, "tokens=40 rate=10000")
        await asking.finished(server.port, "tokens=3 error_at=1")
        reader = await asking.stalled(server.port)
        await watcher.until(lambda seen: frames(seen)[-1]["totals"]["streams"]["active"] == 1)
        found, sums = frames(watcher)[-1], await shown(server, "/v1/metrics")
        assert found["totals"]["streams"] == sums["streams"]
        assert found["totals"]["connections"] == sums["connections"]
        assert (found["totals"]["errors"], sums["errors"]) == (1, {"provider_failed": 1})
        assert (found["now"]["streams_active"], found["now"]["connections_active"]) == (1, 1)
        (demo,) = (one for one in found["providers"] if one["name"] == "demo")
        assert (demo["calls"], demo["errors"], demo["active"]) == (3, 1, 1)
        assert demo["first_chunk_ms"]["count"] == 2  # of calls that have ended
        assert sums["calls"]["demo/demo"]["begun"] == 3
        assert [(one["id"], one["answered"]) for one in found["nodes"]] == [("this", True)]
        assert sum(one["chunks_per_second"] > 0 for one in map(_now, frames(watcher))) >= 1
        await asking.end(server, reader)
        await watcher.close()
        late = await watch(server)
        await late.until(asking.has(1))
        assert frames(late)[0]["history"][0] == _now(frames(watcher)[0])
        await late.close()


def _now(frame: Any) -> Any:
    return frame["now"]


async def test_8_4_who_watches_is_sent_away_as_the_server_stops() -> None:
    async with harness.running(harness.configured()) as server:
        watcher = await watch(server)
        await watcher.until(asking.has(1))
        await server.service.drain(0)
        assert await farewell(watcher) == endings.DRAINING


async def test_8_4_who_may_not_any_more_is_sent_away() -> None:
    async with node_with_keys.serving() as server:
        admin = await node_with_keys.made(server, scopes=("admin",))
        watcher = await watch(server, **admin.headers)
        await watcher.until(asking.has(1))
        access = server.service.access
        assert access is not None
        await access.keyring.archive.revoke(admin.id, 1)
        assert await farewell(watcher) == endings.ACCESS_ENDED


async def test_8_4_head_has_the_headers_and_an_end() -> None:
    async with harness.running(harness.configured()) as server:
        answer = await harness.ask(server.port, "HEAD", "/v1/metrics/live")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/event-stream")


async def test_8_4_a_watcher_that_leaves_makes_room() -> None:
    async with harness.running(harness.configured()) as server:
        watchers = await asyncio.gather(*(watch(server) for _ in range(live.WATCHERS)))
        assert await farewell(await watch(server)) == "overloaded"
        await asyncio.gather(*(one.close() for one in watchers))
        shown_again = False
        while not shown_again:
            another = await watch(server)
            await another.until(asking.has(1))
            shown_again = b"snapshot" in another.body
            await another.close()


async def test_8_5_a_stream_tells_what_its_readers_were_sent() -> None:
    async with harness.running(harness.configured()) as server:
        first = await asking.finished(server.port, "tokens=30 rate=10000")
        stream = harness.stream_of(first)
        middle = harness.position(harness.blocks(first.body)[2])
        assert middle is not None
        again = await (await harness.resume(server.port, middle, "header")).rest()
        await asking.idle(server)
        found = await shown(server, f"/v1/streams/{stream}/metrics")
        bodies = (first.body, again.body)
        performance, readers = found["performance"], found["connections"]
        assert performance["bytes"] == sum(map(len, bodies))
        assert performance["chunks"] == sum(map(chunks, bodies))
        assert found["truncated"] is False
        assert (readers["opened"], readers["resumed"], readers["active"]) == (2, 1, 0)
        assert (readers["missed"], readers["dropped"]) == (0, 0)
        quality = found["quality"]
        assert (quality["error_rate"], quality["completion_rate"]) == (0.0, 1.0)
        assert quality["reconnection_rate"] == 0.5
        complete = json.loads(
            harness.blocks(first.body)[-1].split(b"\n")[1].removeprefix(b"data: ")
        )
        assert abs(quality["average_duration_ms"] - complete["duration_ms"]) <= 50
        assert found["archive_answered"] is True
        one = await shown(server, f"/v1/connections/{again.headers['x-connection-id']}/metrics")
        assert one["performance"]["bytes"] == len(again.body)
        assert one["performance"]["latency_ms"]["count"] == 0  # all of it was there before
        assert one["quality"]["completion_rate"] == 1.0
        assert one["connections"]["resumed"] == 1
        assert one["network"]["average_rtt_ms"] > 0
        lived = await shown(server, f"/v1/connections/{first.headers['x-connection-id']}/metrics")
        assert lived["performance"]["latency_ms"]["count"] >= 1
        assert found["performance"]["latency_ms"] == lived["performance"]["latency_ms"]


async def test_8_5_who_went_on_behind_what_is_not_there_is_counted() -> None:
    async with harness.running(harness.configured()) as server:
        whole = await asking.finished(server.port, "tokens=3")
        lost = f"{harness.stream_of(whole)}:99999-2"
        await (await harness.resume(server.port, lost, "header")).rest()
        await asking.idle(server)
        readers = (await shown(server, "/v1/metrics"))["connections"]
        assert (readers["resumed"], readers["missed"]) == (1, 1)


async def test_8_3_each_step_of_a_period_is_a_point() -> None:
    async with harness.running(harness.configured()) as server:
        whole = await asking.finished(server.port)
        await asking.idle(server)
        found = await shown(server, "/v1/metrics?start=0&step=86400")
        assert len(found["points"]) == 32
        assert found["points"][-1]["performance"]["bytes"] == len(whole.body)
        assert sum(point["streams"]["completed"] for point in found["points"]) == 1
        for query in ("step=60", "start=0&step=61", "start=0&step=30", "start=0&step=60"):
            refused = await harness.ask(server.port, "GET", f"/v1/metrics?{query}")
            assert (refused.status, refused.json()["code"]) == (400, "invalid_field")

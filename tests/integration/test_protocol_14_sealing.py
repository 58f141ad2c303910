"""PROTOCOL 14, sealing: what is destroyed is gone, and what cannot be read ends its readers.

Strategy: a node on a real SQLite log with a key ring, whose file is spoilt or whose key is taken
away where a test wants to see what becomes of its readers. Streams that only fail to be read are
those of a memory log that does so.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration import asking, conftest, failing_log, harness, node_with_keys

from holdfast import app, client, errors, events, resealing
from holdfast.eventlog import base, memory
from holdfast.sealing import ring

OLD, NEW = ring.RingKey("0" * 16, b"o" * 32, 0), ring.RingKey("1" * 16, b"n" * 32, 1)
OWN = ring.RingKey("2" * 16, b"t" * 32, 0, "acme")


def config(folder: Path, *keys: ring.RingKey, **tables: Any) -> Any:
    """A SQLite log in this folder, sealed by these keys; plain without one."""
    if keys:
        tables["sealing"] = {"ring": ring.dump(ring.Ring(keys)).decode(), "rotate_every": 0}
    return harness.configured(f"sqlite:///{folder}/log.db", **tables)


@contextlib.asynccontextmanager
async def running(given: Any) -> AsyncIterator[harness.Running]:
    async with harness.running(given) as server:
        yield server
        await asking.idle(server)


async def ask(server: harness.Running, method: str, path: str, **headers: str) -> harness.Response:
    return await harness.ask(server.port, method, path, headers)


async def destroyed(server: harness.Running, path: str, **headers: str) -> list[int]:
    """The statuses of a DELETE that is asked again until it is done."""
    statuses = [(await ask(server, "DELETE", path, **headers)).status]
    while statuses[-1] == 202:
        statuses.append((await ask(server, "DELETE", path, **headers)).status)
    return statuses


def lose(folder: Path, key: ring.RingKey) -> None:
    """Both stores start without this key from now on."""
    for name in ("log.db", "log-archive.db"):
        with contextlib.closing(sqlite3.connect(folder / name)) as opened:
            opened.execute("DELETE FROM guard WHERE id = ?", (key.id,))
            opened.commit()


def spoil(folder: Path, stream: str) -> None:
    """One bit of the stream's record."""
    with contextlib.closing(sqlite3.connect(folder / "log.db")) as opened:
        (record,) = opened.execute(
            "SELECT events FROM record WHERE stream = ?", (stream,)
        ).fetchone()
        spoilt = record[:-20] + bytes((record[-20] ^ 1,)) + record[-19:]
        opened.execute("UPDATE record SET events = ? WHERE stream = ?", (spoilt, stream))
        opened.commit()


async def unreadable(server: harness.Running, code: str) -> float:
    """How often the node says that something could not be read."""
    page = (await ask(server, "GET", "/metrics")).body.decode()
    found = re.search(rf'^holdfast_unreadable_total{{kind="{code}"}} (\S+)$', page, re.MULTILINE)
    assert found is not None
    return float(found[1])


# 14.1


@pytest.mark.parametrize("keys", [(OLD,), ()], ids=["sealed", "plain"])
async def test_14_1_what_is_destroyed_is_gone_for_its_owner_and_never_was_for_others(
    tmp_path: Path, keys: tuple[ring.RingKey, ...]
) -> None:
    async with running(config(tmp_path, *keys)) as server:
        mine = await node_with_keys.made(server, "acme")
        other = await node_with_keys.made(server, "else")
        made = [await node_with_keys.create(server, mine, asking.demo()) for _ in range(2)]
        await asking.idle(server)
        gone, stays = (one.json() for one in made)
        assert (await ask(server, "DELETE", gone["url"], **other.headers)).status == 404
        assert await destroyed(server, gone["url"], **mine.headers) == [204]
        paths = (gone["url"], gone["events_url"], f"{gone['url']}/timeline")
        calls = [("DELETE", gone["url"]), ("POST", f"{gone['url']}/cancel")]
        for method, path in (*calls, *(("GET", path) for path in paths)):
            assert (await ask(server, method, path, **mine.headers)).status == 410
            assert (await ask(server, method, path, **other.headers)).status == 404
        listed = (await ask(server, "GET", "/v1/streams", **mine.headers)).json()["streams"]
        assert [one["id"] for one in listed] == [stays["id"]]
        assert (await ask(server, "GET", stays["events_url"], **mine.headers)).status == 200
    async with running(config(tmp_path, *keys)) as server:
        for path in paths:
            assert (await ask(server, "GET", path, **mine.headers)).status == 410


async def test_14_1_what_is_under_way_is_cancelled_first() -> None:
    async with running(harness.configured()) as server:
        reader = await asking.stalled(server.port)
        path = f"/v1/streams/{harness.stream_of(reader)}"
        first = await ask(server, "DELETE", path)
        assert first.status in (202, 204)
        if first.status == 202:
            assert first.json()["id"] == harness.stream_of(reader)
            assert (await destroyed(server, path))[-1] == 204
        said = harness.said((await reader.rest()).body)
        assert said[-1].event in ("error", "reconnect")
        assert (await ask(server, "GET", f"{path}/events")).status == 410


async def test_14_1_the_calls_of_other_apis_do_not_have_it_either() -> None:
    async with running(harness.configured()) as server:
        json = {"Content-Type": "application/json"}
        asked = b'{"model": "demo", "input": "/demo tokens=2 rate=1000"}'
        made = await harness.ask(server.port, "POST", "/v1/responses", json, asked)
        chat = b"""{"id": "tide", "model": "demo", "messages": [{"role": "user", "parts":
            [{"type": "text", "text": "/demo tokens=2 rate=1000"}]}]}"""
        told = await harness.ask(server.port, "POST", "/api/chat", json, chat)
        for answer in (made, told):
            await destroyed(server, f"/v1/streams/{harness.stream_of(answer)}")
        target = f"/v1/responses/{made.json()['id']}"
        for query in ("", "?stream=true", "?stream=true&starting_after=0"):
            answer = await ask(server, "GET", target + query)
            assert (answer.status, answer.json()["error"]["code"]) == (410, "stream_expired")
        assert (await ask(server, "GET", "/api/chat/tide/stream?finished=true")).status == 204


async def test_14_1_a_stream_whose_key_is_gone_is_destroyed_by_who_may(
    tmp_path: Path, logged: conftest.Logged
) -> None:
    async with running(config(tmp_path, OLD, OWN)) as server:
        mine = await node_with_keys.made(server, "acme")
        other = await node_with_keys.made(server, "else")
        path = (await node_with_keys.create(server, mine, asking.demo())).json()["url"]
    lose(tmp_path, OWN)
    async with running(config(tmp_path, OLD)) as server:
        assert (await ask(server, "GET", path, **mine.headers)).json()["code"] == "key_missing"
        assert (await ask(server, "DELETE", path, **other.headers)).status == 404
        assert await destroyed(server, path, **mine.headers) == [204]
        assert (await ask(server, "GET", path, **mine.headers)).status == 410
    asking.expected(logged, "stream_corrupt")


# 14.2 to 14.4


async def passed(server: harness.Running, path: str, body: bytes = b"") -> Any:
    """What a pass that this call begins came to."""
    begun = await harness.ask(server.port, "POST", path, {}, body)
    while begun.status == 409:  # the node's own pass, soon after its start
        begun = await harness.ask(server.port, "POST", path, {}, body)
    assert begun.status == 202, begun.body
    assert begun.json()["pass"]["running"]
    while True:
        told = (await ask(server, "GET", "/v1/seal")).json()
        if not told["pass"]["running"]:
            return told


async def test_14_2_what_lies_under_which_keys_is_told_and_no_key(tmp_path: Path) -> None:
    async with running(config(tmp_path, OLD)) as server:
        await asking.finished(server.port)
        answer = await ask(server, "GET", "/v1/seal")
        told = answer.json()
        assert told["on"] is True
        assert told["keys"] == [{"id": OLD.id, "since": 0, "tenant": ""}]
        assert told["log"] == {"by_key": {OLD.id: 1}, "guards": [OLD.id]}
        assert told["archive"]["by_key"] == {}
        assert told["pass"] is None
        uncounted = (await ask(server, "GET", "/v1/seal?counts=false")).json()
        none = {"by_key": None}
        assert uncounted == {
            **told,
            "log": {**told["log"], **none},
            "archive": {**told["archive"], **none},
        }
        for secret in re.findall(rb'"secret": *"([^"]+)"', ring.dump(ring.Ring((OLD,)))):
            assert secret not in answer.body


async def test_14_3_one_pass_runs_at_a_time(tmp_path: Path) -> None:
    async with running(config(tmp_path, OLD)) as server:
        server.service.seal.last = resealing.Pass("rewrap")
        for path, body in (("rewrap", b""), ("shred", b'{"tenant": "acme"}')):
            again = await harness.ask(server.port, "POST", f"/v1/seal/{path}", {}, body)
            assert (again.status, again.json()["code"]) == (409, "already_running")
        server.service.seal.last = None


async def test_14_3_all_is_brought_under_the_present_key(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as server:
        plain = await asking.finished(server.port)
    async with running(config(tmp_path, OLD)) as server:
        old = await asking.finished(server.port)
    async with running(config(tmp_path, OLD, NEW)) as server:
        told = await passed(server, "/v1/seal/rewrap")
        assert told["log"] == {"by_key": {NEW.id: 2}, "guards": [NEW.id]}
        assert told["archive"]["guards"] == [NEW.id]
        assert {**told["pass"], "done": 0} == {
            "kind": "rewrap",
            "done": 0,
            "left": 0,
            "unreadable": 0,
            "running": False,
            "error": None,
        }
        assert told["pass"]["done"] >= 2
    async with running(config(tmp_path, NEW)) as server:
        for whole in (plain, old):
            path = f"/v1/streams/{harness.stream_of(whole)}/events"
            assert (await ask(server, "GET", path)).body == whole.body


async def test_14_4_all_that_a_tenant_has_is_destroyed_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resealing, "LOOK_AGAIN", 0.01)
    async with running(harness.configured()) as server:
        mine = await node_with_keys.made(server, "acme", user="ann")
        other = await node_with_keys.made(server, "acmes")
        root = await node_with_keys.made(server, "ops", scopes=("admin",))
        for _ in range(3):
            await node_with_keys.create(server, mine, asking.demo())
        path = f"/v1/streams/{await node_with_keys.stalled(server, mine)}"
        stays = (await node_with_keys.create(server, other, asking.demo())).json()
        begun = await harness.ask(
            server.port, "POST", "/v1/seal/shred", root.headers, b'{"tenant": "acme"}'
        )
        assert begun.status == 202
        told = begun.json()["pass"]
        while told["running"]:
            told = (await ask(server, "GET", "/v1/seal", **root.headers)).json()["pass"]
        assert (told["done"], told["left"], told["error"]) == (4, 0, None)
        assert (await ask(server, "GET", path, **mine.headers)).status == 410
        listed = (await ask(server, "GET", "/v1/streams", **root.headers)).json()["streams"]
        assert [one["id"] for one in listed] == [stays["id"]]


async def test_14_what_was_plain_is_sealed_behind_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: conftest.Logged
) -> None:
    monkeypatch.setattr(resealing, "BEGIN_WITHIN", 0.0)
    async with running(config(tmp_path)) as server:
        whole = [await asking.finished(server.port) for _ in range(3)]
        assert (await server.service.log.wrapped_by()) == {"": 3}
    async with running(config(tmp_path, OLD)) as server:
        await asking.until(lambda: any(entry["event"] == "store_sealed" for entry in logged))
        assert (await server.service.log.wrapped_by()) == {OLD.id: 3}
        for one in whole:
            path = f"/v1/streams/{harness.stream_of(one)}/events"
            assert (await ask(server, "GET", path)).body == one.body
    (told,) = (entry for entry in logged if entry["event"] == "store_sealed")
    # What had no record yet when the node ended is sealed by the start itself.
    assert 0 < told["done"] <= 3
    assert (told["left"], told["unreadable"]) == (0, 0)


# 14.5


@pytest.mark.case("4.25")
async def test_14_5_a_damaged_record_is_refused_told_once_and_counted(
    tmp_path: Path, logged: conftest.Logged
) -> None:
    async with running(config(tmp_path, OLD)) as server:
        bad, good = [await asking.finished(server.port) for _ in range(2)]
    spoil(tmp_path, stream := harness.stream_of(bad))
    async with running(config(tmp_path, OLD)) as server:
        path = f"/v1/streams/{stream}"
        after = {"Last-Event-ID": str(harness.position(bad.blocks[1]))}
        answers = [
            await ask(server, "GET", path),
            await ask(server, "GET", f"{path}/timeline"),
            await ask(server, "GET", f"{path}/events"),
            await ask(server, "GET", f"{path}/events", **after),
            await harness.ask(server.port, "POST", "/v1/streams", after, b""),
        ]
        for answer in answers:
            assert (answer.status, answer.json()["code"]) == (503, "log_corrupt")
            assert answer.headers["content-type"] == "application/problem+json"
            assert "retry-after" not in answer.headers
            assert str(tmp_path) not in answer.body.decode()
        assert await unreadable(server, "log_corrupt") == len(answers)
        listed = (await ask(server, "GET", "/v1/streams")).json()["streams"]
        assert {one["id"] for one in listed} == {stream, harness.stream_of(good)}
        whole = await ask(server, "GET", f"/v1/streams/{harness.stream_of(good)}/events")
        assert whole.body == good.body
        async with client.AsyncClient(server.url) as asking_by:
            with pytest.raises(errors.RequestRefused) as refused:
                async with asking_by.resume(stream) as reading:
                    await reading.final()
        assert refused.value.code == "log_corrupt"
    assert len([entry for entry in logged if entry["event"] == "stream_corrupt"]) == 1
    asking.expected(logged, "stream_corrupt")


@pytest.mark.case("4.25")
async def test_14_5_a_key_that_is_gone_is_told_as_such(
    tmp_path: Path, logged: conftest.Logged
) -> None:
    async with running(config(tmp_path, OLD, OWN)) as server:
        mine = await node_with_keys.made(server, "acme")
        made = (await node_with_keys.create(server, mine, asking.demo())).json()
    lose(tmp_path, OWN)
    async with running(config(tmp_path, OLD)) as server:
        for path in (made["url"], made["events_url"], f"{made['url']}/timeline"):
            answer = await ask(server, "GET", path, **mine.headers)
            assert (answer.status, answer.json()["code"]) == (503, "key_missing")
            assert "retry-after" not in answer.headers
        listed = (await ask(server, "GET", "/v1/streams", **mine.headers)).json()["streams"]
        assert [one["id"] for one in listed] == [made["id"]]
    told = [entry for entry in logged if entry["event"] == "stream_corrupt"]
    assert [(entry["stream"], entry["code"]) for entry in told] == [(made["id"], "key_missing")]
    asking.expected(logged, "stream_corrupt", "stream_unreadable")


FAILURES = [errors.LogCorrupt("/srv/log.db, row 7"), errors.KeyMissing("/srv/log.db, row 7")]


def wake(server: harness.Running) -> None:
    for connection in server.service.connections.all():
        connection.wake()


@pytest.mark.parametrize("failure", FAILURES, ids=["damaged", "without its key"])
async def test_14_5_a_reader_in_the_middle_is_told_and_comes_back_to_a_refusal(
    failure: errors.LogCorrupt, logged: conftest.Logged
) -> None:
    log = failing_log.FailingLog()
    async with harness.running_on(log, harness.configured(), 1.0) as server:
        first, other = [await asking.stalled(server.port) for _ in range(2)]
        path = f"/v1/streams/{harness.stream_of(first)}/events"
        second = await harness.Reader.open(server.port, "GET", path)
        await second.until(asking.has(3))
        log.reading = failure
        wake(server)
        for reader in (first, second, other):
            whole = await reader.rest()
            assert whole.clean
            *before, last = harness.said(whole.body)
            assert (last.event, last.id) == ("error", None)
            assert (last.data["code"], last.data["retryable"]) == (failure.code, False)
            assert "/srv" not in last.data["message"]
            assert all(one.id is not None for one in before)
            came_back = {"Last-Event-ID": str(before[-1].id)}
            target = f"/v1/streams/{harness.stream_of(whole)}/events"
            answer = await ask(server, "GET", target, **came_back)
            assert (answer.status, answer.json()["code"]) == (503, failure.code)
        log.reading = None
        await asking.end(server, first, other)
    asking.expected(logged, "stream_corrupt")


async def test_14_5_our_client_takes_it_for_the_end(logged: conftest.Logged) -> None:
    log = failing_log.FailingLog()
    async with harness.running_on(log, harness.configured(), 1.0) as server:
        reader = await asking.stalled(server.port)
        async with (
            client.AsyncClient(server.url) as asking_by,
            asking_by.resume(harness.stream_of(reader)) as answer,
        ):
            while answer.position.seq < 3:
                await anext(answer)
            log.reading = FAILURES[0]
            wake(server)
            with pytest.raises(errors.AnswerFailed) as failed:
                await answer.final()
            assert (failed.value.code, failed.value.retryable) == ("log_corrupt", False)
            assert (answer.position.seq, answer.reconnects) == (3, 0)
        await reader.rest()
        log.reading = None
        await asking.end(server, reader)
    asking.expected(logged, "stream_corrupt")


SAID = "/demo tokens=3 stall_at=2 rate=10000"
FOREIGN = {
    "/v1/chat/completions": (
        b'{"model": "demo", "stream": true, "messages": [{"role": "user", "content": "%b"}]}',
        b'"code":"log_corrupt"',
    ),
    "/v1/messages": (
        b"""{"model": "demo", "stream": true, "max_tokens": 9,
            "messages": [{"role": "user", "content": "%b"}]}""",
        b'"code":"log_corrupt"',
    ),
    "/v1/responses": (b'{"model": "demo", "stream": true, "input": "%b"}', b"response.failed"),
    "/api/chat": (
        b"""{"id": "c", "model": "demo", "messages": [
            {"role": "user", "parts": [{"type": "text", "text": "%b"}]}]}""",
        b'"errorText":"{\\"message\\"',
    ),
}


@pytest.mark.parametrize("path", FOREIGN)
async def test_14_5_other_apis_are_told_as_if_the_answer_had_ended_so(
    path: str, logged: conftest.Logged
) -> None:
    log = failing_log.FailingLog()
    body, told = FOREIGN[path]
    node = app.asgi(harness.configured(), log=log)
    async with harness.serving(node) as server:
        asked = body % SAID.encode()
        json = {"Content-Type": "application/json"}
        reader = await harness.Reader.open(server.port, "POST", path, json, asked)
        await reader.until(lambda reader: len(reader.blocks) >= 2)
        log.reading = FAILURES[0]
        wake(server)
        whole = await reader.rest()
        assert whole.clean
        assert told in whole.blocks[-1]
        assert b"/srv" not in whole.body
        log.reading = None
        await asking.end(server, reader)
    asking.expected(logged, "stream_corrupt")


class Torn(memory.MemoryLog):
    """A log of one orphan: it cannot be read, or not even be claimed."""

    orphan: events.StreamId | None = None
    claiming: errors.LogCorrupt | None = None
    reading: errors.LogCorrupt | None = None
    claims = 0

    async def orphans(self, limit: int) -> list[events.StreamId]:
        found = None if self.orphan is None else self._streams.get(self.orphan)
        return [] if found is None or found.ended_at is not None else [found.id]

    async def claim(self, stream: events.StreamId, ts: int) -> base.Life | None:
        self.claims += 1
        if self.claiming is not None:
            raise self.claiming
        return await super().claim(stream, ts)

    async def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        if self.claiming is not None:
            raise self.claiming
        return await super().stat(stream)

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        if self.reading is not None:
            raise self.reading
        return await super().read(stream, after, limit)


async def orphaned() -> Torn:
    log = Torn()
    stream = events.new_stream_id()
    start = events.Start(stream, "r", "demo", "demo", events.rfc3339(1))
    await log.create(stream, base.Header("", 1, "demo", "demo"), (events.draft(start),), 1)
    log.orphan = stream
    return log


async def test_14_5_an_orphan_that_cannot_be_read_ends_with_why(logged: conftest.Logged) -> None:
    log = await orphaned()
    log.reading = FAILURES[0]
    async with harness.running_on(log, harness.configured(), 1.0) as server:
        assert log.orphan is not None
        stream = log._streams.get(log.orphan)
        assert stream is not None
        await asking.until(lambda: stream.ended_at is not None)
        log.reading = None
        shown = (await ask(server, "GET", f"/v1/streams/{log.orphan}")).json()
        assert (shown["status"], shown["error"]["code"]) == ("error", "log_corrupt")
        assert "/srv" not in shown["error"]["message"]
        assert server.service.insight.counted().errors == {"log_corrupt": 1}
        await asking.idle(server)
    asking.expected(logged, "adoption_failed")


async def test_14_5_an_orphan_without_its_key_is_tried_once(
    monkeypatch: pytest.MonkeyPatch, logged: conftest.Logged
) -> None:
    monkeypatch.setattr("holdfast.producing.writers.ADOPT_EVERY", 0.0)
    log = await orphaned()
    log.claiming = FAILURES[1]
    looks = 0
    orphans = log.orphans

    async def counted(limit: int) -> list[events.StreamId]:
        nonlocal looks
        looks += 1
        return await orphans(limit)

    monkeypatch.setattr(log, "orphans", counted)
    async with harness.running_on(log, harness.configured(), 1.0) as server:
        await asking.until(lambda: looks > 5)
        assert log.claims == 1
        assert await unreadable(server, "key_missing") == 1
        assert server.service.failure is None
    told = [entry["event"] for entry in logged if entry["log_level"] == "error"]
    assert sorted(told) == ["orphan_unknown", "stream_corrupt"]
    asking.expected(logged, *told)

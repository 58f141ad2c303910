"""The server does what `/openapi.json` says, and nothing else.

Strategy: schemathesis drives a server on the log that people run. What it cannot come by (an
answer read to its end, a log that is away) is asked by hand and held to the same checks. Every
call of the table is reached, and every success that the document names is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib import parse

import pytest
from tests.integration import asking, conftest, failing_log, harness, schemathesis_run

from holdfast import errors
from holdfast.eventlog import base, memory, url
from holdfast.http import routes
from holdfast.http.openapi import parameters as given

CREATE, LIST = "POST /v1/streams", "GET /v1/streams"
SHOW, READ = "GET /v1/streams/{stream_id}", "GET /v1/streams/{stream_id}/events"
CANCEL = "POST /v1/streams/{stream_id}/cancel"
LINK = "POST /v1/streams/{stream_id}/links"
READERS = "GET /v1/streams/{stream_id}/connections"
TIMELINE = "GET /v1/streams/{stream_id}/timeline"
CONNECTIONS, CONNECTION = "GET /v1/connections", "GET /v1/connections/{connection_id}"
METRICS, ERRORS = "GET /v1/metrics", "GET /v1/errors"
STREAM_METRICS = "GET /v1/streams/{stream_id}/metrics"
CONNECTION_METRICS = "GET /v1/connections/{connection_id}/metrics"
LIVE = "GET /v1/metrics/live"
ALERTS, SCRAPE = "GET /v1/alerts", "GET /metrics"
DESTROY = "DELETE /v1/streams/{stream_id}"
SEAL, REWRAP, SHRED = "GET /v1/seal", "POST /v1/seal/rewrap", "POST /v1/seal/shred"
HEALTH, READY, DOCUMENT = "GET /healthz", "GET /readyz", "GET /openapi.json"

MAX_BODY = 4096


def wanted(options: str = "tokens=3", **fields: Any) -> dict[str, Any]:
    said = f"What is a holdfast?\n/demo rate=10000 {options}"
    return {"model": "demo", "messages": [{"role": "user", "content": said}], **fields}


@contextlib.asynccontextmanager
async def serving(
    log: base.EventLog,
) -> AsyncIterator[tuple[schemathesis_run.Node, schemathesis_run.ByHand]]:
    async with schemathesis_run.serving(log, server={"max_body": MAX_BODY}) as node:
        yield node, schemathesis_run.ByHand(await schemathesis_run.of(node), node.key)


class Held(memory.MemoryLog):
    """A log whose appends wait for `holding`."""

    holding: asyncio.Event | None = None

    async def append(self, tick: base.Tick) -> list[base.Result]:
        if self.holding is not None:
            await self.holding.wait()
        return await super().append(tick)


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_whatever_is_asked_the_answer_is_as_described(tmp_path: Path) -> None:
    async with schemathesis_run.serving(url.open_log(f"sqlite:///{tmp_path}/log.db")) as node:
        account = await schemathesis_run.driven(await schemathesis_run.of(node))
    assert not account.failures, "\n\n".join(account.failures)
    succeeded = {call for call, status in account.seen if 200 <= status < 300}
    rows = {f"{row.method} {row.path}" for row in routes.ROWS if not row.dialect}
    assert succeeded == rows - set(schemathesis_run.ENDLESS)


async def test_every_success_that_is_described_is_there() -> None:
    async with serving(log := Held()) as (node, hand):
        read = await hand.ask(CREATE, body=wanted(), headers=asking.SSE)
        (stream,), (connection,) = read.headers["x-stream-id"], read.headers["x-connection-id"]
        path, last = {"stream_id": stream}, asking.last_id(read.content)
        assert (await hand.ask(CREATE, headers={"Last-Event-ID": last}, body={})).content == b""
        assert (await hand.ask(READ, path_parameters=path)).content == read.content
        await hand.ask(READ, path_parameters=path, headers={"Last-Event-ID": last})
        await hand.ask(CANCEL, path_parameters=path)
        for call in (SHOW, READERS, TIMELINE, LINK, STREAM_METRICS):
            await hand.ask(call, path_parameters=path)
        for call in (CONNECTION, CONNECTION_METRICS):
            await hand.ask(call, path_parameters={"connection_id": connection})

        key = {"Idempotency-Key": "k"}
        made = [await hand.ask(CREATE, body=wanted("stall_at=1"), headers=key) for _ in range(2)]
        assert [answer.status_code for answer in made] == [201, 200]
        path = {"stream_id": made[0].json()["id"]}
        log.holding = asyncio.Event()
        assert (await hand.ask(CANCEL, path_parameters=path)).status_code == 202
        assert (await hand.ask(DESTROY, path_parameters=path)).status_code == 202
        log.holding.set()
        await asking.idle(node.server)
        assert (await hand.ask(DESTROY, path_parameters=path)).status_code == 204
        for call in (REWRAP, SHRED):
            begun = await hand.ask(call, **named(call, ""))
            while begun.json()["pass"]["running"]:
                begun = await hand.ask(SEAL)
        await hand.ask(SEAL)

        await hand.ask(CREATE, body=wanted("error_at=1"), headers=asking.SSE)
        for call in (LIST, CONNECTIONS, METRICS, ERRORS, ALERTS, SCRAPE, HEALTH, READY, DOCUMENT):
            await hand.ask(call)
        endless = {(call, 200) for call in schemathesis_run.ENDLESS}
        assert hand.seen == schemathesis_run.successes(hand.schema) - endless


HELD = {
    "text": wanted("unicode=1"),
    "reasoning": wanted("reasoning=3"),
    "tool calls": wanted("tool=2"),
    "a refusal": wanted("refuse=1"),
    "two choices": wanted(n=2),
    "an error": wanted("error_at=1 error=overloaded"),
    "another call": wanted(
        "error_at=1", fallback={"mode": "restart", "providers": ["demo/demo-fast"]}
    ),
    "labels": wanted(metadata={"session_id": "s", "user_id": "u"}),
    "many events": wanted("tokens=300", flush_interval_ms=0),
}


@pytest.mark.parametrize("body", HELD.values(), ids=HELD)
async def test_an_answer_is_shown_as_described_whatever_it_holds(body: dict[str, Any]) -> None:
    async with serving(failing_log.FailingLog()) as (_, hand):
        labels = {"X-Client-Id": "me", "X-Request-Id": "a/b=1"}
        read = await hand.ask(CREATE, body=body, headers={**asking.SSE, **labels})
        path = {"stream_id": read.headers["x-stream-id"][0]}
        page = (await hand.ask(SHOW, path_parameters=path, query={"include": "events"})).json()
        assert [event["data"] for event in page["events"]] == [
            said.data for said in harness.said(read.content)
        ][: len(page["events"])]
        await hand.ask(SHOW, path_parameters=path)
        await hand.ask(LIST, query={"client_id": "me", "limit": "1"})
        for call in (READERS, TIMELINE):
            await hand.ask(call, path_parameters=path)


async def test_what_is_refused_is_refused_as_described() -> None:
    async with serving(failing_log.FailingLog()) as (_, hand):
        key = {"Idempotency-Key": "k"}
        made = await hand.ask(CREATE, body=wanted(), headers=key)
        stream = made.json()["id"]
        path, nowhere = {"stream_id": stream}, {"stream_id": "x" * 26}
        mismatch = await hand.ask(CREATE, body=wanted(n=2), headers=key)
        assert code(mismatch) == (422, "idempotency_mismatch")
        large = await hand.ask(CREATE, body=wanted("x" * MAX_BODY))
        assert code(large) == (413, "body_too_large")
        packed = await hand.ask(CREATE, body=wanted(), headers={"Content-Encoding": "gzip"})
        assert code(packed) == (415, "unsupported_encoding")
        late = await hand.ask(
            SHOW, path_parameters=path, query={"include": "events", "after": "1-1"}
        )
        assert code(late) == (409, "unknown_position")
        foreign = await hand.ask(READ, path_parameters=path, query={"after": f"{'x' * 26}:1-1"})
        assert code(foreign) == (400, "foreign_position")
        for call in (SHOW, READ, READERS, TIMELINE, CANCEL, DESTROY, STREAM_METRICS):
            unknown = await hand.ask(call, path_parameters=nowhere)
            assert code(unknown) == (404, "stream_not_found")
        empty = await hand.ask(SHRED, body={"tenant": ""})
        assert code(empty) == (400, "invalid_field")
        for call in (CONNECTION, CONNECTION_METRICS):
            gone = await hand.ask(call, path_parameters={"connection_id": "x" * 26})
            assert code(gone) == (404, "connection_not_found")


WITH_KEY = (
    *(CREATE, LIST, SHOW, READ, LINK, CANCEL, DESTROY, READERS, TIMELINE),
    *(CONNECTIONS, CONNECTION, METRICS, ERRORS, ALERTS, SEAL, REWRAP, SHRED),
    *(STREAM_METRICS, CONNECTION_METRICS, LIVE),
)


@pytest.mark.parametrize("call", WITH_KEY)
async def test_who_may_not_is_refused_as_described(call: str) -> None:
    async with serving(memory.MemoryLog()) as (node, hand):
        case = named(call, (await hand.ask(CREATE, body=wanted())).json()["id"])
        for key in ("", "hfk_unknown", "half a.token"):
            assert code(await hand.ask(call, key=key, **case)) == (401, "unauthorized")
        if call in (CREATE, CANCEL, DESTROY, METRICS, ERRORS, ALERTS, LIVE, SEAL, REWRAP, SHRED):
            assert code(await hand.ask(call, key=node.reading, **case)) == (403, "forbidden")
        await hand.ask(LIST, key=node.limited["request_limit"])
        if call != READ:  # who reads is sent away
            again = await hand.ask(call, key=node.limited["request_limit"], **case)
            assert code(again) == (429, "request_limit")


def named(call: str, stream: str) -> dict[str, Any]:
    """A good request to a call; of a stream, where it is about one."""
    if call in (CREATE, SHRED):
        return {"body": wanted() if call == CREATE else {"tenant": "nobody"}}
    names = {"stream_id": stream, "connection_id": "x" * 26}
    return {"path_parameters": {name: said for name, said in names.items() if name in call}}


@pytest.mark.parametrize(
    "limit", [code for code in schemathesis_run.LIMITS if code != "request_limit"]
)
async def test_a_limit_of_answers_is_told_as_described(limit: str) -> None:
    async with serving(memory.MemoryLog()) as (node, hand):
        key = node.limited[limit]
        headers = {**asking.SSE, **schemathesis_run.bearer(key)}
        reader = None
        if limit != "request_limit":
            port, body = node.server.port, asking.STALLED
            reader = await harness.Reader.open(port, "POST", "/v1/streams", headers, body)
        refused = await hand.ask(CREATE, key=key, body=wanted(), headers=asking.SSE)
        assert code(refused) == (429, limit)
        assert ("ratelimit" in refused.headers) == ("ratelimit-policy" in refused.headers)
        if reader is not None:
            await hand.ask(
                CANCEL, key=key, path_parameters={"stream_id": harness.stream_of(reader)}
            )
            await reader.rest()


async def test_a_signed_url_is_as_described_and_does_what_it_says() -> None:
    async with serving(memory.MemoryLog()) as (_, hand):
        path = {"stream_id": (await hand.ask(CREATE, body=wanted())).json()["id"]}
        link = (await hand.ask(LINK, path_parameters=path)).json()["url"]
        query = dict(parse.parse_qsl(parse.urlsplit(link).query))
        read = await hand.ask(READ, key="", path_parameters=path, query=query)
        assert asking.kinds(read.content)[-1] == "complete"
        scheme = hand.schema.raw_schema["components"]["securitySchemes"]["signature"]["name"]
        assert {scheme, *(one.name for one in given.SIGNED)} == set(query)
        wrong = await hand.ask(READ, key="", path_parameters=path, query=query | {scheme: "x"})
        assert code(wrong) == (401, "unauthorized")


async def test_what_is_away_is_told_as_described(logged: conftest.Logged) -> None:
    async with serving(log := failing_log.FailingLog()) as (node, hand):
        path = {"stream_id": (await hand.ask(CREATE, body=wanted())).json()["id"]}
        await asking.idle(node.server)
        log.reading = log.writing = errors.LogUnavailable()
        for call in (SHOW, CANCEL, READERS, TIMELINE, STREAM_METRICS):
            absent = await hand.ask(call, path_parameters=path, failing=True)
            assert code(absent) == (503, "log_unavailable")
        log.reading = errors.LogCorrupt()
        for call in (SHOW, READ, CANCEL, READERS, TIMELINE):
            absent = await hand.ask(call, path_parameters=path, failing=True)
            assert code(absent) == (503, "log_corrupt")
        asking.expected(logged, "stream_corrupt")
        absent = await hand.ask(CREATE, body=wanted(), failing=True)
        assert code(absent) == (503, "log_unavailable")
        log.reading = log.writing = None
        await node.server.service.drain(0)
        refused = await hand.ask(CREATE, body=wanted(), failing=True)
        assert code(refused) == code(await hand.ask(READY, failing=True)) == (503, "draining")

"""What a limit holds comes back: places after every kind of end, tokens of what was not made, and
sums after a restart.

Strategy: a key may have one answer under way. Whatever becomes of one, the next may begin, and what
was counted is what the log holds. A restart is another node on the same file.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from tests.integration import asking, failing_log, harness, node_with_keys, raw_sockets
from tests.unit.metering import counting

from holdfast import errors, events
from holdfast.eventlog import base

ENDLESS = asking.demo("tokens=1000 rate=300", flush_interval_ms=0)


def left(server: harness.Running, key: node_with_keys.Key) -> list[int]:
    """Of each of the key's limits over a span."""
    (account,) = node_with_keys.accounts(server, f"key:{key.id}")
    return [left for _, left, _ in account.left()]


async def works(server: harness.Running, key: node_with_keys.Key) -> None:
    """Nothing is under way, and the next answer may begin."""
    await asking.idle(server)
    assert node_with_keys.places(server) == {(0, 0, 0)}
    whole = await (await node_with_keys.begin(server, key, asking.demo("tokens=1"))).rest()
    assert harness.said(whole.body)[-1].event == "complete"
    await asking.idle(server)
    assert node_with_keys.places(server) == {(0, 0, 0)}


@pytest.mark.parametrize(
    ("options", "last"),
    [
        ("tokens=5", "complete"),
        ("tokens=5 reasoning=3 tool=2", "complete"),
        ("tokens=5 error_at=0", "provider_failed"),
        ("tokens=5 error_at=3 error=rate_limited", "provider_rate_limited"),
        ("tokens=5 cut_at=3", "provider_interrupted"),
        ("status=500", "provider_failed"),
        ("status=401", "provider_auth"),
        ("tokens=50 unicode=1 finish=length", "complete"),
    ],
)
@pytest.mark.parametrize("reads", [True, False])
async def test_a_place_comes_back_with_every_end(options: str, last: str, reads: bool) -> None:
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, streams=1, connections=1)
        for _ in range(3):
            if reads:
                whole = await (await node_with_keys.begin(server, key, asking.demo(options))).rest()
                stream = str(harness.stream_of(whole))
            else:
                stream = (await node_with_keys.create(server, key, asking.demo(options))).json()[
                    "id"
                ]
            kind, code = await node_with_keys.ended(server, stream)
            assert last in (kind, code)
            await asking.idle(server)
            assert node_with_keys.places(server) == {(0, 0, 0)}
        await works(server, key)


async def test_a_cancel_gives_it_back() -> None:
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, streams=1)
        for _ in range(3):
            stream = await node_with_keys.stalled(server, key)
            assert (await node_with_keys.create(server, key, asking.STALLED)).status == 429
            await node_with_keys.cancel(server, key, stream)
        await works(server, key)


async def test_an_answer_that_nobody_reads_gives_it_back() -> None:
    async with node_with_keys.serving(streaming={"abandon_after": "50ms"}) as server:
        key = await node_with_keys.made(server, streams=1)
        await node_with_keys.stalled(server, key)
        await works(server, key)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (harness.wanted("no/such"), 400),
        (harness.wanted("demo", temperature="warm"), 400),
        (asking.demo("no_such=1"), 400),
        (asking.demo("tokens=1", context={"what": "ever"}), 400),
        (b"x" * 300_000, 413),
    ],
)
async def test_what_is_refused_takes_nothing(body: bytes, status: int) -> None:
    async with node_with_keys.serving(server={"max_body": "256KiB"}) as server:
        key = await node_with_keys.made(server, streams=1, tokens_per_day=100)
        for _ in range(3):
            assert (await node_with_keys.create(server, key, body)).status == status
        assert left(server, key)[0] == 100
        await works(server, key)


async def test_a_node_that_drains_takes_nothing() -> None:
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, streams=1, tokens_per_day=100)
        server.service.draining = True
        for _ in range(3):
            assert (await node_with_keys.create(server, key, asking.STALLED)).json()[
                "code"
            ] == "draining"
        assert left(server, key)[0] == 100
        server.service.draining = False
        await works(server, key)


# The log


async def test_a_log_that_is_away_takes_nothing() -> None:
    log = failing_log.FailingLog()
    async with node_with_keys.serving(log) as server:
        key = await node_with_keys.made(server, streams=1, tokens_per_day=100)
        log.writing = errors.LogUnavailable("away")
        for _ in range(5):
            assert (await node_with_keys.create(server, key, asking.STALLED)).status == 503
        assert left(server, key)[0] == 100
        log.writing = None
        await works(server, key)


async def test_a_log_that_is_lost_in_the_middle_gives_it_back(
    logged: list[MutableMapping[str, Any]],
) -> None:
    """Not before the stream has its end there."""
    log = failing_log.FailingLog()
    async with node_with_keys.serving(log, streaming={"log_patience": "100ms"}) as server:
        key = await node_with_keys.made(server, streams=1)
        body = asking.demo("tokens=5000 rate=1000", flush_interval_ms=0)
        stream = (await node_with_keys.create(server, key, body)).json()["id"]
        log.writing = errors.LogUnavailable("away")
        [account] = node_with_keys.accounts(server, f"key:{key.id}")
        written = server.service._writers._producers[events.stream_id(stream)]
        await asking.until(lambda: written.stopped is not None)
        assert account.streams == 1
        log.writing = None
        await works(server, key)
        assert await node_with_keys.ended(server, stream) == ("error", "log_lost")
    asking.expected(logged, "log_failing")


async def test_a_stream_that_was_late_to_be_made_counts_until_its_end() -> None:
    """Its caller was refused meanwhile, and it is written all the same."""
    log = failing_log.FailingLog()
    async with node_with_keys.serving(log, streaming={"log_patience": "100ms"}) as server:
        key = await node_with_keys.made(server, streams=1, tokens_per_day=1000)
        log.gate = asyncio.Event()
        body = asking.demo("tokens=4 error_at=3")
        assert (await node_with_keys.create(server, key, body)).status == 503
        assert node_with_keys.accounts(server, f"key:{key.id}")[0].streams == 1
        assert (await node_with_keys.create(server, key, body)).json()["code"] == "stream_limit"
        log.gate.set()
        await asking.idle(server)
        used = node_with_keys.estimated(body, []) + 3
        assert left(server, key)[0] == 1000 - used
        await works(server, key)


@pytest.mark.parametrize("when", ["asking", "making", "reading"])
async def test_a_client_that_goes_away(when: str) -> None:
    log = failing_log.FailingLog()
    async with node_with_keys.serving(log) as server:
        key = await node_with_keys.made(server, streams=1, connections=1)
        request = raw_sockets.posting(asking.demo("tokens=20 rate=500", flush_interval_ms=0))
        said = f"Authorization: {key.headers['Authorization']}\r\n\r\n".encode()
        request = request.replace(b"\r\n\r\n", b"\r\n" + said, 1)
        for _ in range(3):
            if when == "asking":
                await raw_sockets.reset(server.port, request[:-20])
            elif when == "making":
                log.gate, before = asyncio.Event(), log.asked
                leaving = asyncio.create_task(_leaving(server.port, request))
                await asking.until(lambda before=before: log.asked > before)  # type: ignore[misc]
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)
                log.gate.set()
            else:
                await raw_sockets.reset(server.port, request, b"event: chunk")
            await asking.idle(server)
            assert node_with_keys.places(server) <= {(0, 0, 0)}
        log.gate = None
        await works(server, key)


async def _leaving(port: int, request: bytes) -> None:
    """Sends a request, and is gone when it is cancelled."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await reader.read()
    finally:
        writer.close()


# The same key again


async def test_who_attaches_pays_nothing() -> None:
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, streams=5, tokens_per_day=1000)
        again = {"Idempotency-Key": "once"}
        first = await node_with_keys.create(server, key, asking.STALLED, **again)
        reader = await node_with_keys.begin(server, key, asking.STALLED, **again)
        await reader.until(asking.has(3))
        await reader.close()
        used = node_with_keys.estimated(asking.STALLED, []) + 2
        for _ in range(10):
            answer = await node_with_keys.create(server, key, asking.STALLED, **again)
            assert (answer.status, answer.json()["id"]) == (200, first.json()["id"])
            assert answer.headers["ratelimit"].startswith(f'"key-tokens-day";r={1000 - used};')
            assert node_with_keys.accounts(server, f"key:{key.id}")[0].streams == 1
        for _ in range(10):
            answer = await node_with_keys.create(server, key, asking.demo("tokens=7"), **again)
            assert answer.status == 422
            assert left(server, key)[0] == 1000 - used
        await node_with_keys.cancel(server, key, first.json()["id"])
        await works(server, key)


@pytest.mark.parametrize("quota", [{"streams": 1}, {"tokens_per_minute": 20}])
async def test_who_attaches_is_not_refused(quota: dict[str, Any]) -> None:
    """Who asks again as no answer came is not kept from it by the first time."""
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, **quota)
        again = {"Idempotency-Key": "once"}
        body = asking.demo("tokens=900 stall_at=1", prompt="?", flush_interval_ms=0)
        first = await node_with_keys.create(server, key, body, **again)
        assert first.status == 201
        answers = [await node_with_keys.create(server, key, body, **again) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 200]
        reader = await node_with_keys.begin(server, key, body, **again)
        await reader.until(asking.has(2))
        assert harness.stream_of(reader) == first.json()["id"]
        await reader.close()
        assert (await node_with_keys.create(server, key, body)).status == 429
        other = await node_with_keys.create(server, key, asking.demo("tokens=7"), **again)
        assert other.status == 422
        await node_with_keys.cancel(server, key, first.json()["id"])


# Restarts


@pytest.mark.case("4.17")
@pytest.mark.parametrize("held_by", ["key", "tenant"])
async def test_a_day_s_limit_holds_after_a_restart(held_by: str, tmp_path: Path) -> None:
    limit: dict[str, Any] = {"tokens_per_day": 100, "requests_per_minute": 9}
    plans = {"all": {"tenants": ["acme"], **(limit if held_by == "tenant" else {})}}
    url = f"sqlite:///{tmp_path}/log.db"
    async with node_with_keys.serving(url, plans=plans) as server:
        key = await node_with_keys.made(server, **(limit if held_by == "key" else {}))
        whole = await (await node_with_keys.begin(server, key, ENDLESS)).rest()
        assert harness.said(whole.body)[-1].data["code"] == "token_limit"
    async with node_with_keys.serving(url, plans=plans) as server:
        # At once: nobody has to find out first.
        node_with_keys.refused(
            await node_with_keys.create(server, key, asking.demo("tokens=1")), "token_limit"
        )
        for _ in range(7):
            answer = await harness.ask(server.port, "GET", "/v1/streams", key.headers)
            assert answer.status == 200
    async with node_with_keys.serving(url, plans=plans) as server:
        answer = await harness.ask(server.port, "GET", "/v1/streams", key.headers)
        node_with_keys.refused(answer, "request_limit")


async def test_what_is_left_is_the_same_after_a_restart(tmp_path: Path) -> None:
    clock, url = counting.Clock(), f"sqlite:///{tmp_path}/log.db"
    quota: dict[str, Any] = {"tokens_per_day": 1000, "cost_per_day": 10**9}
    prices = {"all": {"models": ["*"], "input": 1.5, "output": 7.25}}
    told = list[int]()
    async with node_with_keys.serving(url, clock, prices=prices) as server:
        key = await node_with_keys.made(server, **quota)
        for number in range(5):
            await node_with_keys.create(server, key, asking.demo(f"tokens={number} error_at=4"))
            await asking.idle(server)
            node_with_keys.passes(server, clock, 4000)
        told = left(server, key)
    for _ in range(3):
        async with node_with_keys.serving(url, clock, prices=prices) as server:
            await harness.ask(server.port, "GET", "/v1/streams", key.headers)
            assert left(server, key) == told


@pytest.mark.case("4.17")
async def test_an_answer_that_is_taken_over_goes_on_counting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut where it would have been cut, and what its provider tells again is free."""
    reads, url = node_with_keys.Reads(monkeypatch), f"sqlite:///{tmp_path}/log.db"
    async with node_with_keys.serving(url) as server:
        key = await node_with_keys.made(server, tokens_per_day=200, streams=1)
        reader = await node_with_keys.begin(server, key, ENDLESS)
        await reader.until(asking.has(60))
        await reader.close()
        stream = str(harness.stream_of(reader))
    asked, before = node_with_keys.estimated(ENDLESS, []), sum(reads.pieces)
    assert 50 < before < 200 - asked
    async with node_with_keys.serving(url) as server:
        told = await node_with_keys.logged(server, stream)
        assert await node_with_keys.ended(server, stream) == ("error", "token_limit")
        assert any(isinstance(event.body, events.Adopted) for event in told)
        counted = asked + sum(reads.pieces)
        assert counted - reads.pieces[-1] < 200 <= counted
        assert 150 < node_with_keys.estimated(ENDLESS, told) <= counted
        await asking.idle(server)
        assert node_with_keys.places(server) == {(0, 0, 0)}
        assert left(server, key)[0] == 0


async def test_an_answer_that_is_taken_over_has_its_place(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    async with node_with_keys.serving(url) as server:
        key = await node_with_keys.made(server, streams=1)
        stream = await node_with_keys.stalled(server, key)
        reader = await (await node_with_keys.read(server, key, stream)).until(asking.has(3))
        await reader.close()
    async with node_with_keys.serving(url) as server:
        await asking.until(lambda: f"produce {stream}" in server.service.supervisor.names)
        node_with_keys.refused(
            await node_with_keys.create(server, key, asking.STALLED), "stream_limit", 1
        )
        await node_with_keys.cancel(server, key, stream)
        await works(server, key)


# All of it


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_nothing_drifts(seed: int) -> None:
    """What is counted at last is what the log says that was used, of every stream by itself."""
    chance = random.Random(seed)
    endings = ["tokens=8", "tokens=8 error_at=5", "tokens=8 cut_at=2", "status=503", "stall_at=3"]
    async with node_with_keys.serving() as server:
        keys = [
            await node_with_keys.made(server, streams=6, tokens_per_day=10**6) for _ in range(2)
        ]
        bodies: dict[str, bytes] = {}

        async def one(number: int) -> None:
            key, again = chance.choice(keys), {}
            if chance.random() < 0.3:
                again["Idempotency-Key"] = f"key {number % 4}".replace(" ", "-")
            prompt = "x" * chance.randrange(300)
            body = asking.demo(chance.choice(endings), prompt=prompt, flush_interval_ms=0)
            act: list[Callable[[], Awaitable[Any]]] = [
                lambda: node_with_keys.create(server, key, body, **again),
                lambda: node_with_keys.create(server, key, harness.wanted("no/such")),
                lambda: raw_sockets.reset(server.port, raw_sockets.posting(body)),
            ]
            answer = await chance.choice(act)()
            if isinstance(answer, harness.Response) and answer.status in (200, 201):
                stream = answer.json()["id"]
                bodies.setdefault(stream, body)
                if chance.random() < 0.3:
                    target = f"/v1/streams/{stream}/cancel"
                    await harness.ask(server.port, "POST", target, key.headers, b"")

        for start in range(0, 120, 12):
            await asyncio.gather(*[one(number) for number in range(start, start + 12)])
        found = await server.service.log.find(base.Query(limit=500))
        for info in found:
            await server.service.cancel(info.stream)
        await asking.idle(server)
        assert node_with_keys.places(server) == {(0, 0, 0)}
        for key in keys:
            used = 0
            for info in found:
                if info.header.key == f"key:{key.id}":
                    told = await node_with_keys.logged(server, info.stream)
                    usage = [e.body for e in told if isinstance(e.body, events.Usage)]
                    estimated = node_with_keys.estimated(bodies[info.stream], told)
                    used += usage[-1].total_tokens if usage else estimated
            assert left(server, key)[0] == 10**6 - used

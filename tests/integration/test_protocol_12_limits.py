"""PROTOCOL, section 12: what each limit refuses, with which words, and what it ends.

Strategy: a key is made for each test, with the one limit that it is about; the meters' clock stands
still where the numbers of a header are looked at. What came of an answer is counted from the log.
What a provider tells and costs are in `test_quotas_usage`, crowds in `test_quotas_crowds`, places
and restarts in `test_quotas_places`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.integration import asking, harness, node_with_keys
from tests.unit.metering import counting

from holdfast import storage

ENDLESS = asking.demo("tokens=1000", flush_interval_ms=0)


async def sent_away(reader: harness.Reader, reason: str) -> None:
    """It is told to come back, and nothing else; who is let in would read for ever."""
    await reader.until(asking.has(1))
    assert b"event: reconnect" in reader.body
    assert asking.sent_away(await reader.rest()).data["reason"] == reason


async def listed(server: harness.Running, key: node_with_keys.Key) -> harness.Response:
    return await harness.ask(server.port, "GET", "/v1/streams", key.headers)


# Requests


async def test_12_1_requests_a_minute() -> None:
    clock = counting.Clock()
    async with node_with_keys.serving(clock=clock) as server:
        key = await node_with_keys.made(server, requests_per_minute=3)
        for _ in range(3):
            assert (await listed(server, key)).status == 200
        node_with_keys.passes(server, clock, 12.5)
        for _ in range(3):
            answer = await listed(server, key)
            node_with_keys.refused(answer, "request_limit", 53)
            assert answer.headers["ratelimit-policy"] == '"key-requests-minute";q=3;w=60'
            assert answer.headers["ratelimit"] == '"key-requests-minute";r=0;t=53'
        node_with_keys.passes(server, clock, 52.4)
        node_with_keys.refused(await listed(server, key), "request_limit", 1)
        node_with_keys.passes(server, clock, 0.1)
        assert (await listed(server, key)).status == 200


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/streams"),
        ("GET", "/v1/streams/{id}"),
        ("POST", "/v1/streams/{id}/cancel"),
        ("POST", "/v1/streams/{id}/links"),
        ("GET", "/v1/connections"),
        ("POST", "/v1/streams"),
        ("GET", "/v1/streams/nothing"),
    ],
)
async def test_12_1_every_kind_of_request_counts(method: str, target: str) -> None:
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, requests_per_minute=3)
        made = (await node_with_keys.create(server, key, asking.demo("tokens=1"))).json()["id"]
        path = target.replace("{id}", made)
        body = asking.demo("tokens=1") if method == "POST" else None
        answers = [
            await harness.ask(server.port, method, path, key.headers, body) for _ in range(3)
        ]
        assert [answer.status == 429 for answer in answers] == [False, False, True]
        node_with_keys.refused(answers[-1], "request_limit")
        await asking.idle(server)


async def test_12_1_what_is_refused_for_its_scope_counts_too() -> None:
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, scopes=("read",), requests_per_minute=3)
        for _ in range(3):
            answer = await node_with_keys.create(server, key, asking.demo("tokens=1"))
            assert (answer.status, answer.json()["code"]) == (403, "forbidden")
        answer = await node_with_keys.create(server, key, asking.demo("tokens=1"))
        node_with_keys.refused(answer, "request_limit")
        assert answer.headers["ratelimit"].startswith('"key-requests-minute";r=0;')
        assert answer.headers["ratelimit-policy"] == '"key-requests-minute";q=3;w=60'
        node_with_keys.refused(await listed(server, key), "request_limit")


async def test_12_2_who_may_not_read_is_asked_to_come_back_over_the_limit_of_requests() -> None:
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, scopes=("generate",), requests_per_minute=2)
        stream = (await node_with_keys.create(server, key, asking.demo("tokens=1"))).json()["id"]
        refused = await (await node_with_keys.read(server, key, stream)).rest()
        assert refused.status == 403
        await sent_away(await node_with_keys.read(server, key, stream), "request_limit")
        await asking.idle(server)


async def test_12_1_what_a_caller_without_a_key_asks_counts_nowhere() -> None:
    async with node_with_keys.serving(quota={"requests_per_minute": 1}) as server:
        key = await node_with_keys.made(server)
        for _ in range(5):
            assert (await harness.ask(server.port, "GET", "/v1/streams")).status == 401
            assert (await harness.ask(server.port, "GET", "/healthz")).status == 200
        assert (await listed(server, key)).status == 200
        node_with_keys.refused(await listed(server, key), "request_limit")


@pytest.mark.parametrize("way", ["get", "post", "link"])
async def test_12_2_who_reads_over_the_limit_of_requests_is_asked_to_come_back(way: str) -> None:
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, requests_per_minute=3)
        stream = (await node_with_keys.create(server, key, asking.demo("tokens=2"))).json()["id"]
        await asking.idle(server)
        link = f"/v1/streams/{stream}/links"
        url = (await harness.ask(server.port, "POST", link, key.headers, b"")).json()["url"]
        resumes = {"Last-Event-ID": f"{stream}:0-0", "Accept": "text/event-stream"}

        async def read() -> harness.Reader:
            if way == "get":
                return await node_with_keys.read(server, key, stream)
            if way == "link":
                return await harness.Reader.open(server.port, "GET", url)
            headers = {**key.headers, **resumes}
            return await harness.Reader.open(server.port, "POST", "/v1/streams", headers, b"")

        assert (await (await read()).rest()).clean
        for _ in range(2):
            await sent_away(await read(), "request_limit")
        node_with_keys.refused(await listed(server, key), "request_limit")


async def test_12_2_a_refused_request_counts_nowhere() -> None:
    """A key is not held up by what its tenant's limit refused."""
    clock = counting.Clock()
    plans = {"all": {"tenants": ["acme"], "requests_per_minute": 2}}
    async with node_with_keys.serving(clock=clock, plans=plans) as server:
        key = await node_with_keys.made(server, requests_per_minute=6)
        for _ in range(2):
            assert (await listed(server, key)).status == 200
        for _ in range(20):
            answer = await listed(server, key)
            node_with_keys.refused(answer, "request_limit", 65)
            assert "tenant:acme" in answer.json()["detail"]
        assert answer.headers["ratelimit"] == (
            '"key-requests-minute";r=4;t=65, "tenant-requests-minute";r=0;t=65'
        )


# Streams


async def test_12_1_answers_under_way() -> None:
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, streams=2)
        first, second = [await node_with_keys.stalled(server, key) for _ in range(2)]
        answer = await node_with_keys.create(server, key, asking.STALLED)
        node_with_keys.refused(answer, "stream_limit", 1)
        assert "ratelimit" not in answer.headers  # nothing is counted over a span but tokens a day
        assert (await listed(server, key)).json()["streams"][2:] == []
        await node_with_keys.cancel(server, key, first)
        third = await node_with_keys.stalled(server, key)
        node_with_keys.refused(
            await node_with_keys.create(server, key, asking.STALLED), "stream_limit", 1
        )
        await node_with_keys.cancel(server, key, second, third)


# Readers


async def test_12_2_open_event_streams() -> None:
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, connections=2)
        stream = await node_with_keys.stalled(server, key)
        first, second = [await node_with_keys.read(server, key, stream) for _ in range(2)]
        for reader in (first, second):
            await reader.until(asking.has(3))
        for _ in range(3):
            await sent_away(await node_with_keys.read(server, key, stream), "connection_limit")
        assert node_with_keys.accounts(server, f"key:{key.id}")[0].connections == 2
        node_with_keys.refused(
            await (await node_with_keys.begin(server, key, asking.demo("tokens=1"))).rest(),
            "connection_limit",
        )
        assert (await node_with_keys.create(server, key, asking.demo("tokens=1"))).status == 201
        await first.close()
        await asking.until(lambda: len(server.service.connections) == 1)
        third = await (await node_with_keys.read(server, key, stream)).until(asking.has(3))
        await second.close()
        await third.close()
        await node_with_keys.cancel(server, key, stream)
        assert node_with_keys.places(server) == {(0, 0, 0)}


async def test_12_2_no_more_are_made_at_once_than_may_be_read() -> None:
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, connections=2)
        asked = [node_with_keys.begin(server, key, asking.demo("tokens=3")) for _ in range(8)]
        told = [await reader.rest() for reader in await asyncio.gather(*asked)]
        assert sorted(one.status for one in told) == [200] * 2 + [429] * 6
        assert all(one.clean for one in told)
        assert len(await server.service.find(storage.Query())) == 2
        assert node_with_keys.places(server) == {(0, 0, 0)}


async def test_12_1_a_reader_by_a_signed_url_counts_where_its_key_does() -> None:
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, connections=1)
        stream = await node_with_keys.stalled(server, key)
        link = f"/v1/streams/{stream}/links"
        url = (await harness.ask(server.port, "POST", link, key.headers, b"")).json()["url"]
        reader = await harness.Reader.open(server.port, "GET", url)
        await reader.until(asking.has(3))
        again = await harness.Reader.open(server.port, "GET", url)
        await sent_away(again, "connection_limit")
        await sent_away(await node_with_keys.read(server, key, stream), "connection_limit")
        await reader.close()
        await node_with_keys.cancel(server, key, stream)


# Tokens


@pytest.mark.case("4.17")
@pytest.mark.parametrize("span", ["minute", "day"])
@pytest.mark.parametrize("held_by", ["key", "tenant"])
async def test_12_3_an_answer_of_1000_tokens_at_100_is_cut_at_100(
    span: str, held_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, limit = node_with_keys.Reads(monkeypatch), dict[str, Any]({f"tokens_per_{span}": 100})
    plans = {"all": {"tenants": ["a*"], **(limit if held_by == "tenant" else {})}}
    async with node_with_keys.serving(plans=plans) as server:
        key = await node_with_keys.made(server, **(limit if held_by == "key" else {}))
        whole = await (await node_with_keys.begin(server, key, ENDLESS)).rest()
        assert whole.clean
        last = harness.said(whole.body)[-1]
        assert (last.event, last.data["code"], last.data["retryable"]) == (
            "error",
            "token_limit",
            True,
        )
        assert f"100 tokens a {span}" in last.data["message"]
        assert held_by in last.data["message"]
        stream = harness.stream_of(whole)
        used = node_with_keys.estimated(ENDLESS, await node_with_keys.logged(server, stream))
        assert used - reads.pieces[-1] < 100 <= used
        node_with_keys.refused(await node_with_keys.create(server, key, ENDLESS), "token_limit")
        shown = await harness.ask(server.port, "GET", f"/v1/streams/{stream}", key.headers)
        assert (shown.json()["status"], shown.json()["error"]["code"]) == ("error", "token_limit")


async def test_12_4_what_is_told_of_tokens() -> None:
    clock = counting.Clock()
    async with node_with_keys.serving(clock=clock) as server:
        key = await node_with_keys.made(server, tokens_per_minute=100, tokens_per_day=300)
        # So slow that it is still asked for, and not yet counted, when its making is answered.
        body = asking.demo("tokens=3", prompt="x" * 16).replace(b"rate=10000", b"rate=5")
        asked = node_with_keys.estimated(body, [])
        answer = await node_with_keys.create(server, key, body)
        assert answer.headers["ratelimit"] == (
            f'"key-tokens-minute";r={100 - asked};t=65, "key-tokens-day";r={300 - asked};t=89200'
        )
        assert "ratelimit-policy" not in answer.headers
        await asking.idle(server)
        # The demo counts words: four are asked, three are said.
        node_with_keys.passes(server, clock, 70)
        huge = await node_with_keys.create(server, key, asking.demo("tokens=3", prompt="x" * 1200))
        assert (huge.status, huge.json()["code"]) == (403, "forbidden")
        large = asking.demo("stall_at=0", prompt="x" * 240)
        asked = node_with_keys.estimated(large, [])
        stalled = (await node_with_keys.create(server, key, large)).json()["id"]
        answer = await node_with_keys.create(server, key, large)
        node_with_keys.refused(answer, "token_limit", 65)
        assert (
            answer.headers["ratelimit"]
            == (f'"key-tokens-minute";r={100 - asked};t=65, "key-tokens-day";r={293 - asked};t=')
            + answer.headers["ratelimit"].rpartition("=")[2]
        )
        assert answer.headers["ratelimit-policy"] == (
            '"key-tokens-minute";q=100;w=60, "key-tokens-day";q=300;w=86400'
        )
        await node_with_keys.cancel(server, key, stalled)


async def test_12_2_a_prompt_that_waits_is_let_in_when_it_was_told() -> None:
    clock = counting.Clock()
    async with node_with_keys.serving(clock=clock) as server:
        key = await node_with_keys.made(server, tokens_per_minute=100)
        body = asking.demo("stall_at=0", prompt="x" * 200)
        streams = [(await node_with_keys.create(server, key, body)).json()["id"]]
        node_with_keys.passes(server, clock, 20)
        answer = await node_with_keys.create(server, key, body)
        node_with_keys.refused(answer, "token_limit", 45)
        node_with_keys.passes(server, clock, 44.999)
        node_with_keys.refused(await node_with_keys.create(server, key, body), "token_limit", 1)
        node_with_keys.passes(server, clock, 0.001)
        answer = await node_with_keys.create(server, key, body)
        assert answer.status == 201
        await node_with_keys.cancel(server, key, *streams, answer.json()["id"])


# A key and its tenant


async def test_12_1_two_keys_of_a_tenant_are_held_to_its_limits_together() -> None:
    plans = {"all": {"tenants": ["acme"], "streams": 3, "tokens_per_day": 10_000}}
    async with node_with_keys.serving(plans=plans) as server:
        one, two = (
            await node_with_keys.made(server, streams=2),
            await node_with_keys.made(server, streams=2),
        )
        other = await node_with_keys.made(server, "globex", streams=2)
        streams = [await node_with_keys.stalled(server, one) for _ in range(2)]
        answer = await node_with_keys.create(server, one, asking.STALLED)
        node_with_keys.refused(answer, "stream_limit")
        assert f"key:{one.id}" in answer.json()["detail"]
        streams.append(await node_with_keys.stalled(server, two))
        answer = await node_with_keys.create(server, two, asking.STALLED)
        node_with_keys.refused(answer, "stream_limit")
        assert "tenant:acme" in answer.json()["detail"]
        foreign = [await node_with_keys.stalled(server, other) for _ in range(2)]
        await node_with_keys.cancel(server, other, *foreign)
        await node_with_keys.cancel(server, one, *streams[:1])
        streams.append(await node_with_keys.stalled(server, two))
        await node_with_keys.cancel(server, two, *streams)
        assert node_with_keys.places(server) == {(0, 0, 0)}


@pytest.mark.case("4.17")
async def test_12_3_what_one_key_uses_ends_the_other_s_answer_at_the_tenant_s_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plans = {"all": {"tenants": ["acme"], "tokens_per_minute": 100}}
    async with node_with_keys.serving(plans=plans) as server:
        one, two = [await node_with_keys.made(server, tokens_per_minute=500) for _ in range(2)]
        other = await node_with_keys.made(server, "globex")
        waiting, foreign = (
            await node_with_keys.stalled(server, one),
            await node_with_keys.stalled(server, other),
        )
        whole = await (await node_with_keys.begin(server, two, ENDLESS)).rest()
        assert harness.said(whole.body)[-1].data["code"] == "token_limit"
        assert await node_with_keys.ended(server, waiting) == ("error", "token_limit")
        assert "tenant:acme" in harness.said(whole.body)[-1].data["message"]
        await node_with_keys.cancel(server, other, foreign)
        assert await node_with_keys.ended(server, foreign) == ("error", "cancelled")


async def test_12_1_a_key_s_own_quota_stands_before_the_settings_and_0_is_no_limit() -> None:
    async with node_with_keys.serving(quota={"streams": 1, "tokens_per_day": 20}) as server:
        usual, own = (
            await node_with_keys.made(server),
            await node_with_keys.made(server, streams=0, tokens_per_day=0),
        )
        streams = [await node_with_keys.stalled(server, own) for _ in range(4)]
        one = await node_with_keys.create(server, usual, asking.STALLED)
        assert one.status == 201
        node_with_keys.refused(
            await node_with_keys.create(server, usual, asking.STALLED), "stream_limit"
        )
        await node_with_keys.cancel(server, own, *streams)
        await node_with_keys.cancel(server, usual, one.json()["id"])


async def test_12_3_heartbeats_and_reading_cost_no_tokens() -> None:
    async with node_with_keys.serving(server={"heartbeat_interval": "50ms"}) as server:
        key = await node_with_keys.made(server, tokens_per_day=1000)
        stream = await node_with_keys.stalled(server, key)
        for _ in range(3):
            reader = await node_with_keys.read(server, key, stream)
            await reader.until(asking.seen(b"heartbeat"))
            await reader.close()
        [account] = node_with_keys.accounts(server, f"key:{key.id}")
        used = node_with_keys.estimated(asking.STALLED, []) + 2
        assert account.left()[0][1] == 1000 - used
        await node_with_keys.cancel(server, key, stream)

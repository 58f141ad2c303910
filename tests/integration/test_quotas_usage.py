"""PROTOCOL 12.3: what the provider tells, calls that fail, and what tokens cost.

Strategy: the provider is played, and tells its usage where a test says so; what a piece costs is a
hundredth, so that an answer of a hundred pieces has cost one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.integration import asking, harness, node_with_keys

from holdfast.testing import provider as replay

ENDLESS = asking.demo("tokens=1000", flush_interval_ms=0)
PRICES = {
    "ours": {"models": ["demo", "vendor/m"], "input": 0.0, "output": 10_000.0},
}
"""A piece of an answer costs a hundredth."""


COUNTS = b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}'
USAGE = b'data: {"choices":[],"usage":' + COUNTS + b"}\n\n"
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
ASKED = harness.wanted("vendor/m", flush_interval_ms=0)


@contextlib.asynccontextmanager
async def vendor(
    *answers: replay.Answer, **tables: Any
) -> AsyncIterator[tuple[harness.Running, replay.ReplayServer]]:
    """A server with two providers that a replay server plays, in turn."""
    async with replay.ReplayServer(answers) as provider:
        row = {"kind": "openai", "base_url": f"{provider.url}/v1", "api_key": asking.KEY}
        async with node_with_keys.serving(
            providers={"vendor": row, "other": row}, **tables
        ) as server:
            yield server, provider


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(("sent", "written"), [(7, 3), (40, 60), (4, 500)])
async def test_what_the_provider_tells_takes_the_estimate_s_place(
    together: bool, sent: int, written: int
) -> None:
    """In whatever reads it comes. An answer that is whole is not ended by it."""
    pieces = tuple(asking.chunk(f"{number} ") for number in range(20))
    usage = USAGE % (sent, written, sent + written)
    end = (FINISH, usage, DONE)
    body = (b"".join((*pieces, *end)),) if together else (*pieces, *end)
    async with vendor(replay.Answer(body=body)) as (server, _):
        key = await node_with_keys.made(server, tokens_per_minute=200)
        whole = await (await node_with_keys.begin(server, key, ASKED)).rest()
        assert harness.said(whole.body)[-1].event == "complete"
        await asking.idle(server)
        [account] = node_with_keys.accounts(server, f"key:{key.id}")
        left = 200 - sent - written
        assert account.left()[0][1] == max(0, left)
        if left < 10:
            node_with_keys.refused(await node_with_keys.create(server, key, ASKED), "token_limit")


@pytest.mark.case("4.17")
async def test_calls_that_failed_count_too() -> None:
    failing = replay.Answer(body=(asking.chunk("one "), asking.chunk("two ")), ending="rst")
    working = replay.Answer(body=(asking.chunk("three"), FINISH, USAGE % (9, 1, 10), DONE))
    fallback = {"attempts": 3, "mode": "restart", "delay": "1ms"}
    async with vendor(failing, failing, working, fallback=fallback) as (server, _):
        key = await node_with_keys.made(server, tokens_per_day=1000)
        whole = await (await node_with_keys.begin(server, key, ASKED)).rest()
        assert harness.said(whole.body)[-1].event == "complete", whole.body
        await asking.idle(server)
        [account] = node_with_keys.accounts(server, f"key:{key.id}")
        asked = node_with_keys.estimated(ASKED, [])
        assert account.left()[0][1] == 1000 - 2 * (asked + 2) - 10


async def test_what_the_provider_has_told_by_then_is_logged_behind_what_it_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The read that reaches the limit is whole in the log."""
    told = b'"usage":{"prompt_tokens":4,"completion_tokens":%d,"total_tokens":9}}\n\n'
    pieces = [
        b'data: {"choices":[{"index":0,"delta":{"content":"%d "}}],' % number + told % number
        for number in range(300)
    ]
    body = tuple(b"".join(pieces[at : at + 10]) for at in range(0, 300, 10))
    async with vendor(replay.Answer(body=body)) as (server, _):
        key = await node_with_keys.made(server, tokens_per_day=100)
        whole = await (await node_with_keys.begin(server, key, ASKED)).rest()
        said = asking.content(whole.body).split()
        assert said == [str(number) for number in range(len(said))]
        assert harness.said(whole.body)[-1].data["code"] == "token_limit"
        kinds = [block.data.get("type") for block in harness.said(whole.body)[1:-1]]
        assert kinds[:-1] == ["content"] * len(kinds[:-1])
        assert kinds[-1] in ("content", "usage")


# Costs


@pytest.mark.case("4.17")
async def test_an_answer_is_cut_where_it_has_cost_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = node_with_keys.Reads(monkeypatch)
    async with node_with_keys.serving(prices=PRICES, quota={"cost_per_day": 1.0}) as server:
        key = await node_with_keys.made(server)
        whole = await (await node_with_keys.begin(server, key, ENDLESS)).rest()
        last = harness.said(whole.body)[-1]
        assert (last.event, last.data["code"]) == ("error", "cost_limit")
        assert "1 cost a day" in last.data["message"]
        stream = harness.stream_of(whole)
        pieces = node_with_keys.estimated(ENDLESS, await node_with_keys.logged(server, stream))
        pieces -= node_with_keys.estimated(ENDLESS, [])
        assert pieces - reads.pieces[-1] < 100 <= pieces
        answer = await node_with_keys.create(server, key, ENDLESS)
        node_with_keys.refused(answer, "cost_limit")
        assert '"key-cost-day";q=1000000;w=86400' in answer.headers["ratelimit-policy"]
        assert '"key-cost-day";r=0;t=' in answer.headers["ratelimit"]


@pytest.mark.case("4.17")
async def test_a_model_without_a_price_is_refused_where_costs_are_limited() -> None:
    async with node_with_keys.serving(prices=PRICES) as server:
        key, free = (
            await node_with_keys.made(server, cost_per_day=10**6),
            await node_with_keys.made(server),
        )
        body = harness.wanted("demo-fast")
        unpriced = await node_with_keys.create(server, key, body)
        assert (unpriced.status, unpriced.json()["code"]) == (403, "forbidden")
        assert (await node_with_keys.create(server, free, body)).status == 201
        assert (await node_with_keys.create(server, key, asking.demo("tokens=1"))).status == 201
        await asking.idle(server)


@pytest.mark.case("4.17")
async def test_nor_is_it_asked_where_another_fails() -> None:
    async with vendor(replay.Answer(status=500), prices=PRICES) as (server, provider):
        key = await node_with_keys.made(server, cost_per_day=10**6)
        body = harness.wanted("vendor/m", fallback={"providers": ["other/m2"]})
        whole = await (await node_with_keys.begin(server, key, body)).rest()
        assert harness.said(whole.body)[-1].data["code"] == "cost_limit"
        assert len(provider.requests) == 1
        free = await node_with_keys.made(server)
        await (await node_with_keys.begin(server, free, body)).rest()
        assert len(provider.requests) == 3

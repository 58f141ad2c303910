"""PROTOCOL 8.6, alerts: what is shown, and that one condition of three nodes is one call.

Strategy: the nodes are whole servers on one Valkey, and the receiver is a server too. A round is
made short, and so are the times for which a rule waits, so that they pass. What goes wrong is a
provider whose breaker opens at its first failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests import redis_servers
from tests.integration import asking, conftest, harness

from holdfast import settings
from holdfast.eventlog import watch
from holdfast.eventlog.redis import address, engine
from holdfast.producing import survey, writers
from holdfast.sealing import sources
from holdfast.telemetry.alerts import rounds, rules, webhook
from holdfast.testing import provider

SECRET = "whsec_" + "A" * 32
SHORT = 0.1
"""Seconds."""


def answer(status: int) -> provider.Answer:
    return provider.Answer(status=status, headers=(), framing="length")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    # No others: on a busy machine its event loop's could fire too.
    rows = [
        msgspec.structs.replace(row, for_seconds=SHORT, clear_seconds=SHORT)
        for row in rules.ROWS
        if row.name in ("breaker_open", "log_failing", "key_ring")
    ]
    monkeypatch.setattr(rules, "ROWS", tuple(rows))
    monkeypatch.setattr(rounds, "EVERY_SECONDS", SHORT / 3)
    monkeypatch.setattr(webhook, "FIRST_WAIT_SECONDS", SHORT / 10)


async def alerts(server: harness.Running) -> Any:
    found = await harness.ask(server.port, "GET", "/v1/alerts")
    assert found.status == 200, found.body
    return found.json()


async def test_8_6_the_rules_are_shown_and_nothing_fires() -> None:
    async with harness.running(harness.configured(monitoring={"latency": "2s"})) as server:
        found = await alerts(server)
    assert found["alerts"] == []
    assert found["webhook"] == {"delivered": 0, "failed": 0, "waiting": 0}
    assert found["nodes"] == [{"id": "this", "answered": True}]
    assert [rule["name"] for rule in found["rules"]] == [row.name for row in rules.ROWS]
    assert found["rules"][1] == {
        "name": "latency",
        "severity": "critical",
        "unit": "seconds",
        "threshold": 2.0,
        "clears_at": 1.6,
        "for_seconds": 60.0,
        "clear_seconds": 60.0,
        "summary": "One chunk in 20 took x or more to its reader in the last 5 minutes; "
        "the threshold is 2 s.",
    }


async def test_a_key_ring_that_is_gone_is_told(
    tmp_path: Path, short: None, logged: conftest.Logged
) -> None:
    """By an alert, and on the page for Prometheus: a node that would not start anew looks well."""
    ring = sources.File(tmp_path / "keys")
    ring.make(0)
    config = harness.configured(sealing={"keys": str(ring.path), "rotate_every": 0})
    async with harness.running(config) as server:
        await server.service.keys.look()
        assert await counted(server) == [0, 0]
        ring.path.unlink()
        await server.service.keys.look()
        assert await counted(server) == [1, 1]
        await asking.until(lambda: bool(told(logged)))
        (shown,) = (await alerts(server))["alerts"]
    assert (shown["name"], shown["state"]) == ("key_ring", "firing")
    asking.expected(logged, "key_ring_unreadable", "alert_firing")


def told(logged: conftest.Logged) -> list[object]:
    return [one["alert"] for one in logged if one["event"] == "alert_firing"]


async def counted(server: harness.Running) -> list[float]:
    """Whether the ring is unreadable, and how often it was."""
    page = (await harness.ask(server.port, "GET", "/metrics")).body.decode()
    return [
        float(value)
        for name in ("unreadable", "failures_total")
        for value in re.findall(rf"^holdfast_key_ring_{name} (\S+)$", page, re.MULTILINE)
    ]


@contextlib.asynccontextmanager
async def node(where: address.Address, config: settings.Settings) -> AsyncIterator[harness.Running]:
    log = engine.RedisLog(where, seconds=1.0)
    async with harness.running_on(log, config, watch.POLL_INTERVAL) as running:
        yield running


async def fired(server: harness.Running) -> None:
    """Returns when this node shows that the alert fires, and that this was told."""
    async with asyncio.timeout(harness.PATIENCE):
        while (await alerts(server))["webhook"] != {"delivered": 1, "failed": 0, "waiting": 0}:
            pass
    (shown,) = (await alerts(server))["alerts"]
    assert (shown["name"], shown["state"], shown["value"]) == ("breaker_open", "firing", 1.0)
    assert shown["summary"].endswith(": vendor.")


async def test_8_6_one_condition_of_three_nodes_is_one_call(
    valkey: redis_servers.Server, short: None
) -> None:
    where = address.Address((("127.0.0.1", valkey.port),), database=redis_servers.next_database())
    vendor = provider.ReplayServer([answer(500)])
    receiver = provider.ReplayServer([answer(503), answer(503), answer(204)])
    async with vendor, receiver, contextlib.AsyncExitStack() as stays:
        row = {"kind": "openai", "base_url": f"{vendor.url}/v1", "api_key": asking.KEY}
        config = harness.configured(
            providers={"vendor": row},
            fallback={"attempts": 1, "breaker_failures": 1, "breaker_pause": "5m"},
            monitoring={"webhook_url": receiver.url, "webhook_secret": SECRET},
        )
        nodes = [contextlib.AsyncExitStack() for _ in range(2)]
        leading, failing = [await one.enter_async_context(node(where, config)) for one in nodes]
        third = await stays.enter_async_context(node(where, config))
        name = leading.service.name
        reader = await harness.begin(failing.port, harness.wanted("vendor/m"))
        await reader.rest()
        for server in (leading, failing, third):
            await fired(server)
        live = await harness.Reader.open(third.port, "GET", "/v1/metrics/live")
        await live.until(lambda reader: len(reader.blocks) > 0)
        await live.close()
        (frame,) = re.findall(rb"^data: (.*)$", live.blocks[0], re.MULTILINE)
        assert msgspec.json.decode(frame)["alerts"] == (await alerts(third))["alerts"]
        assert [asked.json()["status"] for asked in receiver.requests] == ["firing"] * 3
        assert {asked.json()["told_by"] for asked in receiver.requests} == {name}

        # Who told it is gone, then who saw it: what was told is known, and that it is over is told.
        for one in nodes:
            await one.aclose()
        await asking.until(lambda: len(receiver.requests) > 3)
        assert [asked.json()["status"] for asked in receiver.requests[3:]] == ["resolved"]
        assert receiver.requests[3].json()["told_by"] == third.service.name
        ids = [asked.headers["webhook-id"] for asked in receiver.requests]
        assert len(set(ids)) == 2
        assert len(set(ids[:3])) == 1


async def test_8_6_a_log_that_is_down_is_told_by_each_node_also_where_none_writes(
    valkey_program: Path,
    tmp_path: Path,
    short: None,
    logged: conftest.Logged,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writers, "ADOPT_EVERY", SHORT)
    monkeypatch.setattr(survey, "AGAIN", SHORT)
    server = redis_servers.alone(valkey_program, tmp_path)
    receiver = provider.ReplayServer([answer(204)])

    def told() -> set[tuple[str, str, str]]:
        posts = [asked.json() for asked in receiver.requests]
        return {(post["alert"], post["status"], post["told_by"]) for post in posts}

    where = address.Address((("127.0.0.1", server.port),))
    async with receiver, contextlib.AsyncExitStack() as stays:
        stays.callback(server.stop)
        config = harness.configured(monitoring={"webhook_url": receiver.url})
        one, other = [await stays.enter_async_context(node(where, config)) for _ in range(2)]
        names = {one.service.name, other.service.name}
        server.stop()
        fired = {("log_failing", "firing", name) for name in names}
        await asking.until(lambda: told() == fired)
        (shown,) = (await alerts(one))["alerts"]
        assert shown["detail"] == [one.service.name]
        server.start()
        over = {("log_failing", "resolved", name) for name in names}
        await asking.until(lambda: told() == fired | over)
        assert len(receiver.requests) == 4
    asking.expected(logged, "alert_firing", "orphans_unknown")
    logged.clear()  # whoever else asked the log meanwhile may have said so

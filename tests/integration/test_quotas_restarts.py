"""The limit of answers under way after a restart, while what was left is taken over.

Strategy: a restart is another node on the same file. What the log does to take a stream over, or to
tell which there are, waits for a gate; so a test stands where it wants to look, however fast the
node is.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.integration import asking, harness, node_with_keys

from holdfast import events
from holdfast.eventlog.sqlite import engine

LIMIT = 5


class Gates:
    """An SQLite log names no orphans, and claims none, while its gate is shut."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.naming, self.claiming = asyncio.Event(), asyncio.Event()
        self.claimed = asyncio.Event()
        """Somebody wants to take a stream over."""
        claim, orphans = engine.SqliteLog.claim, engine.SqliteLog.orphans

        async def claim_late(log: engine.SqliteLog, stream: events.StreamId, ts: int) -> Any:
            self.claimed.set()
            await self.claiming.wait()
            return await claim(log, stream, ts)

        async def name_late(log: engine.SqliteLog, limit: int) -> Any:
            await self.naming.wait()
            return await orphans(log, limit)

        monkeypatch.setattr(engine.SqliteLog, "claim", claim_late)
        monkeypatch.setattr(engine.SqliteLog, "orphans", name_late)
        self.naming.set()


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> Gates:
    return Gates(monkeypatch)


def limited(held_by: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plans and a key's own quota, where this account has the limit."""
    limit: dict[str, Any] = {"streams": LIMIT}
    plan = {"tenants": ["acme"], **(limit if held_by == "tenant" else {})}
    return {"all": plan}, limit if held_by == "key" else {}


async def left(url: str, held_by: str) -> tuple[node_with_keys.Key, list[str]]:
    """As many streams as one may have, whose node is gone."""
    plans, quota = limited(held_by)
    async with node_with_keys.serving(url, plans=plans) as server:
        key = await node_with_keys.made(server, **quota)
        return key, [await node_with_keys.stalled(server, key) for _ in range(LIMIT)]


async def free(server: harness.Running, key: node_with_keys.Key) -> None:
    """Nothing counts any more, and as many may begin as ever."""
    await asking.idle(server)
    assert node_with_keys.places(server) == {(0, 0, 0)}
    made = [await node_with_keys.stalled(server, key) for _ in range(LIMIT)]
    await node_with_keys.cancel(server, key, *made)


@pytest.mark.case("4.17")
@pytest.mark.parametrize("held_by", ["key", "tenant"])
async def test_what_is_not_taken_over_yet_has_its_place(
    held_by: str, tmp_path: Path, gates: Gates
) -> None:
    url, plans = f"sqlite:///{tmp_path}/log.db", limited(held_by)[0]
    key, streams = await left(url, held_by)
    async with node_with_keys.serving(url, plans=plans) as server:
        await gates.claimed.wait()
        for _ in range(3):
            answer = await node_with_keys.create(server, key, asking.STALLED)
            node_with_keys.refused(answer, "stream_limit", 1)
        other = await node_with_keys.made(server, "another")
        await node_with_keys.cancel(
            server, other, await node_with_keys.stalled(server, other)
        )  # nobody else is kept from anything
        gates.claiming.set()
        jobs = {f"produce {stream}" for stream in streams}
        await asking.until(lambda: jobs <= set(server.service.supervisor.names))
        [account] = node_with_keys.accounts(server, "tenant:acme")
        assert (account.streams, len(account.stops)) == (LIMIT, LIMIT)
        answer = await node_with_keys.create(server, key, asking.STALLED)
        node_with_keys.refused(answer, "stream_limit", 1)
        await node_with_keys.cancel(server, key, *streams)
        await free(server, key)


async def test_what_ends_as_it_is_taken_over_gives_its_place_back(
    tmp_path: Path, gates: Gates
) -> None:
    """It never has a meter."""
    url, plans = f"sqlite:///{tmp_path}/log.db", limited("key")[0]
    key, streams = await left(url, "key")
    async with node_with_keys.serving(url, plans=plans) as server:
        await gates.claimed.wait()
        for stream in streams:
            await server.service.cancel(events.stream_id(stream))
        answer = await node_with_keys.create(server, key, asking.STALLED)
        node_with_keys.refused(answer, "stream_limit", 1)
        gates.claiming.set()
        for stream in streams:
            assert await node_with_keys.ended(server, stream) == ("error", "cancelled")
        await free(server, key)


async def test_nobody_begins_before_it_is_known_what_was_left(tmp_path: Path, gates: Gates) -> None:
    """And only who begins an answer waits."""
    url, plans = f"sqlite:///{tmp_path}/log.db", limited("key")[0]
    key, streams = await left(url, "key")
    gates.naming.clear()
    gates.claiming.set()
    async with node_with_keys.serving(url, plans=plans) as server:
        begun = asyncio.create_task(node_with_keys.create(server, key, asking.STALLED))
        reader = await (await node_with_keys.read(server, key, streams[0])).until(asking.has(1))
        await reader.close()
        listed = await harness.ask(server.port, "GET", "/v1/streams", key.headers)
        assert {entry["id"] for entry in listed.json()["streams"]} == set(streams)
        assert not begun.done()
        gates.naming.set()
        node_with_keys.refused(await begun, "stream_limit", 1)
        await node_with_keys.cancel(server, key, *streams)
        await free(server, key)


async def test_who_waits_too_long_may_come_again(tmp_path: Path, gates: Gates) -> None:
    url, plans = f"sqlite:///{tmp_path}/log.db", limited("key")[0]
    key, _ = await left(url, "key")
    gates.naming.clear()
    quick = {"log_patience": "100ms"}
    async with node_with_keys.serving(url, plans=plans, streaming=quick) as server:
        answer = await node_with_keys.create(server, key, asking.STALLED)
        assert (answer.status, answer.json()["code"]) == (503, "log_unavailable")
        assert "retry-after" in answer.headers
        listed = await harness.ask(server.port, "GET", "/v1/streams", key.headers)
        assert len(listed.json()["streams"]) == LIMIT


async def test_a_crowd_that_comes_with_the_restart_gets_what_is_left(tmp_path: Path) -> None:
    url, most = f"sqlite:///{tmp_path}/log.db", 40
    async with node_with_keys.serving(url) as server:
        key = await node_with_keys.made(server, streams=most)
        for _ in range(most - 10):
            await node_with_keys.stalled(server, key)
    async with node_with_keys.serving(url) as server:
        asked = (node_with_keys.create(server, key, asking.STALLED) for _ in range(most))
        answers = await asyncio.gather(*asked)
        assert sorted(answer.status for answer in answers) == [201] * 10 + [429] * (most - 10)
        [account] = node_with_keys.accounts(server, f"key:{key.id}")
        await asking.until(lambda: len(account.stops) == most)
        assert account.streams == most

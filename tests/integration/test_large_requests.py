"""All requests whose answers are under way are bounded together.

Strategy: answers stand still, so that their requests are kept. They are of half a megabyte each,
on a node that may keep one, of which new streams may take nine tenths.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.integration import asking, harness, node_with_keys

MOST = {"requests_per_node": "1MiB"}


def large(options: str = "tokens=3 stall_at=2") -> bytes:
    return asking.demo(options, prompt="x" * 500_000, flush_interval_ms=0)


async def made(server: harness.Running, body: bytes) -> harness.Response:
    headers = {"Content-Type": "application/json"}
    return await harness.ask(server.port, "POST", "/v1/streams", headers, body)


def refused(answer: harness.Response) -> bool:
    return (answer.status, answer.json().get("code")) == (503, "overloaded")


@pytest.mark.case("4.14")
async def test_more_than_the_node_may_keep_is_refused() -> None:
    async with harness.running(harness.configured(streaming=MOST)) as server:
        first, second = [await made(server, large()) for _ in range(2)]
        assert (first.status, second.status) == (201, 201)
        assert refused(await made(server, large()))
        assert refused(await made(server, asking.demo("tokens=1")))
        assert (await harness.ask(server.port, "GET", "/healthz")).status == 200
        stream = first.json()["id"]
        await harness.ask(server.port, "POST", f"/v1/streams/{stream}/cancel")
        await asking.until(lambda: f"produce {stream}" not in server.service.supervisor.names)
        third = await made(server, large())
        assert third.status == 201
        for each in (second, third):
            await harness.ask(server.port, "POST", f"/v1/streams/{each.json()['id']}/cancel")
        await asking.idle(server)
        assert server.service._writers.asked == 0


@pytest.mark.case("4.14")
async def test_many_at_once_are_not_taken_either(tmp_path: Path) -> None:
    """Nor while a log that takes its time has none of them yet."""
    log = f"sqlite:///{tmp_path}/holdfast.db"
    async with harness.running(harness.configured(log, streaming=MOST)) as server:
        answers = await asyncio.gather(*(made(server, large()) for _ in range(20)))
        assert sum(answer.status == 201 for answer in answers) == 2
        assert sum(map(refused, answers)) == 18


@pytest.mark.case("4.17")
async def test_one_tenant_leaves_room_for_another() -> None:
    async with node_with_keys.serving(streaming={"requests_per_node": "5MiB"}) as server:
        loud, quiet = [await node_with_keys.made(server, tenant) for tenant in ("loud", "quiet")]
        streams, refusal = list[str](), None
        while refusal is None:
            answer = await node_with_keys.create(server, loud, large("tokens=3 stall_at=1"))
            if answer.status == 201:
                streams.append(str(answer.json()["id"]))
            else:
                refusal = answer
        assert refused(refusal)
        small = await node_with_keys.create(server, quiet, asking.demo("tokens=1"))
        assert small.status == 201
        assert refused(await node_with_keys.create(server, loud, asking.demo("tokens=1")))
        await node_with_keys.cancel(server, loud, *streams)
        again = await node_with_keys.create(server, loud, asking.demo("tokens=1"))
        assert again.status == 201
        await asking.idle(server)
        assert {one.bytes for one in node_with_keys.accounts(server)} == {0}

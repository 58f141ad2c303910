"""Several nodes on one Redis: any of them serves any stream.

Strategy: the nodes are whole servers in this process, each with an engine of its own, so that they
share nothing but Valkey. A lease in tests is short, and where its end matters the test waits for
what follows from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, MutableSequence
from typing import Any

import pytest
from tests import redis_servers
from tests.integration import asking, harness

from holdfast import app, settings
from holdfast.eventlog import watch
from holdfast.eventlog.redis import address, engine
from holdfast.testing import provider
from holdfast.testing.eventlog import parts

LEASE = 1.0
"""Seconds."""

ROUNDS = 1_000
"""How often one key is shown to two nodes at once."""


class Cluster:
    """Nodes that are up, and how to have one more."""

    def __init__(self, where: address.Address, stack: contextlib.AsyncExitStack) -> None:
        self._where, self._stack = where, stack

    async def node(self, config: settings.Settings | None = None) -> harness.Running:
        log = engine.RedisLog(self._where, seconds=LEASE)
        said = config or harness.configured()
        served = harness.running_on(log, said, watch.POLL_INTERVAL)
        return await self._stack.enter_async_context(served)

    @contextlib.asynccontextmanager
    async def mortal(self) -> AsyncIterator[tuple[harness.Running, engine.RedisLog]]:
        """One that ends before the others."""
        log = engine.RedisLog(self._where, seconds=LEASE)
        served = harness.running_on(log, harness.configured(), watch.POLL_INTERVAL)
        async with served as running:
            yield running, log


@pytest.fixture
async def cluster(valkey: redis_servers.Server) -> AsyncIterator[Cluster]:
    database = redis_servers.next_database()
    where = address.Address((("127.0.0.1", valkey.port),), database=database)
    async with contextlib.AsyncExitStack() as stack:
        yield Cluster(where, stack)


async def made(port: int, body: bytes, **headers: str) -> str:
    """The id of a new stream, by POST without reading it."""
    sent = {"Content-Type": "application/json", **headers}
    answer = await harness.ask(port, "POST", "/v1/streams", sent, body)
    assert answer.status in (200, 201), answer.body
    return str(answer.json()["id"])


def check_whole(answer: harness.Response) -> str:
    """The text, which is that of which `complete` has the hash."""
    assert answer.clean
    text = asking.content(answer.body)
    done = [block.data for block in harness.said(answer.body) if block.event == "complete"]
    assert len(done) == 1
    assert done[0]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    return text


async def test_a_stream_of_one_node_is_read_at_another_as_it_comes(cluster: Cluster) -> None:
    here, there = await cluster.node(), await cluster.node()
    id = await made(here.port, asking.demo("tokens=300"))
    target = f"/v1/streams/{id}/events"
    answers = await asyncio.gather(
        *(harness.ask(node.port, "GET", target) for node in 10 * [here, there])
    )
    assert len({answer.body for answer in answers}) == 1
    check_whole(answers[0])
    shown = [await harness.ask(node.port, "GET", f"/v1/streams/{id}") for node in (here, there)]
    assert shown[0].body == shown[1].body
    listed = [await harness.ask(node.port, "GET", "/v1/streams") for node in (here, there)]
    assert listed[0].body == listed[1].body


async def test_a_reader_goes_on_at_another_node_without_a_gap_or_a_repeat(
    cluster: Cluster,
) -> None:
    here, there = await cluster.node(), await cluster.node()
    id = await made(here.port, asking.demo("tokens=60", flush_interval_ms=0))
    whole = await harness.ask(here.port, "GET", f"/v1/streams/{id}/events")
    blocks = harness.durable(whole.body).split(b"\n\n")[:-1]
    for number in range(0, len(blocks), 7):
        position = blocks[number].rpartition(b"id: ")[2].decode()
        rest = await harness.ask(
            there.port, "GET", f"/v1/streams/{id}/events", {"Last-Event-ID": position}
        )
        if number == len(blocks) - 1:
            assert rest.status == 204
        else:
            assert harness.durable(rest.body).split(b"\n\n")[:-1] == blocks[number + 1 :]


async def test_one_key_at_two_nodes_at_once_is_one_stream_and_one_call(cluster: Cluster) -> None:
    answer = provider.Answer(body=(asking.chunk("Hi") + asking.STOP,))
    async with provider.ReplayServer(lambda request: answer) as vendor:
        row = {"kind": "openai", "base_url": f"{vendor.url}/v1", "api_key": asking.KEY}
        config = harness.configured(providers={"vendor": row})
        nodes = [await cluster.node(config), await cluster.node(config)]
        body = harness.wanted("vendor/m")
        for number in range(ROUNDS):
            key = {"Idempotency-Key": f"k{number}"}
            ids = await asyncio.gather(*(made(node.port, body, **key) for node in 2 * nodes))
            assert len(set(ids)) == 1
            read = (harness.ask(n.port, "GET", f"/v1/streams/{ids[0]}/events") for n in nodes)
            here, there = await asyncio.gather(*read)
            assert here.body == there.body
            assert check_whole(here) == "Hi"
            assert len(vendor.requests) == number + 1


async def test_a_cancel_reaches_the_node_that_writes(cluster: Cluster) -> None:
    here, there = await cluster.node(), await cluster.node()
    reader = await asking.stalled(here.port)
    id = reader.headers["x-stream-id"]
    answer = await harness.ask(there.port, "POST", f"/v1/streams/{id}/cancel")
    assert answer.status in (200, 202)
    rest = await reader.rest()
    assert [block.event for block in harness.said(rest.body)][-1] == "error"
    assert b'"cancelled"' in rest.body


async def test_what_a_dead_node_wrote_goes_on_at_another(
    cluster: Cluster, logged: MutableSequence[Any]
) -> None:
    """A reader at the third one reads on."""
    async with cluster.mortal() as (dying, log):
        there = await cluster.node()
        body = asking.demo("tokens=40 rate=20", flush_interval_ms=0).replace(b"rate=10000 ", b"")
        id = await made(dying.port, body)
        reader = await harness.resume(there.port, f"{id}:0-0", "header")
        await reader.until(lambda one: asking.content(bytes(one.body)).count(" ") > 3)
        opened = log._opened
        assert opened is not None
        await opened.tasks.close()  # as a process that is killed: nothing is given back
        answer = await reader.rest()
        path = f"/v1/streams/{id}/timeline"
        story = (await harness.ask(there.port, "GET", path)).json()["entries"]
    logged.clear()  # a node whose log is gone has much to say
    text = check_whole(answer)
    adopted = [block for block in harness.said(answer.body) if block.data.get("type") == "adopted"]
    assert len(adopted) == 1
    assert len(text.split()) >= 40
    own = [one for one in story if not one["what"].startswith("connection_")]
    assert [one["what"] for one in own] == [
        *("start", "first_chunk", "adopted", "attempt", "finish", "complete"),
    ]
    assert own[2]["detail"] == {"epoch": adopted[0].data["epoch"]}
    assert own[3]["detail"]["how"] == "replay"


async def test_a_node_takes_none_of_its_own_streams_for_a_dead_one_s(
    valkey: redis_servers.Server,
) -> None:
    """Whenever it looks, also while they are being made."""
    database = redis_servers.next_database()
    log = engine.RedisLog(address.Address((("127.0.0.1", valkey.port),), database=database))
    await log.start()
    made: list[object] = []

    async def make() -> None:
        for _ in range(40):
            made.append(await parts.begin(log))

    making = [asyncio.create_task(make()) for _ in range(4)]
    while not all(task.done() for task in making):
        assert await log.orphans(100) == []
    assert len(made) == 160
    await log.close()


async def test_connections_are_those_of_all_nodes(cluster: Cluster) -> None:
    here, there = await cluster.node(), await cluster.node()
    reader = await asking.stalled(here.port)
    id = reader.headers["x-stream-id"]
    other = await harness.resume(there.port, f"{id}:0-0", "header")
    await other.until(lambda one: asking.content(bytes(one.body)).count(" ") > 0)
    pages = []
    for target in ("/v1/connections", f"/v1/streams/{id}/connections"):
        for node in (here, there):
            page = (await harness.ask(node.port, "GET", target)).json()
            assert [one["answered"] for one in page["nodes"]] == [True, True]
            pages.append({one["id"] for one in page["connections"]})
    assert len(pages[0]) == 2
    assert pages == 4 * [pages[0]]
    for one in pages[0]:
        for node in (here, there):
            shown = await harness.ask(node.port, "GET", f"/v1/connections/{one}")
            assert shown.json()["stream_id"] == id
    await harness.ask(there.port, "POST", f"/v1/streams/{id}/cancel")
    await asyncio.gather(reader.rest(), other.rest())


async def test_what_failed_is_that_of_all_nodes(cluster: Cluster) -> None:
    here = await cluster.node()
    async with cluster.mortal() as (there, log):
        for node in (here, there, there):
            await asking.finished(node.port, "error_at=1")
            await asking.idle(node)
        for node in (here, there):
            found = (await harness.ask(node.port, "GET", "/v1/errors")).json()
            assert [one["answered"] for one in found["nodes"]] == [True, True]
            assert {(one["provider"], one["count"]) for one in found["errors"]} == {
                ("demo", 3),
                (None, 3),
            }
            assert [len(one["examples"]) for one in found["errors"]] == [3, 3]
        log.answer(lambda question: b"")  # of a version that does not know this question
        found = (await harness.ask(here.port, "GET", "/v1/errors")).json()
        assert sorted(one["answered"] for one in found["nodes"]) == [False, True]
        assert {one["count"] for one in found["errors"]} == {1}


async def test_a_node_that_does_not_answer_is_told(cluster: Cluster) -> None:
    here = await cluster.node()
    async with cluster.mortal() as (there, log):
        log.answer(lambda question: b"\xff")  # of a version that says it otherwise
        reader = await asking.stalled(here.port)
        page = (await harness.ask(here.port, "GET", "/v1/connections")).json()
        assert len(page["connections"]) == 1
        assert sorted(one["answered"] for one in page["nodes"]) == [False, True]
        id = reader.headers["x-stream-id"]
        await harness.ask(there.port, "POST", f"/v1/streams/{id}/cancel")
        await reader.rest()
    page = (await harness.ask(here.port, "GET", "/v1/connections")).json()
    assert [one["answered"] for one in page["nodes"]] == [True]


def test_a_node_has_the_lease_of_its_settings() -> None:
    node = app.asgi(harness.configured(log={"url": "redis://127.0.0.1", "lease": 7}))
    live = node.service.log
    while not isinstance(live, engine.RedisLog):
        live = live._log  # type: ignore[attr-defined]
    assert live._seconds == 7

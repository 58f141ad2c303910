"""Passes over all streams: what they come to, what breaks them off, and that one runs at a time.

Strategy: stores that do what a test says, a memory log for what is destroyed, and simulated time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from holdfast import errors, events, resealing, supervisor
from holdfast.eventlog import base, memory
from holdfast.sealing import ring, sealer, stores
from holdfast.testing import simulated
from holdfast.testing.eventlog import parts

OLD, NEW = ring.RingKey("0" * 16, b"o" * 32, 0), ring.RingKey("1" * 16, b"n" * 32, 1)
LATER = ring.RingKey("2" * 16, b"l" * 32, 2**45)
OWN = ring.RingKey("3" * 16, b"t" * 32, 0, "acme")


class Store(memory.MemoryLog):
    """Its passes come to `steps`, one a call; a failure is raised."""

    def __init__(self, *steps: stores.Resealed | Exception) -> None:
        super().__init__()
        self.steps, self.asked = list(steps), list[tuple[str, bool]]()
        self.under: dict[str, int] = {}
        self.guarded: list[str] = []

    async def reseal(self, after: str, limit: int, *, plain_only: bool = False) -> stores.Resealed:
        self.asked.append((after, plain_only))
        step = self.steps.pop(0) if self.steps else stores.Resealed()
        if isinstance(step, Exception):
            raise step
        return step

    async def wrapped_by(self) -> Mapping[str, int]:
        return self.under

    async def guards(self) -> tuple[str, ...]:
        return tuple(self.guarded)

    async def drop_guard(self, key_id: str) -> None:
        self.guarded.remove(key_id)


class Node:
    """What a node has of all this."""

    def __init__(self, log: Store, archive: Store, *keys: ring.RingKey) -> None:
        by = sealer.Sealer(ring.Ring(keys)) if keys else sealer.OFF
        self.tasks = supervisor.Supervisor(lambda why: None)
        kept_in = {"log": log, "archive": archive}
        self.seal = resealing.Resealing(by, log, kept_in, self.tasks)

    async def over(self) -> resealing.Pass:
        while self.seal.last is None or self.seal.last.running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return self.seal.last


@simulated.timed
async def test_what_is_plain_is_looked_for_until_none_is_left() -> None:
    """Failures too are for the next time, and each kind of them is told once."""
    log = Store(
        stores.Resealed(done=2, left=1, after="b"),
        stores.Resealed(done=1),
        errors.LogUnavailable("/srv"),
        errors.LogUnavailable("/srv"),
        KeyError("a bug"),
        stores.Resealed(done=1),
    )
    archive = Store(stores.Resealed(done=4))
    node = Node(log, archive, OLD)
    with capture_logs() as logged:
        running = asyncio.ensure_future(node.seal.run())
        await asyncio.sleep(40 * resealing.AGAIN)
    assert log.asked == [("", True), ("b", True), *[("", True)] * 4]
    assert len(archive.asked) == 2
    assert not running.done()
    running.cancel()
    assert [(entry["event"], entry.get("done"), entry.get("error")) for entry in logged] == [
        ("store_sealed", 7, None),
        ("store_not_sealed", None, "log_unavailable"),
        ("pass_failed", None, None),
        ("store_not_sealed", None, "internal"),
        ("store_sealed", 1, None),
    ]
    assert node.seal.last == resealing.Pass("seal", done=1, running=False)


@simulated.timed
async def test_what_stays_open_is_looked_for_ever_more_seldom() -> None:
    """A look goes over all streams: one that never ends is no reason to do that each minute."""
    log = Store(*[stores.Resealed(left=1)] * 500)
    node = Node(log, Store(), OLD)
    running = asyncio.ensure_future(node.seal.run())
    day = 86_400.0
    await asyncio.sleep(day)
    looks = len(log.asked)
    assert day / resealing.SELDOM <= looks <= day / resealing.SELDOM + 6
    log.steps.insert(0, stores.Resealed(done=1, left=1))
    await asyncio.sleep(resealing.SELDOM)
    assert len(log.asked) > looks + 3
    running.cancel()


@simulated.timed
async def test_a_pass_that_was_asked_for_is_told_until_the_next_one_is() -> None:
    """Else who follows it would wait for ever, as the node's own look came right behind it."""
    log = Store(stores.Resealed(done=3), stores.Resealed(), stores.Resealed(left=1))
    node = Node(log, Store(), OLD)
    node.seal.rewrap()
    found = await node.over()
    running = asyncio.ensure_future(node.seal.run())
    await asyncio.sleep(resealing.BEGIN_WITHIN + 1)
    assert len(log.asked) == 2
    assert node.seal.last == found
    running.cancel()
    await node.tasks.close()


@simulated.timed
async def test_where_sealing_is_off_nothing_is_looked_for() -> None:
    log = Store()
    running = asyncio.ensure_future(Node(log, Store()).seal.run())
    await asyncio.sleep(10 * resealing.AGAIN)
    assert (log.asked, running.done()) == ([], False)
    running.cancel()


@simulated.timed
async def test_one_pass_runs_at_a_time_and_tells_how_far_it_is() -> None:
    log = Store(stores.Resealed(done=1, unreadable=1, after="b"), stores.Resealed(left=2))
    node = Node(log, Store(stores.Resealed(done=3)), OLD)
    node.seal.rewrap()
    for begin in (node.seal.rewrap, lambda: node.seal.shred_tenant("acme")):
        with pytest.raises(errors.AlreadyRunning):
            begin()
    assert node.seal.last == resealing.Pass("rewrap")
    assert await node.over() == resealing.Pass("rewrap", 4, 2, 1, False)
    assert log.asked == [("", False), ("b", False)]
    node.seal.rewrap()
    assert (await node.over()).done == 0
    await node.tasks.close()


@simulated.timed
async def test_a_pass_that_fails_says_why_and_lets_go_of_no_key() -> None:
    log = Store(stores.Resealed(done=1, after="b"), errors.LogUnavailable("/srv"))
    log.guarded = [OLD.id]
    node = Node(log, Store(), OLD, NEW)
    node.seal.rewrap()
    assert await node.over() == resealing.Pass("rewrap", 1, 0, 0, False, "log_unavailable")
    assert log.guarded == [OLD.id]
    await node.tasks.close()


@pytest.mark.parametrize(
    ("keys", "under", "stays"),
    [
        ((OLD, NEW), {NEW.id: 3}, [NEW.id]),
        ((OLD, NEW), {NEW.id: 3, OLD.id: 1}, [OLD.id, NEW.id]),
        ((OLD, NEW, LATER), {}, [NEW.id, LATER.id]),
        ((OLD, NEW, OWN), {}, [NEW.id, OWN.id]),
    ],
    ids=["none is under it", "one is", "one that is used later", "a tenant's own"],
)
def test_a_pass_lets_go_of_the_keys_that_nothing_needs(
    keys: tuple[ring.RingKey, ...], under: dict[str, int], stays: list[str]
) -> None:
    async def passing() -> None:
        log = Store()
        log.under, log.guarded = under, [key.id for key in keys]
        node = Node(log, Store(), *keys)
        node.seal.rewrap()
        await node.over()
        assert log.guarded == stays
        await node.tasks.close()

    simulated.run(passing())


@simulated.timed
async def test_a_tenants_own_key_is_let_go_of_once_the_ring_has_lost_it() -> None:
    """As long as it has it, other nodes wrap by it, and would not know that the guard is gone."""
    log = Store()
    log.guarded = [OLD.id, OWN.id, NEW.id]
    node = Node(log, Store(), OLD, OWN)
    for held, stays in (((OLD, OWN), [OLD.id, OWN.id]), ((OLD,), [OLD.id])):
        node.seal.sealer.replace(ring.Ring(held))
        log.under = {OWN.id: 1, NEW.id: 1}
        node.seal.shred_tenant("acme")
        await node.over()
        assert OWN.id in log.guarded
        log.under = {}
        node.seal.shred_tenant("acme")
        await node.over()
        assert log.guarded == stays
    await node.tasks.close()


@simulated.timed
async def test_a_key_that_was_followed_just_now_is_kept_for_a_while() -> None:
    """Another node's clock may be behind."""
    young = ring.RingKey("4" * 16, b"y" * 32, events.now_ms() - resealing.OVERLAP_MS // 2)
    log = Store()
    log.guarded = [OLD.id, young.id]
    node = Node(log, Store(), OLD, young)
    node.seal.rewrap()
    await node.over()
    assert log.guarded == [OLD.id, young.id]
    await node.tasks.close()


class Torn(Store):
    """A log that cannot open a stream's header."""

    async def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        found = await super().stat(stream)
        if isinstance(found, base.Info):
            raise errors.KeyMissing
        return found


async def ended(log: memory.MemoryLog, **header: Any) -> events.StreamId:
    pen = await parts.begin(log, **header)
    await pen.write(parts.COMPLETE)
    return pen.stream


async def test_what_is_destroyed_is_not_opened_and_all_are_told() -> None:
    log, told = Torn(), list[events.StreamId]()
    node = Node(log, Store())
    node.seal.gone.append(told.append)
    stream = await ended(log)
    assert await node.seal.shred(stream) is True
    with pytest.raises(errors.StreamExpired):
        await node.seal.shred(stream)
    with pytest.raises(errors.StreamNotFound):
        await node.seal.shred(events.new_stream_id())
    assert told == [stream]


async def test_what_is_under_way_is_cancelled_and_stays_until_its_end() -> None:
    log = Store()
    node, pen = Node(log, Store()), await parts.begin(log)
    assert await node.seal.shred(pen.stream) is False
    info = await log.stat(pen.stream)
    assert isinstance(info, base.Info)
    assert info.cancelled
    await pen.write(parts.CANCELLED)
    assert await node.seal.shred(pen.stream) is True


@simulated.timed
async def test_what_an_archive_alone_has_of_a_tenant_is_destroyed() -> None:
    """As it has where the log was another one once."""
    log, archive = Store(), Store()
    node, told = Node(log, archive), list[events.StreamId]()
    node.seal.gone.append(told.append)
    older = [await ended(archive, owner=owner) for owner in ("acme/ann", "else/bob")]
    newer = await ended(log, owner="acme/ann")
    node.seal.shred_tenant("acme")
    assert await node.over() == resealing.Pass("shred", 2, 0, 0, False)
    assert set(told) == {older[0], newer}
    assert [info.stream for info in await archive.find(base.Query())] == [older[1]]


@simulated.timed
async def test_a_tenant_with_many_streams_is_destroyed_and_nobody_else() -> None:
    log = Store()
    node = Node(log, Store())
    for number in range(2 * stores.STEP + 3):
        await ended(log, created_at=number // 4, owner=f"acme/{number % 3}")
    stays = [await ended(log, owner=owner) for owner in ("acmes/x", "", "else/acme")]
    pen = await parts.begin(log, owner="acme/open")
    never = await parts.begin(log, owner="acme/never")
    node.seal.shred_tenant("acme")
    await asyncio.sleep(resealing.LOOK_AGAIN / 2)
    assert node.seal.last == resealing.Pass("shred", done=2 * stores.STEP + 3, left=2)
    await pen.write(parts.CANCELLED)
    begun = asyncio.get_running_loop().time()
    found = await node.over()
    assert found == resealing.Pass("shred", 2 * stores.STEP + 4, 1, 0, False)
    assert asyncio.get_running_loop().time() - begun < resealing.LOOKS * resealing.LOOK_AGAIN + 1
    left = {info.stream for info in await log.find(base.Query(limit=500))}
    assert left == {*stays, never.stream}
    await node.tasks.close()


class TakenBack(Store):
    """A log that loses the first deletion it is told: as one does whose primary is given up for a
    replica that was behind, while the archive has not answered yet."""

    lost = True

    async def shred(self, stream: events.StreamId) -> bool:
        if self.lost:
            self.lost = False
            return True
        return await super().shred(stream)


async def test_what_a_failover_brought_back_meanwhile_is_not_said_to_be_gone() -> None:
    log, told = TakenBack(), list[events.StreamId]()
    node = Node(log, Store())
    node.seal.gone.append(told.append)
    stream = await ended(log)
    assert await node.seal.shred(stream) is False
    assert await node.seal.shred(stream) is True
    assert await log.heads([stream]) == [None]
    assert told == [stream, stream]

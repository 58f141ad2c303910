"""A store has one key, which every start finds or misses before anything else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from redis import exceptions
from tests import redis_servers
from tests.unit.eventlog.redis import logs

from holdfast import errors
from holdfast.eventlog.redis import engine, keys, lines, scripts, seals
from holdfast.sealing import codec, ring, sealer, stores
from holdfast.testing.eventlog import parts, sealing

OLD, NEW, OWN = sealing.OLD, sealing.NEW, sealing.OWN


@pytest.fixture
async def nodes(valkey: redis_servers.Server) -> AsyncIterator[logs.Nodes]:
    async with logs.nodes(valkey) as made:
        yield made


def secret(nodes: logs.Nodes) -> bytes:
    found = nodes.do("HGET", keys.STORE, "secret")
    assert isinstance(found, bytes)
    return found


def version(nodes: logs.Nodes) -> object:
    return nodes.do("HGET", keys.STORE, "version")


async def test_many_first_starts_at_once_make_one_key(nodes: logs.Nodes) -> None:
    for _ in range(3):
        nodes.do("FLUSHDB")
        some = await asyncio.gather(*(nodes.start(by=sealing.by(OLD)) for _ in range(4)))
        assert len({log.secret for log in some}) == 1
        assert (
            len({log._session.seals._store._key for log in some if log._session.seals._store}) == 1
        )
        assert nodes.do("HLEN", keys.GUARDS) == 1


async def test_a_new_store_has_no_secret_in_clear(nodes: logs.Nodes) -> None:
    log = await nodes.start(by=sealing.by(OLD))
    assert len(log.secret) == seals.SECRET_BYTES
    assert len(secret(nodes)) == seals.SECRET_BYTES + codec.SEALED_OVERHEAD
    assert log.secret not in secret(nodes)
    assert nodes.do("HGET", keys.STORE, "unclean") is None


async def test_a_plain_store_stays_one_that_older_nodes_know(nodes: logs.Nodes) -> None:
    log = await nodes.start()
    assert (secret(nodes), version(nodes)) == (log.secret, b"1")


async def test_a_store_that_is_sealed_is_of_a_version_that_older_nodes_refuse(
    nodes: logs.Nodes,
) -> None:
    plain = await nodes.start()
    log = await nodes.start(by=sealing.by(OLD))
    assert log.secret == plain.secret
    assert log.secret not in secret(nodes)
    assert version(nodes) == b"2"
    assert (await nodes.start(by=sealing.by(OLD, on=False))).secret == plain.secret


async def test_a_start_that_died_before_the_secret_was_sealed_is_made_good(
    nodes: logs.Nodes,
) -> None:
    plain = await nodes.start()
    died = seals.Seals(plain._session.lines, sealing.by(OLD), "here")
    await died._begin_to_seal()
    with pytest.raises(errors.SettingsError, match="there is no key ring"):
        await nodes.start()
    assert (await nodes.start(by=sealing.by(OLD, on=False))).secret == plain.secret
    assert secret(nodes) == plain.secret
    assert (await nodes.start(by=sealing.by(OLD))).secret == plain.secret
    assert plain.secret not in secret(nodes)


async def test_who_starts_while_another_begins_to_seal_has_the_same_secret(
    nodes: logs.Nodes,
) -> None:
    log = await nodes.start(by=sealing.by(OLD))

    class Early(seals.Seals):
        """It looked before there was anything."""

        looks = 0

        async def _known(self) -> tuple[int, bytes]:
            return 0, b""

        async def guards(self) -> dict[str, bytes]:
            self.looks += 1
            return {} if self.looks == 1 else await super().guards()

    for on in (False, True):
        assert await Early(log._session.lines, sealing.by(OLD, on=on), "here").open() == log.secret
    with pytest.raises(errors.SettingsError, match="there is no key ring"):
        await Early(log._session.lines, sealer.OFF, "here").open()


async def test_a_guard_is_there_before_what_needs_it(nodes: logs.Nodes) -> None:
    log = await nodes.start(by=sealing.by(OLD))
    guards = nodes.do("DUMP", keys.GUARDS)
    assert isinstance(guards, bytes)
    nodes.do("SET", keys.GUARDS, "in the way")
    with pytest.raises(errors.LogUnavailable):
        await parts.begin(log)
    assert await log.wrapped_by() == {}
    nodes.do("RESTORE", keys.GUARDS, 0, guards, "REPLACE")
    await parts.begin(log)
    assert await log.wrapped_by() == {OLD.id: 1}


@pytest.mark.parametrize("what", ["made", "sealed", "rewrapped"])
async def test_a_guard_that_another_node_dropped_is_there_before_what_needs_it_again(
    nodes: logs.Nodes, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    plain = await nodes.start()
    log = await nodes.start(by=sealing.by(OLD, NEW))
    both = sealer.Sealer(ring.Ring((OLD, NEW)), clock=lambda: 0)  # behind the time of NEW
    behind = await nodes.start(by=both)
    await parts.begin(behind)
    assert (await stores.reseal_all(log)).done == 1
    if what == "sealed":
        await sealing.ended(plain)
    await log.drop_guard(OLD.id)
    assert await log.guards() == (NEW.id,)
    ask = behind._session.lines.ask

    async def seen(commands: Sequence[lines.Keyed], lane: str = lines.WRITE) -> list[object]:
        if wraps(commands):
            assert OLD.id in await log.guards()
        return await ask(commands, lane)

    monkeypatch.setattr(behind._session.lines, "ask", seen)
    if what == "made":
        await parts.begin(behind)
    else:
        assert (await behind.reseal("", 10, plain_only=what == "sealed")).done == 1
    assert (await log.wrapped_by())[OLD.id] == 1
    assert set(await log.guards()) == {OLD.id, NEW.id}


def wraps(commands: Sequence[lines.Keyed]) -> bool:
    """Whether a stream has another key by these."""
    needs = {scripts.CREATE.sha, scripts.SEAL.sha, scripts.REWRAP.sha}
    return any(needs & set(one.words) for one in commands)


@pytest.mark.parametrize("what", ["made", "sealed", "rewrapped", "claimed", "lost"])
async def test_a_guard_that_was_dropped_just_then_is_put_behind_what_needs_it(
    nodes: logs.Nodes, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """By who looked before that, and found nothing; or that a replica had not heard of."""
    if what == "sealed":
        await sealing.ended(await nodes.start(), owner="acme/ann")
    if what == "rewrapped":
        await sealing.ended(await nodes.start(by=sealing.by(OLD)), owner="acme/ann")
    log = await nodes.start(by=sealing.by(OLD, OWN))
    ask = log._session.lines.ask

    async def dropped(commands: Sequence[lines.Keyed], lane: str = lines.WRITE) -> list[object]:
        if wraps(commands):
            nodes.do("HDEL", keys.GUARDS, OWN.id)
        return await ask(commands, lane)

    monkeypatch.setattr(log._session.lines, "ask", dropped)
    if what in ("sealed", "rewrapped"):
        assert (await log.reseal("", 1)).done == 1
    else:
        pen = await parts.begin(log, owner="acme/ann")
    assert await log.guards() == (OLD.id,)
    if what == "claimed":
        await logs.die(log)
        log = await nodes.start(by=sealing.by(OLD, OWN))
        assert await log.claim(pen.stream, 6_000) is not None
    elif what == "lost":
        await log.orphans(1)
        nodes.do("HDEL", keys.GUARDS, OWN.id)
        log._session.lines._link(None, "read").broken += 1  # as in a failover
    nodes.do("SET", keys.GUARDS, "in the way")
    with pytest.raises(errors.LogUnavailable):
        await log.orphans(1)
    nodes.do("DEL", keys.GUARDS)
    await log.orphans(1)
    assert await log.guards() == (OWN.id,)
    nodes.do("DEL", keys.GUARDS)
    await log.orphans(1)
    assert await log.guards() == ()  # by who has looked since


async def test_a_key_that_has_left_the_ring_needs_no_guard_any_more(nodes: logs.Nodes) -> None:
    by = sealing.by(OLD, OWN)
    log = await nodes.start(by=by)
    await parts.begin(log, owner="acme/ann")
    await log.drop_guard(OWN.id)
    by.replace(ring.Ring((OLD,)))
    assert await log.orphans(1) == []
    assert await log.guards() == (OLD.id,)


async def test_sealing_that_is_turned_on_later_has_a_guard(nodes: logs.Nodes) -> None:
    late = sealer.Sealer()
    log = await nodes.start(by=late)
    late.replace(sealing.by(OLD).ring)
    await parts.begin(log)
    assert await log.guards() == (OLD.id,)


async def test_lost_guards_are_told_and_their_key_is_no_new_one(nodes: logs.Nodes) -> None:
    await nodes.start(by=sealing.by(OLD))
    nodes.do("DEL", keys.GUARDS)
    with pytest.raises(errors.SettingsError, match="holdfast:guards"):
        await nodes.start(by=sealing.by(OLD, on=False))


@pytest.mark.parametrize("at", [0, 1, 2, 20, 61])
async def test_a_secret_that_was_changed_is_not_used(nodes: logs.Nodes, at: int) -> None:
    await nodes.start(by=sealing.by(OLD))
    bad = bytearray(secret(nodes))
    bad[at] ^= 1
    nodes.do("HSET", keys.STORE, "secret", bytes(bad))
    with pytest.raises(errors.LogCorrupt, match="secret"):
        await nodes.start(by=sealing.by(OLD))


async def test_the_last_guard_leaves_no_store_without_its_secret(nodes: logs.Nodes) -> None:
    log = await nodes.start(by=sealing.by(OLD))
    with pytest.raises(errors.SettingsError, match="rotate"):
        await log.drop_guard(OLD.id)
    log = await nodes.start(by=sealing.by(OLD, NEW))
    await log.drop_guard(OLD.id)
    assert await log.guards() == (NEW.id,)
    off = await nodes.start(by=sealing.by(NEW, on=False))
    await off.drop_guard(NEW.id)
    assert (await nodes.start()).secret == log.secret


async def test_a_key_that_is_lost_can_be_given_up_before_a_start(nodes: logs.Nodes) -> None:
    log = await nodes.start(by=sealing.by(OLD))
    shut = engine.RedisLog(nodes.where)
    assert await shut.guards() == (OLD.id,)
    for _ in range(2):
        await shut.drop_guard(OLD.id)
    assert await shut.guards() == ()
    with pytest.raises(errors.LogUnavailable):
        await shut.wrapped_by()
    again = await nodes.start(by=sealing.by(NEW))
    assert again.secret != log.secret
    assert await again.guards() == (NEW.id,)


def replication(primary: int, *replicas: int) -> bytes:
    """What a server says of its copies, and how far they are."""
    copies = enumerate(replicas)
    told = [f"slave{n}:ip=::1,port=1,state=online,offset={at},lag=0" for n, at in copies]
    said = ["role:master", f"connected_slaves:{len(told)}", *told, f"master_repl_offset:{primary}"]
    return "\r\n".join(said).encode()


@pytest.mark.parametrize(
    ("looks", "dropped"),
    [
        ([[replication(9)]], True),
        ([[replication(9, 9, 10)]], True),
        ([[replication(9, 9, 8)], [replication(20, 19, 9)]], True),
        ([[replication(9, 8)]], False),
        ([[replication(9, 9), replication(5, 4)]], False),
        ([[exceptions.ResponseError("NOPERM")]], True),
    ],
    ids=["no replica", "all have it", "one comes after", "one does not", "of two primaries", "?"],
)
async def test_no_key_goes_that_a_replica_may_need(
    nodes: logs.Nodes, monkeypatch: pytest.MonkeyPatch, looks: list[list[object]], dropped: bool
) -> None:
    await nodes.start(by=sealing.by(OLD))
    log = await nodes.start(by=sealing.by(OLD, NEW))
    found = iter(looks)

    async def each(words: object) -> list[object]:
        return next(found, looks[-1])

    monkeypatch.setattr(log._session.lines, "each", each)
    monkeypatch.setattr(seals, "COPY_LOOK", 0.0)
    if dropped:
        await log.drop_guard(OLD.id)
    else:
        with pytest.raises(errors.LogUnavailable, match="replica"):
            await log.drop_guard(OLD.id)
    assert (OLD.id in await log.guards()) != dropped

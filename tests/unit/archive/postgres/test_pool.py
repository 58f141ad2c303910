"""What happens to calls while PostgreSQL, or the way to it, is bad: no answer of another's, and no
wait without an end.

Strategy: a real server, which is stopped, frozen and cut off; a proxy in between that delays. Times
that a call may wait are made short.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import traceback
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import asyncpg
import pytest
from tests import postgres_server
from tests.contract import archives
from tests.contract.archives import Told, told

from holdfast import errors, events, storage
from holdfast.archive import base, rows, url
from holdfast.archive.postgres import PostgresArchive, pool
from holdfast.testing import fault_proxy, faults

SHORT = 0.3
"""Seconds that a call may wait where it will in vain."""


@contextlib.asynccontextmanager
async def started(where: str) -> AsyncIterator[PostgresArchive]:
    archive = url.open_archive(where, "memory://")
    assert isinstance(archive, PostgresArchive)
    try:
        await archive.start()
        yield archive
    finally:
        await archive.close()


@pytest.fixture
def own(postgres_programs: Path) -> Iterator[postgres_server.Server]:
    """A server that a test may stop."""
    with postgres_server.running(postgres_programs) as server:
        yield server


def impatient(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    for name, value in seconds.items():
        monkeypatch.setattr(pool, f"{name.upper()}_SECONDS", value)


# Cancelled calls


def tagged(number: int) -> Told:
    """A stream all of whose parts say which it is."""
    return told(*[f"tag {number}"] * 30, owner=f"t{number}/", stream=f"{number:026}")


async def check(archive: base.Archive, number: int, how: int) -> None:
    """One call, whose answer has to be its own."""
    one = tagged(number)
    stream = one.info.stream
    if how == 0:
        assert tuple((await archive.read(stream, events.BEGIN)).events) == one.all
    elif how == 1:
        assert await archive.stat(stream) == one.info
    elif how == 2:
        assert await archive.find(storage.Query(tenant=f"t{number}")) == [one.info]
    elif how == 3:
        assert await archive.connection(f"{number}") == reader(number)
    else:
        await archive.keep_connections([reader(number)])


def reader(number: int) -> rows.Connection:
    return rows.Connection(f"{number}", f"{number:026}", f"t{number}/", 1, 1, b"tag %d" % number)


@pytest.mark.case("1.15")
async def test_a_cancelled_call_never_leaves_its_answer_to_another(
    postgres: postgres_server.Server,
) -> None:
    """Through a proxy that delays, as it was found elsewhere: calls are cancelled at any moment,
    and each that is not has to get its own answer, at once and afterwards."""
    where = await postgres.fresh()
    numbers, dice = range(12), random.Random(7)
    ends = {"cancelled": 0, "done": 0}
    late = faults.Faults(
        up=(faults.Latency(0.002, 0.002),), down=(faults.Latency(0.002, 0.002), faults.Slices(700))
    )

    async def call(archive: base.Archive) -> None:
        number, how = dice.choice(numbers), dice.randrange(5)
        try:
            most = dice.choice([None, 0.004, 0.04])
            async with asyncio.timeout(most and dice.uniform(0, most)):
                await check(archive, number, how)
            ends["done"] += 1
        except TimeoutError:
            ends["cancelled"] += 1

    async def calls(archive: base.Archive) -> None:
        for _ in range(40):
            await call(archive)

    async with fault_proxy.FaultProxy(postgres.port) as proxy:
        through = where.replace(f":{postgres.port}/", f":{proxy.port}/")
        async with started(through) as archive:
            await archives.kept(archive, *map(tagged, numbers))
            await archive.keep_connections([reader(number) for number in numbers])
            proxy.set(late)
            await asyncio.gather(*(calls(archive) for _ in range(10)))
            assert min(ends.values()) > 20, ends
            for number in numbers:
                for how in range(5):
                    await check(archive, number, how)
            for _ in range(1000):  # the proxy sees a moment later that one was thrown away
                if proxy.open <= pool.CONNECTIONS:
                    break
                await asyncio.sleep(0.01)
            assert proxy.open <= pool.CONNECTIONS


class Made:
    """A connection that was asked for by somebody who is gone."""

    ended = False

    def terminate(self) -> None:
        self.ended = True


async def test_a_connection_that_nobody_waits_for_any_more_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever breaks off a driver that connects may leave its socket open."""
    made, ready, broken_off = Made(), asyncio.Event(), False

    async def connect(*args: object, **options: object) -> Made:
        nonlocal broken_off
        try:
            await ready.wait()
        except asyncio.CancelledError:
            broken_off = True
            raise
        return made

    monkeypatch.setattr(asyncpg, "connect", connect)
    places = pool.Pool("postgresql://h/d", "the archive")
    places.open = True

    async def ask() -> None:
        async with places.connection():
            raise AssertionError("it was cancelled before")

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    ready.set()
    await places.close()
    await asyncio.sleep(0)
    assert (made.ended, broken_off) == (True, False)


@pytest.mark.case("1.15")
async def test_a_keep_that_is_cancelled_leaves_all_or_nothing(
    postgres: postgres_server.Server,
) -> None:
    where, dice = await postgres.fresh(), random.Random(7)
    streams = [tagged(number) for number in range(60)]
    async with (
        fault_proxy.FaultProxy(postgres.port) as proxy,
        started(where.replace(f":{postgres.port}/", f":{proxy.port}/")) as archive,
    ):
        proxy.set(faults.Faults(up=(faults.Latency(0.001, 0.001),)))
        for index, one in enumerate(streams):
            after = {0: 0.0, 1: None}.get(index % 10, dice.uniform(0.005, 0.06))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(after):
                    await archives.kept(archive, one)
        heads = await archive.heads([one.info.stream for one in streams])
        assert None in heads
        assert set(heads) - {None}
        for one, head in zip(streams, heads, strict=True):
            if head is not None:
                assert tuple(await archives.read_all(archive, one.info.stream)) == one.all
            await archives.kept(archive, one)
            assert await archive.stat(one.info.stream) == one.info


# A server that is away


@pytest.mark.case("1.19")
async def test_while_it_is_stopped_calls_fail_at_once_and_then_work_again(
    own: postgres_server.Server,
) -> None:
    async with started(await own.fresh()) as archive:
        one = told("a", "b")
        await archives.kept(archive, one)
        for _ in range(2):
            own.stop()
            for _ in range(2 * pool.CONNECTIONS):
                with pytest.raises(errors.ArchiveUnavailable, match=r"holdfast:\*\*\*@127"):
                    await archive.stat(one.info.stream)
            with pytest.raises(errors.ArchiveUnavailable):
                await archives.kept(archive, told("c"))
            with pytest.raises(errors.KeysUnavailable):
                await archive.keys(-1)
            own.start()
            assert await archive.stat(one.info.stream) == one.info
            assert tuple(await archives.read_all(archive, one.info.stream)) == one.all
            assert await archive.keys(-1) == base.Keys(0, ())


@pytest.mark.case("1.19")
async def test_while_it_is_frozen_calls_end_in_time_and_say_what_they_waited_for(
    own: postgres_server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that is too slow, a connection that does not come, and no place in the queue are
    told apart."""
    impatient(monkeypatch, command=3 * SHORT, connect=3 * SHORT, place=SHORT)
    async with started(await own.fresh()) as archive:
        one = told("a")
        await archives.kept(archive, one)
        with own.frozen():
            calls = (archive.stat(one.info.stream) for _ in range(pool.CONNECTIONS + 2))
            said = [str(e) for e in await asyncio.gather(*calls, return_exceptions=True)]
            assert sum("a statement took more than" in text for text in said) >= 1, said
            assert sum("no connection within" in text for text in said) >= 1, said
            assert sum("all connections were in use" in text for text in said) == 2, said
            late = told("b")
            with pytest.raises(errors.ArchiveUnavailable):
                await archives.kept(archive, late)
        assert await archive.stat(one.info.stream) == one.info
        await archives.kept(archive, late)
        assert await archive.stat(late.info.stream) == late.info


async def test_a_connection_that_the_server_ended_is_replaced(
    postgres: postgres_server.Server,
) -> None:
    where = await postgres.fresh()
    async with started(where) as archive:
        await asyncio.gather(*(archive.find(storage.Query()) for _ in range(9)))
        await postgres.execute(
            where,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        # One that hears of it only now fails, and no other does.
        for _ in range(pool.CONNECTIONS):
            with contextlib.suppress(errors.ArchiveUnavailable):
                await archive.find(storage.Query())
        assert await archive.find(storage.Query()) == []


# Places


async def test_connections_are_few_and_go_back(postgres: postgres_server.Server) -> None:
    where = await postgres.fresh()
    async with started(where) as archive:
        for _ in range(3):
            await asyncio.gather(*(archive.find(storage.Query()) for _ in range(40)))
        count = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'holdfast'"
        )
        assert await postgres.execute(where, count) == [(pool.CONNECTIONS,)]
    assert not archive._pool._idle


async def test_streams_that_come_slowly_leave_places_for_readers_and_keys(
    postgres: postgres_server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch, place=SHORT)
    async with started(await postgres.fresh()) as archive:
        going, arrived = asyncio.Event(), asyncio.Queue[None]()

        async def slowly(one: Told) -> AsyncIterator[Sequence[events.Event]]:
            yield one.all[:-1]  # more than one group, so that a transaction has begun
            arrived.put_nowait(None)
            await going.wait()
            yield one.all[-1:]

        big = [told(*["x" * 700_000] * 3) for _ in range(pool.LONG)]
        async with asyncio.TaskGroup() as group:
            for one in big:
                group.create_task(archive.keep(one.info, (), slowly(one)))
            for _ in big:
                await arrived.get()
            assert await archive.find(storage.Query()) == []
            assert await archive.keys(-1) == base.Keys(0, ())
            with pytest.raises(errors.ArchiveUnavailable, match="all connections were in use"):
                await archives.kept(archive, told("a"))
            going.set()
        for one in big:
            assert await archive.stat(one.info.stream) == one.info


# What it is told


async def test_a_wrong_password_is_told_without_it(postgres: postgres_server.Server) -> None:
    where = (await postgres.fresh()).replace(postgres_server.ESCAPED, "hunter2")
    archive = url.open_archive(where, "memory://")
    for call, kind in (
        (archive.start, errors.KeysUnavailable),
        (archive.status, errors.ArchiveUnavailable),
    ):
        with pytest.raises(kind, match="password authentication failed") as caught:
            await call()
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


async def test_a_database_that_is_not_there_is_named(postgres: postgres_server.Server) -> None:
    archive = url.open_archive(postgres.url("nowhere"), "memory://")
    with pytest.raises(errors.KeysUnavailable, match="nowhere"):
        await archive.start()


async def test_a_database_that_was_emptied_gives_no_verdict_and_is_not_made_anew(
    postgres: postgres_server.Server,
) -> None:
    where = await postgres.fresh()
    async with started(where) as archive:
        await postgres.execute(where, "DROP SCHEMA holdfast CASCADE")
        for _ in range(2):
            with pytest.raises(errors.KeysUnavailable):
                await archive.keys(-1)
        with pytest.raises(errors.ArchiveUnavailable):
            await archive.find(storage.Query())
        assert (await archive.status()).version == 0


async def test_another_database_in_its_place_has_its_own_secret_and_revisions(
    postgres: postgres_server.Server,
) -> None:
    where = await postgres.fresh()
    async with started(where) as archive:
        known = await archive.keys(-1)
        assert known is not None
        secret = archive.secret
        await postgres.execute(where, "UPDATE holdfast.meta SET secret = '\\x07'")
        found = await archive.keys(known.revision)
        assert found is not None
        assert found.revision != known.revision
        assert archive.secret == b"\7" != secret
        assert await archive.keys(found.revision) is None
        await postgres.execute(where, "DELETE FROM holdfast.meta")
        with pytest.raises(errors.KeysUnavailable, match="no secret"):
            await archive.keys(-1)


async def test_keys_that_cannot_be_read_are_no_verdict(postgres: postgres_server.Server) -> None:
    where = await postgres.fresh()
    async with started(where) as archive:
        await archive.add(base.Key("a", b"d", "n", "t", "", (), 1, base.Quota()))
        await postgres.execute(where, "UPDATE holdfast.key SET data = '\\xc1'")
        with pytest.raises(errors.KeysUnavailable):
            await archive.keys(-1)
        with pytest.raises(errors.KeysUnavailable):
            await archive.revoke("a", 7)
        found = await postgres.execute(where, "SELECT revoked_at FROM holdfast.key")
        assert found == [(None,)]


async def test_after_a_close_it_is_not_open(postgres: postgres_server.Server) -> None:
    async with started(await postgres.fresh()) as archive:
        pass
    for call in (archive.stat(events.new_stream_id()), archive.forget(0, 1)):
        with pytest.raises(errors.ArchiveUnavailable, match="is not open"):
            await call
    with pytest.raises(errors.KeysUnavailable, match="is not open"):
        await archive.keys(-1)


@pytest.mark.parametrize("text", ["", "plain", "\0", "\x01", "\x01\x02", "\0\x01\0", "a\x01\x01b"])
def test_any_text_comes_back_from_one_without_nul(text: str) -> None:
    kept = pool.packed(text)
    assert kept is not None
    assert "\0" not in kept
    assert pool.unpacked(kept) == text


def test_of_two_texts_two_come() -> None:
    parts = ["", "\0", "\x01", "\x02"]
    texts = {a + b + c for a in parts for b in parts for c in parts}
    assert len({pool.packed(text) for text in texts}) == len(texts)

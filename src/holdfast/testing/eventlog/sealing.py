"""Sealing: what is encrypted reads as if it were not, and without its key not at all."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

import msgspec
import pytest

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.sealing import ring, sealer, stores
from holdfast.testing.eventlog.parts import (
    COMPLETE,
    EVERY_FIELD,
    Pen,
    begin,
    chunk,
    header,
    header_of,
    read_all,
)

OLD, NEW = ring.RingKey("0" * 16, b"o" * 32, 0), ring.RingKey("1" * 16, b"n" * 32, 1)
OWN = ring.RingKey("2" * 16, b"t" * 32, 0, "acme")


class OpenBy(Protocol):
    def __call__(
        self, by: sealer.Sealer, log: base.EventLog | None = None
    ) -> Awaitable[base.EventLog]: ...


def by(*keys: ring.RingKey, on: bool = True) -> sealer.Sealer:
    """A new one each time, as every start has its own."""
    return sealer.Sealer(ring.Ring(keys), on=on)


async def ended(log: base.EventLog, **fields: Any) -> Pen:
    pen = await begin(log, **fields)
    await pen.write(*[chunk(f"word {number} ") for number in range(20)])
    await pen.write(chunk("the last"), COMPLETE)
    return pen


class Sealing:
    """For engines with a store. The fixture `open_by` gives a function: a started engine with this
    sealer, on the store of a log that it closes first, or on an empty one."""

    async def test_what_is_sealed_reads_as_it_was_written(self, open_by: OpenBy) -> None:
        log = await open_by(by(OLD))
        pen, whole = await begin(log, **EVERY_FIELD), await ended(log, **EVERY_FIELD)
        await pen.write(chunk("a\u2028"), chunk("b"))
        before = [await read_all(log, one.stream) for one in (pen, whole)]
        assert await log.wrapped_by() == {OLD.id: 2}
        assert await log.guards() == (OLD.id,)
        secret = log.secret
        for _ in range(2):
            log = await open_by(by(OLD), log)
            assert [await read_all(log, one.stream) for one in (pen, whole)] == before
            assert await header_of(log, pen) == header(**EVERY_FIELD)
            assert await header_of(log, whole) == header(**EVERY_FIELD, request=b"")
            assert log.secret == secret
        life = await log.claim(pen.stream, 6_000)
        assert life is not None
        await Pen(log, pen.stream, life).write(chunk("c"), COMPLETE)
        assert len(await read_all(log, pen.stream)) == 6
        log = await open_by(by(OLD), log)
        assert len(await read_all(log, pen.stream)) == 6

    async def test_it_does_not_start_without_the_key(self, open_by: OpenBy) -> None:
        log = await open_by(by(OLD))
        pen = await ended(log)
        wrong = ring.RingKey(OLD.id, b"w" * 32, 0)
        for bad in (sealer.OFF, by(NEW), by(wrong), by(wrong, on=False)):
            with pytest.raises(errors.SettingsError):
                await open_by(bad, log)
        log = await open_by(by(OLD, NEW), log)
        assert len(await read_all(log, pen.stream)) == 23

    async def test_plain_and_sealed_streams_lie_in_one_store(self, open_by: OpenBy) -> None:
        log = await open_by(sealer.OFF)
        secret, plain, still = log.secret, await ended(log), await begin(log)
        log = await open_by(by(OLD), log)
        sealed = await ended(log)
        log = await open_by(by(OLD, on=False), log)
        after = await ended(log)
        for pen in (plain, sealed, after):
            assert len(await read_all(log, pen.stream)) == 23
        assert len(await read_all(log, still.stream)) == 1
        assert (await log.wrapped_by())[OLD.id] >= 1
        assert log.secret == secret

    async def test_a_plain_store_is_sealed_step_by_step(self, open_by: OpenBy) -> None:
        log = await open_by(sealer.OFF)
        pens = [await ended(log, **EVERY_FIELD) for _ in range(5)]
        still = await begin(log)
        before = [await read_all(log, pen.stream) for pen in pens]
        known = await log.find(base.Query(status="completed"))
        log = await open_by(by(OLD), log)
        assert (await log.reseal("", 0)).done == 0
        done, after = 0, ""
        for _ in range(20):  # it is closed after each step, and begins again where it was
            part = await log.reseal(after, 2, plain_only=True)
            done += part.done
            assert [await read_all(log, pen.stream) for pen in pens] == before
            log = await open_by(by(OLD), log)
            if part.after is None:
                break
            after = part.after
        assert done >= 5
        assert await log.find(base.Query(status="completed")) == known
        life = await log.claim(still.stream, 6_000)
        assert life is not None
        await Pen(log, still.stream, life).write(COMPLETE)
        await stores.reseal_all(log, plain_only=True)
        assert (await log.wrapped_by()).get("", 0) == 0
        assert (await stores.reseal_all(log)).done == 0
        assert [await read_all(log, pen.stream) for pen in pens] == before
        log = await open_by(by(OLD), log)
        assert [await read_all(log, pen.stream) for pen in pens] == before

    async def test_a_tick_that_is_given_again_or_too_late(self, open_by: OpenBy) -> None:
        """Also where its stream has left memory with its key."""
        log = await open_by(by(OLD))
        pen, still = await begin(log), await begin(log)
        last = pen.batch(chunk("a"), COMPLETE)
        assert await log.append((last,)) == [base.Ok()]
        pen.last = last.last
        unknown = msgspec.structs.replace(last, stream=events.new_stream_id())
        tick = (unknown, last, still.batch(chunk("b")), pen.batch(chunk("late")))
        for _ in range(3):
            assert await log.append(tick) == [base.Fenced(), base.Ok(), base.Ok(), base.Fenced()]
            assert len(await read_all(log, pen.stream)) == 3
            assert len(await read_all(log, still.stream)) == 2
            log = await open_by(by(OLD), log)
        assert await log.stat(unknown.stream) is None

    async def test_off_or_without_a_ring_nothing_is_resealed(self, open_by: OpenBy) -> None:
        log = await open_by(sealer.OFF)
        await ended(log)
        assert (await stores.reseal_all(log)).done == 0
        log = await open_by(by(OLD, on=False), log)
        assert (await stores.reseal_all(log)).done == 0
        assert await log.wrapped_by() == {"": 1}

    async def test_rewrapped_all_reads_without_the_old_key(self, open_by: OpenBy) -> None:
        log = await open_by(by(OLD))
        whole, pen = await ended(log), await begin(log)
        await pen.write(chunk("a"))
        before = await read_all(log, whole.stream)
        log = await open_by(by(OLD, NEW), log)
        newer = await ended(log)
        assert await log.wrapped_by() == {OLD.id: 2, NEW.id: 1}
        assert set(await log.guards()) == {OLD.id, NEW.id}
        assert (await stores.reseal_all(log, plain_only=True)).done == 0
        assert (await stores.reseal_all(log, step=1)).done == 2
        assert await log.wrapped_by() == {NEW.id: 3}
        await log.drop_guard(OLD.id)
        await log.drop_guard(OLD.id)
        log = await open_by(by(NEW), log)
        assert await read_all(log, whole.stream) == before
        assert len(await read_all(log, newer.stream)) == 23
        life = await log.claim(pen.stream, 6_000)
        assert life is not None
        await Pen(log, pen.stream, life).write(chunk("b"), COMPLETE)
        assert len(await read_all(log, pen.stream)) == 5

    async def test_the_key_that_new_streams_need_stays(self, open_by: OpenBy) -> None:
        log = await open_by(by(OLD))
        secret, pen = log.secret, await ended(log)
        with pytest.raises(errors.SettingsError, match="rotate"):
            await log.drop_guard(OLD.id)
        await log.drop_guard(NEW.id)
        assert await log.guards() == (OLD.id,)
        log = await open_by(by(OLD, NEW), log)
        await stores.reseal_all(log)
        await log.drop_guard(OLD.id)
        assert await log.guards() == (NEW.id,)
        log = await open_by(by(NEW), log)
        assert log.secret == secret
        assert len(await read_all(log, pen.stream)) == 23

    async def test_a_tenant_has_a_key_of_its_own(self, open_by: OpenBy) -> None:
        log = await open_by(by(OLD, OWN))
        mine, other = await ended(log, owner="acme/ann"), await ended(log, owner="else/bob")
        still = await begin(log, owner="acme/ann")
        assert await log.wrapped_by() == {OLD.id: 1, OWN.id: 2}
        await log.drop_guard(OWN.id)
        log = await open_by(by(OLD), log)
        with pytest.raises(errors.KeyMissing):
            await log.read(mine.stream, events.BEGIN)
        with pytest.raises(errors.KeyMissing):
            await log.stat(mine.stream)
        assert len(await read_all(log, other.stream)) == 23
        listed = {info.stream: info for info in await log.find(base.Query())}
        assert set(listed) == {mine.stream, still.stream, other.stream}
        assert listed[mine.stream].header.owner == "acme/ann"
        assert (await stores.reseal_all(log)).unreadable >= 1
        for pen in (mine, still):  # also what nobody can end
            assert await log.shred(pen.stream) is True
            assert isinstance(await log.stat(pen.stream), base.Tombstone)

    async def test_shredded_nothing_of_it_reads(self, open_by: OpenBy) -> None:
        log = await open_by(sealer.OFF)
        plain = await ended(log)
        log = await open_by(by(OLD), log)
        gone, stays, still = await ended(log, owner="me"), await ended(log), await begin(log)
        await read_all(log, gone.stream)
        woken: list[bool] = []
        log.watch(gone.stream, lambda: woken.append(True))
        assert await log.shred(still.stream) is False
        assert await log.shred(events.new_stream_id()) is False
        for stream in (gone.stream, plain.stream):
            assert await log.shred(stream) is True
            assert await log.shred(stream) is False
        for _ in range(2):
            for stream in (gone.stream, plain.stream):
                with pytest.raises(errors.StreamNotFound):
                    await log.read(stream, events.BEGIN)
                stone = await log.stat(stream)
                assert isinstance(stone, base.Tombstone)
                assert stone.owner == "me"
            assert await log.heads([gone.stream]) == [None]
            assert len(await read_all(log, stays.stream)) == 23
            assert len(await log.find(base.Query())) == 2
            with pytest.raises(errors.StreamExpired):
                await log.create(gone.stream, header(), (chunk("a"),), 9_000)
            log = await open_by(by(OLD), log)
        assert woken

"""A file's guards and its secret, and how far a step of resealing goes."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from tests.unit.eventlog.sqlite import opened
from tests.unit.eventlog.sqlite.test_records import IDS, finished

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.sqlite import file, seals
from holdfast.sealing import codec
from holdfast.testing.eventlog.parts import begin, chunk, header, read_all
from holdfast.testing.eventlog.sealing import NEW, OLD, by


async def test_the_secret_outlives_the_last_guard(path: Path, logs: opened.Logs) -> None:
    log = await logs.open(path, sealer=by(OLD))
    secret = log.secret
    with pytest.raises(errors.SettingsError, match="rotate"):
        await log.drop_guard(OLD.id)
    assert secret not in opened.raw(path)
    await log.close()
    log = await logs.open(path, sealer=by(OLD, on=False))
    await log.drop_guard(OLD.id)  # nothing is sealed any more: it lies in clear again
    await log.close()
    log = await logs.open(path)
    assert log.secret == secret
    await log.close()
    log = await logs.open(path, sealer=by(OLD))
    log._sealer.replace(by(OLD, NEW).ring)
    await log.drop_guard(OLD.id)
    assert await log.guards() == (NEW.id,)
    await log.close()
    log = await logs.open(path, sealer=by(NEW))
    assert log.secret == secret


async def test_a_guard_that_was_dropped_comes_back_with_the_next_stream(
    path: Path, logs: opened.Logs
) -> None:
    log = await logs.open(path, sealer=by(OLD, NEW))
    log._sealer.replace(by(OLD).ring)
    await begin(log)
    await log.drop_guard(OLD.id)
    assert await log.guards() == (NEW.id,)
    pen = await begin(log)
    assert await log.guards() == (OLD.id, NEW.id)
    await log.close()
    with pytest.raises(errors.SettingsError):
        await logs.open(path, sealer=by(NEW))
    log = await logs.open(path, sealer=by(OLD, NEW))
    assert len(await read_all(log, pen.stream)) == 1


async def test_a_ring_that_has_lost_the_key_of_a_new_stream_refuses_that_one(
    path: Path, logs: opened.Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await logs.open(path, sealer=by(OLD))
    log._sealer.replace(by(OLD, NEW).ring)
    new = log._sealer.new

    def late(*said: str) -> codec.Codec:
        """The ring is changed between the wrapping and the row."""
        made = new(*said)
        log._sealer.replace(by(OLD).ring)
        return made

    monkeypatch.setattr(log._sealer, "new", late)
    making = [log.create(events.new_stream_id(), header(), (chunk("a"),), 1) for _ in range(2)]
    refused, life = await asyncio.gather(*making, return_exceptions=True)
    assert isinstance(refused, errors.KeyMissing)
    assert isinstance(life, base.Life)
    assert len(log._session._codecs) == 1
    assert await log.guards() == (OLD.id,)


def test_a_step_of_resealing_is_bounded_by_bytes_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(file.File(path, "process")) as plain, plain.transaction():
        for stream in IDS:
            plain.keep_record(finished(stream))
    monkeypatch.setattr(seals, "STEP_BYTES", 1)
    with contextlib.closing(file.File(path, "process", by(OLD))) as sealing:
        after, steps = "", 0
        while True:
            with sealing.transaction():
                step = sealing.seals.reseal(after, 64, [], plain_only=False).resealed
            steps += 1
            assert step.done == 1
            if step.after is None:
                break
            after = step.after
    assert steps == len(IDS)

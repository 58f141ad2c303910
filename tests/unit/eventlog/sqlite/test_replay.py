"""What a start does with what does not open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog.testing
from tests.unit.eventlog.sqlite import opened

from holdfast import events
from holdfast.eventlog import base
from holdfast.eventlog.sqlite import redo
from holdfast.sealing import codec
from holdfast.testing.eventlog.parts import begin, chunk, header, read_all
from holdfast.testing.eventlog.sealing import NEW, OLD, by, ended

Damage = Callable[[Path, events.StreamId], None]


def _in_redo(change: Callable[[Any, events.StreamId], Any]) -> Damage:
    """Changes operations within rows that are whole."""

    def damage(path: Path, victim: events.StreamId) -> None:
        changed = 0
        for row, blob in opened.ask(path, "SELECT id, operations FROM redo"):
            was = redo.unpack_group(blob)
            now = [change(operation, victim) for operation in was]
            if now != was:
                changed += 1
                packed = redo.pack_group([msgspec.msgpack.encode(one) for one in now])
                opened.rewrite(path, "UPDATE redo SET operations = ? WHERE id = ?", packed, row)
        assert changed

    return damage


def _unit(operation: Any, victim: events.StreamId) -> Any:
    if not isinstance(operation, redo.SealedAppend):
        return operation
    return redo.SealedAppend(
        tuple(
            msgspec.structs.replace(unit, sealed=opened.broken(unit.sealed))
            if unit.stream == victim
            else unit
            for unit in operation.tick
        )
    )


def _plain_unit(operation: Any, victim: events.StreamId) -> Any:
    """As somebody may put it there, who has no key."""
    if not isinstance(operation, redo.SealedAppend) or operation.tick[0].stream != victim:
        return operation
    unit = operation.tick[0]
    return redo.Append((base.Batch(victim, unit.epoch, unit.last, 1, (chunk("forged"),)),))


def _bare_unit(operation: Any, victim: events.StreamId) -> Any:
    """The same, among sealed ones."""
    if not isinstance(operation, redo.SealedAppend) or operation.tick[0].stream != victim:
        return operation
    forged = {"sealed": b"", "drafts": (chunk("forged"),)}
    return redo.SealedAppend((msgspec.structs.replace(operation.tick[0], **forged),))


def _field(kind: Any, name: str) -> Callable[[Any, events.StreamId], Any]:
    def change(operation: Any, victim: events.StreamId) -> Any:
        if not isinstance(operation, kind) or operation.stream != victim:
            return operation
        return msgspec.structs.replace(operation, **{name: opened.broken(getattr(operation, name))})

    return change


def _plain_create(operation: Any, victim: events.StreamId) -> Any:
    if not isinstance(operation, redo.SealedCreate) or operation.stream != victim:
        return operation
    forged = header(request=b"", owner="mallory")
    return redo.Create(victim, forged, operation.epoch, (chunk("forged"),), 1)


def _no_key(path: Path, victim: events.StreamId) -> None:
    opened.rewrite(path, "DELETE FROM seal WHERE stream = ?", victim)


IN_REDO: dict[str, tuple[Damage, int]] = {
    "unit": (_in_redo(_unit), 1),
    "plain unit": (_in_redo(_plain_unit), 1),
    "bare unit": (_in_redo(_bare_unit), 1),
    "claim": (_in_redo(_field(redo.SealedClaim, "drafts")), 2),
    "header": (_in_redo(_field(redo.SealedCreate, "header")), 0),
    "first events": (_in_redo(_field(redo.SealedCreate, "drafts")), 0),
    "plain stream": (_in_redo(_plain_create), 0),
    "its key": (opened.spoil_key, 0),
    "no key": (_no_key, 0),
}


@pytest.mark.case("4.25")
@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("name", IN_REDO)
async def test_a_stream_that_does_not_open_ends_and_no_other(
    path: Path, logs: opened.Logs, name: str, on: bool
) -> None:
    damage, left = IN_REDO[name]
    log = await logs.open(path, sealer=by(OLD))
    victim, other = await begin(log), await begin(log)
    for pen in (victim, other):
        await pen.write(chunk("a"))
    for stream in (victim.stream, other.stream):
        await opened.claimed(log, stream)
    await log.close()
    damage(path, victim.stream)
    with structlog.testing.capture_logs() as lines:
        log = await logs.open(path, sealer=by(OLD, on=on))
    assert [(line["event"], line["stream"]) for line in lines] == [
        ("stream_unreadable", victim.stream)
    ]
    found = await read_all(log, victim.stream)
    assert len(found) == left + 1
    last = found[-1].body
    assert isinstance(last, events.Error)
    assert (last.code, last.retryable) == ("log_corrupt", False)
    assert str(path) not in last.message
    info = await log.stat(victim.stream)
    assert isinstance(info, base.Info)
    assert (info.header.owner, info.header.created_at, info.status) == ("me", 1_000, "error")
    assert await log.orphans(9) == [other.stream]
    assert [event.kind for event in await read_all(log, other.stream)] == [
        "start", "chunk", "metadata"
    ]  # fmt: skip
    await log.close()
    with structlog.testing.capture_logs() as lines:
        log = await logs.open(path, sealer=by(OLD, on=on))
    assert lines == []
    assert await read_all(log, victim.stream) == found
    assert len(await read_all(log, other.stream)) == 3


async def test_what_changes_nothing_is_not_opened(path: Path, logs: opened.Logs) -> None:
    log = await logs.open(path, sealer=by(OLD))
    pen, whole = await begin(log), await ended(log)
    early = base.Batch(pen.stream, pen.epoch, 9, 5_000, (chunk("early"),))
    assert await log.append((early,)) == [base.Lost(1)]
    await opened.quiet(log)
    await log.close()
    _in_redo(_unit)(path, pen.stream)
    _in_redo(_field(redo.SealedCreate, "header"))(path, whole.stream)
    _in_redo(_unit)(path, whole.stream)
    with structlog.testing.capture_logs() as lines:
        log = await logs.open(path, sealer=by(OLD))
    assert lines == []
    assert await log.orphans(9) == [pen.stream]
    assert len(await read_all(log, whole.stream)) == 23


@pytest.mark.case("4.25")
@pytest.mark.parametrize("column", ["header", "events", "upto", "plain"])
async def test_a_segment_that_does_not_open_ends_its_stream(
    path: Path, logs: opened.Logs, column: str
) -> None:
    log = await logs.open(path, sealer=by(OLD))
    victim, other = await begin(log), await begin(log)
    log._session._checkpoints.begin()
    await opened.quiet(log)
    for pen in (victim, other):
        await pen.write(chunk("a"))
    log._session._checkpoints.begin()
    await opened.quiet(log)
    await log.close()
    where = f"WHERE stream = '{victim.stream}' AND first = 1"
    (was,) = opened.ask(
        path, f"SELECT {'events' if column == 'plain' else column} FROM segment {where}"
    )
    changed = was + 1 if column == "upto" else opened.broken(was)
    if column == "plain":
        column, changed = "events", codec.PLAIN.pack(codec.SEGMENT, b"forged")
    opened.rewrite(path, f"UPDATE segment SET {column} = ? {where}", changed)
    log = await logs.open(path, sealer=by(OLD))
    assert [event.kind for event in await read_all(log, victim.stream)] == ["error"]
    assert len(await read_all(log, other.stream)) == 2
    assert opened.ask(path, f"SELECT count(*) FROM segment {where}") == [0]


@pytest.mark.parametrize("on", [True, False])
async def test_open_streams_of_a_lost_key_end(path: Path, logs: opened.Logs, on: bool) -> None:
    log = await logs.open(path, sealer=by(OLD, NEW))
    theirs = await begin(log)
    log._sealer.replace(by(OLD).ring)
    mine = await begin(log)
    await log.drop_guard(NEW.id)
    await log.close()
    log = await logs.open(path, sealer=by(OLD, on=on))
    (end,) = await read_all(log, theirs.stream)
    assert isinstance(end.body, events.Error)
    assert end.body.code == "key_missing"
    assert await log.orphans(9) == [mine.stream]
    await log.close()
    log = await logs.open(path, sealer=by(OLD, on=on))
    assert await read_all(log, theirs.stream) == [end]

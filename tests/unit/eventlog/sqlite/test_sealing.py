"""A sealed file: what is in it, how it is turned on, and what happens where bytes do not open."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog.testing
from tests.unit.eventlog.sqlite import opened
from tests.unit.eventlog.sqlite.test_schema_upgrade import ENDED, OPEN, made_by

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.sqlite import file, keys, lookups, redo, schema, session
from holdfast.sealing import codec, sealer, stores
from holdfast.testing.eventlog.parts import COMPLETE, begin, chunk, header, header_of, read_all
from holdfast.testing.eventlog.sealing import NEW, OLD, by, ended

CANARIES = (b"a planted prompt", b"a planted answer")
PROMPT, ANSWER = (canary.decode() for canary in CANARIES)


def raw(path: Path) -> bytes:
    """The file and all beside it, as they lie there."""
    return b"".join(one.read_bytes() for one in sorted(path.parent.glob(f"{path.name}*")))


def planted(path: Path) -> list[bytes]:
    found = raw(path)
    return [canary for canary in CANARIES if canary in found]


def wal_bytes(path: Path) -> int:
    return path.with_name(f"{path.name}-wal").stat().st_size


def rewrite(path: Path, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = OFF")
        assert db.execute(statement, values).rowcount


def broken(blob: bytes) -> bytes:
    return blob[:-1] + bytes((blob[-1] ^ 1,))


@pytest.mark.case("4.25")
async def test_what_is_written_is_never_in_clear(path: Path, logs: opened.Logs) -> None:
    log = await logs.open(path, sealer=by(OLD), checkpoint_bytes=2_000)
    pens = [await begin(log, request=CANARIES[0], terms=CANARIES[0]) for _ in range(4)]
    for pen in pens:
        await pen.write(*[chunk(ANSWER)] * 9)
    assert planted(path) == []
    await pens[0].write(COMPLETE)
    await opened.quiet(log)
    assert await log.claim(pens[1].stream, 9_000) is not None
    assert opened.ask(path, "SELECT count(*) FROM segment") != [0]
    assert opened.ask(path, "SELECT count(*) FROM redo") != [0]
    assert opened.ask(path, "SELECT count(*) FROM record") == [1]
    assert planted(path) == []
    assert log.secret not in raw(path)
    assert opened.ask(path, "SELECT name FROM meta") == ["clean", "row", "sealed_secret"]


async def test_records_are_smaller_sealed_or_not(path: Path, logs: opened.Logs) -> None:
    for by_ in (sealer.OFF, by(OLD)):
        log = await logs.open(path, sealer=by_)
        pen = await begin(log)
        await pen.write(*[chunk(ANSWER)] * 500, COMPLETE)
        await opened.quiet(log)
        await log.close()
    sizes = opened.ask(path, "SELECT length(events) FROM record")
    assert len(sizes) == 2
    assert max(sizes) < 0.2 * 500 * len(chunk(ANSWER).data)


@pytest.mark.case("4.25")
@pytest.mark.parametrize("key", ["sealed", "plain"])
async def test_after_a_shred_nothing_of_it_is_there(
    path: Path, logs: opened.Logs, key: str
) -> None:
    log = await logs.open(path, sealer=by(OLD) if key == "sealed" else sealer.OFF)
    gone = await begin(log, request=CANARIES[0], terms=CANARIES[0])
    stays = await begin(log)
    await gone.write(chunk(ANSWER), COMPLETE)
    wrapped = opened.ask(path, "SELECT key FROM seal")
    assert bool(planted(path)) is (key == "plain")
    woken: list[bool] = []
    log.watch(gone.stream, lambda: woken.append(True))
    assert await log.shred(gone.stream)
    assert woken
    assert planted(path) == []
    assert gone.stream not in opened.ask(path, "SELECT stream FROM seal")
    stays_key = opened.ask(path, "SELECT key FROM seal")
    assert all(one not in raw(path) for one in wrapped if one not in stays_key)
    assert len(await read_all(log, stays.stream)) == 1
    await log.close()
    log = await logs.open(path, sealer=by(OLD))
    assert planted(path) == []
    assert isinstance(await log.stat(gone.stream), base.Tombstone)


async def test_a_plain_shred_waits_for_a_checkpoint_that_begins_after_it(
    path: Path, logs: opened.Logs
) -> None:
    log = await logs.open(path)
    still, gone = await begin(log), await begin(log)
    checkpoints = log._session._checkpoints
    checkpoints.begin()  # runs already, up to a row before the one that is to go
    await gone.write(chunk(ANSWER), COMPLETE)
    assert await log.shred(gone.stream)
    assert planted(path) == []
    assert not checkpoints._running
    assert len(await read_all(log, still.stream)) == 1


async def test_a_shred_says_so_while_a_reader_keeps_old_bytes(
    path: Path, logs: opened.Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0)
    log = await logs.open(path, sealer=by(OLD))
    pen, still = await ended(log), await begin(log)
    await opened.quiet(log)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM record").fetchone()
        shredding = asyncio.ensure_future(log.shred(pen.stream))
        expiring = asyncio.ensure_future(log.expire(0, 1))
        with pytest.raises(errors.LogUnavailable, match="another program holds the file"):
            await shredding
        assert await expiring == 0  # refused is that alone
        await still.write(chunk("a"))
    assert wal_bytes(path) > 0
    assert isinstance(await log.stat(pen.stream), base.Tombstone)
    await opened.quiet(log)
    assert await log.shred(pen.stream) is False  # it was gone, and now is from there too
    assert wal_bytes(path) == 0


@pytest.mark.case("4.25")
@pytest.mark.parametrize("version", [1, 2])
async def test_an_old_file_is_turned_on_whole(path: Path, logs: opened.Logs, version: int) -> None:
    made_by(version, path)
    said = (b'"delta":"whole"', b'"delta":" the ', b'{"q":1}')
    rewrite(path, "INSERT INTO meta VALUES ('left', ?)", CANARIES[0] * 500)
    rewrite(path, "DELETE FROM meta WHERE name = 'left'")
    assert all(one in raw(path) for one in (*said, CANARIES[0]))  # in its freed pages too
    log = await logs.open(path, sealer=by(OLD))
    assert [event.kind for event in await read_all(log, ENDED)] == ["start", "chunk", "complete"]
    assert len(await read_all(log, OPEN)) == 4
    assert [one for one in said if one in raw(path)] == [said[0]]
    assert opened.ask(path, "SELECT count(*) FROM redo") == [0]
    assert await stores.reseal_all(log) == stores.Resealed(1)
    assert [one for one in (*said, CANARIES[0]) if one in raw(path)] == []
    assert (await header_of(log, await _claimed(log, OPEN))).request == b'{"q":1}'
    await log.close()
    log = await logs.open(path, sealer=by(OLD))
    assert len(await read_all(log, ENDED)) == 3
    assert len(await read_all(log, OPEN)) == 5


async def _claimed(log: base.EventLog, stream: events.StreamId) -> Any:
    from holdfast.testing.eventlog.parts import Pen

    life = await log.claim(stream, 6_000)
    assert life is not None
    return Pen(log, stream, life)


def is_clean(path: Path) -> bool:
    return opened.ask(path, "SELECT count(*) FROM meta WHERE name = 'clean'") == [1]


async def test_a_file_is_cleaned_behind_its_last_plain_stream(
    path: Path, logs: opened.Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by(2, path)
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0)
    log = await logs.open(path, sealer=by(OLD))
    assert not is_clean(path)  # a record is plain still
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM record").fetchone()
        with structlog.testing.capture_logs() as lines:
            await log.reseal("", 9)
            await log.close()
            log = await logs.open(path, sealer=by(OLD))  # it serves all the same
        assert {line["event"] for line in lines} == {"log_housekeeping_failed"}
        assert len(lines) == 2
        assert not is_clean(path)
    await log.close()
    statements: list[str] = []
    for _ in range(2):
        connect = sqlite3.connect

        def traced(*said: Any, connect: Any = connect, **more: Any) -> sqlite3.Connection:
            made: sqlite3.Connection = connect(*said, **more)
            made.set_trace_callback(statements.append)
            return made

        with monkeypatch.context() as patch, structlog.testing.capture_logs() as lines:
            patch.setattr(sqlite3, "connect", traced)
            log = await logs.open(path, sealer=by(OLD))
            await log.reseal("", 9)
            await log.close()
        assert lines == []
        assert is_clean(path)
        assert statements.count("VACUUM") == 1
    log = await logs.open(path, sealer=by(OLD, on=False))
    assert not is_clean(path)  # it may have plain streams again


async def test_a_large_file_is_cleaned_at_its_next_start(
    path: Path, logs: opened.Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by(2, path)
    monkeypatch.setattr(session, "VACUUM_BYTES", 4096)
    log = await logs.open(path, sealer=by(OLD))
    assert await log.reseal("", 9) == stores.Resealed(1)
    assert not is_clean(path)
    await log.close()
    await logs.open(path, sealer=by(OLD))
    assert is_clean(path)


async def _plain(path: Path, logs: opened.Logs) -> dict[events.StreamId, list[events.Event]]:
    """Streams of each kind in a plain file: in segments, in the redo log alone, ended, recorded;
    it is left as a kill leaves it."""
    log = await logs.open(path)
    pens = [await begin(log, request=CANARIES[0]) for _ in range(4)]
    for pen in pens:
        await pen.write(chunk(ANSWER), chunk("b"))
    await pens[0].write(COMPLETE)
    log._session._checkpoints.begin()
    await opened.quiet(log)
    await pens[1].write(chunk("c"))
    pens.append(await begin(log))
    whole = {pen.stream: await read_all(log, pen.stream) for pen in pens}
    await log.close()
    return whole


def _copy(path: Path, to: Path) -> Path:
    """As a kill at this moment leaves the file."""
    to.mkdir()
    for suffix in ("", "-wal"):
        if Path(f"{path}{suffix}").exists():
            shutil.copy(f"{path}{suffix}", to / f"{path.name}{suffix}")
    return to / path.name


async def _has(path: Path, logs: opened.Logs, whole: dict[Any, Any], by_: sealer.Sealer) -> None:
    log = await logs.open(path, sealer=by_)
    assert {name: await read_all(log, name) for name in whole} == whole
    assert len(await log.find(base.Query())) == len(whole)
    await log.close()


async def test_turning_it_on_loses_nothing_wherever_it_is_cut_off(
    path: Path, logs: opened.Logs, tmp_path: Path
) -> None:
    whole = await _plain(path, logs)
    log = await logs.open(path, sealer=by(OLD))
    copies, after = [_copy(path, tmp_path / "0")], ""
    for number in range(1, 9):
        step = await log.reseal(after, 1)
        copies.append(_copy(path, tmp_path / f"{number}"))
        if step.after is None:
            break
        after = step.after
    assert len(copies) > 4
    await log.close()
    for copy in copies:
        await _has(copy, logs, whole, by(OLD))
        await _has(copy, logs, whole, by(OLD, on=False))
    assert planted(copies[-1]) == []


STATEMENTS = [
    "INSERT OR IGNORE INTO guard",
    "INSERT OR REPLACE INTO meta",
    "DELETE FROM meta",
    "INSERT OR REPLACE INTO seal",
    "DELETE FROM segment",
    "INSERT OR REPLACE INTO segment",
    "DELETE FROM redo",
    "UPDATE meta",
    "COMMIT",
    "VACUUM",
    "INSERT OR IGNORE INTO meta VALUES ('clean'",
]


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_a_start_that_dies_at_any_statement_leaves_a_file_that_opens(
    path: Path, logs: opened.Logs, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    whole = await _plain(path, logs)
    rewrite(path, "DELETE FROM record")  # so that the file is cleaned at this start
    whole = {name: said for name, said in whole.items() if said[-1].kind != "complete"}

    class Dying(sqlite3.Connection):
        def execute(self, *said: Any) -> sqlite3.Cursor:
            if said[0].startswith(statement):
                raise ZeroDivisionError("killed")
            return super().execute(*said)

    connect = sqlite3.connect
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Dying))
        with pytest.raises(errors.LogUnavailable, match="killed"):
            await logs.open(path, sealer=by(OLD))
    sealed = opened.ask(path, "SELECT count(*) FROM guard") != [0]
    await _has(path, logs, whole, by(OLD) if sealed else sealer.OFF)
    await _has(path, logs, whole, by(OLD))
    assert CANARIES[0] not in raw(path)


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
                rewrite(path, "UPDATE redo SET operations = ? WHERE id = ?", packed, row)
        assert changed

    return damage


def _unit(operation: Any, victim: events.StreamId) -> Any:
    if not isinstance(operation, redo.SealedAppend):
        return operation
    return redo.SealedAppend(
        tuple(
            msgspec.structs.replace(unit, sealed=broken(unit.sealed))
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
        return msgspec.structs.replace(operation, **{name: broken(getattr(operation, name))})

    return change


def _plain_create(operation: Any, victim: events.StreamId) -> Any:
    if not isinstance(operation, redo.SealedCreate) or operation.stream != victim:
        return operation
    forged = header(request=b"", owner="mallory")
    return redo.Create(victim, forged, operation.epoch, (chunk("forged"),), 1)


def _key(path: Path, victim: events.StreamId) -> None:
    (key,) = opened.ask(path, f"SELECT key FROM seal WHERE stream = '{victim}'")
    rewrite(path, "UPDATE seal SET key = ? WHERE stream = ?", broken(key), victim)


def _no_key(path: Path, victim: events.StreamId) -> None:
    rewrite(path, "DELETE FROM seal WHERE stream = ?", victim)


IN_REDO: dict[str, tuple[Damage, int]] = {
    "unit": (_in_redo(_unit), 1),
    "plain unit": (_in_redo(_plain_unit), 1),
    "bare unit": (_in_redo(_bare_unit), 1),
    "claim": (_in_redo(_field(redo.SealedClaim, "drafts")), 2),
    "header": (_in_redo(_field(redo.SealedCreate, "header")), 0),
    "first events": (_in_redo(_field(redo.SealedCreate, "drafts")), 0),
    "plain stream": (_in_redo(_plain_create), 0),
    "its key": (_key, 0),
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
        await _claimed(log, stream)
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
    changed = was + 1 if column == "upto" else broken(was)
    if column == "plain":
        column, changed = "events", codec.PLAIN.pack(codec.SEGMENT, b"forged")
    rewrite(path, f"UPDATE segment SET {column} = ? {where}", changed)
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


def _swap(path: Path, statement: str, one: str, other: str) -> None:
    first, second = (opened.ask(path, statement.format(name))[0] for name in (one, other))
    columns = statement.split()[1]
    rewrite(path, f"UPDATE record SET {columns} = ? WHERE stream = ?", second, one)
    rewrite(path, f"UPDATE record SET {columns} = ? WHERE stream = ?", first, other)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE record SET owner = 'mallory' WHERE stream = ?",
        "UPDATE record SET seq = seq - 1 WHERE stream = ?",
        "UPDATE record SET epoch = epoch + 65536 WHERE stream = ?",
        "UPDATE record SET events = (SELECT events FROM record ORDER BY stream = ? LIMIT 1)",
        "UPDATE record SET header = (SELECT header FROM record ORDER BY stream = ? LIMIT 1)",
        "UPDATE seal SET key = (SELECT key FROM seal ORDER BY stream = ? LIMIT 1)",
        "DELETE FROM seal WHERE stream = ?",
    ],
)
async def test_a_record_in_the_place_of_another_is_refused(
    path: Path, logs: opened.Logs, change: str
) -> None:
    log = await logs.open(path, sealer=by(OLD))
    victim, other = await ended(log), await ended(log)
    await opened.quiet(log)
    await log.close()
    rewrite(path, change, victim.stream)
    log = await logs.open(path, sealer=by(OLD))
    with pytest.raises(errors.LogCorrupt, match=f"table record, row {victim.stream}: "):
        await log.read(victim.stream, events.BEGIN)
    assert len(await read_all(log, other.stream)) == 23
    assert len(await log.find(base.Query())) == 2
    assert await log.shred(victim.stream)


async def test_a_record_that_lacks_its_end_is_refused(path: Path, logs: opened.Logs) -> None:
    log = await logs.open(path)
    pen = await ended(log)
    await opened.quiet(log)
    await log.close()
    (blob,) = opened.ask(path, "SELECT events FROM record")
    block = redo.unpack_block(codec.RECORD, blob)
    end = int.from_bytes(block.ends[-16:-8], block.order)  # type: ignore[arg-type]
    short = msgspec.structs.replace(
        block,
        kinds=block.kinds[:-1],
        ends=block.ends[:-8],
        times=block.times[:-8],
        data=block.data[:end],
    )
    rewrite(path, "UPDATE record SET events = ?", redo.pack_block(codec.RECORD, short))
    log = await logs.open(path)
    with pytest.raises(errors.LogCorrupt, match="its end is missing"):
        await log.read(pen.stream, events.BEGIN)


async def test_a_list_tells_once_of_a_stream_that_does_not_open(
    path: Path, logs: opened.Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "TOLD", 2)
    log = await logs.open(path, sealer=by(OLD))
    pens = [await ended(log, client_id="c", session_id="s") for _ in range(3)]
    await opened.quiet(log)
    _key(path, pens[0].stream)
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            listed = {info.stream: info for info in await log.find(base.Query(owner="me"))}
    assert len(lines) == 1
    assert len(listed) == 3
    clear = listed[pens[0].stream]
    assert clear.header == base.Header("me", 1_000, "", "", client_id="c", session_id="s")
    assert (clear.status, clear.head.seq, clear.head.closed) == ("completed", 23, True)
    for pen in pens[1:]:
        _key(path, pen.stream)
    await log.find(base.Query())
    assert len(log._session.finished._lookups._told) == 2
    # To make it again is refused alone, and what goes into the same row is not.
    made = [
        log.create(stream, header(), (chunk("a"),), 1)
        for stream in (pens[0].stream, events.new_stream_id())
    ]
    refused, life = await asyncio.gather(*made, return_exceptions=True)
    assert isinstance(refused, errors.LogCorrupt)
    assert isinstance(life, base.Life)


async def test_a_stream_that_two_make_at_once_has_one_key(path: Path, logs: opened.Logs) -> None:
    log = await logs.open(path, sealer=by(OLD))
    stream = events.new_stream_id()
    made = await asyncio.gather(
        *(log.create(stream, header(owner=f"o{n}"), (chunk(f"{n}"),), 1) for n in range(9))
    )
    assert [type(one) for one in made].count(base.Life) == 1
    assert opened.ask(path, "SELECT owner FROM seal") == ["o0"]
    await log.close()
    log = await logs.open(path, sealer=by(OLD))
    assert [event.data for event in await read_all(log, stream)] == [chunk("0").data]
    assert len(log._session._codecs) == 1
    assert log._session._making == {}


async def test_keys_leave_memory_with_their_streams(path: Path, logs: opened.Logs) -> None:
    log = await logs.open(path, sealer=by(OLD))
    pens = [await ended(log) for _ in range(3)]
    still = await begin(log)
    await opened.quiet(log)
    assert set(log._session._codecs) == {still.stream}
    assert isinstance(await log.create(pens[0].stream, header(), (), 1), base.Exists)
    assert set(log._session._codecs) == {still.stream}
    await log.expire(10**15, 2)
    assert opened.ask(path, "SELECT count(*) FROM seal") == [2]


async def test_the_secret_outlives_the_last_guard(path: Path, logs: opened.Logs) -> None:
    log = await logs.open(path, sealer=by(OLD))
    secret = log.secret
    await log.drop_guard(OLD.id)  # the ring has no other: it lies in clear again
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
    log = await logs.open(path, sealer=by(OLD))
    await begin(log)
    await log.drop_guard(OLD.id)
    assert await log.guards() == ()
    pen = await begin(log)
    assert await log.guards() == (OLD.id,)
    await log.close()
    with pytest.raises(errors.SettingsError):
        await logs.open(path, sealer=by(NEW))
    log = await logs.open(path, sealer=by(OLD))
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
    from tests.unit.eventlog.sqlite.test_records import IDS, finished

    with contextlib.closing(file.File(path, "process")) as plain, plain.transaction():
        for stream in IDS:
            plain.keep_record(finished(stream))
    monkeypatch.setattr(keys, "STEP_BYTES", 1)
    with contextlib.closing(file.File(path, "process", by(OLD))) as sealing:
        after, steps = "", 0
        while True:
            with sealing.transaction():
                step = sealing.keys.reseal(after, 64, [], plain_only=False).resealed
            steps += 1
            assert step.done == 1
            if step.after is None:
                break
            after = step.after
    assert steps == len(IDS)

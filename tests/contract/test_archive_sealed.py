"""Archives that are sealed: what comes back, what is refused, and what is left on the disk.

Strategy: a store is opened by one sealer after another, as one start follows another; what an
attacker does is SQL of the engine's own. That a sealed archive keeps the contract is shown by the
other suites, whose engines may be sealed.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from structlog import testing
from tests.contract import archives
from tests.contract.archives import Store, Told, told

from holdfast import errors, events, storage
from holdfast.archive import base, migrations, records, rows, sqlite
from holdfast.archive.sqlite import file, seals
from holdfast.sealing import codec, ring, sealer, stores
from holdfast.testing.eventlog import parts
from holdfast.testing.eventlog.sealing import NEW, OLD, OWN, by

PLANTED = b"a heron stood"
"""In what is kept; long enough that compression leaves it readable, once."""

CONNECTION = rows.Connection("c" * 26, "s" * 26, "acme/ann", 1, 2, PLANTED, 2)


@pytest.fixture(params=archives.SHARED)
def engine(request: pytest.FixtureRequest) -> migrations.Engine:
    name: migrations.Engine = request.param
    return name


@pytest.fixture
async def store(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    return await archives.empty(engine, tmp_path, lambda: request.getfixturevalue("postgres"))


def planted(number: int = 0, **said: object) -> Told:
    return told(f"{number}: ", PLANTED.decode(), " in the reeds", adopted=True, **said)  # type: ignore[arg-type]


def connection(of: Told) -> rows.Connection:
    return msgspec.structs.replace(CONNECTION, id=of.info.stream[::-1], stream=of.info.stream)


async def filled(archive: base.Archive, *some: Told) -> None:
    for one in some:
        assert await archive.keep(one.info, archives.ATTEMPTS, one.pages())
    await archive.keep_connections([connection(one) for one in some])


async def check(archive: base.Archive, *some: Told) -> None:
    """All of these are there, as they were kept."""
    for one in some:
        header = msgspec.structs.replace(one.info.header, request=b"")
        info = msgspec.structs.replace(one.info, header=header)
        assert await archive.stat(one.info.stream) == info
        assert info in await archive.find(storage.Query())
        assert tuple(await archives.read_all(archive, one.info.stream)) == one.all
        assert await archive.attempts(one.info.stream) == list(archives.ATTEMPTS)
        kept = connection(one)
        assert await archive.connection(kept.id) == kept
        assert kept in await archive.connections(rows.Sought(stream=kept.stream))


async def bytes_of(store: Store) -> bytes:
    """All that the store's tables have, and what is in the file and beside it."""
    if not store.schema:
        path = Path(store.url.removeprefix("sqlite:///"))
        return b"".join(one.read_bytes() for one in path.parent.iterdir())
    columns = ["secret::bytea FROM %meta", "header FROM %stream", "data FROM %segment"]
    found = [await store.sql(f"SELECT {one}") for one in [*columns, "data FROM %connection"]]
    return b"".join(bytes(row[0]) for some in found for row in some)  # type: ignore[call-overload]


@contextlib.contextmanager
def lines() -> Iterator[list[str]]:
    """The streams that are told to be unreadable."""
    found: list[str] = []

    def note(_: object, method: str, said: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if said["event"] == "stream_unreadable":
            found.append(str(said["stream"]))
        raise structlog.DropEvent

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[note])
    try:
        yield found
    finally:
        structlog.configure(processors=before)


@pytest.mark.case("4.25")
async def test_what_is_sealed_comes_back_and_lies_there_unreadable(store: Store) -> None:
    some = [planted(1, **parts.EVERY_FIELD), planted(2, request=b"secret")]
    async with store.started(by(OLD)) as archive:
        await filled(archive, *some)
        await check(archive, *some)
        secret = archive.secret
        assert await archive.wrapped_by() == {OLD.id: 2}
        assert await archive.guards() == (OLD.id,)
        found = await bytes_of(store)
        assert PLANTED not in found
        assert secret not in found
    async with store.started(by(OLD)) as archive:
        await check(archive, *some)
        assert archive.secret == secret
    clear = "events" if not store.schema else "kinds, times, sizes, crcs"
    empty = ("[]",) if not store.schema else ([],) * 4
    assert set(map(str, await store.sql(f"SELECT {clear} FROM %segment"))) == {str(empty)}
    assert await store.sql("SELECT * FROM %event") == []


@pytest.mark.case("4.25")
async def test_without_its_key_it_does_not_start(store: Store) -> None:
    async with store.started(by(OLD)) as archive:
        await filled(archive, one := planted())
    wrong = ring.RingKey(OLD.id, b"w" * 32, 0)
    for bad in (sealer.OFF, by(NEW), by(wrong), by(wrong, on=False)):
        with pytest.raises(errors.SettingsError, match=r"ring|key"):
            async with store.started(bad):
                pass
    async with store.started(by(OLD, NEW)) as archive:
        await check(archive, one)
    await store.sql("DELETE FROM %guard")
    with pytest.raises(errors.SettingsError, match="put a copy back"):
        async with store.started(by(OLD)):
            pass


async def test_plain_and_sealed_lie_in_one_store(store: Store) -> None:
    plain, sealed, after = some = [planted(number) for number in range(3)]
    async with store.started() as archive:
        await filled(archive, plain)
        secret = archive.secret
    async with store.started(by(OLD)) as archive:
        await filled(archive, sealed)
        await check(archive, plain, sealed)
        assert archive.secret == secret
    async with store.started(by(OLD, on=False)) as archive:
        await filled(archive, after)
        await check(archive, *some)
        assert await archive.wrapped_by() == {"": 2, OLD.id: 1}
        assert (await stores.reseal_all(archive)).done == 0
        assert archive.secret == secret


async def test_a_plain_store_is_sealed_step_by_step(store: Store) -> None:
    """And is closed after each, with what it was killed in."""
    some = [planted(number, **parts.EVERY_FIELD) for number in range(5)]
    some.append(
        msgspec.structs.replace(some[0], info=(big := told(*["x" * 40_000] * 9)).info, all=big.all)
    )
    async with store.started() as archive:
        await filled(archive, *some)
        secret = archive.secret
        assert (await archive.reseal("", 10)).done == 0
    done, after = 0, ""
    while True:
        async with store.started(by(OLD)) as archive:
            part = await archive.reseal(after, 2, plain_only=True)
            await check(archive, *some)
            assert archive.secret == secret
        done += part.done
        if part.after is None:
            break
        after = part.after
    assert done == len(some)
    assert PLANTED not in await bytes_of(store)
    async with store.started(by(OLD)) as archive:
        assert await archive.wrapped_by() == {OLD.id: len(some)}
        assert (await stores.reseal_all(archive)).done == 0


OLDER = (
    "ALTER TABLE %stream DROP COLUMN key",
    "ALTER TABLE %connection DROP COLUMN sealed",
    "DROP TABLE %guard",
    "DELETE FROM %migration WHERE number = 4",
)


async def test_a_store_of_the_version_before_opens_and_is_sealed(store: Store) -> None:
    one = planted(1, **parts.EVERY_FIELD)
    async with store.started() as archive:
        await filled(archive, one)
        secret = archive.secret
    for statement in OLDER if store.schema else (*OLDER, "PRAGMA user_version = 3"):
        await store.sql(statement)
    async for group in records.groups(one.info, one.pages()):
        for part in group:  # its data were not compressed
            place = f"{one.info.stream}:{part.epoch}-{part.first}".encode()
            data = codec.PLAIN.pack(codec.RECORD, part.data, place).hex()
            quoted = f"'\\x{data}'" if store.schema else f"x'{data}'"
            await store.sql(f"UPDATE %segment SET data = {quoted} WHERE first = {part.first}")
    async with store.started() as archive:
        await check(archive, one)
    async with store.started(by(OLD)) as archive:
        await check(archive, one)
        assert (await stores.reseal_all(archive)).done == 1
        await check(archive, one)
        assert archive.secret == secret
        assert PLANTED not in await bytes_of(store)


async def test_what_is_damaged_is_not_hidden_by_a_seal(store: Store) -> None:
    """It stays as it is, and is told; the others are sealed."""
    damages = {
        "sqlite": "events = json_set(events, '$[1][3]', 7)",
        "postgres": "crcs[2] = 7",
    }
    bad, good, headless = (planted(number) for number in range(3))
    async with store.started() as archive:
        await filled(archive, bad, good, headless)
        damage = damages["postgres" if store.schema else "sqlite"]
        await store.sql(f"UPDATE %segment SET {damage} WHERE stream = '{bad.info.stream}'")
        flipped = "'\\x0100'" if store.schema else "x'0100'"
        where = f"WHERE id = '{headless.info.stream}'"
        await store.sql(f"UPDATE %stream SET header = {flipped} {where}")
    async with store.started(by(OLD)) as archive:
        assert await stores.reseal_all(archive) == stores.Resealed(done=1, unreadable=2)
        assert await archive.wrapped_by() == {"": 2, OLD.id: 1}
        await check(archive, good)
        with pytest.raises(errors.LogCorrupt, match=bad.info.stream):
            await archives.read_all(archive, bad.info.stream)
        events_ = await archives.read_all(archive, headless.info.stream)
        assert tuple(events_) == headless.all


async def test_rewrapped_it_starts_without_the_old_key(store: Store) -> None:
    first, second = planted(1), planted(2)
    async with store.started(by(OLD)) as archive:
        await filled(archive, first)
        secret = archive.secret
    async with store.started(by(OLD, NEW)) as archive:
        await filled(archive, second)
        assert await archive.wrapped_by() == {OLD.id: 1, NEW.id: 1}
        assert set(await archive.guards()) == {OLD.id, NEW.id}
        assert (await stores.reseal_all(archive, plain_only=True)).done == 0
        assert (await stores.reseal_all(archive, step=1)).done == 1
        assert await archive.wrapped_by() == {NEW.id: 2}
        for _ in range(2):
            await archive.drop_guard(OLD.id)
    async with store.started(by(NEW)) as archive:
        await check(archive, first, second)
        assert archive.secret == secret


async def test_the_last_guard_gives_way_to_another_first(store: Store) -> None:
    """A store that has nothing but its own key."""
    async with store.started(by(OLD)) as archive:
        secret = archive.secret
        with pytest.raises(errors.SettingsError, match="seal rotate"):
            await archive.drop_guard(OLD.id)
    async with store.started(by(OLD, NEW)) as archive:
        await archive.drop_guard(OLD.id)
        assert await archive.guards() == (NEW.id,)
    async with store.started(by(NEW)) as archive:
        assert archive.secret == secret


async def test_where_all_keys_are_lost_it_starts_anew_with_what_is_plain(store: Store) -> None:
    plain, lost = planted(1), planted(2)
    async with store.started() as archive:
        await filled(archive, plain)
    async with store.started(by(OLD)) as archive:
        await filled(archive, lost)
        secret = archive.secret
    archive = archives.opened(store, by(NEW))
    assert await archive.guards() == (OLD.id,)
    await archive.drop_guard(OLD.id)
    async with store.started(by(NEW)) as archive:
        assert archive.secret != secret
        assert len(archive.secret) == 32
        await check(archive, plain)
        assert await archive.connection(connection(lost).id) is None
        with pytest.raises(errors.KeyMissing, match=lost.info.stream):
            await archive.read(lost.info.stream, events.BEGIN)


async def test_a_tenants_own_key_takes_with_it_what_is_the_tenants(store: Store) -> None:
    mine = planted(1, client_id="c", session_id="s", user_id="hidden")
    other = planted(2, owner="else/bob")
    async with store.started(by(OLD, OWN)) as archive:
        await archive.keep(mine.info, archives.ATTEMPTS, mine.pages())
        await filled(archive, other)
        assert await archive.wrapped_by() == {OLD.id: 1, OWN.id: 1}
        await archive.drop_guard(OWN.id)
    async with store.started(by(OLD)) as archive:
        stream = mine.info.stream
        for call in (archive.read(stream, events.BEGIN), archive.stat(stream)):
            with pytest.raises(errors.KeyMissing, match=stream):
                await call
        clear = msgspec.structs.replace(mine.info.header, user_id=None)
        with lines() as found:
            for _ in range(2):
                listed = {info.stream: info for info in await archive.find(storage.Query())}
        assert found == [stream]
        assert listed[stream] == msgspec.structs.replace(mine.info, header=clear)
        await check(archive, other)
        assert await stores.reseal_all(archive) == stores.Resealed(unreadable=1)
        assert await archive.shred(stream) is True
        assert isinstance(await archive.stat(stream), storage.Tombstone)
        assert await archive.expire(10_000, 9) == 1


@pytest.mark.case("4.25")
async def test_shredded_nothing_of_it_is_left(store: Store) -> None:
    plain, sealed, stays = planted(1), planted(2), told("x", owner="me")
    async with store.started() as archive:
        await filled(archive, plain)
    async with store.started(by(OLD)) as archive:
        await filled(archive, sealed, stays)
        key = await store.sql(f"SELECT key FROM %stream WHERE id = '{sealed.info.stream}'")
        assert await archive.shred(events.new_stream_id()) is False
        for one in (plain, sealed):
            assert await archive.shred(one.info.stream) is True
            assert await archive.shred(one.info.stream) is False
            stone = await archive.stat(one.info.stream)
            assert isinstance(stone, storage.Tombstone)
            assert stone.owner == "acme/ann"
            with pytest.raises(errors.StreamNotFound):
                await archive.read(one.info.stream, events.BEGIN)
            assert await archive.connections(rows.Sought(stream=one.info.stream)) == []
            assert await archive.attempts(one.info.stream) == []
            assert await archive.keep(one.info, (), one.pages()) is False
        found = await bytes_of(store)
        assert PLANTED not in found
        assert bytes(key[0][0]) not in found  # type: ignore[call-overload]
        await check(archive, stays)


# What others do to it

STREAM = "UPDATE %stream SET {} WHERE id = '{{one}}'"
ATTACKS = {
    "a stream of another owner": STREAM.format("owner = 'acme/eve'"),
    "the key of another": STREAM.format("key = (SELECT key FROM %stream WHERE id = '{other}')"),
    "no key": STREAM.format("key = NULL"),
    "the header of another": STREAM.format(
        "header = (SELECT header FROM %stream WHERE id = '{other}')"
    ),
    "another status": STREAM.format("status = 'error'"),
    "another model": STREAM.format("model = 'x'"),
    "another end": STREAM.format("ended_at = 1"),
    "events cut off": STREAM.format("epoch = {old}, seq = 2"),
    "data of another stream": "UPDATE %segment SET data = "
    "(SELECT data FROM %segment WHERE stream = '{other}' AND first = 1) "
    "WHERE stream = '{one}' AND first = 1",
    "data of another place": "UPDATE %segment SET data = "
    "(SELECT data FROM %segment WHERE stream = '{one}' AND first = 3) "
    "WHERE stream = '{one}' AND first = 1",
    "another life": "UPDATE %segment SET epoch = 7 WHERE stream = '{one}' AND first = 1",
    "a segment that says to end earlier": "UPDATE %segment SET last = 1 "
    "WHERE stream = '{one}' AND first = 1",
    "a segment is gone": "DELETE FROM %segment WHERE stream = '{one}' AND first = 3",
    "a plain segment": "UPDATE %segment SET data = {plain} WHERE stream = '{one}' AND first = 1",
}

REFUSED_BEFORE = [attack for attack, told in ATTACKS.items() if "%stream SET" in told]
"""Also where no event is read that was changed, as at the new end."""


@pytest.mark.case("4.25")
async def test_what_was_moved_changed_or_cut_off_is_refused(store: Store) -> None:
    """And what is not touched reads on."""
    async with store.started(by(OLD)) as archive:
        other = planted()
        targets = {attack: planted(number) for number, attack in enumerate(ATTACKS)}
        await archives.kept(archive, other, *targets.values())
        quoted = "'\\x0100'" if store.schema else "x'0100'"
        for attack, one in targets.items():
            assert [event.epoch for event in one.all[:2]] == [archives.OLD_EPOCH] * 2
            values = {"one": one.info.stream, "other": other.info.stream, "plain": quoted}
            await store.sql(ATTACKS[attack].format(**values, old=archives.OLD_EPOCH))
        for attack, one in targets.items():
            for position in (events.BEGIN, one.all[1].position):
                if attack in REFUSED_BEFORE or position == events.BEGIN:
                    with pytest.raises(errors.LogCorrupt, match=one.info.stream):
                        await archives.read_all(archive, one.info.stream, position)
        with lines():
            assert len(await archive.find(storage.Query())) == len(targets) + 1
        assert tuple(await archives.read_all(archive, other.info.stream)) == other.all


async def test_a_plain_stream_that_is_cut_off_is_refused(store: Store) -> None:
    async with store.started() as archive:
        one = planted()
        await archives.kept(archive, one)
        await store.sql(f"UPDATE %stream SET epoch = {archives.OLD_EPOCH}, seq = 2")
        with pytest.raises(errors.LogCorrupt, match=one.info.stream):
            await archives.read_all(archive, one.info.stream)


@pytest.mark.case("4.25")
async def test_a_connections_data_are_its_own(store: Store) -> None:
    async with store.started(by(OLD)) as archive:
        first, second = kept = [connection(planted(number)) for number in range(2)]
        await archive.keep_connections(kept)
        await store.sql(
            f"UPDATE %connection SET data = (SELECT data FROM %connection WHERE id = '{second.id}')"
            f" WHERE id = '{first.id}'"
        )
        with pytest.raises(errors.LogCorrupt, match=first.id):
            await archive.connection(first.id)
        with lines() as found:
            listed = {one.id: one.data for one in await archive.connections(rows.Sought())}
        assert listed == {first.id: b"", second.id: PLANTED}
        assert found == [first.stream]


# Of several at once


async def test_of_nodes_that_seal_first_at_once_all_have_one_key(store: Store) -> None:
    async with store.started():
        pass
    nodes = [archives.opened(store, by(OLD)) for _ in range(4)]
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        assert len({node.secret for node in nodes}) == 1
        some = [planted(number) for number in range(4)]
        await asyncio.gather(*map(filled, nodes, some))
        for node in nodes:
            await check(node, *some)
    finally:
        for node in nodes:
            await node.close()


async def test_beside_a_node_that_has_no_ring_another_seals(store: Store) -> None:
    """It goes on with what is plain, and with the keys, until it is started with the ring."""
    old, new = planted(1), planted(2)
    async with store.started() as node, store.started(by(OLD, on=False)) as off:
        await filled(node, old)
        known, secret = await node.keys(-1), node.secret
        assert known is not None
        await off.keys(-1)
        async with store.started(by(OLD)) as other:
            await filled(other, new)
            assert other.secret == secret
        for one in (node, off):
            await one.keys(known.revision)
            assert one.secret == secret
            await check(one, old)
        await check(off, new)
        with pytest.raises(errors.KeyMissing):
            await node.read(new.info.stream, events.BEGIN)
        with pytest.raises(errors.KeyMissing):
            await node.connection(connection(new).id)


async def test_what_is_sealed_while_it_is_read_reads_on(
    engine: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store.started() as archive:
        await archives.kept(archive, one := planted())
    async with store.started(by(OLD)) as node, store.started(by(OLD)) as other:
        if engine == "postgres":
            from holdfast.archive.postgres import streams

            real: Callable[..., Awaitable[object]] = streams._place_of

            async def place_of(*args: object) -> object:
                found = await real(*args)
                await stores.reseal_all(other)
                return found

            monkeypatch.setattr(streams, "_place_of", place_of)
        else:
            await stores.reseal_all(other)
        page = await node.read(one.info.stream, one.all[0].position)
        assert page.events == one.all[1:]
        assert await other.wrapped_by() == {OLD.id: 1}


_KNOWN = (
    "SELECT tablename, attname, coalesce(histogram_bounds::text, '') || "
    "coalesce(most_common_vals::text, '') FROM pg_stats "
    "WHERE schemaname = 'holdfast' AND attname = 'data'"
)
"""What the planner knows of the values in these columns."""


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
async def test_the_planner_forgets_what_was_plain(store: Store) -> None:
    async with store.started() as archive:
        await filled(archive, *(planted(number) for number in range(9)))
    await store.sql("ANALYZE")
    tables = {row[:2]: str(row[2]) for row in await store.sql(_KNOWN)}
    assert PLANTED.hex() in tables["connection", "data"]
    plain = tables["segment", "data"]
    async with store.started(by(OLD)) as archive:
        await stores.reseal_all(archive)
        first = await store.sql(_KNOWN)
        now = {row[:2]: str(row[2]) for row in first}
        assert PLANTED.hex() not in "".join(now.values())
        assert set(now["segment", "data"].split('"')) & set(plain.split('"')) <= {"{", ",", "}"}
        await stores.reseal_all(archive)
        assert await store.sql(_KNOWN) == first


# The file


def free(archive: sqlite.SqliteArchive) -> int:
    assert archive._rest.db is not None
    count: int = archive._rest.db.execute("PRAGMA freelist_count").fetchone()[0]
    return count


async def leaving(store: Store, file: Path) -> list[Told]:
    """Two plain streams; and in free pages what was deleted without being overwritten."""
    some = [planted(number) for number in range(2)]
    async with store.started() as archive:
        await filled(archive, *some)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = OFF")
        db.execute("INSERT INTO minute VALUES (1, 'n', ?)", ("egret" * 20_000,))
        db.execute("DELETE FROM minute")
    assert b"egret" in await bytes_of(store)
    return some


VACUUMED = ["store_vacuuming", "store_vacuumed"]


def told_in(logged: list[MutableMapping[str, Any]]) -> list[str]:
    return [entry["event"] for entry in logged]


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_a_file_is_vacuumed_once_behind_the_last_that_was_plain(
    store: Store, tmp_path: Path
) -> None:
    await leaving(store, file := tmp_path / "a.db")
    with testing.capture_logs() as logged:
        async with store.started(by(OLD)) as archive:
            assert (await archive.reseal("", 1)).done == 1
            assert b"egret" in file.read_bytes()
        async with store.started(by(OLD)) as archive:  # it was killed in between
            assert told_in(logged) == []
            assert (await stores.reseal_all(archive)).done == 1
            assert told_in(logged) == VACUUMED
            assert logged[0]["bytes"] > logged[1]["bytes"] == file.stat().st_size
            assert isinstance(archive, sqlite.SqliteArchive)
            assert free(archive) == 0
            found = await bytes_of(store)
            assert b"egret" not in found
            assert PLANTED not in found
            await stores.reseal_all(archive)
        async with store.started(by(OLD, on=False)) as archive:
            await archives.kept(archive, planted(2))
        async with store.started(by(OLD)) as archive:
            assert told_in(logged) == VACUUMED
            await stores.reseal_all(archive)
            assert told_in(logged) == VACUUMED * 2


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_where_a_pass_cannot_vacuum_the_file_the_next_start_does(
    store: Store, held: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As somebody reads it, or it is large."""
    await leaving(store, path := tmp_path / "a.db")
    async with store.started(by(OLD)) as archive:
        with contextlib.ExitStack() as stack:
            if held:
                assert isinstance(archive, sqlite.SqliteArchive)
                assert archive._rest.db is not None
                archive._rest.db.execute("PRAGMA busy_timeout = 0")
                stack.enter_context(archives.reading(path))
            else:
                monkeypatch.setattr(file, "VACUUM_BYTES", 1)
            await stores.reseal_all(archive)
    assert b"egret" in path.read_bytes() or held
    with testing.capture_logs() as logged:
        async with store.started(by(OLD)) as archive:
            assert told_in(logged) == VACUUMED
            assert b"egret" not in await bytes_of(store)
            await stores.reseal_all(archive)
            assert told_in(logged) == VACUUMED


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_what_another_process_seals_while_the_file_is_vacuumed_counts_anew(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await leaving(store, tmp_path / "a.db")
    real = seals._vacuum

    def vacuum(db: sqlite3.Connection, *values: Any) -> bool:
        done = real(db, *values)
        with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as other:
            seals._was_plain(other)
            other.commit()
        return done

    with testing.capture_logs() as logged:
        async with store.started(by(OLD)) as archive:
            monkeypatch.setattr(seals, "_vacuum", vacuum)
            await stores.reseal_all(archive)
            monkeypatch.setattr(seals, "_vacuum", real)
            assert told_in(logged) == VACUUMED
            await stores.reseal_all(archive)
            assert told_in(logged) == VACUUMED * 2


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_a_shred_says_that_the_wal_is_read_and_is_made_good_by_the_next(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store.started() as archive:
        assert isinstance(archive, sqlite.SqliteArchive)
        await archives.kept(archive, one := planted())
        assert archive._rest.db is not None
        archive._rest.db.execute("PRAGMA busy_timeout = 0")
        with archives.writing(tmp_path / "a.db"):
            assert await archive.wrapped_by() == {"": 1}
            assert await archive.guards() == ()
        with archives.reading(tmp_path / "a.db"):
            with pytest.raises(errors.ArchiveUnavailable, match="in its WAL"):
                await archive.shred(one.info.stream)
            assert isinstance(await archive.stat(one.info.stream), storage.Tombstone)
        assert await archive.shred(one.info.stream) is False
        assert PLANTED not in await bytes_of(store)
        assert (tmp_path / "a.db-wal").stat().st_size == 0

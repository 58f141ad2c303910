"""The archive's file is replaced or taken away while a node has it open.

Strategy: a copy is made as a backup makes it, and put in the file's place by a rename; what others
do to the new file must be seen by who had the old one open.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from tests.unit.archive.sqlite.test_file import KEY, opened, other

from holdfast import errors
from holdfast.archive import base, sqlite


def copied(path: Path, name: str = "copy.db") -> Path:
    """A backup of the archive as it is."""
    copy = path.with_name(name)
    with other(path) as db, other(copy) as into:
        db.backup(into)
    return copy


def put_back(copy: Path, path: Path) -> None:
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    os.rename(copy, path)


async def test_a_key_that_is_revoked_in_a_copy_put_back_is_revoked(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as node:
        await node.add(KEY)
        secret, known = node.secret, await node.keys(-1)
        assert known is not None
        put_back(copied(path), path)
        async with opened(path) as command:
            await command.revoke("a", 7)
            found = await node.keys(known.revision)
            assert found is not None
            assert [key.revoked_at for key in found.keys] == [7]
            assert node.secret == secret
            assert await node.keys(found.revision) is None
            # And the other way: it does not write into the void.
            await node.add(base.Key("b", b"", "", "t", "", (), 2000, base.Quota()))
            seen = await command.keys(-1)
            assert seen is not None
            assert [key.id for key in seen.keys] == ["a", "b"]


async def test_a_copy_whose_revision_is_the_known_one_is_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as node:
        copy = copied(path)
        await node.add(KEY)
        known = await node.keys(-1)
        assert known is not None
        async with opened(copy) as second:
            await second.add(base.Key("b", b"", "", "t", "", (), 2000, base.Quota()))
        put_back(copy, path)
        found = await node.keys(known.revision)
        assert found is not None
        assert [key.id for key in found.keys] == ["b"]
        # Also where the answer was lost on its way.
        assert await node.keys(known.revision) == found


async def test_another_archive_has_its_own_secret(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(tmp_path / "b.db") as second:
        secret = second.secret
    async with opened(path) as node:
        put_back(tmp_path / "b.db", path)
        await node.keys(-1)
        assert node.secret == secret


async def test_a_file_that_is_gone_is_no_verdict_and_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as node:
        await node.add(KEY)
        copy = copied(path)
        path.unlink()
        for _ in range(2):
            with pytest.raises(errors.KeysUnavailable, match=r"a\.db is not there any more\."):
                await node.keys(-1)
        assert not path.exists()
        put_back(copy, path)
        found = await node.keys(-1)
        assert found is not None
        assert found.keys == (KEY,)


async def test_a_file_that_comes_back_itself_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as node:
        db, known = node._db, await node.keys(-1)
        assert known is not None
        os.rename(path, tmp_path / "aside.db")
        with pytest.raises(errors.KeysUnavailable):
            await node.keys(-1)
        os.rename(tmp_path / "aside.db", path)
        assert await node.keys(known.revision) is None
        assert node._db is db


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"", "is empty"), (b"Dear diary, " * 1000, "is no database"), (b"another", "not an archive")],
)
async def test_what_is_no_archive_in_its_place_is_no_verdict_and_left_as_it_is(
    tmp_path: Path, text: bytes, said: str
) -> None:
    """An empty file would be an archive without keys, if it were taken for one."""
    path, new = tmp_path / "a.db", tmp_path / "new"
    new.write_bytes(text)
    if text == b"another":
        new.unlink()
        with other(new) as db:
            db.execute("CREATE TABLE t (x)")
    before = new.read_bytes()
    async with opened(path) as node:
        await node.add(KEY)
        copy = copied(path)
        put_back(new, path)
        for _ in range(2):
            with pytest.raises(errors.KeysUnavailable, match=said):
                await node.keys(-1)
        assert path.read_bytes() == before
        put_back(copy, path)
        found = await node.keys(-1)
        assert found is not None
        assert found.keys == (KEY,)


async def test_what_lies_beside_the_new_file_is_not_taken_away_with_the_old_one(
    tmp_path: Path,
) -> None:
    """The old file's log has the new one's name; a close must not end what others wrote there."""
    path = tmp_path / "a.db"
    async with opened(path) as node, opened(path) as late:
        await node.add(KEY)
        put_back(copied(path), path)
        async with opened(path) as command:
            await command.revoke("a", 7)
            wal = os.stat(f"{path}-wal").st_ino
            for archive in (node, late):
                found = await archive.keys(-1)
                assert found is not None
                assert [key.revoked_at for key in found.keys] == [7]
            assert os.stat(f"{path}-wal").st_ino == wal
    with other(path) as db:
        assert db.execute("SELECT revoked_at FROM key").fetchone() == (7,)


async def test_one_that_is_replaced_as_it_is_opened_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "a.db", sqlite3.connect
    async with opened(path) as first:
        await first.add(KEY)
        copy = copied(path)
    async with opened(copy) as second:
        await second.revoke("a", 7)

    def connect(*given: object, **said: object) -> sqlite3.Connection:
        monkeypatch.undo()
        db: sqlite3.Connection = real(*given, **said)  # type: ignore[call-overload]
        os.rename(copy, path)
        return db

    archive = sqlite.SqliteArchive(path)
    monkeypatch.setattr(sqlite3, "connect", connect)
    await archive.start()
    try:
        found = await archive.keys(-1)
        assert found is not None
        assert [key.revoked_at for key in found.keys] == [7]
    finally:
        await archive.close()


async def test_one_that_goes_as_it_is_opened_is_not_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "a.db", sqlite3.connect

    def connect(*given: object, **said: object) -> sqlite3.Connection:
        path.unlink()
        db: sqlite3.Connection = real(*given, **said)  # type: ignore[call-overload]
        return db

    async with opened(path) as node:
        put_back(copied(path), path)
        monkeypatch.setattr(sqlite3, "connect", connect)
        with pytest.raises(errors.KeysUnavailable, match="unable to open"):
            await node.keys(-1)
        assert not path.exists()

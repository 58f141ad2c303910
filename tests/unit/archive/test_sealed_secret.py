"""A new archive that is sealed never has its secret in clear: not for a moment, as a database that
replaces a value keeps the old one for long.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tests import postgres_server

from holdfast.archive import base, sealed, url
from holdfast.archive.sqlite import schema
from holdfast.sealing import sealer
from holdfast.testing.eventlog import sealing


async def started(where: str, by: sealer.Sealer) -> base.Archive:
    archive = url.open_archive(where, "", by)
    await archive.start()
    return archive


@pytest.mark.case("4.25")
async def test_the_steps_to_this_version_make_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "archive.db"
    db = sqlite3.connect(file, isolation_level=None)
    schema.made(db, file, True)
    query = "SELECT value FROM meta WHERE name = 'secret'"
    assert db.execute(query).fetchone() == (b"",)
    first = await started(f"sqlite:///{file}", sealing.by(sealing.OLD))
    (lies,) = db.execute(query).fetchone()
    assert len(lies) == sealed.SEALED_BYTES
    second = await started(f"sqlite:///{file}", sealing.by(sealing.OLD))
    assert first.secret == second.secret
    assert len(first.secret) == sealed.SECRET_BYTES
    for archive in (first, second):
        await archive.close()
    db.close()


@pytest.mark.case("4.25")
async def test_it_is_nowhere_in_the_files_of_postgresql(postgres: postgres_server.Server) -> None:
    for by, lies in ((sealing.by(sealing.OLD), False), (sealer.OFF, True)):
        where = await postgres.fresh()
        archive = await started(where, by)
        secret = archive.secret
        await archive.close()
        await postgres.execute(where, "CHECKPOINT")
        ((path,),) = await postgres.execute(where, "SELECT pg_relation_filepath('holdfast.meta')")
        data = postgres.folder / "data"
        assert (secret in (data / str(path)).read_bytes()) == lies
        wal = (path.read_bytes() for path in (data / "pg_wal").iterdir() if path.is_file())
        assert any(secret in found for found in wal) == lies

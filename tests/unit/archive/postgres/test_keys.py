"""Keys in PostgreSQL are those of their revision, also while others change them."""

from __future__ import annotations

import pytest
from tests import postgres_server
from tests.unit.archive.postgres.test_pool import started

from holdfast.archive import base
from holdfast.archive.postgres import keys, pool


async def test_keys_and_their_revision_are_of_one_moment(
    postgres: postgres_server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a change in between would never be asked for."""
    where, real = await postgres.fresh(), keys.all_of
    late = base.Key("a", b"d", "n", "t", "", (), 1, base.Quota())
    async with started(where) as archive, started(where) as other:

        async def all_of(db: pool.Connection) -> tuple[base.Key, ...]:
            monkeypatch.undo()
            await other.add(late)
            return await real(db)

        monkeypatch.setattr(keys, "all_of", all_of)
        found = await archive.keys(-1)
        assert found == base.Keys(0, ())
        assert await archive.keys(found.revision) == base.Keys(1, (late,))

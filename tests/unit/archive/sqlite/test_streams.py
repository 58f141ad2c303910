"""What is set aside while a stream comes: beside the archive's file, and gone afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.contract.archives import Told, told
from tests.unit.archive.sqlite.test_file import opened, other

from holdfast import errors, events
from holdfast.archive import base
from holdfast.archive.sqlite import SqliteArchive
from holdfast.sealing import codec, ring, sealer


def big() -> Told:
    """Of several groups."""
    return told(*["x" * 700_000] * 5)


def waiting(archive: SqliteArchive) -> int:
    """Segments that were set aside."""
    assert archive._rest.db is not None
    count: int = archive._rest.db.execute("SELECT count(*) FROM temp.waiting").fetchone()[0]
    return count


@pytest.mark.parametrize("fails", [False, True])
async def test_nothing_stays_aside(tmp_path: Path, fails: bool) -> None:
    async with opened(tmp_path / "a.db") as archive:
        one, seen = big(), list[int]()

        async def pages() -> AsyncIterator[Sequence[events.Event]]:
            for event in one.all:
                yield (event,)
                if event.seq > 4:
                    seen.append(waiting(archive))
            if fails:
                raise errors.LogUnavailable

        if fails:
            with pytest.raises(errors.LogUnavailable):
                await archive.keep(one.info, (), pages())
        else:
            await archive.keep(one.info, (), pages())
        assert max(seen) > 0
        assert waiting(archive) == 0
        assert (await archive.stat(one.info.stream) is None) is fails


async def test_what_is_set_aside_is_sealed_already(tmp_path: Path) -> None:
    """It lies in a file, which nobody overwrites."""
    key = ring.RingKey("0" * 16, b"o" * 32, 0)
    archive = SqliteArchive(tmp_path / "a.db", sealer=sealer.Sealer(ring.Ring((key,))))
    await archive.start()
    try:
        one, seen = big(), list[tuple[str, bytes]]()

        async def pages() -> AsyncIterator[Sequence[events.Event]]:
            yield one.all[:-1]
            assert archive._rest.db is not None
            seen.extend(archive._rest.db.execute("SELECT events, data FROM temp.waiting"))
            yield one.all[-1:]

        await archive.keep(one.info, (), pages())
        assert {text for text, _ in seen} == {"[]"}
        assert all(b"xxxx" not in data and data[1] & codec.SEALED for _, data in seen)
    finally:
        await archive.close()


async def test_a_stream_that_comes_slowly_locks_nobody_out(tmp_path: Path) -> None:
    path, one = tmp_path / "a.db", big()
    async with opened(path) as archive:

        async def pages() -> AsyncIterator[Sequence[events.Event]]:
            for event in one.all:
                yield (event,)
                await archive.revoke("a", 7)
                with other(path) as db:  # waits for nobody, and writes
                    db.execute("INSERT OR REPLACE INTO minute VALUES (1, 'n', x'')")
                assert await archive.stat(one.info.stream) is None

        await archive.add(base.Key("a", b"d", "n", "t", "", (), 1, base.Quota()))
        await archive.keep(one.info, (), pages())
        assert await archive.stat(one.info.stream) == one.info


async def test_one_whose_file_is_replaced_meanwhile_is_not_half_kept(tmp_path: Path) -> None:
    path, one = tmp_path / "a.db", big()
    async with opened(path) as archive, opened(tmp_path / "b.db"):
        pass
    async with opened(path) as archive:

        async def pages() -> AsyncIterator[Sequence[events.Event]]:
            yield one.all[:-1]
            (tmp_path / "b.db").rename(path)
            yield one.all[-1:]

        with pytest.raises(errors.ArchiveUnavailable, match="was replaced"):
            await archive.keep(one.info, (), pages())
        assert await archive.stat(one.info.stream) is None
        await archive.keep(one.info, (), one.pages())
        assert await archive.stat(one.info.stream) == one.info

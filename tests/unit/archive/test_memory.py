"""The archive in memory is bounded: what is oldest gives way."""

from __future__ import annotations

from tests.contract import archives
from tests.contract.archives import told

from holdfast import storage
from holdfast.archive import memory, rows


async def test_the_stream_that_ended_first_gives_way() -> None:
    streams = [told("x" * 1000, ended_at=end) for end in (3000, 2000, 4000, 5000)]
    size = sum(len(event.data) for event in streams[0].all)
    archive = memory.MemoryArchive(kept_bytes=3 * size, kept_rows=1)
    await archives.kept(archive, *streams[:3])
    assert len(await archive.find(storage.Query())) == 3
    await archives.kept(archive, streams[3])
    assert isinstance(await archive.stat(streams[1].info.stream), storage.Tombstone)
    await archive.expire(3500, 9)
    assert isinstance(await archive.stat(streams[0].info.stream), storage.Tombstone)
    assert await archive.stat(streams[1].info.stream) is None  # so many are remembered
    assert await archive.stat(streams[2].info.stream) == streams[2].info


async def test_the_rows_told_of_longest_ago_give_way() -> None:
    archive = memory.MemoryArchive(kept_rows=2)
    for number in (0, 1, 0, 2):
        one = rows.Connection(f"{number}", "s", "o", number, 5)
        await archive.keep_connections([one])
        await archive.keep_minutes([rows.Minute(number, "n", b"")])
    assert [one.id for one in await archive.connections(rows.Sought())] == ["2", "0"]
    assert len(await archive.minutes(0, 9, 9)) == 2

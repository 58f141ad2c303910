"""Who can write to a sealed log file, and has no key, makes no finished stream say what it did not.

Strategy: three finished streams, two of one owner, lie in one file under a running node, and each
test changes what lies there as another program could that has copies of all of it. What is changed
is not read, neither as a stream nor, where it is about the header, as what is known of it; a list
goes on around it; and put back, all is as it was.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.unit.eventlog.sqlite import opened

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.sqlite import engine, redo
from holdfast.sealing import codec
from holdfast.testing.eventlog import parts, sealing

pytestmark = pytest.mark.asyncio(loop_scope="module")

Row = dict[str, Any]


class Lying:
    """A log, its file, and three streams of two lives each: hers, another one of hers, a
    stranger's."""

    def __init__(self, log: engine.SqliteLog, path: Path) -> None:
        self.log, self._path = log, path
        self.streams: list[events.StreamId] = []
        self.whole: list[list[events.Event]] = []

    async def write(self, owner: str) -> None:
        pen = await parts.begin(self.log, owner=owner)
        await pen.write(parts.chunk("one"), parts.chunk("two"))
        life = await self.log.claim(pen.stream, 6_000)
        assert life is not None
        await parts.Pen(self.log, pen.stream, life).write(parts.chunk("three"), parts.COMPLETE)
        self.streams.append(pen.stream)
        self.whole.append(await parts.read_all(self.log, pen.stream))

    @contextlib.contextmanager
    def db(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as db:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA synchronous = OFF")
            yield db

    def row(self, number: int, table: str = "record") -> Row:
        asked = f"SELECT * FROM {table} WHERE stream = ?"
        with self.db() as db:
            return dict(db.execute(asked, (self.streams[number],)).fetchone())

    def put(self, number: int, table: str = "record", **columns: Any) -> None:
        named = ", ".join(f"{name} = ?" for name in columns)
        values = (*columns.values(), self.streams[number])
        with self.db() as db:
            db.execute(f"UPDATE {table} SET {named} WHERE stream = ?", values)

    async def read(self, number: int = 0) -> list[events.Event]:
        self.log._session.finished.cache.drop(self.streams[number])
        return await parts.read_all(self.log, self.streams[number])

    async def refused(self, *, header: bool = False) -> None:
        """The first is not read; nor is its header, and then a list has what is in clear of it."""
        with pytest.raises(errors.LogCorrupt, match=self.streams[0]):
            await self.read()
        listed = {info.stream: info for info in await self.log.find(base.Query())}
        assert len(listed) == 3
        if header:
            with pytest.raises(errors.LogCorrupt, match=self.streams[0]):
                await self.log.stat(self.streams[0])
            assert listed[self.streams[0]].header.request == b""
            assert listed[self.streams[0]].header.model == ""
        assert [await self.read(other) for other in (1, 2)] == self.whole[1:]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def written(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lying]:
    path = tmp_path_factory.mktemp("tampered") / "a.db"
    tools = opened.Logs()
    log = await opened.quiet(await tools.open(path, sealer=sealing.by(sealing.OLD)))
    made = Lying(log, path)
    for owner in ("acme/alice", "acme/alice", "else/bob"):
        await made.write(owner)
    await opened.quiet(log)
    yield made
    await tools.close()


@pytest_asyncio.fixture(loop_scope="module")
async def lying(written: Lying) -> AsyncIterator[Lying]:
    """As they were written, and again at the end."""
    record, seal = written.row(0), written.row(0, "seal")
    assert await written.read() == written.whole[0]
    yield written
    written.put(0, **record)
    written.put(0, "seal", **seal)
    assert await written.read() == written.whole[0]


@pytest.mark.case("4.25")
@pytest.mark.parametrize("column", ["header", "events", "key"])
async def test_every_flipped_byte_and_every_cut_is_refused(lying: Lying, column: str) -> None:
    table = "seal" if column == "key" else "record"
    whole = lying.row(0, table)[column]
    cuts = [whole[:length] for length in (0, 1, 13, len(whole) // 2, len(whole) - 1)]
    flips = [
        whole[:at] + bytes((whole[at] ^ 1 << at % 8,)) + whole[at + 1 :] for at in range(len(whole))
    ]
    with lying.db() as db:
        for bad in (*flips, *cuts, whole + b"\0"):
            db.execute(f"UPDATE {table} SET {column} = ? WHERE stream = ?", (bad, lying.streams[0]))
            with pytest.raises(errors.LogCorrupt):
                await lying.read()
    await lying.refused(header=column != "events")


@pytest.mark.case("4.25")
@pytest.mark.parametrize("other", [1, 2], ids=["her own", "a stranger's"])
@pytest.mark.parametrize("column", ["header", "events", "key"])
async def test_nothing_of_another_stream_stands_in_its_place(
    lying: Lying, column: str, other: int
) -> None:
    table = "seal" if column == "key" else "record"
    lying.put(0, table, **{column: lying.row(other, table)[column]})
    await lying.refused(header=column != "events")


@pytest.mark.case("4.25")
@pytest.mark.parametrize("other", [1, 2], ids=["her own", "a stranger's"])
async def test_all_of_another_stream_is_not_moved(lying: Lying, other: int) -> None:
    """With its key, its owner and its numbers: only the id stays."""
    record, seal = lying.row(other), lying.row(other, "seal")
    lying.put(0, **{**record, "stream": lying.streams[0]})
    lying.put(0, "seal", **{**seal, "stream": lying.streams[0]})
    await lying.refused(header=True)


@pytest.mark.case("4.25")
async def test_it_has_no_other_owner(lying: Lying) -> None:
    lying.put(0, owner="else/bob")
    await lying.refused(header=True)
    lying.put(0, "seal", owner="else/bob")
    await lying.refused(header=True)


@pytest.mark.case("4.25")
async def test_it_has_no_other_end_and_no_other_life(lying: Lying) -> None:
    record = lying.row(0)
    first = lying.whole[0][0].epoch
    assert first != record["epoch"]
    for changed in ({"seq": record["seq"] - 1}, {"seq": record["seq"] + 1}, {"epoch": first}):
        lying.put(0, **{**record, **changed})
        await lying.refused()


@pytest.mark.case("4.25")
async def test_nothing_plain_stands_for_what_is_sealed(lying: Lying) -> None:
    """Nor with the key taken away: then it is plain what is sealed."""
    forged = await lying.log.stat(lying.streams[0])
    assert isinstance(forged, base.Info)
    lying.put(0, header=redo.pack_header(forged.header))
    await lying.refused(header=True)
    lying.put(0, header=lying.row(1)["header"], events=codec.PLAIN.pack(codec.RECORD, b"forged"))
    await lying.refused(header=True)


@pytest.mark.case("4.25")
async def test_without_its_key_nothing_is_read(lying: Lying) -> None:
    seal = lying.row(0, "seal")
    with lying.db() as db:
        db.execute("DELETE FROM seal WHERE stream = ?", (lying.streams[0],))
        try:
            await lying.refused(header=True)
        finally:
            db.execute("INSERT INTO seal VALUES (:stream, :owner, :created_at, :key)", seal)

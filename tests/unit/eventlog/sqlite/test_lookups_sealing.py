"""Finished streams that do not open: refused when read, and listed still."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
import structlog.testing
from tests.unit.eventlog.sqlite import opened

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.sqlite import lookups, redo
from holdfast.sealing import codec
from holdfast.testing.eventlog.parts import chunk, header, read_all
from holdfast.testing.eventlog.sealing import OLD, by, ended


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
    opened.rewrite(path, change, victim.stream)
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
    opened.rewrite(path, "UPDATE record SET events = ?", redo.pack_block(codec.RECORD, short))
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
    opened.spoil_key(path, pens[0].stream)
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            listed = {info.stream: info for info in await log.find(base.Query(owner="me"))}
    assert len(lines) == 1
    assert len(listed) == 3
    clear = listed[pens[0].stream]
    assert clear.header == base.Header("me", 1_000, "", "", client_id="c", session_id="s")
    assert (clear.status, clear.head.seq, clear.head.closed) == ("completed", 23, True)
    for pen in pens[1:]:
        opened.spoil_key(path, pen.stream)
    await log.find(base.Query())
    assert len(log._session.finished._lookups._told._names) == 2
    # To make it again is refused alone, and what goes into the same row is not.
    made = [
        log.create(stream, header(), (chunk("a"),), 1)
        for stream in (pens[0].stream, events.new_stream_id())
    ]
    refused, life = await asyncio.gather(*made, return_exceptions=True)
    assert isinstance(refused, errors.LogCorrupt)
    assert isinstance(life, base.Life)

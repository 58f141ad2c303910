"""A tick that failed is sealed again, and no nonce is used for two texts.

Strategy: what is sealed is noted as it leaves the codec, whoever made it. A tick that an engine
could not take, or took without being able to say so, is given again until it is taken, the same and
then another in its place: whatever bears one nonce must be the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from tests import redis_servers
from tests.unit.eventlog.redis import logs
from tests.unit.eventlog.sqlite import conftest as sqlite_tools
from tests.unit.eventlog.sqlite import opened

from holdfast import errors
from holdfast.eventlog import base
from holdfast.eventlog.sqlite import engine, schema
from holdfast.sealing import codec
from holdfast.testing.eventlog import parts, sealing

held = sqlite_tools.held
path = sqlite_tools.path


class Noted:
    """By key and nonce: what was sealed so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames: dict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)
        self.count = 0
        pack = codec.Sealed.pack

        def noting(one: codec.Sealed, *said: Any, **more: Any) -> bytes:
            blob = pack(one, *said, **more)
            assert one.wrapped is not None
            self.frames[one.wrapped, blob[2 : 2 + codec.NONCE_BYTES]].add(blob)
            self.count += 1
            return blob

        monkeypatch.setattr(codec.Sealed, "pack", noting)

    def check(self, at_least: int) -> None:
        assert self.count >= at_least
        assert all(len(frames) == 1 for frames in self.frames.values())


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Noted:
    return Noted(monkeypatch)


async def retried(log: base.EventLog, *ticks: base.Batch) -> None:
    """Each of these in turn fails."""
    for batch in ticks:
        with pytest.raises(errors.LogUnavailable):
            await log.append((batch,))


@pytest.mark.case("4.25")
async def test_sqlite_never_uses_a_nonce_for_two_texts(
    path: Path, held: sqlite_tools.Held, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0)
    tools = opened.Logs()
    log: engine.SqliteLog = await tools.open(path, sealer=sealing.by(sealing.OLD))
    try:
        pen = await parts.begin(log)
        frozen = pen.batch(parts.chunk("one"), parts.chunk("two"))
        other = pen.batch(parts.chunk("another"), parts.chunk("two"))
        with held():
            await retried(log, frozen, frozen, other, frozen)
        assert await log.append((frozen,)) == [base.Ok()]
        assert await log.append((frozen,)) == [base.Ok()]  # who has not heard of it
        pen.last += 2
        life = await log.claim(pen.stream, 6_000)
        assert life is not None
        taken = parts.Pen(log, pen.stream, life)
        with held():
            await retried(log, taken.batch(parts.chunk("one")))
        await taken.write(parts.chunk("one"), parts.COMPLETE)
        assert len(await parts.read_all(log, pen.stream)) == 6
    finally:
        await tools.close()
    noted.check(11)


@pytest.mark.case("4.25")
async def test_redis_never_uses_a_nonce_for_two_texts(
    valkey: redis_servers.Server, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that breaks before Redis has it, or when it has done it already."""
    async with logs.nodes(valkey) as nodes:
        log = await nodes.start(by=sealing.by(sealing.OLD))
        pen = await parts.begin(log)
        frozen = pen.batch(parts.chunk("one"), parts.chunk("two"))
        other = pen.batch(parts.chunk("another"), parts.chunk("two"))
        assert log._writing is not None
        wires = log._writing._lines
        ask = wires.ask

        async def lost(calls: Any) -> Any:
            raise errors.LogUnavailable("It does not reach Redis.")

        async def unheard(calls: Any) -> Any:
            await ask(calls)
            raise errors.LogUnavailable("The answer does not come back.")

        monkeypatch.setattr(wires, "ask", lost)
        await retried(log, frozen, other, frozen)
        monkeypatch.setattr(wires, "ask", unheard)
        await retried(log, frozen, frozen)
        monkeypatch.setattr(wires, "ask", ask)
        assert await log.append((frozen,)) == [base.Ok()]
        found = await parts.read_all(log, pen.stream)
        assert [event.data for event in found[1:]] == [draft.data for draft in frozen.drafts]
        pen.last += 2
        life = await log.claim(pen.stream, 6_000)
        assert life is not None
        await parts.Pen(log, pen.stream, life).write(parts.chunk("one"), parts.COMPLETE)
        assert len(await parts.read_all(log, pen.stream)) == 6
    noted.check(10)

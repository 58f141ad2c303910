"""A process that writes a log is killed at random moments; what it acknowledged is there.

HOLDFAST_ROUNDS says how often (3 in the ordinary run). All rounds use one file, so that each
process has to go on with what the killed one left: half-written checkpoints, records that
are missing, streams without a writer.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults import writing

import holdfast
from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.sqlite import engine
from holdfast.sealing import stores
from holdfast.testing.eventlog.parts import COMPLETE, begin, chunk, read_all

ROOT = Path(__file__).resolve().parents[2]
SEED = 20_261_105


class Acknowledged:
    """All that the processes said, in the order in which they said it."""

    def __init__(self) -> None:
        self.heads: dict[events.StreamId, list[events.Position]] = {}
        self.ended: set[events.StreamId] = set()
        self.cancelled: set[events.StreamId] = set()
        self.expired_before = 0

    def note(self, line: str) -> None:
        word, *said = line.split()
        if word == "x":
            self.expired_before = int(said[0])
            return
        stream = events.StreamId(said[0])
        if word == "c":
            self.cancelled.add(stream)
            return
        self.heads.setdefault(stream, []).append(events.Position(int(said[1]), int(said[2])))
        if word == "+" and said[3] == "0":
            self.ended.add(stream)


def killed(path: Path, seed: int, lines: int, *sealing: str) -> list[str]:
    """What a process said that was killed once it had said so many lines."""
    source = Path(holdfast.__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.writing", str(path), str(seed), "20000", *sealing],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": f"{source}{os.pathsep}{ROOT}"},
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    whole = b"".join(said) + rest
    return whole[: whole.rfind(b"\n") + 1].decode().splitlines()


async def check(log: engine.SqliteLog, said: Acknowledged) -> None:
    for stream, positions in said.heads.items():
        info = await log.stat(stream)
        if isinstance(info, base.Tombstone):
            with pytest.raises(errors.StreamNotFound):
                await log.read(stream, events.BEGIN)
            assert stream in said.ended
            continue
        assert isinstance(info, base.Info), f"{stream} is gone"
        found = await read_all(log, stream)
        assert [event.seq for event in found] == list(range(1, info.head.seq + 1))
        for position in positions:
            assert found[position.seq - 1].position == position
        kinds = [event.kind for event in found]
        assert not events.TERMINAL & set(kinds[:-1])
        assert (kinds[-1] in events.TERMINAL) == info.head.closed
        for event in found[1:]:
            if event.kind == "chunk":
                expected = chunk(writing.text(stream, event.epoch, event.seq))
                assert event.data == expected.data
        if stream in said.ended:
            assert info.head.closed
            assert info.ended_at is not None
            assert info.ended_at >= said.expired_before
        assert info.cancelled or stream not in said.cancelled
        if info.head.closed:  # its process may have died before it could say so
            said.ended.add(stream)


async def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    rounds = int(os.environ.get("HOLDFAST_ROUNDS", "3"))
    path, dice, said = tmp_path / "a.db", random.Random(SEED), Acknowledged()
    for number in range(rounds):
        lines = killed(path, SEED + number, dice.randint(1, 6000))
        for line in lines:
            said.note(line)
        log = engine.SqliteLog(path)
        await log.start()
        await check_all(log, said)
        await log.close()


async def check_all(log: engine.SqliteLog, said: Acknowledged) -> None:
    await check(log, said)
    orphans = set(await log.orphans(10**6))
    open_now = {
        info.stream
        for status in ("pending", "streaming")
        for info in await log.find(base.Query(status=status, limit=10**6))
    }
    assert orphans == open_now
    assert not orphans & said.ended


def raw(path: Path) -> bytes:
    return b"".join(one.read_bytes() for one in path.parent.glob(f"{path.name}*"))


async def test_a_file_that_is_turned_on_and_off_and_killed_loses_nothing(tmp_path: Path) -> None:
    """Each round is killed without sealing first, and with it then, while it seals what is
    plain."""
    rounds = int(os.environ.get("HOLDFAST_ROUNDS", "1"))
    path, dice, said = tmp_path / "a.db", random.Random(SEED), Acknowledged()
    for number in range(rounds):
        for how in ("off", "on"):
            for line in killed(path, SEED + number, dice.randint(1, 3000), how):
                said.note(line)
            log = engine.SqliteLog(path, sealer=writing.sealing(how))
            await log.start()
            await check_all(log, said)
            if how == "on" and number % 3 == 0:
                await stores.reseal_all(log)
                assert (await log.wrapped_by()).get("", 0) == 0
                assert b'"delta":' not in raw(path)
            await log.close()


@pytest.fixture
def small(mounted: Callable[[str], Path]) -> Path:
    """A file system of 12 MB."""
    return mounted("12m")


async def test_a_full_disk_refuses_a_tick_and_takes_it_when_there_is_room(small: Path) -> None:
    filler = small / "filler"
    with open(filler, "wb") as written:  # noqa: ASYNC230
        written.write(bytes(6_000_000))
    log = engine.SqliteLog(small / "a.db")
    await log.start()
    pen, ended = await begin(log), await begin(log)
    await ended.write(COMPLETE)

    async def fill() -> None:
        while True:
            await pen.write(chunk("x" * 3000))

    try:
        with pytest.raises(errors.LogUnavailable, match=r"a\.db: .*the disk is full"):
            await fill()
        tick = (pen.batch(chunk("one more " + "x" * 3000)),)
        for _ in range(3):
            with pytest.raises(errors.LogUnavailable):
                await log.append(tick)
        held = await read_all(log, pen.stream)
        assert [event.seq for event in held] == list(range(1, pen.last + 1))
        # What is there can be read from a full disk, after a start too.
        await log.close()
        await log.start()
        assert await read_all(log, pen.stream) == held
        assert len(await read_all(log, ended.stream)) == 2
        with pytest.raises(errors.LogUnavailable):
            await log.append(tick)
        os.unlink(filler)
        assert await log.append(tick) == [base.Ok()]
        pen.last += 1
        await pen.write(COMPLETE)
        await log.close()
        await log.start()
        found = await read_all(log, pen.stream)
        assert found[: len(held)] == held
        assert len(found) == pen.last
    finally:
        await log.close()


def test_the_account_of_what_was_said_is_right() -> None:
    said = Acknowledged()
    for line in ("+ a 1 1 1", "+ b 1 1 1", "r a 1 1", "+ a 1 3 0", "c b", "x 7"):
        said.note(line)
    assert said.heads[events.StreamId("a")] == [events.Position(1, seq) for seq in (1, 1, 3)]
    assert (said.ended, said.cancelled, said.expired_before) == ({"a"}, {"b"}, 7)


async def test_the_check_sees_a_loss(tmp_path: Path) -> None:
    log = engine.SqliteLog(tmp_path / "a.db")
    await log.start()
    pen = await begin(log)
    await pen.write(chunk(writing.text(pen.stream, pen.epoch, 2)))
    lines = {
        "": f"+ {pen.stream} {pen.epoch} 2 1",
        "an event": f"+ {pen.stream} {pen.epoch} 3 1",
        "a life": f"r {pen.stream} {pen.epoch + 1} 2",
        "the end": f"+ {pen.stream} {pen.epoch} 2 0",
        "the flag": f"c {pen.stream}",
        "the stream": f"+ {events.new_stream_id()} 1 1 1",
    }
    for lost, line in lines.items():
        said = Acknowledged()
        said.note(lines[""])
        said.note(line)
        if not lost:
            await check(log, said)
            continue
        with pytest.raises((AssertionError, IndexError)):
            await check(log, said)
    await log.close()
    assert not asyncio.all_tasks() - {asyncio.current_task()}

"""Checkpoints bound the redo log and the file, and lose nothing wherever they are cut off."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.eventlog.sqlite import opened

from holdfast import events
from holdfast.eventlog import base, streams
from holdfast.eventlog.sqlite import checkpoints, file, lookups, redo, replay, seals, writer
from holdfast.sealing import codec, sealer
from holdfast.testing.eventlog.parts import COMPLETE, FAILED, begin, chunk, header, read_all
from holdfast.testing.eventlog.sealing import OLD, by

LARGE = chunk("x" * 3000)


async def test_the_redo_log_is_cut_back_and_the_file_does_not_grow(
    path: Path, logs: opened.Logs
) -> None:
    log = await logs.open(path, checkpoint_bytes=100_000)
    still_open = await begin(log)
    pages = []
    for _ in range(8):
        for _ in range(50):
            pen = await begin(log)
            await pen.write(LARGE, COMPLETE)
        await still_open.write(LARGE)
        await opened.quiet(log)
        assert opened.ask(path, "SELECT sum(length(operations)) FROM redo")[0] < 110_000
        await log.expire(10**15, 1000)
        pages += opened.ask(path, "PRAGMA page_count")
    # Five more rounds wrote 400 pages; the open stream and the tombstones take a few.
    assert pages[-1] < pages[2] + 20


async def test_a_segment_holds_only_what_came_since_the_last(path: Path, logs: opened.Logs) -> None:
    log = await logs.open(path)
    pen, idle = await begin(log), await begin(log)
    for count in (1, 2, 3):
        await pen.write(*[chunk(f"{count}")] * count)
        log._session._checkpoints.begin()
        await opened.quiet(log)
    assert opened.ask(path, f"SELECT first FROM segment WHERE stream = '{pen.stream}'") == [1, 3, 5]
    assert opened.ask(path, f"SELECT first FROM segment WHERE stream = '{idle.stream}'") == [1]
    assert opened.ask(path, "SELECT first FROM segment WHERE header IS NOT NULL") == [1, 1]
    assert opened.ask(path, "SELECT id FROM redo") == []
    await log.close()
    again = await logs.open(path)
    assert len(await read_all(again, pen.stream)) == 7
    assert set(await again.orphans(9)) == {pen.stream, idle.stream}


async def test_what_has_no_event_and_what_has_but_a_flag_is_kept_too(
    path: Path, logs: opened.Logs
) -> None:
    log = await logs.open(path)
    empty = events.new_stream_id()
    life = await log.create(empty, header(), (), 1)
    assert isinstance(life, base.Life)
    log._session._checkpoints.begin()
    pen = await begin(log)
    await opened.quiet(log)
    log._session._checkpoints.begin()
    await opened.quiet(log)
    assert await log.request_cancel(pen.stream)
    log._session._checkpoints.begin()
    await opened.quiet(log)
    assert opened.ask(path, "SELECT id FROM redo") == []
    await log.close()
    again = await logs.open(path)
    assert await again.heads([empty]) == [base.Head(life.epoch, 0, False)]
    batch = base.Batch(empty, life.epoch, 1, 5, (chunk("a"),))
    assert await again.append((batch,)) == [base.Ok()]
    info = await again.stat(pen.stream)
    assert isinstance(info, base.Info)
    assert info.cancelled


async def test_a_start_that_finds_much_redo_checkpoints_at_the_next_append(
    path: Path, logs: opened.Logs
) -> None:
    log = await logs.open(path)
    pens = [await begin(log) for _ in range(50)]
    await log.close()
    again = await logs.open(path, checkpoint_bytes=3000)
    assert len(opened.ask(path, "SELECT id FROM redo")) == 50
    assert await again.claim(pens[0].stream, 5) is not None
    await opened.quiet(again)
    assert opened.ask(path, "SELECT id FROM redo") == []
    assert opened.ask(path, "SELECT count(*) FROM segment") == [50]


async def test_what_expires_leaves_the_redo_log_too(path: Path, logs: opened.Logs) -> None:
    log = await logs.open(path)
    pen = await begin(log)
    await pen.write(chunk("a secret"), COMPLETE)
    await opened.quiet(log)
    assert len(opened.ask(path, "SELECT id FROM redo")) == 2
    assert await log.expire(10**15, 10) == 1
    await opened.quiet(log)
    assert opened.ask(path, "SELECT id FROM redo") == []


def loaded(*operations: redo.Operation) -> replay.Loaded:
    made = streams.Streams()
    for operation in operations:
        redo.apply(made, operation)
    return replay.Loaded(b"", made, {}, 1, 0)


def creation(draft: events.Draft) -> redo.Operation:
    return redo.Create(events.new_stream_id(), header(), 65536, (draft,), 1)


@pytest.mark.parametrize(
    ("draft", "slices"),
    [(chunk("x"), 5), (chunk("x" * (checkpoints.SLICE_BYTES // 2)), 40), (FAILED, 0)],
)
def test_a_slice_is_bounded_in_streams_and_in_bytes(
    draft: events.Draft, slices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SLICE_STREAMS", 16)
    jobs: list[writer.Job] = []
    made = checkpoints.Checkpoints(1000, loaded(*(creation(draft) for _ in range(80))), jobs.append)
    made.wrote(2, 999)
    assert jobs == []
    made.wrote(3, 1)
    for done in range(slices):
        assert len(jobs) == done + 1  # the next is cut when this one is written
        assert jobs[-1].cost < 2 * checkpoints.SLICE_BYTES
        jobs[-1].done(None)
    assert jobs[-1].cost == writer.SLICE_BYTES  # now it forgets
    jobs[-1].done(checkpoints.FORGET_ROWS)
    jobs[-1].done(checkpoints.FORGET_ROWS - 1)
    assert len(jobs) == slices + 2
    assert not made._running


def test_one_checkpoint_is_under_way_at_a_time() -> None:
    jobs: list[writer.Job] = []
    made = checkpoints.Checkpoints(10, loaded(creation(chunk("x"))), jobs.append)
    for row in range(2, 9):
        made.wrote(row, 10)
    made.begin()
    assert len(jobs) == 1
    jobs[0].done(None)
    jobs[1].done(0)
    made.wrote(9, 1)  # by now there is enough for the next
    assert len(jobs) == 3


IDS = [events.new_stream_id() for _ in range(3)]
EPOCHS = st.integers(1, 3).map(lambda counter: counter << 16)
BATCHES = st.builds(
    base.Batch,
    st.sampled_from(IDS),
    EPOCHS,
    st.integers(1, 9),
    st.just(5),
    st.sampled_from([(chunk("a"),), (chunk("b"), chunk("c")), (chunk("d"), COMPLETE)]),
)
OPERATIONS = st.one_of(
    st.builds(
        redo.Create,
        st.sampled_from(IDS),
        st.just(header()),
        st.just(65536),
        st.just((chunk("f"),)),
        st.just(1),
    ),
    st.builds(redo.Append, st.lists(BATCHES, min_size=1, max_size=3).map(tuple)),
    st.builds(redo.Claim, st.sampled_from(IDS), EPOCHS, st.just((chunk("e"),)), st.just(7)),
    st.builds(redo.Cancel, st.sampled_from(IDS)),
)
STEPS = st.lists(
    st.one_of(st.lists(OPERATIONS, min_size=1, max_size=3), st.sampled_from(["checkpoint", "job"])),
    max_size=40,
)


class Simulated:
    """The engine without its thread: each job is done when the test says so."""

    def __init__(self, path: Path, by_: sealer.Sealer = sealer.OFF) -> None:
        self.file = file.File(path, "process", by_)
        self.sealer = by_
        found = self.file.load()
        self.streams, self.jobs, self.codecs = found.streams, list[writer.Job](), found.codecs
        self.checkpoints = checkpoints.Checkpoints(10**9, found, self.jobs.append)

    def commit(self, operations: list[redo.Operation]) -> None:
        fresh = [
            operation
            for operation in operations
            if not isinstance(operation, redo.Create) or not self.file.known(operation.stream)
        ]
        if fresh:
            seals = [seal for operation in fresh for seal in self._new_key(operation)]
            encoded = [redo.encode(operation, self.codecs) for operation in fresh]
            row, size = self.file.commit(encoded, seals)
            for operation in fresh:
                redo.apply(self.streams, operation)
            self.checkpoints.wrote(row, size)
        for stream in self.streams.ended:
            self.jobs.append(self._record(stream))
        self.streams.ended.clear()

    def _new_key(self, operation: redo.Operation) -> list[seals.Seal]:
        """For a stream that is made now, and not made already."""
        if not isinstance(operation, redo.Create) or self.streams.get(operation.stream):
            return []
        stream, owner = operation.stream, operation.header.owner
        made = self.sealer.new(stream, owner, self.sealer.current(owner))
        if made.wrapped is None or stream in self.codecs:
            return []
        self.codecs[stream] = made
        return [seals.Seal(stream, owner, operation.header.created_at, made.wrapped)]

    def _record(self, stream: streams.Stream) -> writer.Job:
        by_ = self.codecs.get(stream.id, codec.PLAIN)

        def drop(_: object) -> None:
            self.streams.drop(stream.id)
            self.codecs.pop(stream.id, None)
            self.checkpoints.forget(stream.id)

        return writer.Job(lambda opened: opened.keep_record(stream, by_), drop)

    def work(self) -> None:
        if self.jobs:
            job = self.jobs.pop(0)
            with self.file.transaction():
                result = job.work(self.file)
            job.done(result)

    def shown(self) -> dict[events.StreamId, tuple[base.Page, base.Info]]:
        """What a reader can see of each stream, in memory or in its record."""
        reading = lookups.Lookups(self.file.path, self.sealer)
        found = {}
        for name in IDS:
            stream = self.streams.get(name) or reading.record(name)
            if stream is not None:
                info = stream.info if self.streams.get(name) else reading.stat(name)
                assert isinstance(info, base.Info)
                found[name] = (stream.page(events.BEGIN, 256), info)
        reading.close()
        return found


def test_a_segment_says_what_it_contains_even_if_the_checkpoint_began_before(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost when it came, a batch would fit when the segment is cut; it must not come back."""
    monkeypatch.setattr(checkpoints, "SLICE_STREAMS", 1)
    live = Simulated(path)
    live.commit([redo.Create(stream, header(), 65536, (chunk("f"),), 1) for stream in IDS[:2]])
    live.checkpoints.begin()
    late = IDS[1]
    live.commit([redo.Append((base.Batch(late, 65536, 3, 5, (chunk("early"),)),))])
    live.commit([redo.Append((base.Batch(late, 65536, 2, 5, (chunk("a"),)),))])
    live.work()
    live.work()
    before = live.shown()
    assert before[late][1].head.seq == 2
    live.file.close()
    again = Simulated(path)
    assert again.shown() == before
    again.file.close()


@settings(max_examples=60)
@given(STEPS, st.sampled_from(["plain", "sealed", "turned on", "turned off"]))
def test_a_crash_between_any_two_steps_loses_nothing_and_invents_nothing(
    steps: list[list[redo.Operation] | str], how: str
) -> None:
    """Nor does a start that seals what was plain."""
    first, then = {
        "plain": (sealer.OFF, sealer.OFF),
        "sealed": (by(OLD), by(OLD)),
        "turned on": (sealer.OFF, by(OLD)),
        "turned off": (by(OLD), by(OLD, on=False)),
    }[how]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "SLICE_STREAMS", 1)
        live = Simulated(Path(folder) / "a.db", first)
        for step in steps:
            if step == "checkpoint":
                live.checkpoints.begin()
            elif step == "job":
                live.work()
            elif isinstance(step, list):
                live.commit(step)
        before = live.shown()
        live.file.close()
        again = Simulated(Path(folder) / "a.db", then)
        assert again.shown() == before
        again.checkpoints.begin()
        again.commit([])
        while again.jobs:
            again.work()
        assert again.shown() == before
        again.file.close()

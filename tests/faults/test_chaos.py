"""A short storm in the ordinary run, and proof that its machinery sees and hears.

`make chaos` is the long form: three minutes, more kills, every kind of fault many times.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from tests.faults.chaos import book as books
from tests.faults.chaos import breaking, course, judging, keys, readers, run, texts, weather
from tests.faults.chaos import node as nodes

from holdfast.testing import checker, fault_proxy, history, simulated
from holdfast.testing.invariants import verdict

SEED = 69
"""A quick one: the first faults of its process are kills, so that there soon are enough, and none
of its demo streams stands still, which would be asked for again for half a minute."""

SECONDS = 11.0
LIMIT = 150.0
"""Seconds for all of it, on a machine with other work."""


@pytest.mark.case("4.25")
async def test_nothing_is_lost_in_a_short_storm(tmp_path: Path) -> None:
    async with asyncio.timeout(LIMIT):
        result = await run.run(run.Options(tmp_path, SECONDS, SEED, workers=12, sealed=True))
    assert [*result.book.problems, *map(str, result.violations)] == []
    assert result.killed >= 3
    assert result.book.counts["streams"] >= 12
    assert result.book.counts["log: complete"] >= 3
    assert result.book.counts[run.CANCELS] >= 1
    assert result.book.counts[run.CURSORS] >= 1
    assert result.book.counts[keys.MOVED] >= 1
    entries = result.book.whole()
    kinds = {type(entry) for entry in entries}
    assert kinds >= {history.Delivered, history.Kept, history.Called, history.Expected}
    # The history is one that a loss can be seen in. The last event before a reader leaves by itself
    # is followed by nothing that could tell of it, so those are not among the losses.
    conns = {n: one.conn for n, one in enumerate(entries) if isinstance(one, history.Delivered)}
    last = {conn: place for place, conn in conns.items()}
    followed = sorted(conns.keys() - set(last.values()))
    for place in random.Random(SEED).sample(followed, 50):
        left = [*entries[:place], *entries[place + 1 :]]
        assert checker.check(left, now=result.book.now)


def test_blocks_are_taken_when_they_are_whole() -> None:
    buffer = bytearray(b'event: chunk\ndata: {"a": "b: c"}\nid: s:1-2\n\nevent: rewind\nda')
    assert readers.blocks(buffer) == [("chunk", b'{"a": "b: c"}', "s:1-2")]
    buffer += b"ta: {}\n\n"
    assert readers.blocks(buffer) == [("rewind", b"{}", "")]
    assert buffer == b""


def test_a_stream_of_a_seed_is_the_same_each_time() -> None:
    drawn = [texts.draw(7, number) for number in range(100)]
    assert drawn == [texts.draw(7, number) for number in range(100)]
    assert {wanted.ending for wanted in drawn} == {"clean", "rst", "fin", "stall"}
    assert {wanted.ours for wanted in drawn} == {True, False}
    assert all(len(wanted.spoken()) == wanted.pieces for wanted in drawn)
    lasting = texts.lasting(7, 0)
    assert lasting == texts.lasting(7, 0)
    assert lasting.seconds > run.LULL


def test_an_entry_gets_the_id_that_its_label_stood_for() -> None:
    book = books.Book()
    book.add(history.Called(1.0, "label"))
    book.add(history.Called(2.0, "never answered"))
    book.streams["label"] = "stream"
    assert book.whole() == [history.Called(1.0, "stream"), history.Called(2.0, "never answered")]


def test_a_fault_is_over_when_its_block_is() -> None:
    book = books.Book()
    with contextlib.suppress(ZeroDivisionError), book.fault("kill"), book.fault("kill"):
        assert book.on == 2
        raise ZeroDivisionError
    assert book.on == 0
    assert book.faults == {"kill": 2}
    on = [(entry.name, entry.on) for entry in book.entries if isinstance(entry, history.Fault)]
    assert on == [("kill 1", True), ("kill 2", True), ("kill 2", False), ("kill 1", False)]


STORM = 162.0
"""Seconds of storm in the long form."""

TIMED = verdict.Limits(
    now=simulated.BEGIN + STORM, liveness=course.LIVENESS, answer=run.ANSWER, grace=run.GRACE
)


class Idle(nodes.Node):
    """Takes its time to die and to start, as a server does, and is none."""

    async def spawn(self) -> None:
        await asyncio.sleep(0.01)

    async def start(self) -> None:
        await asyncio.sleep(0.5)

    async def kill(self) -> None:
        self.killed += 1
        await asyncio.sleep(0.01)

    async def terminate(self) -> None:
        await asyncio.sleep(0.5)

    def signal(self, which: signal.Signals) -> None:
        pass


async def blown(folder: Path, apart: float) -> tuple[books.Book, int]:
    """The faults of a storm, and how many processes they killed."""
    book = books.Book(simulated.now)
    readers, vendors = fault_proxy.FaultProxy(0), fault_proxy.FaultProxy(0)
    node = Idle(book, folder, folder / "log.db", 0, readers)
    loops = [breaking.Process(book, SEED, node, None).loop()]
    for name, proxy in (("reader", readers), ("provider", vendors)):
        loops.append(breaking.Network(book, f"{SEED} {name}", name, proxy).loop())
    lulls = weather.Lulls(apart, run.LULL, lambda: None)
    made = weather.Weather(book, loops, lulls)
    blowing = asyncio.create_task(made.blow())
    await asyncio.sleep(STORM)
    made.calm()
    await blowing
    return book, node.killed


def judged(entries: list[history.Entry]) -> set[str]:
    """The rules about time that are broken where a provider is read through the whole storm after
    a cancel, and made-up cursors get their answers late."""
    begin = simulated.BEGIN
    entries = [*entries, history.Called(begin, "stream"), history.Cancelled(begin + 1, "stream")]
    for second in range(2, int(STORM)):
        at, conn = begin + second, f"c{second}"
        entries.append(history.Sent(at, "stream", 100))
        entries.append(history.Connected(at, conn, conn, "stream", "nonsense", True))
        entries.append(history.Answered(at + run.ANSWER + 0.5, conn, 400))
        entries.append(history.Disconnected(at + run.ANSWER + 0.5, conn, True))
    found = checker.check(
        entries, now=begin + STORM, liveness=course.LIVENESS, answer=run.ANSWER, grace=run.GRACE
    )
    return {violation.rule for violation in found}


@simulated.timed
async def test_what_comes_late_is_found_in_a_storm_with_lulls(tmp_path: Path) -> None:
    book, killed = await blown(tmp_path, run.APART)
    assert book.counts["lulls"] >= 4
    assert book.faults.total() >= run.FAULTS * 180
    assert killed >= run.KILLS * 180
    assert judged(book.entries) == {"I7", "I9"}


@simulated.timed
async def test_without_lulls_nothing_is_ever_late(tmp_path: Path) -> None:
    book, _ = await blown(tmp_path, 2 * STORM + 1)
    assert book.counts["lulls"] == 0
    assert judged(book.entries) == set()


def test_a_cancel_counts_as_judged_where_its_provider_would_have_been_found() -> None:
    begin = simulated.BEGIN
    entries: list[history.Entry] = [
        history.Called(begin, "s"),
        history.Sent(begin + 0.5, "s", 9),
        history.Cancelled(begin + 1, "s"),
    ]
    enough = {"s": 1 + run.GRACE + 0.2}
    assert judging.cancels(entries, enough, TIMED) == 1
    # Its provider would have been through by then, is not known, or had fallen silent.
    assert judging.cancels(entries, {"s": 1 + run.GRACE - 0.2}, TIMED) == 0
    assert judging.cancels(entries, {}, TIMED) == 0
    assert judging.cancels([*entries[:1], *entries[2:]], enough, TIMED) == 0
    # A fault excuses it, and nothing counts after the storm.
    near = history.Fault(begin + 3, "kill", True), history.Fault(begin + 3, "kill", False)
    assert judging.cancels([*entries, *near], enough, TIMED) == 0
    over = verdict.Limits(now=begin + 2, liveness=1, answer=1, grace=run.GRACE)
    assert judging.cancels(entries, enough, over) == 0


def test_a_bad_cursor_counts_as_judged_where_no_fault_is_near() -> None:
    begin = simulated.BEGIN
    entries: list[history.Entry] = [
        history.Connected(begin, "r", "r.1", "s", "nonsense", True),
        history.Answered(begin + 0.1, "r.1", 400),
        history.Connected(begin, "q", "q.1", "s", "", False),
    ]
    assert judging.bad_cursors(entries, TIMED) == 1
    near = history.Fault(begin + 2, "kill", True), history.Fault(begin + 2, "kill", False)
    assert judging.bad_cursors([*entries, *near], TIMED) == 0
    over = verdict.Limits(now=begin + 2, liveness=1, answer=run.ANSWER, grace=1)
    assert judging.bad_cursors(entries, over) == 0


@pytest.mark.parametrize(
    ("faults", "killed", "changed", "told"),
    [
        (200, 40, {}, ""),
        (199, 40, {}, "too few faults: 199, 40 killed"),
        (200, 39, {}, "too few faults: 200, 39 killed"),
        (200, 40, {run.CANCELS: 3}, f"deaf: {run.CANCELS}: 3"),
        (200, 40, {run.CURSORS: 3}, f"deaf: {run.CURSORS}: 3"),
        (200, 40, {"log: complete": 9}, "deaf: of 100 streams 9 became complete"),
    ],
)
def test_a_run_in_which_too_little_happened_has_failed(
    faults: int, killed: int, changed: dict[str, int], told: str
) -> None:
    counts = Counter({"streams": 100, "log: complete": 10, run.CANCELS: 4, run.CURSORS: 4})
    counts.update({name: value - counts[name] for name, value in changed.items()})
    assert "".join(run.lacking(180, faults, killed, counts)) == told

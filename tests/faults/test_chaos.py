"""A short storm in the ordinary run, and proof that its machinery sees and hears.

`make chaos` is the long form: three minutes, more kills, every kind of fault many times.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

from tests.faults.chaos import book as books
from tests.faults.chaos import readers, run, texts

from holdfast.testing import checker, history

SEED = 20_261_128
SECONDS = 12.0
LIMIT = 150.0
"""Seconds for all of it, on a machine with other work."""


async def test_nothing_is_lost_in_a_short_storm(tmp_path: Path) -> None:
    async with asyncio.timeout(LIMIT):
        result = await run.run(run.Options(tmp_path, SECONDS, SEED, workers=12))
    assert [*result.book.problems, *map(str, result.violations)] == []
    assert result.killed >= 3
    assert result.book.counts["streams"] >= 12
    entries = result.book.whole()
    kinds = {type(entry) for entry in entries}
    assert kinds >= {history.Delivered, history.Kept, history.Called, history.Expected}
    # The history is one that a loss can be seen in.
    deliveries = [n for n, entry in enumerate(entries) if isinstance(entry, history.Delivered)]
    for place in random.Random(SEED).sample(deliveries, 5):
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

"""Readers that take nothing while bytes wait, and connections that are old enough."""

from __future__ import annotations

import pytest
from tests.unit.test_connections import connect

from holdfast import connections

PATIENCE = connections.Patience(heartbeat=15.0, silence=300.0, write=30.0)


class Reader:
    """A connection at 100.0 with bytes that wait."""

    def __init__(self, patience: connections.Patience = PATIENCE) -> None:
        self.book, self.patience = connections.Book(1), patience
        self.unsent = self.wakes = 0
        self.connection = connect(self.wake, now=100.0)
        self.connection.unsent = lambda: self.unsent
        self.book.enter(self.connection)

    def wake(self) -> None:
        self.wakes += 1

    def write(self, size: int, now: float) -> None:
        self.connection.wrote(size, 1, 0, now)
        self.unsent += size

    def dead(self, now: float) -> bool:
        return self.book.sweep(now, self.patience, self.book.open) == [self.connection]


def test_a_reader_that_takes_none_of_what_waits_is_dead() -> None:
    reader = Reader()
    reader.write(500, 200.0)
    assert not reader.dead(200.5)
    reader.write(500, 210.0)
    assert not reader.dead(230.5)
    assert reader.dead(230.6)


def test_one_byte_is_enough_to_wait_on() -> None:
    reader = Reader()
    reader.write(500, 200.0)
    for now in (201.0, 230.0, 259.0, 288.0):
        assert not reader.dead(now)
        reader.unsent -= 1
    assert not reader.dead(317.0)
    assert not reader.dead(347.0)
    assert reader.dead(347.1)


def test_who_has_taken_all_may_be_silent() -> None:
    reader = Reader()
    reader.write(500, 200.0)
    assert not reader.dead(201.0)
    reader.unsent = 0
    assert not reader.dead(202.0)
    assert reader.connection.waiting_since is None
    assert not reader.dead(399.0)
    reader.write(500, 400.0)
    assert not reader.dead(400.1)  # it begins to wait now, not at 202
    assert not reader.dead(430.0)
    assert reader.dead(430.2)


@pytest.mark.parametrize("age", [None, 60.0])
def test_an_old_connection_is_asked_to_come_back(age: float | None) -> None:
    reader = Reader(connections.Patience(1000.0, 1000.0, 1000.0, age))
    assert not reader.dead(160.0)
    assert (reader.connection.farewell, reader.wakes) == (None, 0)
    assert not reader.dead(160.1)
    assert not reader.dead(161.0)
    expected = (None, 0) if age is None else ("max_connection_age", 1)
    assert (reader.connection.farewell, reader.wakes) == expected

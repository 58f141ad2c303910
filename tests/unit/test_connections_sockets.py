"""What readers' sockets tell, and why connections ended, as the book keeps it.

Strategy: a socket is a number that is passed in, so it is exact who is looked at, how often, and
which of several causes stands for an end.
"""

from __future__ import annotations

import collections
from collections.abc import Callable

import pytest

from holdfast import connections, endings, events
from holdfast.telemetry import counts, tcp

OPTIONS = connections.Options(8192, 100, False, False, 15.0)
STREAM = events.new_stream_id()
PATIENCE = connections.Patience(15.0, 300.0, 30.0)


def entered(
    book: connections.Book, measure: Callable[[], tcp.Info | None] = lambda: None
) -> connections.Connection:
    connection = connections.Connection(
        STREAM, "demo", "m", connections.Peer(), OPTIONS, lambda: None, 100.0
    )
    connection.measure = measure
    book.enter(connection)
    connection.to("connected")
    return connection


# Looks


def test_figures_are_of_what_came_between_begin_and_end() -> None:
    book, now = connections.Book(1), tcp.Info(250, 9, 1)
    connection = entered(book, lambda: now)
    book.look(connection)
    now = tcp.Info(750, 14, 3)
    book.leave(connection, "completed")
    line = connection.line
    assert line is not None
    assert (line.rtt_us, line.retransmissions, line.packets_lost) == (750, 5, 3)
    found = counts.Counts(
        rtt_us=1000,
        rtt_count=2,
        retransmissions=5,
        packets_lost=3,
        sockets_seen=2,
        connections_opened=1,
    )
    assert book.counted() == found
    book.look(connection)  # its socket may be another's by now
    assert book.counted() == found


def test_a_hidden_socket_tells_nothing() -> None:
    book = connections.Book(1)
    connection = entered(book)
    book.look(connection)
    book.look_at_some()
    book.leave(connection, "completed")
    assert connection.line is None
    assert book.counted() == counts.Counts(connections_opened=1)


def test_what_a_lost_socket_told_last_stays() -> None:
    book = connections.Book(1)
    told: list[tcp.Info | None] = [tcp.Info(5, 0, 0), tcp.Info(7, 2, 0), None]
    connection = entered(book, lambda: told.pop(0))
    book.look(connection)
    book.look(connection)
    book.leave(connection, "disconnected")
    assert connection.line is not None
    assert (connection.line.rtt_us, connection.line.packets_lost, told) == (7, 2, [])


@pytest.mark.parametrize("readers", [1, 4, 5, 9, 12])
def test_a_look_is_at_a_few_and_the_next_at_others(
    readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LOOKED_AT", 4)
    book, looked = connections.Book(20), collections.Counter[int]()

    def measure(number: int) -> Callable[[], tcp.Info]:
        def told() -> tcp.Info:
            looked[number] += 1
            return tcp.Info(1, 0, 0)

        return told

    for number in range(readers):
        entered(book, measure(number))
    sweeps = -(-readers // 4)
    for _ in range(sweeps):
        before = looked.total()
        book.look_at_some()
        assert looked.total() - before <= 4
    assert looked == dict.fromkeys(range(readers), 1)


def test_a_sweep_of_nobody_looks_at_nobody() -> None:
    book = connections.Book(1)
    assert book.sweep(101.0, PATIENCE, book.open) == []
    book.look_at_some()
    assert book.counted() == counts.NOTHING


# Ends


@pytest.mark.parametrize(
    ("said", "farewell", "status", "reason"),
    [
        (None, None, "completed", "completed"),
        ("client_gone", "draining", "completed", "completed"),
        (None, None, "error", "error"),
        ("log_corrupt", None, "error", "log_corrupt"),
        ("client_gone", None, "disconnected", "client_gone"),
        ("client_gone", "draining", "disconnected", "draining"),
        (None, "max_connection_age", "disconnected", "max_connection_age"),
        (None, None, "disconnected", "server_closed"),
    ],
)
def test_who_ends_it_says_why(
    said: str | None, farewell: str | None, status: connections.Status, reason: str
) -> None:
    book = connections.Book(1)
    connection = entered(book)
    if farewell is not None:
        book.dismiss(farewell)
    assert connection.reason is None
    if said is not None:
        connection.ends(said)
    book.leave(connection, status)
    assert connection.reason == reason


def test_the_first_reason_stands() -> None:
    """Who is cut for taking nothing is then lost."""
    book = connections.Book(1)
    connection = entered(book)
    connection.wrote(100, 1, 0, 100.0)
    connection.unsent = lambda: 100
    assert book.sweep(100.0, PATIENCE, book.open) == []
    assert connection.reason is None
    assert book.sweep(131.0, PATIENCE, book.open) == [connection]
    connection.ends(endings.CLIENT_GONE)
    book.dismiss("draining")
    book.leave(connection, "disconnected")
    assert connection.reason == "stalled"

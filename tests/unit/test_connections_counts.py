"""What the book counts: who came, came back and broke off, and what all have been sent."""

from __future__ import annotations

import pytest

from holdfast import connections, errors, events
from holdfast.telemetry import counts

OPTIONS = connections.Options(8192, 100, False, False, 15.0)
STREAM = events.new_stream_id()


def entered(
    book: connections.Book, *, resumed: bool = False, encoding: str = counts.IDENTITY
) -> connections.Connection:
    connection = connections.Connection(
        *(STREAM, "demo", "m", connections.Peer(), OPTIONS, lambda: None, 100.0),
        resumed=resumed,
        encoding=encoding,
    )
    book.enter(connection)
    connection.to("connected")
    return connection


def test_who_comes_and_who_comes_back_is_counted() -> None:
    book = connections.Book(3)
    assert book.counted() == counts.NOTHING
    first, _, _ = (entered(book, resumed=resumed) for resumed in (False, True, True))
    with pytest.raises(errors.TooManyConnections):
        entered(book, resumed=True)
    assert book.counted() == counts.Counts(
        connections_active=3, connections_opened=3, connections_resumed=2
    )
    book.leave(first, "completed")
    book.leave(first, "completed")
    assert book.counted() == counts.Counts(
        connections_active=2, connections_opened=3, connections_resumed=2
    )


@pytest.mark.parametrize(
    ("status", "farewell", "dropped"),
    [
        ("completed", None, 0),
        ("error", None, 0),
        ("disconnected", None, 1),
        ("disconnected", "draining", 0),
    ],
)
def test_who_leaves_before_the_end_and_was_not_asked_to_has_broken_off(
    status: connections.Status, farewell: str | None, dropped: int
) -> None:
    book = connections.Book(1)
    connection = entered(book)
    if farewell is not None:
        book.dismiss(farewell)
    book.leave(connection, status)
    assert book.counted() == counts.Counts(connections_opened=1, connections_dropped=dropped)


def test_what_was_sent_is_the_sum_of_all_whether_they_are_here_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "KEPT_CLOSED", 1)
    monkeypatch.setattr(events, "now_ms", lambda: 5000)
    book = connections.Book(9)
    readers = [entered(book) for _ in range(4)]
    for reader in readers:
        reader.created_at = 4000
    for number, reader in enumerate(readers):
        reader.wrote(100 << number, 1 << number, 5000 - (10 << number), 101.0)
    for left in range(5):
        counted = book.counted()
        assert (counted.sent_chunks, counted.sent_bytes) == (15, 1500)
        assert (counted.chunk_latency.total, counted.chunk_latency.count) == (150_000, 4)
        if left < 4:
            book.leave(readers[left], "completed")


def test_what_was_saved_is_counted_by_encoding_whether_they_are_here_or_not() -> None:
    book = connections.Book(9)
    readers = [entered(book, encoding=one) for one in ("gzip", "identity", "gzip", "br")]
    for reader, (sent, saved) in zip(readers, ((20, 80), (50, 0), (30, 70), (7, -2)), strict=True):
        reader.wrote(sent, 1, 0, 101.0, saved)
        reader.wrote(sent, 0, 0, 101.0, saved)
    for left in range(5):
        counted = book.counted()
        assert counted.sent_bytes == 2 * (20 + 50 + 30 + 7)
        assert counted.coded == {"gzip": counts.Coded(100, 300), "br": counts.Coded(14, -4)}
        assert counted.saved_bytes == 296
        if left < 4:
            book.leave(readers[left], "completed")


def test_what_is_older_than_the_reader_has_waited_for_nobody() -> None:
    book = connections.Book(1)
    reader = entered(book)
    reader.wrote(100, 5, reader.created_at - 3_600_000, 101.0)
    assert reader.average_latency_ms is None
    assert book.counted().chunk_latency.count == 0
    reader.wrote(100, 5, reader.created_at, 101.0)
    assert book.counted().chunk_latency.count == 1


def test_who_went_on_behind_what_is_not_there_any_more_is_counted() -> None:
    book = connections.Book(2)
    one, _ = entered(book, resumed=True), entered(book, resumed=True)
    one.missed = True
    assert book.counted().connections_missed == 1
    book.leave(one, "completed")
    assert book.counted().connections_missed == 1


def test_who_went_on_with_the_next_event_is_counted_and_stays_so() -> None:
    """A count never falls, also where the log loses what the reader had since."""
    book = connections.Book(2)
    one, _ = entered(book, resumed=True), entered(book, resumed=True)
    assert book.counted().connections_continued == 0
    one.continued = True
    assert book.counted().connections_continued == 1
    one.missed = True
    book.leave(one, "completed")
    counted = book.counted()
    assert (counted.connections_continued, counted.connections_missed) == (1, 1)

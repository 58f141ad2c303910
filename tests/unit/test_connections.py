"""Connections: the table of statuses, the slots, and who is swept away.

Strategy: the table of allowed steps is written here a second time, by hand, and every pair of
statuses is tried against it. The clock is passed in, so heartbeats and timeouts are exact.
"""

from __future__ import annotations

import gc
import itertools
import time
import weakref
from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import connections, errors, events

STATUSES: tuple[connections.Status, ...] = get_args(connections.Status)
ALLOWED = {
    ("connecting", "connected"),
    ("connecting", "error"),
    ("connecting", "disconnected"),
    ("connected", "streaming"),
    ("connected", "completed"),
    ("connected", "error"),
    ("connected", "disconnected"),
    ("streaming", "completed"),
    ("streaming", "error"),
    ("streaming", "disconnected"),
}

OPTIONS = connections.Options(8192, 100, False, False, 15.0)
STREAM, OTHER = events.new_stream_id(), events.new_stream_id()


def nothing() -> None:
    """A wake that is not looked at."""


def connect(
    wake: Callable[[], None] = nothing, *, stream: events.StreamId = STREAM, now: float = 100.0
) -> connections.Connection:
    return connections.Connection(stream, "demo", "m", connections.Peer(), OPTIONS, wake, now)


def in_status(status: connections.Status) -> connections.Connection:
    """A connection that has come to this status by allowed steps."""
    connection = connect()
    paths: dict[connections.Status, tuple[connections.Status, ...]] = {
        "connecting": (),
        "connected": ("connected",),
        "streaming": ("connected", "streaming"),
    }
    for step in paths.get(status, ("connected", status)):
        connection.to(step)
    assert connection.status == status
    return connection


# The table


@pytest.mark.parametrize(("before", "after"), [*itertools.product(STATUSES, STATUSES)])
def test_every_step_is_allowed_or_changes_nothing(
    before: connections.Status, after: connections.Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = in_status(before)
    monkeypatch.setattr(events, "now_ms", lambda: 2**50)
    state = {name: getattr(connection, name) for name in connection.__slots__}
    if (before, after) in ALLOWED:
        connection.to(after)
        state |= {"status": after, "updated_at": 2**50}
    else:
        with pytest.raises(ValueError, match=f"from {before} to {after}"):
            connection.to(after)
    assert {name: getattr(connection, name) for name in connection.__slots__} == state


def test_a_new_connection_has_done_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "now_ms", lambda: 1234)
    peer = connections.Peer(client_id="c", user_id="u", ip="::1")
    new = connections.Connection(STREAM, "demo", "m", peer, OPTIONS, nothing, 7.0)
    assert (new.stream, new.provider, new.model) == (STREAM, "demo", "m")
    assert (new.peer, new.options, new.status) == (peer, OPTIONS, "connecting")
    assert (new.created_at, new.updated_at, new.last_write_at) == (1234, 1234, 1234)
    assert (new.said_at, new.last_activity) == (7.0, 7.0)
    assert (new.bytes_sent, new.chunks_sent, new.average_latency_ms) == (0, 0, None)
    assert (new.silent, new.farewell, new.unsent()) == (False, None, 0)
    new.cut()
    assert len({connect().id for _ in range(50)}) == 50


def test_times_are_milliseconds_since_1970() -> None:
    before = int(time.time() * 1000)
    new = connect()
    assert before <= new.created_at <= int(time.time() * 1000)


# What is written


def test_writes_are_counted_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connect()
    connection.created_at = 4000
    monkeypatch.setattr(events, "now_ms", lambda: 5000)
    connection.wrote(100, 3, 4990, 101.0)
    connection.wrote(50, 1, 4970, 102.0)
    assert (connection.bytes_sent, connection.chunks_sent) == (150, 4)
    assert (connection.said_at, connection.last_write_at) == (102.0, 5000)
    assert connection.average_latency_ms == 20.0


def test_a_heartbeat_counts_as_bytes_and_not_as_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connect()
    monkeypatch.setattr(events, "now_ms", lambda: 5000)
    connection.wrote(60, 0, 0, 101.0)
    assert (connection.bytes_sent, connection.chunks_sent) == (60, 0)
    assert (connection.average_latency_ms, connection.said_at) == (None, 101.0)


def test_an_event_from_the_future_has_no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connect()
    connection.created_at = 4000
    monkeypatch.setattr(events, "now_ms", lambda: 5000)
    connection.wrote(1, 1, 9000, 101.0)
    assert connection.average_latency_ms == 0.0


def test_a_reader_is_sent_away_once_and_for_the_first_reason() -> None:
    woken: list[str] = []
    connection = connect(lambda: woken.append("wake"))
    connection.dismiss("draining")
    connection.dismiss("log_unavailable")
    assert (connection.farewell, woken) == ("draining", ["wake"])


# The book


def test_the_limit_is_never_passed() -> None:
    book = connections.Book(2)
    one, two, three = connect(), connect(), connect()
    book.enter(one)
    book.enter(two)
    with pytest.raises(errors.TooManyConnections):
        book.enter(three)
    assert len(book) == 2
    assert book.find(three.id) is None
    book.leave(one, "disconnected")
    book.enter(three)
    assert len(book) == 2


def test_a_slot_is_given_back_once() -> None:
    book = connections.Book(2)
    one, two = connect(), connect()
    book.enter(one)
    book.enter(two)
    book.leave(one, "disconnected")
    book.leave(one, "error")
    assert (len(book), one.status) == (1, "disconnected")
    book.leave(connect(), "disconnected")
    assert len(book) == 1


def test_a_slot_is_given_back_also_where_the_status_is_no_step() -> None:
    book = connections.Book(1)
    connection = connect()
    book.enter(connection)
    with pytest.raises(ValueError, match="from connecting to completed"):
        book.leave(connection, "completed")
    assert (len(book), connection.status) == (0, "connecting")
    book.enter(connect())


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=40))
def test_slots_never_leak(steps: list[tuple[bool, int]]) -> None:
    book = connections.Book(3)
    everyone = [connect() for _ in range(6)]
    inside: set[int] = set()
    gone: set[int] = set()
    for enters, number in steps:
        if enters and number not in inside | gone:
            if len(inside) == 3:
                with pytest.raises(errors.TooManyConnections):
                    book.enter(everyone[number])
            else:
                book.enter(everyone[number])
                inside.add(number)
        elif not enters:
            book.leave(everyone[number], "disconnected")
            gone |= inside & {number}
            inside -= {number}
        assert len(book) == len(inside)
        assert {found.id for found in book.all()} == {everyone[n].id for n in inside | gone}


def test_a_closed_connection_is_still_known() -> None:
    book = connections.Book(5)
    connection = in_status("streaming")
    book.enter(connection)
    assert book.find(connection.id) is connection
    book.leave(connection, "completed")
    assert book.find(connection.id) is connection
    assert connection.status == "completed"
    assert book.find("nobody") is None


def test_only_the_newest_closed_ones_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "KEPT_CLOSED", 3)
    book = connections.Book(1)
    closed = [connect() for _ in range(5)]
    for connection in closed:
        book.enter(connection)
        book.leave(connection, "disconnected")
    assert [found.id for found in book.all()] == [c.id for c in reversed(closed[2:])]
    assert book.find(closed[1].id) is None


def test_a_remembered_connection_holds_no_socket() -> None:
    class Socket:
        """What a response reads of its socket."""

        def unsent(self) -> int:
            return 3

        def cut(self) -> None: ...

        def wake(self) -> None: ...

    book, socket = connections.Book(1), Socket()
    connection = connect(socket.wake)
    connection.unsent, connection.cut = socket.unsent, socket.cut
    book.enter(connection)
    alive = weakref.ref(socket)
    del socket
    gc.collect()
    assert alive() is not None
    book.leave(connection, "disconnected")
    gc.collect()
    assert alive() is None
    connection.wake()
    connection.cut()
    assert connection.unsent() == 0


def test_all_tells_the_newest_first_and_open_ones_before_closed() -> None:
    book = connections.Book(10)
    names = {}
    for name, stream in (("a", STREAM), ("b", OTHER), ("c", STREAM), ("d", OTHER), ("e", STREAM)):
        connection = connect(stream=stream)
        names[connection.id] = name
        book.enter(connection)
    for name in "ca":
        found = next(c for c in book.all() if names[c.id] == name)
        book.leave(found, "disconnected")
    assert "".join(names[c.id] for c in book.all()) == "edbac"
    assert "".join(names[c.id] for c in book.all(STREAM)) == "eac"
    assert "".join(names[c.id] for c in book.all(OTHER)) == "db"


def test_everybody_is_sent_away_but_the_closed() -> None:
    book = connections.Book(10)
    woken: list[str] = []
    one, two = connect(lambda: woken.append("one")), connect(lambda: woken.append("two"))
    gone = connect(lambda: woken.append("gone"))
    for connection in (one, two, gone):
        book.enter(connection)
    book.leave(gone, "disconnected")
    book.dismiss("draining")
    assert woken == ["one", "two"]
    assert (one.farewell, two.farewell, gone.farewell) == ("draining", "draining", None)


def test_a_wake_may_close_its_connection_while_all_are_sent_away() -> None:
    book = connections.Book(10)
    opened: list[connections.Connection] = []

    def leave() -> None:
        for connection in opened:
            book.leave(connection, "disconnected")

    for _ in range(3):
        opened.append(connect(leave))
        book.enter(opened[-1])
    book.dismiss("draining")
    assert len(book) == 0


# The sweep


def sweeping(
    heartbeat: float = 15.0, timeout: float = 300.0
) -> tuple[connections.Connection, list[str], Callable[[float], bool]]:
    """A connection at 100.0, its wakes, and a sweep that tells whether it is dead."""
    book, woken = connections.Book(5), ["x"]
    woken.clear()
    connection = connect(lambda: woken.append("wake"), now=100.0)
    book.enter(connection)

    def sweep(now: float) -> bool:
        dead = book.sweep(now, connections.Patience(heartbeat, timeout, 10_000.0), book.open)
        assert dead in ([], [connection])
        return bool(dead)

    return connection, woken, sweep


def test_a_heartbeat_is_due_once_an_interval_after_the_last_word() -> None:
    connection, woken, sweep = sweeping()
    assert not sweep(114.9)
    assert (woken, connection.silent) == ([], False)
    assert not sweep(115.0)
    assert (woken, connection.silent) == (["wake"], True)
    assert not sweep(116.0)
    assert woken == ["wake"]
    connection.silent = False
    connection.wrote(60, 0, 0, 116.0)
    assert not sweep(130.9)
    assert woken == ["wake"]
    assert not sweep(131.0)
    assert woken == ["wake", "wake"]


def test_a_word_puts_the_heartbeat_off() -> None:
    connection, woken, sweep = sweeping()
    connection.wrote(10, 1, 0, 110.0)
    assert not sweep(124.0)
    assert woken == []


def test_a_reader_that_takes_no_byte_is_dead_after_the_timeout() -> None:
    connection, _, sweep = sweeping(timeout=300.0)
    unsent = 0
    connection.unsent = lambda: unsent
    connection.wrote(1000, 1, 0, 100.0)
    assert not sweep(101.0)
    assert connection.last_activity == 101.0
    for now in (200.0, 300.0, 400.0):
        connection.wrote(500, 1, 0, now)
        unsent += 500
        assert not sweep(now)
    assert connection.last_activity == 101.0
    assert not sweep(401.0)
    assert sweep(401.1)
    assert sweep(402.0)


def test_a_byte_that_left_is_activity() -> None:
    connection, _, sweep = sweeping(timeout=300.0)
    unsent = 1000
    connection.unsent = lambda: unsent
    connection.wrote(1000, 1, 0, 100.0)
    assert not sweep(399.0)
    unsent = 999
    assert not sweep(400.5)
    assert (connection.left, connection.last_activity) == (1, 400.5)
    assert not sweep(700.5)
    assert sweep(700.6)


def test_an_accepted_heartbeat_is_activity_where_the_server_shows_no_buffer() -> None:
    connection, _, sweep = sweeping(timeout=300.0)
    now = 100.0
    while now < 2000.0:
        now += 15.0
        assert not sweep(now)
        connection.silent = False
        connection.wrote(60, 0, 0, now)
    assert connection.last_activity == now


def test_a_dead_reader_is_not_woken() -> None:
    connection, woken, sweep = sweeping(heartbeat=15.0, timeout=10.0)
    assert sweep(200.0)
    assert (woken, connection.silent) == ([], False)


def test_each_connection_is_swept_for_itself() -> None:
    book = connections.Book(5)
    woken: list[str] = []
    old, idle, young = (
        connect(lambda name=name: woken.append(name), now=now)  # type: ignore[misc]
        for name, now in (("old", 0.0), ("idle", 80.0), ("young", 99.0))
    )
    for connection in (old, idle, young):
        book.enter(connection)
    assert book.sweep(100.0, connections.Patience(15.0, 50.0, 50.0), book.open) == [old]
    assert woken == ["idle"]
    assert len(book) == 3

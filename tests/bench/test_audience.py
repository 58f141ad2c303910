"""The bench's readers: they join, count only what was said while they listened, and come back.

Strategy: a real server in a thread, which answers as it is told to; no time is asserted.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from bench import audience, servers, wires

READERS = 20
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"

Answer = Callable[[int, socket.socket], bool]
"""What is done with the connection of this number, whose request was read; whether it stays."""


@contextlib.contextmanager
def answering(answer: Answer) -> Iterator[int]:
    """The port of a server that serves until the end of the block."""
    stays = []
    with socket.create_server(("127.0.0.1", 0), backlog=READERS) as listener:

        def serve() -> None:
            for number in itertools.count():
                try:
                    one, _ = listener.accept()
                except OSError:
                    return
                one.recv(4096)
                if answer(number, one):
                    stays.append(one)
                else:
                    one.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in stays:
                one.close()


def tokens(first: int, last: int, later: float = 0.0) -> bytes:
    """Said so many seconds from now."""
    at = int((time.monotonic() + later) * 1e6)
    return b"".join(wires.stamp(number, at).encode() for number in range(first, last + 1))


def test_what_was_said_before_all_listened_is_not_counted() -> None:
    taken: list[socket.socket] = []

    def answer(number: int, one: socket.socket) -> bool:
        taken.append(one)
        one.sendall(HEAD + tokens(0, 2))
        return True

    wishes = [audience.Wish(b"GET / HTTP/1.1\r\n\r\n")] * READERS
    with answering(answer) as port, audience.Audience(port, wishes) as crowd:
        crowd.open()
        for one in taken:
            one.sendall(tokens(3, 4) + tokens(5, 6, later=60.0) + tokens(6, 6) + tokens(8, 8))
        heard = crowd.listen(0.3)
    assert (heard.readers, heard.tokens, heard.reads) == (READERS, 2 * READERS, READERS)
    assert (heard.gaps, heard.repeats, heard.ended) == (READERS, READERS, 0)
    assert heard.tokens_a_read == 2.0


def test_who_is_sent_away_comes_back_and_expects_the_same() -> None:
    def answer(number: int, one: socket.socket) -> bool:
        if number < READERS:
            one.sendall(HEAD + tokens(0, 9))
            return True
        if number < 2 * READERS:
            one.sendall(HEAD + tokens(5, 6) + b"event: reconnect\nretry: 1\n\n")
            return False
        one.sendall(HEAD + tokens(5, 9))
        return True

    wishes = [audience.Wish(b"GET / HTTP/1.1\r\n\r\n")] * READERS
    with answering(answer) as port, audience.Audience(port, wishes) as crowd:
        crowd.open()
        crowd.cut()
        times = crowd.catch_up([wish._replace(first=5, last=9) for wish in wishes], 10.0)
        assert crowd.disorder() == (0, 0)
        assert crowd.ended == READERS
    assert len(times) == READERS
    assert times == sorted(times)


def test_who_is_refused_asks_again() -> None:
    def answer(number: int, one: socket.socket) -> bool:
        one.sendall(b"HTTP/1.1 503 No\r\nRetry-After: 0\r\n\r\n" if number < READERS else HEAD)
        return number >= READERS

    wishes = [audience.Wish(b"GET / HTTP/1.1\r\n\r\n")] * READERS
    with answering(answer) as port, audience.Audience(port, wishes) as crowd:
        crowd.open()
        assert crowd.ended == READERS
        assert crowd.listen(0.01).ended == 0


def test_what_is_refused_to_the_end_is_told() -> None:
    def answer(number: int, one: socket.socket) -> bool:
        one.sendall(b"HTTP/1.1 503 No\r\n\r\n")
        return False

    wishes = [audience.Wish(b"GET / HTTP/1.1\r\n\r\n")]
    with (
        answering(answer) as port,
        audience.Audience(port, wishes) as crowd,
        pytest.raises(servers.Failed, match="503 No"),
    ):
        crowd.open(patience=0.2)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (b"event: reconnect\nretry: 2500\n\n", 2.5),
        (b"data: retry: 5\n\n", 1.0),
        (b"HTTP/1.1 503 No\r\nRetry-After: 3\r\n\r\n", 3.0),
        (b"", 1.0),
    ],
)
def test_who_is_told_when_to_come_back_comes_then(told: bytes, seconds: float) -> None:
    assert audience.retry_seconds(told) == seconds

"""Thousands of readers in one thread, of streams that others began.

Strategy: plain sockets and one epoll, because a task and a buffer for each reader would cost more
than what is measured. A reader's wait counts for tokens that were written while all were listening,
so what late ones catch up on is in no figure. Who is sent away comes back after the time that
it was told. What this thread takes of its core is told with each figure, as it is a client in
Python: over `BUSY` there is none.
"""

from __future__ import annotations

import contextlib
import gc
import heapq
import math
import re
import select
import socket
import struct
import time
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

from bench import ears, servers

BUSY = 0.85
"""Share of its core that the client may take."""

PATIENCE = 60.0
"""Seconds that all may take to connect, or to catch up."""

RETRY_SECONDS = 1.0
"""Until who is sent away comes back, where it is not told when."""

_BIND_ADDRESS_NO_PORT = 24  # of Linux, which Python does not name
_RETRY = re.compile(rb"^retry: ?(\d+)", re.MULTILINE)
_RETRY_AFTER = re.compile(rb"^retry-after: ?(\d+)", re.MULTILINE | re.IGNORECASE)
_WITHOUT_A_WORD = struct.pack("ii", 1, 0)  # SO_LINGER: closed by a reset
_READ_BYTES, _TOLD_BYTES = 1 << 18, 1000


class Wish(NamedTuple):
    """What a reader asks for: a request, whole, and the numbers of the first token that comes of
    it and of the last one that there is by then."""

    request: bytes
    first: int = 0
    last: int = -1


class Heard(NamedTuple):
    """What all readers heard together. Milliseconds from the provider's stamp to the read; `busy`
    is the share of its core that the client took, `ended` how many connections did."""

    readers: int
    seconds: float
    tokens: int
    reads: int
    megabytes: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    gaps: int
    repeats: int
    ended: int
    busy: float

    @property
    def tokens_a_read(self) -> float:
        """How many tokens come with one read, about as many as with one write."""
        return self.tokens / max(1, self.reads)


class Reader:
    """One of them. `answered` once a 200 has come; `told` is the end of its last bytes."""

    __slots__ = ("answered", "ear", "number", "opened", "socket", "told", "wish")

    def __init__(self, number: int, wish: Wish) -> None:
        self.number, self.wish = number, wish
        self.socket: socket.socket | None = None
        self.opened = self.answered = False
        self.ear = ears.Ear(wish.first)
        self.told = b""


class Audience:
    """All of them; their connections are cut at the end of a `with` block. `sources` is how many
    addresses they come from: one has ports for some 28,000."""

    def __init__(self, port: int, wishes: Sequence[Wish], sources: int = 1) -> None:
        self._port, self._sources = port, sources
        self._readers = [Reader(number, wish) for number, wish in enumerate(wishes)]
        self._by_file: dict[int, Reader] = {}
        self._epoll = select.epoll()
        self._since = math.inf  # the microsecond from which on tokens count
        self._waits = array("d")
        self._reads = self._bytes = self._answered = 0
        self._again: list[tuple[float, int]] = []  # when who was sent away comes back
        self.ended = 0
        """Connections that ended, refused ones among them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._epoll.close()

    def open(self, rate: float = math.inf, patience: float = PATIENCE) -> float:
        """Opens all, so many a second, and returns the seconds until the last one was answered; who
        is refused asks again. Raises `servers.Failed` where that takes too long."""
        begun, opened = time.monotonic(), 0
        while self._answered < len(self._readers):
            passed = time.monotonic() - begun
            if passed > patience:
                raise servers.Failed(
                    f"{self._answered} of {len(self._readers)} readers were answered after"
                    f" {passed:.0f} s, {self.ended} sent away: {self._last_words()!r}"
                )
            due = min(len(self._readers), rate * passed + 1)
            while opened < due:
                self._connect(self._readers[opened])
                opened += 1
            self._return()
            self._turn(0.002 if opened < len(self._readers) else 0.02)
        return time.monotonic() - begun

    def settle(self, seconds: float) -> None:
        """Reads on for so long, and counts nothing."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._turn(left)

    def listen(self, seconds: float) -> Heard:
        """Reads for so long, and tells of the tokens that were written meanwhile."""
        self._waits, self._reads, self._bytes = array("d"), 0, 0
        ended, (gaps, repeats) = self.ended, self.disorder()
        begun, used = time.monotonic(), time.process_time()
        self._since = begun * 1e6
        with _uncollected():
            self.settle(seconds)
        passed, used = time.monotonic() - begun, time.process_time() - used
        self._since = math.inf
        ordered = sorted(self._waits)
        now_gaps, now_repeats = self.disorder()
        return Heard(
            readers=len(self._readers),
            seconds=passed,
            tokens=len(ordered),
            reads=self._reads,
            megabytes=self._bytes / 1e6,
            p50_ms=ears.percentile(ordered, 0.5),
            p99_ms=ears.percentile(ordered, 0.99),
            max_ms=ordered[-1] if ordered else 0.0,
            gaps=now_gaps - gaps,
            repeats=now_repeats - repeats,
            ended=self.ended - ended,
            busy=used / passed,
        )

    def cut(self) -> None:
        """All connections are gone at once, by a reset, as behind a proxy that dies."""
        for one in self._readers:
            self._drop(one)

    def catch_up(self, wishes: Sequence[Wish], patience: float = PATIENCE) -> list[float]:
        """All readers, whose connections are cut, ask at once. The seconds until each has its
        wish's last token, in order. Raises `servers.Failed`."""
        times: list[float] = []
        self._again.clear()
        begun = time.monotonic()
        with _uncollected():
            for one, wish in zip(self._readers, wishes, strict=True):
                one.wish = wish
                self._connect(one)
            waiting = set(range(len(self._readers)))
            while waiting:
                now = time.monotonic()
                if now - begun > patience:
                    raise servers.Failed(f"{len(waiting)} readers are behind after {patience:g} s")
                self._return()
                for one in self._turn(0.02):
                    if one.number in waiting and one.ear.last >= one.wish.last:
                        waiting.discard(one.number)
                        times.append(time.monotonic() - begun)
        return times

    def disorder(self) -> tuple[int, int]:
        """Gaps and repeats, since each one's connection began."""
        heard = [one.ear for one in self._readers]
        return sum(ear.gaps for ear in heard), sum(ear.repeats for ear in heard)

    def _turn(self, timeout: float) -> list[Reader]:
        """Reads once from each connection that has something; those are returned."""
        met = []
        for file, _ in self._epoll.poll(timeout):
            one = self._by_file[file]
            if one.opened:
                self._read(one)
                met.append(one)
            else:
                self._ask(one)
        return met

    def _return(self) -> None:
        """Whose time has come asks again, if he has not all that he came for."""
        while self._again and self._again[0][0] <= time.monotonic():
            one = self._readers[heapq.heappop(self._again)[1]]
            if one.socket is None and (not one.answered or one.ear.last < one.wish.last):
                self._connect(one)

    def _connect(self, one: Reader) -> None:
        one.ear, one.told = ears.Ear(one.wish.first), b""
        one.opened = one.answered = False
        one.socket = made = socket.socket()
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._sources > 1:
            made.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            made.bind((f"127.0.0.{1 + one.number % self._sources}", 0))
        made.connect_ex(("127.0.0.1", self._port))
        self._by_file[made.fileno()] = one
        self._epoll.register(made.fileno(), select.EPOLLOUT)

    def _ask(self, one: Reader) -> None:
        """It is connected, or never will be."""
        assert one.socket is not None
        try:
            one.socket.sendall(one.wish.request)
        except OSError:
            self._end(one)
            return
        one.opened = True
        self._epoll.modify(one.socket.fileno(), select.EPOLLIN)

    def _read(self, one: Reader) -> None:
        assert one.socket is not None
        try:
            data = one.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(one)
            return
        now = time.monotonic() * 1e6
        if not one.answered:
            one.answered = data.startswith(b"HTTP/1.1 200")
            self._answered += one.answered
        one.told = data[-_TOLD_BYTES:]
        times = one.ear.hear(data)
        self._reads += 1
        self._bytes += len(data)
        for at in times:
            if at >= self._since:
                self._waits.append((now - at) / 1000)

    def _end(self, one: Reader) -> None:
        self.ended += 1
        self._drop(one)
        heapq.heappush(self._again, (time.monotonic() + retry_seconds(one.told), one.number))

    def _drop(self, one: Reader) -> None:
        if one.socket is not None:
            del self._by_file[one.socket.fileno()]
            with contextlib.suppress(OSError):
                one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _WITHOUT_A_WORD)
            one.socket.close()
            one.socket = None

    def _last_words(self) -> bytes:
        """What one was told who was sent away."""
        return next((one.told for one in self._readers if one.told and one.socket is None), b"")


def retry_seconds(told: bytes) -> float:
    """After how long who was told this comes back."""
    found, later = _RETRY.search(told), _RETRY_AFTER.search(told)
    if found:
        return int(found[1]) / 1000
    return float(later[1]) if later else RETRY_SECONDS


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """A collection among ten thousand readers would be in their waits."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

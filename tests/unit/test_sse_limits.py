"""The limits of the event-stream parser.

Strategy: each limit at its exact border, one byte below and one above, however the bytes
are cut; what is left of a parser after a failure; and the memory held, measured by
tracemalloc, for input that is built to make a parser hold much.
"""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator

import pytest

from holdfast import errors, sse

KIB = 1 << 10
BOM = b"\xef\xbb\xbf"


def frame(data: str, event: str = "message", id: str = "") -> sse.Frame:
    return sse.Frame(event, data.encode(), id)


def feed_all(parser: sse.Parser, reads: list[bytes]) -> list[sse.Frame]:
    return [found for read in reads for found in parser.feed(read)]


def fragmentations(data: bytes) -> Iterator[list[bytes]]:
    """Per byte, and in two at each boundary, the ends among them."""
    yield [data[i : i + 1] for i in range(len(data))]
    for cut in range(len(data) + 1):
        yield [data[:cut], data[cut:]]


@pytest.mark.parametrize("limits", [(0, 1), (-1, 5), (2, 1)])
def test_limits_are_checked(limits: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="max_line"):
        sse.Parser(max_line=limits[0], max_event=limits[1])


@pytest.mark.parametrize("line", [b"data: 7890", b"dataaaaaaa", b": 34567890", b"id: 567890"])
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n", b""])
def test_line_limit_is_exact(line: bytes, end: bytes) -> None:
    for reads in fragmentations(BOM + line + end):
        parser = sse.Parser(max_line=10)
        assert feed_all(parser, reads) == []
    for reads in fragmentations(BOM + line + b"x" + end):
        parser = sse.Parser(max_line=10)
        with pytest.raises(errors.LineTooLong, match="10 bytes"):
            feed_all(parser, reads)


def test_event_limit_is_exact() -> None:
    for reads in fragmentations(b"data: 1234\nevent: e\ndata: 6\ndata: 890\n\n"):
        parser = sse.Parser(max_line=10, max_event=10)
        assert feed_all(parser, reads) == [frame("1234\n6\n890", "e")]
    for reads in fragmentations(b"data: 1234\n: c\ndata: 6\ndata: 8901\n\n"):
        parser = sse.Parser(max_line=10, max_event=10)
        with pytest.raises(errors.EventTooLarge, match="10 bytes"):
            feed_all(parser, reads)


def test_empty_data_lines_count() -> None:
    parser = sse.Parser(max_line=5, max_event=5)
    assert parser.feed(b"data\n" * 6 + b"\n") == [frame("\n" * 5)]
    with pytest.raises(errors.EventTooLarge):
        parser.feed(b"data\n" * 7)


@pytest.mark.parametrize("bad", [b"x" * 11, b"x" * 11 + b"\n\n", b"data:1\n" * 6 + b"\n"])
def test_events_before_a_failure_are_returned(bad: bytes) -> None:
    for reads in fragmentations(b"id: 1\ndata: a\n\ndata: b\n\n" + bad + b"data: c\n\n"):
        parser = sse.Parser(max_line=10, max_event=10)
        found: list[sse.Frame] = []
        with pytest.raises(errors.SseError):
            found.extend(item for read in [*reads, b""] for item in parser.feed(read))
        assert found == [frame("a", id="1"), frame("b", id="1")]


@pytest.mark.parametrize("flush", [False, True])
def test_after_a_failure_only_reset_helps(flush: bool) -> None:
    parser = sse.Parser(max_line=10, max_event=10)
    with pytest.raises(errors.LineTooLong):
        parser.feed(b"x" * 11)
    for _ in range(2):
        with pytest.raises(errors.LineTooLong):
            parser.feed(b"\n\ndata: a\n\n")
        with pytest.raises(errors.LineTooLong):
            parser.finish(flush=flush)
    parser.reset()
    assert parser.feed(b"data: a\n\n") == [frame("a")]


def test_flush_obeys_the_event_limit() -> None:
    parser = sse.Parser(max_line=10, max_event=10)
    parser.feed(b"data: 1234\ndata: 1234\ndata: x")
    with pytest.raises(errors.EventTooLarge):
        parser.finish(flush=True)


def peak_of(parser: sse.Parser, reads: Iterator[bytes]) -> int:
    """The most memory, in bytes, that feeding `reads` held at once."""
    tracemalloc.start()
    try:
        for read in reads:
            parser.feed(read)
    except errors.SseError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


def test_endless_line_fails_at_the_limit() -> None:
    parser = sse.Parser()
    taken = 0

    def reads() -> Iterator[bytes]:
        nonlocal taken
        read = b"data: " + b"x" * (64 * KIB - 6)
        for _ in range(1024):
            yield read
            taken += len(read)

    assert peak_of(parser, reads()) < 1.5 * sse.MAX_LINE
    assert taken == sse.MAX_LINE
    with pytest.raises(errors.LineTooLong):
        parser.feed(b"\n")


@pytest.mark.parametrize("fragment", [b"x", b"xy"])
def test_line_in_tiny_reads_costs_its_bytes(fragment: bytes) -> None:
    size = 64 * KIB
    parser = sse.Parser(max_line=size)
    assert peak_of(parser, itertools.repeat(fragment, size // len(fragment))) < 2 * size
    assert parser.feed(b"\n\n") == []


def test_event_of_tiny_lines_costs_its_bytes() -> None:
    size = 64 * KIB
    parser = sse.Parser(max_line=KIB, max_event=size)
    assert peak_of(parser, itertools.repeat(b"data: xy\n" * 100)) < 2 * size
    with pytest.raises(errors.EventTooLarge):
        parser.feed(b"\n")


def test_a_failure_frees_what_was_held() -> None:
    parser = sse.Parser(max_line=64 * KIB, max_event=64 * KIB)
    tracemalloc.start()
    parser.feed(b"data: x\ndata: " + b"x" * 50 * KIB + b"\n" + b"x" * 60 * KIB)
    held, _ = tracemalloc.get_traced_memory()
    with pytest.raises(errors.LineTooLong):
        parser.feed(b"x" * 5 * KIB)
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held > 110 * KIB
    assert left < 8 * KIB


def test_comments_hold_nothing() -> None:
    parser = sse.Parser()
    parser.feed(b"id: 1\ndata: a\n")
    read = b": ping of a server that says nothing else for a very long time\n" * 100
    assert peak_of(parser, itertools.repeat(read, 1000)) < 64 * KIB
    assert parser.comments == 100_000
    assert parser.feed(b"\n") == [frame("a", id="1")]

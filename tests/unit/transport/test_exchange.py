"""An exchange against any bytes in any cuts, without a socket.

Strategy: `fed` gives each slice as one read. What asks for an exact cut (every byte, every
boundary, random) is here; what asks for a socket is in test_transport_responses.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from tests.unit.transport.peers import CHUNKED, FIVE, HEAD, Recorder, one_byte_each

from holdfast import errors, transport
from holdfast.testing import simulated
from holdfast.transport import exchange as exchanges


class Carrier:
    """Stands in for the connection: it notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.bodies = 0

    def begun(self) -> None:
        self.bodies += 1

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def done(self, *, reusable: bool) -> None:
        self.calls.append("reusable" if reusable else "close")


def fed(
    slices: list[bytes], max_head: int = transport.MAX_HEAD, carrier: Carrier | None = None
) -> Recorder:
    """The sink of an exchange whose reads were these slices, and whose connection then closed."""
    sink = Recorder()
    exchange = transport.Exchange(sink, max_head)
    carrier = carrier or Carrier()
    exchange.begin(carrier)
    for part in slices:
        bodies = sink.calls.count("body")
        exchange.received(part)
        assert sink.calls.count("body") <= bodies + 1
        if carrier.calls:
            break
    exchange.lost(None)
    assert len(carrier.calls) == 1
    assert sink.calls.count("end") == 1
    assert sink.calls[-1] == "end"
    assert sink.calls.count("head") == ("head" in sink.calls[:1])
    return sink


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 500 X\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Content-Encoding: gzip\r\n",
        b"Connection: close\r\n", b"A: b\r\n", b"\r\n", b"\r", b"\n", b"5\r\nhello\r\n", b"hello",
        b"0\r\n", b"0\r\n\r\n", b"5;e=1\r\n", b"f\r\n", CHUNKED, FIVE, b"HTTP/1.1 204 N\r\n\r\n",
    ]
)  # fmt: skip
RESPONSES = st.one_of(
    st.binary(max_size=200),
    st.builds(b"".join, st.lists(st.one_of(PIECES, PIECES, st.binary(max_size=4)), max_size=12)),
    st.builds(CHUNKED.__add__, st.builds(b"".join, st.lists(PIECES, max_size=8))),
)


@hypothesis.given(data=RESPONSES, draw=st.data())
def test_any_bytes_in_any_cuts_end_once_and_the_same_way(data: bytes, draw: st.DataObject) -> None:
    places = st.lists(st.integers(0, len(data)), max_size=8).map(sorted)
    edges = [0, *draw.draw(places, label="cuts"), len(data)]
    random = [data[a:b] for a, b in itertools.pairwise(edges)]
    whole = fed([data]).outcome()
    assert fed([part for part in random if part]).outcome() == whole
    assert fed(one_byte_each(data)).outcome() == whole


def test_one_read_is_one_body() -> None:
    data = CHUNKED + b"5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n"
    sink = fed([data])
    assert sink.calls == ["head", "body", "end"]
    assert sink.received == b"hello world"
    for cut in range(len(data)):
        assert fed([data[:cut], data[cut:]]).outcome() == sink.outcome()


async def test_the_head_has_a_limit() -> None:
    fill = 200 - len(FIVE) - len(b"Fill: \r\n")
    for spare, calls in ((0, ["head", "body", "end"]), (1, ["end"])):
        head = HEAD + b"Fill: " + b"x" * (fill + spare) + b"\r\n" + FIVE[len(HEAD) :]
        for slices in ([head + b"hello"], [head, b"hello"], [*one_byte_each(head), b"hello"]):
            sink = fed(slices, max_head=200)
            assert sink.calls == calls
            assert (sink.error is None) is (spare == 0)


@pytest.mark.parametrize(
    ("data", "reusable"),
    [
        (FIVE + b"hello", True),
        (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 204 Nothing\r\n\r\n", True),
        (b"HTTP/1.1 100 Go on\r\n\r\n" + FIVE + b"hello", True),
        (FIVE + b"hello\r\n", True),  # an empty line is part of no message
        (HEAD + b"Connection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", True),
        (HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n", False),
        (HEAD + b"Connection: x, CLOSE\r\nContent-Length: 0\r\n\r\n", False),
        (
            HEAD + b"Connection: close\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
            False,
        ),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", False),
        (FIVE + b"hello!", False),
        (FIVE + b"hello\r\nx", False),
        (FIVE + b"hello" + FIVE + b"again", False),
        (CHUNKED + b"0\r\n\r\nHTTP/1.1 200 OK\r\n", False),
        (CHUNKED + b"0\r\n\r\n\0", False),
        (b"HTTP/1.1 204 Nothing\r\nContent-Length: 5\r\n\r\nhello", False),
    ],
)
async def test_which_connection_may_serve_again(data: bytes, reusable: bool) -> None:
    carrier = Carrier()
    assert fed([data], carrier=carrier).error is None
    assert carrier.calls == ["reusable" if reusable else "close"]


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED[:-2] + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        HEAD + b"Content-Length: 5, 5\r\n\r\nhello",
        HEAD + b"Content-Length: +5\r\n\r\nhello",
        HEAD + b"Content-Length:\r\n\r\n",
        HEAD + b"Content-Length : 5\r\n\r\nhello",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"-1\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"5\nhello\r\n0\r\n\r\n",
        CHUNKED + b"5\r\nhelloX\r\n0\r\n\r\n",
        HEAD + b"A B: x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    ],
)  # fmt: skip
async def test_a_response_that_two_could_read_differently_is_refused(data: bytes) -> None:
    for slices in ([data], one_byte_each(data)):
        carrier = Carrier()
        sink = fed(slices, carrier=carrier)
        assert isinstance(sink.error, errors.ProtocolViolation)
        assert carrier.calls == ["close"]


async def test_what_is_called_after_the_end_does_not_reach_the_connection() -> None:
    carrier = Carrier()
    exchange = transport.Exchange(Recorder(), transport.MAX_HEAD)
    exchange.pause()
    exchange.begin(carrier)
    exchange.pause()
    exchange.received(FIVE + b"hello")
    assert carrier.calls == ["pause", "resume", "reusable"]  # the next one finds it reading
    exchange.pause()
    exchange.resume()
    exchange.abort()
    exchange.received(FIVE)
    exchange.lost(ConnectionResetError())
    assert carrier.calls == ["pause", "resume", "reusable"]


async def test_a_used_connection_that_closes_silently_is_told_to_open_alone() -> None:
    for data, again in ((b"", True), (b"H", False), (FIVE, False)):
        sink = Recorder()
        exchange = transport.Exchange(sink, transport.MAX_HEAD)
        answered = exchange.answered()
        exchange.begin(Carrier())
        if data:
            exchange.received(data)
        assert answered.done() is not again
        exchange.lost(ConnectionResetError())
        assert answered.result() is not again
        assert ("end" in sink.calls) is not again


async def test_an_exchange_that_ends_is_answered() -> None:
    sink = Recorder()
    exchange = transport.Exchange(sink, transport.MAX_HEAD)
    answered = exchange.answered()
    exchange.abort(errors.Truncated("The transport was closed."))
    assert answered.result()
    assert sink.calls == ["end"]
    exchange = transport.Exchange(sink, transport.MAX_HEAD)
    exchange.abort()
    assert exchange.answered().result()


@pytest.mark.parametrize("calls", [["head", "end"], ["head", "body", "end"], ["end"]])
async def test_a_failing_sink_gets_its_end_and_is_reported(calls: list[str]) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    failing = calls[-2:][0]

    def fail(name: str) -> None:
        if name == failing:
            raise RuntimeError(f"a bug in {name}")

    sink, carrier = Recorder(), Carrier()
    sink.on_call = fail
    exchange = transport.Exchange(sink, transport.MAX_HEAD)
    exchange.begin(carrier)
    exchange.received(FIVE + b"hello" if failing != "end" else b"garbage")
    assert sink.calls == calls
    assert type(sink.error) is (
        errors.ProtocolViolation if failing == "end" else errors.TransportError
    )
    assert carrier.calls == ["close"]
    assert [str(report["exception"]) for report in reports] == [f"a bug in {failing}"]


@pytest.mark.parametrize("data", [FIVE + b"hello", FIVE + b"hello!", FIVE + b"h", b"garbage", b""])
def test_an_ended_exchange_leaves_no_garbage_cycle(data: bytes) -> None:
    gc.disable()
    try:
        exchange = transport.Exchange(Recorder(), transport.MAX_HEAD)
        exchange.begin(Carrier())
        exchange.received(data)
        exchange.lost(None)
        gone = weakref.ref(exchange), weakref.ref(exchange._response)
        del exchange
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


async def released(*reads: bytes) -> tuple[Recorder, Carrier]:
    """The sink and the connection of an exchange that is released after its first read."""
    sink, carrier = Recorder(), Carrier()
    exchange = transport.Exchange(sink, transport.MAX_HEAD)
    exchange.begin(carrier)
    exchange.received(reads[0])
    exchange.release()
    exchange.release()
    for read in reads[1:]:
        exchange.received(read)
    return sink, carrier


async def test_the_rest_of_a_released_response_is_thrown_away_and_its_connection_kept() -> None:
    sink, carrier = await released(CHUNKED + b"2\r\nhi\r\n", b"3\r\nyou\r\n0\r", b"\n\r\n")
    assert sink.calls == ["head", "body"]
    assert bytes(sink.received) == b"hi"
    assert carrier.calls == ["reusable"]


async def test_a_rest_that_is_too_long_closes_the_connection() -> None:
    whole = b"%x\r\n%b\r\n"
    most = whole % (exchanges.MAX_REST, b"x" * exchanges.MAX_REST)
    _, carrier = await released(CHUNKED, most, b"0\r\n\r\n")
    assert carrier.calls == ["reusable"]
    _, carrier = await released(CHUNKED, most, b"1\r\nx\r\n", b"0\r\n\r\n")
    assert carrier.calls == ["close"]


@simulated.timed
async def test_a_rest_that_takes_too_long_closes_the_connection() -> None:
    sink, carrier = await released(CHUNKED + b"2\r\nhi\r\n")
    await asyncio.sleep(exchanges.REST * 0.9)
    assert carrier.calls == []
    await asyncio.sleep(exchanges.REST * 0.2)
    assert carrier.calls == ["close"]
    assert sink.calls == ["head", "body"]


async def test_a_released_exchange_reads_on_where_it_was_paused() -> None:
    sink, carrier = Recorder(), Carrier()
    exchange = transport.Exchange(sink, transport.MAX_HEAD)
    exchange.begin(carrier)
    exchange.received(CHUNKED)
    exchange.pause()
    exchange.release()
    assert carrier.calls == ["pause", "resume"]
    exchange.lost(None)
    assert carrier.calls[2:] == ["close"]


async def test_releasing_in_the_midst_of_the_last_read_keeps_the_connection() -> None:
    sink, carrier = Recorder(), Carrier()
    exchange = transport.Exchange(sink, transport.MAX_HEAD)
    sink.on_call = lambda name: exchange.release() if name == "body" else None
    exchange.begin(carrier)
    exchange.received(CHUNKED + b"2\r\nhi\r\n0\r\n\r\n")
    assert sink.calls == ["head", "body"]
    assert carrier.calls == ["reusable"]
    exchange.release()
    exchange.abort()
    assert carrier.calls == ["reusable"]


async def used(seconds: float, error: Exception | None) -> tuple[bool, Recorder]:
    """What came of a request on a used connection that was lost after so long."""
    sink, carrier = Recorder(), Carrier()
    exchange = transport.Exchange(sink, transport.MAX_HEAD)
    answered = exchange.answered()
    exchange.begin(carrier)
    await asyncio.sleep(seconds)
    exchange.lost(error)
    return await answered, sink


@simulated.timed
async def test_a_request_that_was_worked_on_is_not_sent_again() -> None:
    limit = exchanges.STALE
    for error in (None, ConnectionResetError()):
        again, sink = await used(limit, error)
        assert (again, sink.calls) == (False, [])
        again, sink = await used(limit + 0.001, error)
        assert (again, sink.calls) == (True, ["end"])
        assert isinstance(sink.error, errors.Truncated)


@simulated.timed
@pytest.mark.parametrize("error", [TimeoutError(110, "timed out"), OSError(113, "no route")])
async def test_a_request_whose_connection_timed_out_is_not_sent_again(error: OSError) -> None:
    again, sink = await used(0, error)
    assert (again, sink.calls) == (True, ["end"])
    assert isinstance(sink.error, errors.Truncated)


@simulated.timed
async def test_a_request_that_was_never_sent_is_sent() -> None:
    exchange = transport.Exchange(Recorder(), transport.MAX_HEAD)
    answered = exchange.answered()
    await asyncio.sleep(60)
    exchange.lost(None)
    assert await answered is False

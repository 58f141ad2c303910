"""The storm of two nodes in its short form, and what its account must not overlook."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.faults.storms import draining, moving, reading

from holdfast import events
from holdfast.testing import simulated

STREAM = events.new_stream_id()
LIMIT = 60.0
"""Seconds for a test of a few."""

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
AWAY = b'event: reconnect\nretry: 2500\ndata: {"retry_ms":2500,"reason":"draining"}\n\n'


@pytest.mark.usefixtures("valkey_program")
async def test_all_readers_of_a_node_that_ends_go_on_at_the_other_one(tmp_path: Path) -> None:
    size = draining.Nodes(40, 10, rate=5, processes=1, look=0.1, drain=0, limit=LIMIT)
    figures = await draining.drain_one(size, tmp_path)
    assert figures["came back"] == size.readers // 2


def block(seq: int, text: str = "a") -> bytes:
    data = b'{"type":"content","delta":"%b"}' % text.encode()
    return b"event: chunk\ndata: %b\nid: %b:65537-%d\n\n" % (data, STREAM.encode(), seq)


def piece(*blocks: bytes) -> bytes:
    said = b"".join(blocks)
    return b"%x\r\n%b\r\n" % (len(said), said)


class Socket(asyncio.Transport):
    """A transport that goes nowhere."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.asked = bytes(data)

    def abort(self) -> None:
        pass


class Told:
    """A reader, and the responses that it has in turn."""

    def __init__(self) -> None:
        self.reader = moving.Mover(moving.Stream(STREAM))
        self.ways: list[moving.Way] = []

    def respond(self, *said: bytes) -> moving.Response:
        response = moving.Response(self.reader, self.ways)
        response.connection_made(Socket())
        for one in said:
            response.data_received(one)
        return response


@simulated.timed
async def test_who_comes_back_has_caught_up_when_it_has_what_anybody_had() -> None:
    await asyncio.sleep(1)
    told = Told()
    told.respond(HEAD, piece(block(1)), piece(AWAY)).connection_lost(None)
    assert told.ways == []
    other = moving.Mover(told.reader.stream)
    for seq in range(1, 4):
        other.take(block(seq)[:-2])
    await asyncio.sleep(2.5)
    response = told.respond()
    await asyncio.sleep(1)
    other.take(block(4)[:-2])  # after it came back: not to be caught up with
    response.data_received(HEAD)
    await asyncio.sleep(1)
    response.data_received(piece(block(2)))
    assert told.ways == []
    await asyncio.sleep(1)
    response.data_received(piece(block(3)))
    (way,) = told.ways
    assert way == moving.Way(5.5, 2.5, 1.0, 2)
    assert way.since_due == 3
    response.data_received(piece(block(4)))
    assert told.ways == [way]


@simulated.timed
async def test_who_had_missed_nothing_has_caught_up_with_the_head_of_the_response() -> None:
    await asyncio.sleep(1)
    told = Told()
    told.respond(HEAD, piece(block(1)), piece(AWAY)).connection_lost(None)
    await asyncio.sleep(3)
    response = told.respond(HEAD[:-4])
    assert told.ways == []
    response.data_received(HEAD[-4:])
    assert told.ways == [moving.Way(3, 2.5, 0.5, 0)]


def cancelled(seq: int, code: str = "cancelled") -> bytes:
    said = b'{"code":"%b","message":"x","retryable":false}' % code.encode()
    return b"event: error\ndata: %b\nid: %b:65537-%d" % (said, STREAM.encode(), seq)


def test_a_stream_may_be_cancelled_once_and_end_in_no_other_way() -> None:
    told = Told()
    told.reader.take(block(1)[:-2])
    told.reader.take(cancelled(2))
    assert told.reader.ended
    again = moving.Mover(told.reader.stream)
    again.take(block(1)[:-2])
    with pytest.raises(reading.Wrong):
        again.take(cancelled(2, "provider_failed"))
    again.take(cancelled(2))
    assert (again.ended, len(again.stream.blocks)) == (True, 2)
    with pytest.raises(reading.Wrong):
        Told().reader.take(cancelled(1, "provider_failed"))


def test_who_is_sent_away_must_be_told_for_how_long() -> None:
    with pytest.raises(reading.Wrong):
        Told().reader.take(AWAY.replace(b"retry: 2500\n", b"")[:-2])

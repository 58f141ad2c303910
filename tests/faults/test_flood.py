"""The floods of `make storm` in their short form, and what their account must not overlook."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tests.faults.storms import crowd, crowding, flooding

LIMIT = 60.0
"""Seconds for a test of a few."""

AWAY = b'HTTP/1.1 200 OK\r\n\r\n3a\r\nretry: 900\nevent: reconnect\ndata: {"retry_ms":900}\n\n\r\n'


@pytest.mark.case("4.14")
async def test_more_readers_than_places_and_each_place_is_taken_once(tmp_path: Path) -> None:
    size = flooding.Flood(clients=400, connections=150, limit=LIMIT)
    figures = await flooding.flood(size, tmp_path)
    assert figures["served"] == 150


@pytest.mark.case("4.14")
async def test_a_server_with_few_descriptors_serves_beside_a_thousand_clients(
    tmp_path: Path,
) -> None:
    size = crowding.Descriptors(seconds=1, asked=50, limit=LIMIT)
    figures = await crowding.exhaust(size, tmp_path)
    assert figures["descriptors at most"] < size.files


@pytest.mark.case("4.14")
async def test_half_requests_keep_nobody_out(tmp_path: Path) -> None:
    size = flooding.Halves(few=150, many=900, connections=100, asked=20, limit=LIMIT)
    figures = await flooding.halves(size, tmp_path)
    assert figures["of those closed"] == figures["half heads among the first"] == size.few // 2


@pytest.mark.case("4.14")
async def test_bodies_without_measure_are_refused_and_cost_little(tmp_path: Path) -> None:
    size = flooding.Bodies(heavy=120, clients=24, megabytes=64, asked=10, limit=LIMIT)
    figures = await flooding.bodies(size, tmp_path)
    assert figures["of them held"] < size.heavy
    assert figures["answered 413"] >= size.clients / 3


async def account(*got: bytes) -> crowd.Account:
    """What a client is counted as that got these pieces, and was closed."""
    found = crowd.Account()
    client = crowd.Client(b"", found)
    for piece in got:
        client.data_received(piece)
    client.connection_lost(None)
    assert client.settled.is_set()
    return found


async def test_the_account_tells_apart_what_becomes_of_a_client() -> None:
    assert await account() == crowd.Account(closed=1)
    assert await account(AWAY[:30], AWAY[30:]) == crowd.Account(sent_away=1)
    assert await account(b"HTTP/1.1 200 OK\r\n\r\nevent: start\n") == crowd.Account(lost=1)


@pytest.mark.parametrize(
    "got", [AWAY + b"0\r\n\r\n", AWAY.replace(b"200", b"503"), AWAY[:30], b"HTTP/1.1 200 OK\r\n"]
)
async def test_the_account_sees_a_refusal_that_is_wrong(got: bytes) -> None:
    found = await account(got)
    assert (len(found.wrong), found.sent_away) == (1, 0)


def test_what_became_of_half_a_request_is_seen() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        assert not flooding.closed(ours)
        theirs.send(b"HTTP/1.1 408 Request Timeout")
        with pytest.raises(AssertionError):
            flooding.closed(ours)
        ours.recv(flooding.PIECE)
        theirs.close()
        assert flooding.closed(ours)

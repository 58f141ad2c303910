"""How many are let in at once while the event loop is late."""

from __future__ import annotations

import asyncio
import itertools
import socket

import pytest
import uvloop
from starlette.types import Receive, Scope, Send

from holdfast.http.server import serving

WAITING = 64
TURNS = 40
"""Turns of the loop that are granted: a few more than it takes, and far less than there are
connections."""


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("nobody asks")


async def _nothing() -> None:
    pass


async def _accepted(bound: socket.socket) -> list[int]:
    """How many of those that wait are connected after each turn of the loop."""
    config = serving.config(_app, WAITING)
    config.load()
    server = serving.Server(config, _nothing, lambda: None)
    server.lifespan = config.lifespan_class(config)
    clients = [socket.create_connection(bound.getsockname()) for _ in range(WAITING)]
    await server.startup([bound])
    found = []
    for _ in range(TURNS):
        await asyncio.sleep(0)
        found.append(len(server.server_state.connections))
    for client in clients:
        client.close()
    while server.server_state.connections:  # noqa: ASYNC110  # nobody tells when they have gone
        await asyncio.sleep(0)
    for listener in server.servers:
        listener.close()
        await listener.wait_closed()
    return found


def test_many_are_accepted_in_a_turn_of_the_loop() -> None:
    with serving.listen("127.0.0.1", 0) as bound:
        found = uvloop.run(_accepted(bound))
    assert found[-1] == WAITING, found
    assert max(b - a for a, b in itertools.pairwise(found)) == serving.EARS


def test_nobody_listens_once_the_server_has_closed() -> None:
    with serving.listen("127.0.0.1", 0) as bound:
        address = bound.getsockname()
        uvloop.run(_accepted(bound))
    with socket.socket() as client:
        assert client.connect_ex(address) != 0


def test_where_files_are_few_there_are_fewer_ears(monkeypatch: pytest.MonkeyPatch) -> None:
    dup, room = socket.socket.dup, iter(range(1))

    def some(self: socket.socket) -> socket.socket:
        if next(room, None) is None:
            raise OSError(24, "Too many open files")
        return dup(self)

    monkeypatch.setattr(socket.socket, "dup", some)
    with serving.listen("127.0.0.1", 0) as bound:
        found = uvloop.run(_accepted(bound))
    assert max(b - a for a, b in itertools.pairwise(found)) == 2

"""PROTOCOL 8.1: what is told of a connection's socket, and why connections ended.

Strategy: the figures are held beside those of `ss`, which asks the kernel by another way (netlink),
while nothing passes over the connection. Each cause of an end is brought about for a reader of its
own. What is lost on a line that loses is in `tests/faults/test_lossy_line.py`.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration import asking, conftest, harness, mounting, plain_dialect

from holdfast import app, connections, errors

HIDDEN = {"rtt_ms": None, "retransmissions": None, "packets_lost": None}


async def get(server: harness.Running, target: str) -> Any:
    answer = await harness.ask(server.port, "GET", target)
    assert answer.status == 200
    return answer.json()


async def shown(server: harness.Running, of: harness.Reader | harness.Response) -> Any:
    return await get(server, f"/v1/connections/{of.headers['x-connection-id']}")


def found(server: harness.Running, of: harness.Reader) -> connections.Connection:
    connection = server.service.connections.find(of.headers["x-connection-id"])
    assert connection is not None
    return connection


def by_ss(ss: Path, port: int, reader: harness.Reader) -> dict[str, float]:
    """What `ss` says of the server's end of a reader's socket."""
    far = reader._writer.get_extra_info("sockname")[1]
    words = f"-tinHO sport = :{port} and dport = :{far}".split()
    told = subprocess.run([ss, *words], capture_output=True, text=True, timeout=10, check=True)
    (line,) = told.stdout.splitlines()
    rtt = re.search(r" rtt:([0-9.]+)/", line)
    again = re.search(r" retrans:\d+/(\d+)", line)
    twice = re.search(r" dsack_dups:(\d+)", line)
    assert rtt is not None
    retransmissions, duplicates = (int(one[1]) if one else 0 for one in (again, twice))
    return {
        "rtt_ms": float(rtt[1]),
        "retransmissions": retransmissions,
        "packets_lost": retransmissions - duplicates,
    }


async def test_8_1_the_figures_are_those_of_ss(require: Callable[[str], Path]) -> None:
    async with harness.running(harness.configured()) as server:
        readers = [await asking.stalled(server.port) for _ in range(3)]
        for reader in readers:
            before = by_ss(require("ss"), server.port, reader)
            server.service.connections.look(found(server, reader))
            told = (await shown(server, reader))["network"]
            assert before == told == by_ss(require("ss"), server.port, reader)
            assert told["rtt_ms"] > 0
        network = (await get(server, "/v1/metrics"))["network"]
        assert 0 < network["average_rtt_ms"] < 1000
        assert (network["retransmissions"], network["packets_lost"]) == (0, 0)
        await asking.end(server, *readers)


@pytest.mark.parametrize("stock", ["httptools", "hypercorn"])
async def test_8_1_a_socket_that_is_hidden_is_null(stock: str) -> None:
    host = mounting.alone(app.asgi(harness.configured()))
    async with mounting.serving(host, stock) as served:
        fields = {"Accept": "text/event-stream"}
        body = asking.demo("tokens=3")
        reader = await harness.Reader.open(served.port, "POST", "/v1/streams", fields, body)
        whole = await reader.rest()
        await asking.idle(served.server)
        seen = await shown(served.server, whole)
        assert (seen["network"], seen["reason"]) == (HIDDEN, "completed")
        network = (await get(served.server, "/v1/metrics"))["network"]
        names = ("connection_drops", "average_rtt_ms", "retransmissions", "packets_lost")
        assert [network[name] for name in names] == [0, None, None, None]


async def test_8_1_an_open_connection_has_no_reason_and_one_that_came_back_says_so() -> None:
    async with harness.running(harness.configured()) as server:
        lead = await asking.stalled(server.port)
        back = await harness.resume(server.port, asking.last_id(bytes(lead.body)), "header")
        for reader, resumed in ((lead, False), (back, True)):
            seen = await shown(server, reader)
            assert (seen["closed_at"], seen["reason"], seen["resumed"]) == (None, None, resumed)
            assert seen["duration_ms"] >= 0
        await asking.end(server, lead, back)


def leaves(server: harness.Running, of: connections.Connection) -> None:
    """Nothing is done to it: its client goes."""


def dismissed(reason: str) -> Callable[[harness.Running, connections.Connection], None]:
    return lambda server, of: of.dismiss(reason)


def takes_nothing(server: harness.Running, of: connections.Connection) -> None:
    now, patience = asyncio.get_running_loop().time(), connections.Patience(1e6, 300, 30)
    assert server.service.connections.sweep(now, patience, server.service.connections.open) == []
    for dead in server.service.connections.sweep(
        now + 1000, patience, server.service.connections.open
    ):
        dead.cut()


def unreadable(server: harness.Running, of: connections.Connection) -> None:
    async def read(*asked: object) -> None:
        raise errors.LogCorrupt("A test.")

    server.service.log.read = read  # type: ignore[method-assign,assignment]
    of.wake()


@pytest.mark.parametrize(
    ("act", "status", "reason"),
    [
        (leaves, "disconnected", "client_gone"),
        (dismissed("draining"), "disconnected", "draining"),
        (dismissed("access_ended"), "disconnected", "access_ended"),
        (takes_nothing, "disconnected", "stalled"),
        (unreadable, "error", "log_corrupt"),
    ],
)
async def test_8_1_a_closed_connection_says_why(
    act: Callable[[harness.Running, connections.Connection], None],
    status: str,
    reason: str,
    logged: conftest.Logged,
) -> None:
    async with harness.running(harness.configured()) as server:
        reader = await asking.stalled(server.port)
        act(server, found(server, reader))
        if act is not leaves:
            assert (await reader.rest()).clean == (act is unreadable)
        await reader.close()
        await asking.until(lambda: len(server.service.connections) == 0)
        seen = await shown(server, reader)
        assert (seen["status"], seen["reason"]) == (status, reason)
        if act is unreadable:
            asking.expected(logged, "stream_corrupt")
        assert seen["closed_at"] == seen["updated_at"]
        assert seen["duration_ms"] >= 0
        assert seen["network"]["rtt_ms"] > 0
        assert (seen["network"]["retransmissions"], seen["network"]["packets_lost"]) == (0, 0)


@pytest.mark.parametrize(
    ("options", "act", "status", "reason"),
    [
        ("tokens=2", None, "completed", "completed"),
        ("error_at=1", None, "error", "error"),
        ("stall_at=1", leaves, "disconnected", "client_gone"),
        ("stall_at=1", dismissed("max_connection_age"), "error", "max_connection_age"),
        ("stall_at=1", unreadable, "error", "log_corrupt"),
    ],
)
async def test_8_1_so_does_one_that_waits_for_a_whole_answer(
    options: str,
    act: Callable[[harness.Running, connections.Connection], None] | None,
    status: str,
    reason: str,
    logged: conftest.Logged,
) -> None:
    async with harness.running(harness.configured()) as server:
        body = asking.demo(options)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = (
            f"POST {plain_dialect.PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        book = server.service.connections
        await asking.until(lambda: bool(list(book.all())))
        (connection,) = book.all()
        if act is not None:  # it is not taken for one that takes nothing, however long it waits
            connection.last_activity = 0.0
            connection.wake()
            await asking.until(lambda: connection.last_activity > 0)
        if act is leaves:
            writer.close()
        elif act is not None:
            act(server, connection)
        await asking.until(lambda: len(book) == 0)
        assert (connection.status, connection.reason) == (status, reason)
        if act is unreadable:
            asking.expected(logged, "stream_corrupt")
        assert connection.line is not None
        writer.close()
        await writer.wait_closed()

"""A client that vanishes without a word: its place is free soon, and it can come back.

Strategy: the cable between client and server is pulled, so that no FIN, no RST and no
acknowledgement ever comes. Each of the two that can notice is the only one that would in time: our
own limit for bytes that do not leave, and the kernel's probes of a silent connection. Then the
cable is back, and the reader has the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Self

import pytest
from tests.faults import cable as cables
from tests.integration import asking, harness, raw_sockets

from holdfast import connections
from holdfast.http import auth
from holdfast.http import server as http_server
from holdfast.testing import provider as replay
from holdfast.transport import liveness

NEVER: Mapping[str, Any] = {
    "heartbeat_interval": "4m",
    "connection_timeout": "1h",
    "write_timeout": "1h",
}

WORDS = ["Before. ", "While away. ", "After."]


@pytest.fixture
def cable(monkeypatch: pytest.MonkeyPatch) -> Iterator[cables.Cable]:
    """A cable with the server under test at its one end."""
    with cables.cable() as made:
        monkeypatch.setattr(http_server, "listen", lambda host, port: made.listener)
        # Whoever is at the far end has no key.
        monkeypatch.setattr(auth, "_loopback", lambda address: True)
        yield made


def impatient_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEEPALIVE_IDLE", "KEEPALIVE_INTERVAL", "KEEPALIVE_PROBES"):
        monkeypatch.setattr(liveness, name, 1)


class Far(harness.Reader):
    """A reader at the other end of the cable."""

    @classmethod
    async def over(cls, cable: cables.Cable, request: bytes) -> Self:
        """Sends a request and reads the head of its answer."""
        reader = cls(*await asyncio.open_connection(sock=cable.connect()))
        async with asyncio.timeout(harness.PATIENCE):
            reader._writer.write(request)
            await reader._read_head()
        return reader


@pytest.mark.case("1.12")
@pytest.mark.parametrize(
    ("settings", "kernel_notices"),
    [
        pytest.param(
            {**NEVER, "heartbeat_interval": "100ms", "write_timeout": "1s"},
            False,
            id="our write deadline",
        ),
        pytest.param(NEVER, True, id="the kernel, by its probes"),
    ],
)
async def test_a_place_is_free_soon_and_the_reader_comes_back(
    cable: cables.Cable,
    monkeypatch: pytest.MonkeyPatch,
    settings: Mapping[str, Any],
    kernel_notices: bool,
) -> None:
    if kernel_notices:
        impatient_kernel(monkeypatch)
    gates = [asyncio.Event() for _ in WORDS]
    body = [part for pair in zip(WORDS, gates, strict=True) for part in pair]
    pieces = [asking.chunk(part) if isinstance(part, str) else part for part in body]
    answer = replay.Answer(body=(*pieces, asking.STOP))
    async with asking.vendor(answer, server={**settings, "max_connections": 1}) as vendor:
        reader = await Far.over(cable, raw_sockets.posting(harness.wanted("vendor/m")))
        await reader.until(lambda reader: WORDS[0] in asking.content(bytes(reader.body)))
        (lost,) = vendor.server.service.connections.all()
        cable.pull()
        await released(vendor.server, lost)
        gates[0].set()
        cable.plug()
        again = await Far.over(cable, resuming(reader))
        for gate in gates:
            gate.set()
        rest = await again.rest()
        assert asking.content(bytes(reader.body) + rest.body) == "".join(WORDS)
        assert rest.clean
        await asking.idle(vendor.server)
        await reader.close()


def resuming(reader: harness.Reader) -> bytes:
    id = asking.last_id(bytes(reader.body))
    path = f"/v1/streams/{harness.stream_of(reader)}/events"
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {id}\r\n\r\n".encode()


async def released(server: harness.Running, lost: connections.Connection) -> None:
    """Returns when the server has given up a connection, with its slot, task and socket."""
    await asking.until(lambda: len(server.service.connections) == 0)
    assert lost.status == "disconnected"
    names = server.service.supervisor.names
    assert not [name for name in names if lost.id in name]

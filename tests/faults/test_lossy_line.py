"""What is lost on the way to a reader: the figures are those of the line, and of `ss`.

Strategy: the line between server and client is a program of ours that holds back some segments: so
it is known how many were lost and how often the server's kernel sent again. What comes in the end
after it was sent again was late and not lost, which the client's kernel tells the server's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults import lossy, namespaces
from tests.integration import asking, harness, raw_sockets
from tests.integration import test_protocol_08_network as figures

from holdfast import connections
from holdfast.http import auth, views
from holdfast.http import server as http_server
from holdfast.testing import provider as replay

HELD_BACK = (9, 14, 15, 30)
"""Among segments that are full: small ones may be sent again together, as one."""

TEXT = "kelp " * 800
PIECES = 20


@pytest.mark.parametrize("late", [False, True], ids=["lost", "late"])
async def test_what_is_sent_again_and_what_is_lost_is_told_as_it_was(
    late: bool, monkeypatch: pytest.MonkeyPatch, require: Callable[[str], Path]
) -> None:
    # So it is looked at the begin, and when the client goes.
    monkeypatch.setattr(connections.Book, "look_at_some", lambda book: None)
    monkeypatch.setattr(auth, "_loopback", lambda address: True)
    ss = require("ss")
    answer = replay.Answer(body=(*PIECES * [asking.chunk(TEXT)], asyncio.Event()))
    with lossy.line(HELD_BACK) as line:
        monkeypatch.setattr(http_server, "listen", lambda host, port: line.listener)
        async with asking.vendor(answer) as vendor:
            service, port = vendor.server.service, vendor.server.port
            async with asyncio.timeout(harness.PATIENCE):
                reader = harness.Reader(*await asyncio.open_connection(sock=await line.connect()))
                reader._writer.write(raw_sockets.posting(harness.wanted("vendor/m")))
                await reader._read_head()
            await reader.until(lambda reader: len(reader.body) > PIECES * len(TEXT))
            await reader.until(lambda reader: asking.content(bytes(reader.body)) == PIECES * TEXT)
            (connection,) = service.connections.all()
            if late:
                line.deliver()
            least = len(HELD_BACK) if late else 0  # that come twice

            def quiet() -> bool:
                """Whether the server's kernel has heard of all: it waits for nothing any more."""
                seen = connection.measure()
                assert seen is not None
                heard = seen.retransmissions == line.sent_again and seen.duplicates >= least
                return heard and not connection.unsent()

            await asking.until(quiet)
            by_ss = namespaces.within(line.server, lambda: figures.by_ss(ss, port, reader))
            await reader.close()
            await asking.until(lambda: len(service.connections) == 0)
            shown = views.connection(connection).network
            again, lost = shown.retransmissions, shown.packets_lost
            assert again == by_ss["retransmissions"] == line.sent_again >= len(line.held)
            # On a busy machine the kernel may take others for lost too, which then come twice. It
            # hears of that after `ss` was asked; and never of each, if they come together.
            truth = len(HELD_BACK) - least
            assert lost is not None
            assert truth == line.sent_again - line.twice <= lost <= by_ss["packets_lost"]
            assert lost <= line.sent_again - least
            counted = service.connections.counted()
            assert (counted.retransmissions, counted.packets_lost) == (again, lost)

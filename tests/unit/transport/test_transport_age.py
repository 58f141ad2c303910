"""The age of a connection never ends what it carries.

Strategy: `keep_alive` is so short that it is long over; that it has passed is seen at another
connection, which was idle and is closed for it.
"""

from __future__ import annotations

import pytest
from tests.unit.transport.peers import CHUNKED, FIVE, world


@pytest.mark.case("2.18")
async def test_an_answer_lasts_longer_than_an_idle_connection_may() -> None:
    """Also on a connection that has served before, and each time anew."""
    async with world(keep_alive=0.02) as w:
        _, sink, peer = await w.open()
        await peer.head()
        await peer.send(CHUNKED)
        for number in range(1, 4):
            _, other, idle = await w.open()
            await idle.head()
            await idle.send(FIVE + b"hello")
            assert await other.ended() is None
            assert await idle.gone()
            await peer.send(b"1\r\nx\r\n")
            await sink.has(number)
        await peer.send(b"0\r\n\r\n")
        assert await sink.ended() is None
        assert await peer.gone()

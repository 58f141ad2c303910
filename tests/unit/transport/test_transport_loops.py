"""A transport that is used in one event loop after another.

Strategy: the peer is a bare socket, which belongs to no loop. The loops are simulated, so that
what waits for the closed one fails at once.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import pytest
import uvloop
from tests.unit.transport.peers import FIVE, Peer, Recorder, World

from holdfast import errors
from holdfast.testing import simulated

# Who closes a loop with its connections open is told so, by the loop's own classes.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

LOOPS = pytest.mark.parametrize("make", [simulated.Loop, uvloop.new_event_loop])
Make = Callable[[], asyncio.AbstractEventLoop]


async def served(w: World) -> Peer:
    """The other end of a new connection, which has served and is kept."""
    _, sink, peer = await w.open()
    await peer.head()
    await peer.send(FIVE + b"hello")
    assert await sink.ended() is None
    return peer


@LOOPS
def test_a_connection_of_a_closed_loop_does_not_serve(make: Make) -> None:
    w = World()

    async def later() -> None:
        peer = await served(w)
        opening, sink = w.begin()  # and from here on it is kept as ever
        await peer.head()
        await peer.send(FIVE + b"again")
        await opening
        assert await sink.ended() is None
        assert w.nobody_came()
        await w.transport.close()
        assert await peer.gone()

    for work in (served, lambda w: later()):
        with asyncio.Runner(loop_factory=make) as runner:
            runner.run(work(w))
        gc.collect()
    for sock in w.sockets:
        sock.close()


@LOOPS
def test_closing_in_another_loop_waits_for_nobody(make: Make) -> None:
    w = World()
    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(served(w))
    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(w.transport.close())
    with (
        asyncio.Runner(loop_factory=make) as runner,
        pytest.raises(errors.Unreachable, match="closed"),
    ):
        runner.run(w.transport.open(w.request(), Recorder()))
    gc.collect()
    for sock in w.sockets:
        sock.close()


def test_an_old_loop_that_goes_on_keeps_what_is_its_own() -> None:
    """Two loops, each run for a while: the connections of one never serve in the other."""
    w = World(keep_alive=5.0)
    first, second = simulated.Loop(), simulated.Loop()
    peer = first.run_until_complete(served(w))
    other = second.run_until_complete(served(w))
    second.run_until_complete(w.transport.close())
    assert other.sock.recv(1) == b""
    # Its time is over, and its own loop's timer closes it.
    assert first.run_until_complete(peer.gone())
    assert first.time() == simulated.BEGIN + 5
    for loop in (first, second):
        assert loop.faults == []
        loop.close()
    for sock in w.sockets:
        sock.close()

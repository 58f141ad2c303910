"""A pair of sockets with faults between, at exact times.

Strategy: the loop is simulated and the sockets are Unix ones, which a byte crosses within the
call that sends it; so what comes when is exact, and nothing waits.
"""

from __future__ import annotations

import asyncio
import socket

import pytest

from holdfast.testing import fault_sockets, faults, simulated


class Peer:
    """One end. `got` is what was read when; `ended` when its end came, and `error` why."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.got: list[tuple[float, bytes]] = []
        self.ended: float | None = None
        self.error: OSError | None = None
        self.reading = False
        sock.setblocking(False)

    @property
    def said(self) -> bytes:
        return b"".join(data for _, data in self.got)

    def read(self) -> None:
        asyncio.get_running_loop().add_reader(self.sock, self._readable)
        self.reading = True

    def _readable(self) -> None:
        data = b""
        try:
            data = self.sock.recv(1 << 20)
        except OSError as error:
            self.error = error
        if data:
            self.got.append((simulated.now() - simulated.BEGIN, data))
        else:
            self.ended = simulated.now() - simulated.BEGIN
            self.stop()

    def stop(self) -> None:
        if self.reading:
            asyncio.get_running_loop().remove_reader(self.sock)
        self.reading = False

    def send_all_it_takes(self, most: int = 1 << 20) -> int:
        """Bytes that the kernel took until it was full, or until these were sent."""
        sent = 0
        while sent < most:
            try:
                sent += self.sock.send(bytes(min(most - sent, 64 << 10)))
            except BlockingIOError:
                break
        return sent


class Between:
    """A client, a server and what is between them; both read unless told otherwise."""

    def __init__(self, *, up: tuple[faults.Fault, ...] = (), down: tuple[faults.Fault, ...] = ()):
        client, near = socket.socketpair()
        server, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        self.client, self.server = Peer(client), Peer(server)
        self.ends: list[bool] = []
        lines = faults.Line(up, "up"), faults.Line(down, "down")
        self.pair = fault_sockets.Pair(near, far, *lines, self.ends.append)

    async def __aenter__(self) -> Between:
        self.client.read()
        self.server.read()
        self.pair.run()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.pair.close()
        for peer in (self.client, self.server):
            peer.stop()
            peer.sock.close()
        await simulated.idle()


async def filled(between: Between) -> int:
    """Bytes that the server could send until nothing more was taken."""
    sent = between.server.sock.send(bytes(1000))  # so that what follows does not fit evenly
    await simulated.idle()
    for _ in range(100):
        if not (taken := between.server.send_all_it_takes()):
            return sent
        sent += taken
        await simulated.idle()
        assert between.pair.down.held <= fault_sockets.BUFFER
    raise AssertionError("it takes without end")


@simulated.timed
async def test_without_faults_bytes_and_ends_are_passed_on() -> None:
    async with Between() as between:
        between.client.sock.send(b"ask")
        await simulated.idle()
        between.client.sock.shutdown(socket.SHUT_WR)
        await simulated.idle()
        assert (between.server.got, between.server.ended) == ([(0.0, b"ask")], 0.0)
        between.server.sock.send(b"answer")  # the other direction goes on
        await simulated.idle()
        assert (between.client.got, between.client.ended) == ([(0.0, b"answer")], None)
        between.server.sock.shutdown(socket.SHUT_WR)
        await simulated.idle()
        assert between.client.ended == 0.0
        assert between.ends == [False]
        assert (between.pair.up.passed, between.pair.down.passed) == (3, 6)


@simulated.timed
async def test_each_direction_has_its_own_latency() -> None:
    between = Between(up=(faults.Latency(1.0),), down=(faults.Latency(2.0),))
    async with between:
        between.client.sock.send(b"a")
        between.server.sock.send(b"b")
        await asyncio.sleep(0.5)
        between.client.sock.send(b"c")
        between.client.sock.shutdown(socket.SHUT_WR)
        await asyncio.sleep(3)
        assert between.server.got == [(1.0, b"a"), (1.5, b"c")]
        assert between.client.got == [(2.0, b"b")]
        assert (between.server.ended, between.client.ended) == (1.5, None)


@simulated.timed
async def test_a_bandwidth_holds_for_its_direction_alone() -> None:
    async with Between(down=(faults.Bandwidth(100.0),)) as between:
        between.server.sock.send(bytes(200))
        between.client.sock.send(bytes(200))
        await asyncio.sleep(3)
        assert [at for at, _ in between.server.got] == [0.0]
        assert between.client.got[-1][0] == pytest.approx(2.0)
        assert len(between.client.said) == 200
        assert len(between.client.got) > 20


@simulated.timed
async def test_slices_are_reads_of_their_own() -> None:
    async with Between(down=(faults.Slices(2, delay=0.5),)) as between:
        between.server.sock.send(b"abcde")
        await asyncio.sleep(3)
        assert between.client.got == [(0.0, b"ab"), (0.5, b"cd"), (1.0, b"e")]


@simulated.timed
async def test_a_cut_ends_both_sides_after_its_bytes() -> None:
    async with Between(down=(faults.Cut(after=3),)) as between:
        between.server.sock.send(b"abcde")
        await simulated.idle()
        assert (between.client.said, between.client.ended) == (b"abc", 0.0)
        assert (between.server.ended, between.server.error) == (0.0, None)
        assert between.ends == [True]
        assert between.pair.down.passed == 3


@simulated.timed
async def test_a_stall_holds_bytes_and_ends_until_it_is_lifted() -> None:
    stall = (faults.Stall(after=2),)
    async with Between(down=stall, up=(faults.Stall(),)) as between:
        between.server.sock.send(b"abc")
        between.server.sock.shutdown(socket.SHUT_WR)
        between.client.sock.send(b"ask")
        await asyncio.sleep(3600)
        assert (between.client.said, between.server.said) == (b"ab", b"")
        assert between.client.ended is None
        assert between.ends == []
        between.pair.set(faults.NONE)
        await simulated.idle()
        assert (between.client.said, between.server.said) == (b"abc", b"ask")
        assert between.client.ended == 3600.0


@simulated.timed
async def test_one_direction_down_takes_all_and_gives_nothing() -> None:
    async with Between(up=(faults.Down(),)) as between:
        assert between.client.send_all_it_takes(1 << 18) > 0
        await asyncio.sleep(1)
        assert between.client.send_all_it_takes(1 << 18) > 0
        between.server.sock.send(b"answer")
        await asyncio.sleep(1)
        assert (between.server.said, between.client.said) == (b"", b"answer")
        assert between.pair.up.line.lost > 0


@simulated.timed
async def test_a_half_close_tells_one_side_and_the_other_direction_goes_on() -> None:
    async with Between(down=(faults.HalfClose(after=2),)) as between:
        between.server.sock.send(b"abc")
        await simulated.idle()
        assert (between.client.said, between.client.ended) == (b"ab", 0.0)
        between.client.sock.send(b"more")
        between.server.sock.send(b"for nobody")
        await simulated.idle()
        assert (between.server.said, between.server.ended) == (b"more", None)
        assert between.ends == []
        between.client.sock.shutdown(socket.SHUT_WR)
        await simulated.idle()
        assert between.server.ended == 0.0
        assert between.ends == [False]


@simulated.timed
async def test_what_the_receiver_does_not_take_is_not_taken_from_the_sender() -> None:
    async with Between() as between:
        between.client.stop()
        sent = await filled(between)
        assert between.pair.down.held > 0
        assert between.pair.down.passed < sent < 4 << 20
        between.client.read()
        await simulated.idle()
        assert len(between.client.said) == sent
        between.server.sock.send(b"x")
        await simulated.idle()
        assert len(between.client.said) == sent + 1


@simulated.timed
async def test_a_late_line_holds_no_more_than_its_buffer() -> None:
    async with Between(down=(faults.Latency(1.0),)) as between:
        sent = await filled(between)
        await asyncio.sleep(60)
        assert len(between.client.said) == sent


@simulated.timed
async def test_a_receiver_that_is_gone_is_a_reset_for_the_sender() -> None:
    async with Between() as between:
        between.client.stop()
        between.client.sock.close()
        await simulated.idle()
        assert (between.server.ended, between.ends) == (0.0, [])  # that it ended, is all so far
        between.server.sock.send(b"to nobody")
        await simulated.idle()
        assert between.ends == [False]


@simulated.timed
async def test_who_is_behind_a_stall_does_not_learn_that_the_receiver_is_gone() -> None:
    async with Between(up=(faults.Stall(),)) as between:
        between.client.stop()
        between.client.sock.close()
        between.server.sock.send(b"to nobody")
        await asyncio.sleep(60)
        assert (between.server.ended, between.ends) == (None, [])
        between.pair.set(faults.NONE)
        await simulated.idle()
        assert between.ends == [False]


@simulated.timed
async def test_closing_leaves_nothing_in_the_loop() -> None:
    between = Between(down=(faults.Latency(60.0),))
    async with between:
        between.server.sock.send(b"x")
        await simulated.idle()
        loop = asyncio.get_running_loop()
        assert [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        between.pair.close()
        between.pair.close()
        assert between.ends == [False]
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []  # type: ignore[attr-defined]

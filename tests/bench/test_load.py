"""The load's client in Python: what it counts of streams that are cut anywhere, and packed.

Strategy: a real client on a real socket; the other side says what the test writes, or is the
bench's own provider.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence

import pytest
from bench import load, simulator, wires

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def stamps(numbers: Sequence[int]) -> bytes:
    now = load.micros()
    return "".join(f"data: {wires.stamp(number, now)}\n\n" for number in numbers).encode()


async def crowd(answer: bytes, *, step: int, streams: int = 1) -> load.Tally:
    """What a client finds that is told this, so many bytes at a time."""

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for at in range(0, len(answer), step):
            writer.write(answer[at : at + step])
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(tell, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        asked = load.request("GET", "/", b"", ())
        return await load.Crowd(load.Ask(port, asked, streams, 5, 4000, once=True)).run()


@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_tokens_are_counted_wherever_they_are_cut(step: int) -> None:
    answer = HEAD + b"\r\n" + chunked(stamps([0, 1, 2])) + b"0\r\n\r\n"
    counts = (await crowd(answer, step=step)).counts
    assert (counts["tokens"], counts["gaps"]) == (3, 0)
    assert (counts["done"], counts["failed"], counts["bad_status"]) == (1, 0, 0)
    assert counts["bytes"] == len(answer)


@pytest.mark.parametrize("numbers", [[0, 2], [0, 0], [1], [0, 1, 0]])
async def test_what_is_missing_repeated_or_out_of_order_is_a_gap(numbers: list[int]) -> None:
    answer = HEAD + b"\r\n" + chunked(stamps(numbers)) + b"0\r\n\r\n"
    assert (await crowd(answer, step=1000)).counts["gaps"] == 1


async def test_what_is_packed_is_read_and_weighed() -> None:
    plain = stamps(range(9))
    packed = gzip.compress(plain)
    answer = HEAD + b"Content-Encoding: gzip\r\n\r\n" + chunked(packed) + b"0\r\n\r\n"
    counts = (await crowd(answer, step=13)).counts
    assert (counts["tokens"], counts["gaps"]) == (9, 0)
    assert counts["unpacked"] == len(plain)


async def test_a_refusal_is_told() -> None:
    answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    counts = (await crowd(answer, step=1000)).counts
    assert (counts["bad_status"], counts["failed"], counts["done"]) == (1, 1, 0)


async def test_it_reads_what_the_simulator_says() -> None:
    loop = asyncio.get_running_loop()
    pace = simulator.Pace(loop, 5, 0.01)
    server = await loop.create_server(lambda: simulator.Connection(pace), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        asked = load.request("POST", "/v1/chat/completions", b"{}", ())
        tally = await load.Crowd(load.Ask(port, asked, 3, 5, 4000, once=True)).run()
    assert (tally.counts["tokens"], tally.counts["gaps"], tally.counts["done"]) == (15, 0, 3)
    assert sum(tally.times["waits"].values()) == 15
    assert sum(tally.times["firsts"].values()) == 3


async def test_an_ended_stream_is_opened_again_and_counts_apart() -> None:
    answer = HEAD + b"\r\n" + chunked(stamps([0])) + b"0\r\n\r\n"
    told, seventh = list[bytes](), asyncio.Event()

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.append(await reader.readuntil(b"\r\n\r\n"))
        if len(told) == 7:  # two at once: five have ended
            seventh.set()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(tell, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        asked = load.request("GET", "/", b"", ())
        crowd = load.Crowd(load.Ask(port, asked, 2, 60, 4000, once=False))
        running = asyncio.create_task(crowd.run())
        await seventh.wait()
        running.cancel()
    firsts, again = crowd.tally.times["firsts"], crowd.tally.times["again"]
    assert sum(again.values()) == sum(firsts.values()) - 2 >= 3


def test_the_share_of_waits() -> None:
    step = 1 << load.STEP
    counted = {0: 98, 10: 1, 1000: 1}
    assert load.at(counted, 0.5) == pytest.approx(0.5 * step / 1000)
    assert load.at(counted, 0.99) == pytest.approx(10.5 * step / 1000)
    assert load.at(counted, 1.0) == pytest.approx(1000.5 * step / 1000)
    assert load.at({}, 0.5) == 0


def test_processes_are_added_and_the_busiest_share_counts() -> None:
    one, two = load.Tally(), load.Tally()
    for tally, tokens, share in ((one, 10, 0.9), (two, 30, 0.2)):
        tally.counts["tokens"], tally.counts["settled_tokens"] = tokens, tokens
        tally.times["waits"][tokens] = tokens
        tally.share, tally.seconds = share, 2.0
    told = load.merged([one.dump(), two.dump()])
    assert (told["tokens"], told["tok_per_s"]) == (40, 20)
    assert (told["share"], told["processes"]) == (0.9, 2)
    assert told["lat_ms"] == [load.at({10: 10, 30: 30}, share) for share in (0.5, 0.95, 0.99)]

"""The storms of `make storm` in their short form, and proof that their account can fail."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path

import pytest
from tests.faults import served
from tests.faults.storms import crowding, reading, storming
from tests.integration import harness

from holdfast import events

STREAM = events.new_stream_id()
LIMIT = 60.0
"""Seconds for a test of a few."""


@pytest.mark.case("2.28")
async def test_readers_that_are_cut_off_again_and_again_get_everything_once(tmp_path: Path) -> None:
    size = storming.Recovery(readers=60, streams=10, warm=0.2, seconds=2, limit=LIMIT)
    figures = await storming.recover(size, tmp_path)
    assert figures["cuts"] >= size.readers


@pytest.mark.case("1.11")
@pytest.mark.case("2.29")
async def test_a_reader_that_stops_reading_is_cut_and_comes_back(tmp_path: Path) -> None:
    size = storming.Slow(slow=20, fast=5, megabytes=5, write_timeout=1.5, limit=LIMIT)
    figures = await storming.slow_down(size, tmp_path)
    assert figures["slow ones cut"] == size.slow


@pytest.mark.case("1.27")
async def test_whoever_resets_at_once_leaves_nothing_behind(tmp_path: Path) -> None:
    figures = await crowding.reset(crowding.Resets(count=500, limit=LIMIT), tmp_path)
    assert figures["open afterwards"] == 0


@pytest.mark.case("1.29")
async def test_a_server_that_is_told_to_stop_lets_answers_end(tmp_path: Path) -> None:
    size = storming.Drain(readers=50, streams=10, tokens=80, rate=40, limit=LIMIT)
    await storming.drain(size, tmp_path)


@pytest.mark.case("1.29")
async def test_when_its_time_is_over_readers_go_on_with_the_next_process(tmp_path: Path) -> None:
    size = storming.Drain(50, streams=10, tokens=80, rate=40, timeout=0.3, stays=False, limit=LIMIT)
    figures = await storming.drain(size, tmp_path)
    assert figures["had to come back"] == size.readers


@pytest.mark.case("1.30")
async def test_more_clients_than_descriptors_do_no_lasting_harm(tmp_path: Path) -> None:
    size = crowding.Descriptors(seconds=1, limit=LIMIT)
    await crowding.exhaust(size, tmp_path)


@pytest.mark.case("1.31")
async def test_readers_that_come_and_go_leave_nothing_behind(tmp_path: Path) -> None:
    size = crowding.Churn(connections=400, kb=None, limit=LIMIT)
    await crowding.churn(size, tmp_path)


@pytest.mark.case("2.15")
async def test_thirty_readers_of_long_answers_go_at_once_and_hold_nobody_up(
    tmp_path: Path,
) -> None:
    async with asyncio.timeout(LIMIT), served.serving(tmp_path) as server:
        prompts = [f"{n}\n/demo tokens=20000 rate=100000" for n in range(30)]
        streams = [await storming.create(server.port, prompt) for prompt in prompts]
        before = await server.held()
        readers = storming.spread(streams, len(streams))
        responses = [await reading.respond(reader, server.port, True) for reader in readers]
        for reader in readers:
            await storming.until_all_have(1, [reader])
        for response in responses:
            response.cut(hard=True)
        ready = await harness.ask(server.port, "GET", "/readyz")
        assert ready.status == 200
        await server.back_at(before)
        where = reading.Where(server.port)
        for reader in readers:
            await reading.follow(reader, where, random.Random(1))


@pytest.mark.case("2.16")
async def test_the_only_slot_is_free_again_after_every_kind_of_end(tmp_path: Path) -> None:
    env = {"HOLDFAST_SERVER__MAX_CONNECTIONS": "1"}
    async with asyncio.timeout(LIMIT), served.serving(tmp_path, env=env) as server:
        where, dice = reading.Where(server.port), random.Random(1)
        ended = await storming.create(server.port, "/demo tokens=3")

        async def read() -> None:
            reader = reading.Reader(ended)
            await reading.follow(reader, where, dice)
            assert (reader.sent_away, reader.responses) == (0, 1)

        await read()
        stalled = await storming.create(server.port, "/demo tokens=3 stall_at=2")
        for ending in ("cut", "reset", "cut", "reset", "cancel"):
            reader = reading.Reader(stalled)
            response = await reading.respond(reader, server.port)
            await storming.until_all_have(2, [reader])
            if ending == "cancel":
                await harness.ask(server.port, "POST", f"/v1/streams/{stalled.id}/cancel")
            else:
                response.cut(hard=ending == "reset")
            await response.over
            await server.until_idle()
            await read()


def block(seq: int, kind: str = "chunk", data: bytes = b'{"type":"content","delta":"a"}') -> bytes:
    return b"event: %b\ndata: %b\nid: %b:65537-%d" % (kind.encode(), data, STREAM.encode(), seq)


def complete(text: bytes) -> bytes:
    found = events.Complete(
        "stop", None, None, 1, len(text), len(text), hashlib.sha256(text).hexdigest(), 1, 1, True
    )
    return events.draft(found).data


def told(*blocks: bytes) -> reading.Reader:
    reader = reading.Reader(reading.Stream(STREAM))
    for one in blocks:
        reader.take(one)
    return reader


def test_the_account_takes_a_whole_answer() -> None:
    heartbeat = b'event: heartbeat\ndata: {"timestamp":"now"}'
    reader = told(block(1), heartbeat, block(2), block(3, "complete", complete(b"aa")))
    assert (reader.seq, reader.ended) == (3, True)
    again = reading.Reader(reader.stream)
    for one in reader.stream.blocks:
        again.take(one)
    assert again.ended


@pytest.mark.parametrize(
    "blocks",
    [
        (block(2),),
        (block(1), block(1)),
        (block(1), block(3)),
        (block(1), block(2, "complete", complete(b"b"))),
        (block(1), block(2, "complete", complete(b"aa"))),
        (block(1), block(2, "error", b'{"code":"x","message":"y","retryable":false}')),
        (block(1), block(2, "complete", complete(b"a")), block(3)),
        (block(1), b'event: rewind\ndata: {"reason":"unknown_position"}'),
        (block(1).replace(STREAM.encode(), b"x" * 26),),
        (block(1), block(2).replace(b"65537", b"1")),
    ],
)
def test_the_account_sees_what_is_wrong(blocks: tuple[bytes, ...]) -> None:
    with pytest.raises(reading.Wrong):
        told(*blocks)


def test_the_account_sees_two_readers_who_got_different_bytes() -> None:
    reader = told(block(1))
    other = reading.Reader(reader.stream)
    with pytest.raises(reading.Wrong):
        other.take(block(1, data=b'{"type":"content","delta":"b"}'))

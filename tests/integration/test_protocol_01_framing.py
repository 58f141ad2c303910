"""PROTOCOL 1, framing: headers, blocks, line ends.

Strategy: whole answers are taken off the socket and held against a pattern that is written here
by the letter of the section, so that a byte too many shows.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from tests.integration import asking, harness

from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

DURABLE = re.compile(
    rb"event: (start|chunk|metadata|rewind|error|complete)\n"
    rb"data: (\{[^\r\n]*\})\n"
    rb"id: ([0-9A-Za-z]{26}):(\d+)-(\d+)\n"
    rb"\n"
)
TRANSIENT = re.compile(
    rb"event: (heartbeat|reconnect|rewind)\n(?:retry: \d+\n)?data: (\{[^\r\n]*\})\n\n"
)
NASTY = ["one\ntwo", "\r\n\r\n", "\u2028\u2029\x85", "\x00", "\ufeff", "id: 1\n\ndata: x\n\n", "🌊"]
"""Pieces of an answer that a careless writer would break a frame with."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with harness.running(harness.configured()) as running:
        yield running
        await asking.idle(running)


def check_headers(headers: harness.Headers) -> None:
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert headers["vary"] == "Accept-Encoding"


async def test_1_1_every_way_to_read_has_the_headers(server: harness.Running) -> None:
    whole = await asking.finished(server.port)
    stream, end = harness.stream_of(whole), asking.last_id(whole.body)
    path, first = f"/v1/streams/{stream}/events", harness.position(whole.blocks[0])
    answers = [
        whole,
        await harness.ask(server.port, "GET", path),
        await harness.ask(server.port, "GET", path, {"Last-Event-ID": first or ""}),
        await harness.ask(server.port, "POST", "/v1/streams", {"Last-Event-ID": first or ""}),
        await harness.ask(server.port, "POST", "/v1/streams", {"Last-Event-ID": end}),
        await harness.ask(server.port, "HEAD", path),
    ]
    for answer in answers:
        assert answer.status == 200
        check_headers(answer.headers)
        assert answer.headers["x-stream-id"] == stream


async def test_1_1_a_reader_that_is_sent_away_has_the_headers() -> None:
    async with harness.running(harness.configured()) as server:
        whole = await asking.finished(server.port)
        await server.service.drain(0)
        path = f"/v1/streams/{harness.stream_of(whole)}/events"
        check_headers((await harness.ask(server.port, "GET", path)).headers)


@pytest.mark.parametrize(
    "options", ["tokens=40 unicode=1", "reasoning=5 tool=2", "refuse=1", "tokens=3 error_at=2"]
)
async def test_1_2_each_block_is_event_data_id_and_an_empty_line(
    server: harness.Running, options: str
) -> None:
    whole = await asking.finished(server.port, options)
    found = DURABLE.findall(whole.body)
    assert b"".join(match.group() for match in DURABLE.finditer(whole.body)) == whole.body
    assert {stream for _, _, stream, _, _ in found} == {harness.stream_of(whole).encode()}
    assert len({epoch for _, _, _, epoch, _ in found}) == 1
    assert [int(seq) for *_, seq in found] == list(range(1, len(found) + 1))
    for _, data, *_ in found:
        assert isinstance(msgspec.json.decode(data), dict)


async def test_1_2_a_cut_anywhere_commits_no_event_that_has_not_come(
    server: harness.Running,
) -> None:
    """As a client reads that commits an id at its line."""
    whole = await asking.finished(server.port, "tokens=3")
    for cut in range(len(whole.body) + 1):
        lines = whole.body[:cut].split(b"\n")[:-1]
        data = [line for line in lines if line.startswith(b"data: ")]
        ids = [line for line in lines if line.startswith(b"id: ")]
        assert len(ids) <= len(data)
        assert data[: len(ids)] == [block.split(b"\n")[1] for block in whole.blocks[: len(ids)]]


@pytest.mark.case("1.24")
async def test_1_3_a_transient_event_has_no_id(server: harness.Running) -> None:
    whole = await asking.finished(server.port)
    path = f"/v1/streams/{harness.stream_of(whole)}/events"
    rewound = await harness.ask(server.port, "GET", f"{path}?after=1-99")
    transient, *durable = rewound.blocks
    assert TRANSIENT.fullmatch(transient)
    assert durable == whole.blocks


@pytest.mark.case("1.24")
async def test_1_3_heartbeats_and_reconnects_have_no_id() -> None:
    config = harness.configured(server={"heartbeat_interval": "50ms"})
    async with harness.running(config) as server:
        reader = await asking.stalled(server.port)
        await reader.until(lambda reader: reader.body.count(b"event: heartbeat") >= 2)
        await server.service.drain(0)
        answer = await reader.rest()
        transient = [block for block in answer.blocks if harness.position(block) is None]
        assert len(transient) >= 3
        assert transient[-1].startswith(b"event: reconnect\n")
        for block in transient:
            assert TRANSIENT.fullmatch(block)


@pytest.mark.case("4.1")
async def test_1_4_no_text_breaks_a_frame() -> None:
    pieces = [asking.chunk(text) for text in NASTY]
    async with asking.vendor(replay.Answer(body=(*pieces, asking.STOP))) as on:
        reader = await harness.begin(on.server.port, harness.wanted("vendor/m"))
        whole = await reader.rest()
    assert b"".join(match.group() for match in DURABLE.finditer(whole.body)) == whole.body
    assert b"\r" not in whole.body
    assert b"\x00" not in whole.body
    assert not whole.body.startswith(b"\xef\xbb\xbf")
    assert asking.content(whole.body) == "".join(NASTY)


async def test_1_4_every_block_has_data(server: harness.Running) -> None:
    whole = await asking.finished(server.port, "tokens=20 unicode=1")
    assert len(whole.blocks) >= 4  # start, content, finish, complete: ticks may join the rest
    for block, after in itertools.pairwise([*whole.blocks, b"event: "]):
        assert block.count(b"\ndata: ") == 1
        assert after.startswith(b"event: ")

"""PROTOCOL 5, positions: where reading goes on, and which positions are none.

Strategy: every position of a stream is tried, and the rest that comes is compared byte for byte
with what a reader from the start got. That this holds for every recorded answer is the matter of
`test_resume`; here are the rules themselves, and the positions that a log does not hold.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib import parse

import pytest
import pytest_asyncio
from tests.integration import asking, harness, raw_sockets

from holdfast import events, request
from holdfast.http import feed
from holdfast.producing import opening

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAR = 10**15
"""A time in ms that nothing is after."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    # No heartbeat wakes a reader here that was left behind.
    config = harness.configured(server={"heartbeat_interval": "4m", "connection_timeout": "1h"})
    async with harness.running(config) as running:
        yield running
        await asking.idle(running)


def path(of: harness.Reader | harness.Response) -> str:
    return f"/v1/streams/{harness.stream_of(of)}/events"


def id_of(block: bytes) -> str:
    found = harness.position(block)
    assert found is not None
    return found


async def read(
    server: harness.Running, of: harness.Response, after: str | None = None, query: str = ""
) -> harness.Response:
    headers = {} if after is None else {"Last-Event-ID": after}
    return await harness.ask(server.port, "GET", path(of) + query, headers)


# 5.1


async def test_5_1_without_a_position_it_begins_at_the_first_event(
    server: harness.Running,
) -> None:
    whole = await asking.finished(server.port)
    for after, query in ((None, ""), ("", ""), (None, "?after=")):
        assert (await read(server, whole, after, query)).body == whole.body


async def test_5_1_a_position_is_the_id_or_its_part_after_the_colon(
    server: harness.Running,
) -> None:
    whole = await asking.finished(server.port, "tokens=5", flush_interval_ms=0)
    id, rest = id_of(whole.blocks[2]), b"".join(whole.blocks[3:])
    part = id.partition(":")[2]
    for said in (id, part):
        assert (await read(server, whole, said)).body == rest
        assert (await read(server, whole, None, f"?after={said}")).body == rest
        escaped = parse.quote(said, safe="")
        assert (await read(server, whole, None, f"?after={escaped}")).body == rest


async def test_5_1_the_header_wins(server: harness.Running) -> None:
    whole = await asking.finished(server.port, "tokens=5", flush_interval_ms=0)
    id, other = id_of(whole.blocks[2]), id_of(whole.blocks[4]).partition(":")[2]
    for query in (other, "1-99", "nonsense"):
        answer = await read(server, whole, id, f"?after={query}")
        assert answer.body == b"".join(whole.blocks[3:])


# 5.2


async def test_5_2_sequence_number_0_is_the_begin_in_every_epoch(server: harness.Running) -> None:
    whole = await asking.finished(server.port)
    for position in ("0-0", "1-0", f"{2**63 - 1}-0"):
        assert (await read(server, whole, position)).body == whole.body


async def test_5_2_each_event_is_a_position_any_number_of_times(server: harness.Running) -> None:
    whole = await asking.finished(server.port, "tokens=8 unicode=1", flush_interval_ms=0)
    for _ in range(2):
        for index, block in enumerate(whole.blocks[:-1]):
            answer = await read(server, whole, id_of(block))
            assert answer.clean
            assert answer.body == b"".join(whole.blocks[index + 1 :])


async def test_5_2_also_while_the_stream_is_written(server: harness.Running) -> None:
    lead = await asking.stalled(server.port, at=6, pieces=7)
    blocks = lead.blocks
    readers = [
        await harness.resume(server.port, id_of(block), way)
        for block, way in zip(blocks, harness.WAYS * 3, strict=False)
    ]
    for index, reader in enumerate(readers):
        await reader.until(asking.has(len(blocks) - index - 1))
    await harness.ask(server.port, "POST", path(lead).replace("/events", "/cancel"))
    whole = (await lead.rest()).blocks
    for index, reader in enumerate(readers):
        answer = await reader.rest()
        assert answer.clean
        assert answer.blocks == whole[index + 1 :]


async def test_5_2_a_late_reader_gets_all_there_is_at_once(server: harness.Running) -> None:
    """Also behind others, whose pieces of the stream led to its end only when they were read;
    the stream stands still, so that no later event can push the reader on."""
    body = asking.demo("tokens=12 stall_at=11 rate=100", flush_interval_ms=0)
    lead = await harness.begin(server.port, body)
    second = await harness.Reader.open(server.port, "GET", path(lead))
    await lead.until(asking.has(12))
    blocks = lead.blocks
    for index, block in enumerate(blocks[:-1]):
        late = await harness.resume(server.port, id_of(block), "header")
        await late.until(asking.has(len(blocks) - index - 1))
        assert late.blocks == blocks[index + 1 :]
        await late.close()
    await second.close()
    await asking.end(server, lead)


async def test_5_2_many_readers_of_a_long_answer_have_the_same_bytes(
    server: harness.Running,
) -> None:
    """Long enough that not all of it can be kept for those who come later."""
    body = asking.demo("tokens=4000 rate=20000 unicode=1", flush_interval_ms=0)
    readers = [await harness.begin(server.port, body)]
    target = path(readers[0])
    while len(readers) < 10:
        readers.append(await harness.Reader.open(server.port, "GET", target))
    answers = [await reader.rest() for reader in readers]
    assert {answer.clean for answer in answers} == {True}
    assert len({answer.body for answer in answers}) == 1
    assert len(answers[0].body) > 2 * feed.CACHE_BYTES


@pytest.mark.case("2.33")
async def test_5_2_whatever_life_of_the_writer_it_is_from(tmp_path: Path) -> None:
    config = harness.configured(f"sqlite:///{tmp_path}/log.db")
    async with harness.running(config) as server:
        first = await harness.begin(server.port, asking.demo("tokens=9 rate=10"))
        await first.until(lambda reader: len(reader.blocks) > 2)
        target = path(first)
        await first.close()
    ids = [id_of(block) for block in harness.blocks(harness.durable(bytes(first.body)))]
    async with harness.running(config) as server:
        whole = (await harness.ask(server.port, "GET", target)).blocks
        for index, id in enumerate(ids):
            answer = await harness.ask(server.port, "GET", target, {"Last-Event-ID": id})
            assert answer.blocks == whole[index + 1 :]
    lives = [id_of(block).partition(":")[2].partition("-")[0] for block in whole]
    assert len(set(lives)) == 2


# 5.3


def unknown_of(whole: harness.Response) -> list[str]:
    """Well-formed positions that the log does not hold."""
    epoch, _, last = asking.last_id(whole.body).partition(":")[2].partition("-")
    other = str(int(epoch) + 1)
    return [f"{epoch}-{int(last) + 1}", f"{epoch}-{2**63 - 1}", f"{other}-1", f"{other}-{last}"]


@pytest.mark.case("1.25")
async def test_5_3_an_unknown_position_is_rewound(server: harness.Running) -> None:
    whole = await asking.finished(server.port, "tokens=4", flush_interval_ms=0)
    for position in (*unknown_of(whole), "0-1", f"{2**63 - 1}-1"):
        for id in (position, f"{harness.stream_of(whole)}:{position}"):
            answer = await read(server, whole, id)
            rewind, *rest = answer.blocks
            assert rewind == b'event: rewind\ndata: {"reason":"unknown_position"}\n\n'
            assert rest == whole.blocks
            assert answer.clean


@pytest.mark.case("1.25")
async def test_5_3_also_while_the_stream_is_written(server: harness.Running) -> None:
    lead = await asking.stalled(server.port)
    reader = await harness.Reader.open(server.port, "GET", f"{path(lead)}?after=7-7")
    await reader.until(lambda reader: reader.body.endswith(bytes(lead.body)))
    assert asking.kinds(bytes(reader.body))[0] == "rewind"
    await reader.close()
    await asking.end(server, lead)


# 5.4

MALFORMED = [
    *("x", "1", "1-", "-1", "1-1-1", "1--1", "1-x", "1.0-1", " 1-1", "1-1x", "+1-1", "1-+1"),
    *("\u0661-\u0661", f"{2**63}-1", f"1-{2**63}", "9" * 21 + "-1", ":1-1", "a:1-1", "::1-1"),
    *("*", "null", "undefined", "1-1\t2", f"{'a' * 27}:1-1", "x" * 5000),
]


@pytest.mark.case("2.33")
@pytest.mark.case("1.25")
@pytest.mark.parametrize("position", MALFORMED, ids=range(len(MALFORMED)))
async def test_5_4_a_malformed_position_is_400(server: harness.Running, position: str) -> None:
    whole = await asking.finished(server.port, "tokens=1")
    query = f"?after={parse.quote(position, safe='')}"
    answers = [await read(server, whole, None, query)]
    if position.isascii() and position == position.strip():
        answers.append(await read(server, whole, position))
    for answer in answers:
        assert (answer.status, answer.json()["code"]) == (400, "malformed_position")
        assert len(answer.body) < 1000


@pytest.mark.case("1.25")
async def test_5_4_a_position_of_another_stream_is_400(server: harness.Running) -> None:
    whole, other = await asking.finished(server.port), await asking.finished(server.port)
    id = asking.last_id(other.body)
    for after, query in ((id, ""), (None, f"?after={id}")):
        answer = await read(server, whole, after, query)
        assert (answer.status, answer.json()["code"]) == (400, "foreign_position")


# 5.5


@pytest.mark.case("1.25")
async def test_5_5_after_the_last_event_a_get_is_204(server: harness.Running) -> None:
    for options in ("tokens=3", "error_at=1"):
        whole = await asking.finished(server.port, options)
        id = asking.last_id(whole.body)
        for after, query in ((id, ""), (None, f"?after={id}")):
            answer = await read(server, whole, after, query)
            assert (answer.status, answer.body, answer.clean) == (204, b"", True)
            assert "content-length" not in answer.headers
            assert answer.headers["x-stream-id"] == harness.stream_of(whole)


async def test_5_5_a_204_leaves_the_connection_open(server: harness.Running) -> None:
    """As a browser's pool keeps it: the next request goes over the same socket."""
    whole = await asking.finished(server.port)
    head = f"GET {path(whole)} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {asking.last_id(whole.body)}"
    more = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close"
    answer = await raw_sockets.raw(server.port, f"{head}\r\n\r\n{more}\r\n\r\n".encode())
    first, second = answer.split(b"\r\n\r\n", 1)
    assert first.startswith(b"HTTP/1.1 204 ")
    assert second.startswith(b"HTTP/1.1 200 ")


# 5.6


@pytest.mark.parametrize("stream", ["a" * 26, "a" * 32, "a" * 25, "a" * 27, "..", "%00", "ä", "x"])
async def test_5_6_an_unknown_stream_is_404(server: harness.Running, stream: str) -> None:
    target = f"/v1/streams/{parse.quote(stream, safe='%')}"
    for method, place in (("GET", "/events"), ("GET", ""), ("POST", "/cancel")):
        answer = await harness.ask(server.port, method, target + place)
        assert (answer.status, answer.json()["code"]) == (404, "stream_not_found")


@pytest.mark.case("2.33")
@pytest.mark.case("1.25")
@pytest.mark.parametrize("log", ["memory", "sqlite"])
async def test_5_6_an_expired_stream_is_410_for_its_owner(log: str, tmp_path: Path) -> None:
    url = "memory://" if log == "memory" else f"sqlite:///{tmp_path}/log.db"
    async with harness.running(harness.configured(url)) as server:
        whole = await asking.finished(server.port)
        id, stream = asking.last_id(whole.body), harness.stream_of(whole)
        assert await server.service.log.expire(FAR, 500) == 1
        asked = [
            await harness.ask(server.port, "GET", path(whole)),
            await harness.ask(server.port, "GET", path(whole), {"Last-Event-ID": id}),
            await harness.ask(server.port, "POST", "/v1/streams", {"Last-Event-ID": id}),
            await harness.ask(server.port, "GET", f"/v1/streams/{stream}"),
            await harness.ask(server.port, "GET", f"/v1/streams/{stream}?include=events"),
            await harness.ask(server.port, "POST", f"/v1/streams/{stream}/cancel"),
        ]
        assert [answer.status for answer in asked] == [410] * 6
        assert {answer.json()["code"] for answer in asked} == {"stream_expired"}
        assert (await harness.ask(server.port, "GET", "/v1/streams")).json()["streams"] == []


async def test_5_6_for_anybody_else_it_never_was(server: harness.Running) -> None:
    question = request.Message("user", "/demo tokens=1 rate=1000")
    wanted = request.Request(model="demo", messages=[question])
    origin = opening.Origin(owner="somebody else")
    stream = (await server.service.create(wanted, origin)).stream
    async for _ in server.service.events(stream):
        pass
    await server.service.log.expire(FAR, 500)
    expired = await harness.ask(server.port, "GET", f"/v1/streams/{stream}/events")
    never = await harness.ask(server.port, "GET", f"/v1/streams/{events.new_stream_id()}/events")
    assert (expired.status, expired.body) == (never.status, never.body) == (404, never.body)

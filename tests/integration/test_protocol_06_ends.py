"""PROTOCOL 6, ends and refusals: what a clean end means, and how a reader is sent away.

Strategy: every way in which a response can end is brought about, and the last chunk of the body is
looked for. After each the account of slots is even. Who is cut off or goes away is the second half.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import ClassVar

import pytest
from tests.integration import asking, conftest, failing_log, harness, raw_sockets

from holdfast import admission, errors
from holdfast.http.server import protocol
from holdfast.testing import provider as replay

QUIET = {"heartbeat_interval": "4m", "connection_timeout": "1h"}
"""No word that nobody asked for."""


@contextlib.asynccontextmanager
async def serving_away() -> AsyncIterator[tuple[harness.Running, failing_log.FailingLog]]:
    log = failing_log.FailingLog()
    async with harness.running_on(log, harness.configured(server=QUIET), 0.05) as server:
        yield server, log


def path(of: harness.Reader | harness.Response) -> str:
    return f"/v1/streams/{harness.stream_of(of)}/events"


def goodbye(answer: harness.Response) -> tuple[str, bool]:
    """The reason in the last block, and whether the end was clean."""
    block = answer.blocks[-1]
    assert block.startswith(b"event: reconnect\nretry: ")
    return block.split(b'"reason":"')[1].split(b'"')[0].decode(), answer.clean


async def knock(server: harness.Running, of: harness.Response) -> list[harness.Response]:
    """The three ways to read a stream that is there."""
    id, target = harness.position(of.blocks[0]) or "", path(of)
    return [
        await harness.ask(server.port, "GET", target),
        await harness.ask(server.port, "GET", target, {"Last-Event-ID": id}),
        await harness.ask(server.port, "POST", "/v1/streams", {"Last-Event-ID": id}, b"x"),
    ]


async def create(server: harness.Running) -> harness.Response:
    body = asking.demo("tokens=1")
    return await harness.ask(server.port, "POST", "/v1/streams", asking.SSE, body)


def check_refused(answer: harness.Response, code: str) -> None:
    assert (answer.status, answer.json()["code"]) == (503, code)
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.clean


# 6.1


@pytest.mark.parametrize("options", ["tokens=3", "error_at=1", "status=500", "refuse=1"])
async def test_6_1_the_end_after_the_terminal_event_is_clean(options: str) -> None:
    async with harness.running(harness.configured()) as server:
        whole = await asking.finished(server.port, options)
        assert whole.clean
        assert asking.kinds(whole.body)[-1] in ("error", "complete")
        assert (await harness.ask(server.port, "GET", path(whole))).clean
        await asking.idle(server)


@pytest.mark.parametrize("at", [0, 2], ids=["before the first chunk", "in the middle"])
async def test_6_1_a_server_that_stops_ends_uncleanly(at: int) -> None:
    async with harness.running(harness.configured(server=QUIET)) as server:
        readers = [await asking.stalled(server.port, at) for _ in range(3)]
    for reader in readers:
        assert goodbye(await reader.rest()) == ("draining", False)
    assert len(server.service.connections) == 0
    assert server.service.supervisor.names == []


@pytest.mark.parametrize("failure", [errors.LogUnavailable(), errors.StreamNotFound()])
async def test_6_1_a_log_that_cannot_be_read_on_ends_uncleanly(
    failure: errors.HoldfastError,
) -> None:
    async with serving_away() as (server, log):
        readers = [await asking.stalled(server.port) for _ in range(2)]
        log.reading = failure
        for connection in server.service.connections.all():
            connection.wake()
        for reader in readers:
            assert goodbye(await reader.rest()) == (failure.code, False)
        log.reading = None
        await asking.end(server, *readers)


async def test_6_1_a_log_that_takes_no_tick_sends_readers_away(logged: conftest.Logged) -> None:
    async with serving_away() as (server, log):
        still = await asking.stalled(server.port)
        flowing = await harness.begin(server.port, asking.demo("tokens=100000 rate=100"))
        await flowing.until(asking.has(3))
        log.writing = errors.LogUnavailable()
        for reader in (still, flowing):
            assert goodbye(await reader.rest()) == ("log_unavailable", False)
        log.writing = None
        await asking.end(server, still, flowing)
    asking.expected(logged, "log_failing")


async def test_6_1_a_log_that_takes_no_tick_for_a_moment_sends_nobody_away(
    logged: conftest.Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "BLINK_SECONDS", 3600.0)
    log, config = failing_log.FailingLog(), harness.configured(server={"heartbeat_interval": 0.2})
    async with harness.running_on(log, config, 0.05) as server:
        reader = await harness.begin(server.port, asking.demo("tokens=100000 rate=100"))
        await reader.until(asking.has(3))
        log.writing = errors.LogUnavailable()
        await asking.until(lambda: server.service.log_failing)
        had = len(reader.body)
        # It is looked at before each heartbeat.
        await reader.until(lambda seen: seen.body.count(b"event: heartbeat", had) == 2)
        late = await harness.Reader.open(server.port, "GET", path(reader))
        await late.until(asking.has(3))
        await late.close()
        assert (await harness.ask(server.port, "GET", "/readyz")).status == 200
        log.writing = None
        had = asking.kinds(bytes(reader.body)).count("chunk")
        await reader.until(asking.has(had + 5))
        await asking.end(server, reader)
    asking.expected(logged, "log_failing", "log_recovered")


# 6.2


async def test_6_2_over_the_limit_a_reader_is_sent_away_and_takes_no_slot() -> None:
    config = harness.configured(server={**QUIET, "max_connections": 2})
    async with harness.running(config) as server:
        whole = await asking.finished(server.port, "tokens=3", flush_interval_ms=0)
        await asking.idle(server)
        held = [await asking.stalled(server.port) for _ in range(2)]
        for answer in await knock(server, whole):
            assert asking.sent_away(answer).data["reason"] == "too_many_connections"
            assert len(server.service.connections) == 2
        listed = await harness.ask(server.port, "GET", "/v1/connections")
        assert len(listed.json()["connections"]) == 3  # with the one that finished
        for reader in held:
            await reader.close()
        await asking.until(lambda: len(server.service.connections) == 0)
        for answer in await knock(server, whole):
            assert answer.clean
        await asking.end(server, *held)


async def test_6_2_over_the_limit_a_post_that_would_create_is_503() -> None:
    config = harness.configured(server={**QUIET, "max_connections": 2})
    async with harness.running(config) as server:
        held = await asking.stalled(server.port)
        second = await harness.Reader.open(server.port, "GET", path(held))
        check_refused(await create(server), "too_many_connections")
        listed = await harness.ask(server.port, "GET", "/v1/streams")
        assert len(listed.json()["streams"]) == 1
        made = await harness.ask(server.port, "POST", "/v1/streams", None, asking.STALLED)
        assert made.status == 201  # who does not read takes no connection
        more = await harness.ask(server.port, "POST", "/v1/streams", None, asking.STALLED)
        check_refused(more, "overloaded")  # as many are written as may be read
        await second.close()
        await harness.ask(server.port, "POST", f"{made.json()['url']}/cancel")
        await asking.end(server, held)


async def test_6_2_low_priority_is_refused_first_and_high_last() -> None:
    """At 75 %, 90 % and all of what the server holds."""
    config = harness.configured(server={**QUIET, "max_connections": 20})
    async with harness.running(config) as server:

        async def ask(priority: str) -> int:
            body = asking.demo("tokens=3 stall_at=2", metadata={"priority": priority})
            return (await harness.ask(server.port, "POST", "/v1/streams", None, body)).status

        for priority, taken in (("low", 15), ("normal", 3), ("high", 2)):
            statuses = [await ask(priority) for _ in range(taken + 1)]
            assert statuses == [*[201] * taken, 503]
        listed = await harness.ask(server.port, "GET", "/v1/streams")
        for stream in listed.json()["streams"]:
            await harness.ask(server.port, "POST", f"/v1/streams/{stream['id']}/cancel")
        await asking.idle(server)


async def test_6_2_a_race_for_the_last_slot_is_lost_with_the_stream_s_name() -> None:
    """All find a slot free, one takes it; the streams of the others are written all the same."""
    config = harness.configured(server={**QUIET, "max_connections": 6})
    async with harness.running(config) as server:
        held = await asking.stalled(server.port)
        readers = [await harness.Reader.open(server.port, "GET", path(held)) for _ in range(4)]
        posts = (harness.begin(server.port, asking.STALLED) for _ in range(5))
        readers += (posted := await asyncio.gather(*posts))
        made = [reader for reader in posted if reader.status == 200]
        for reader in made:
            await reader.until(asking.has(1))
        lost = [reader for reader in made if b"event: reconnect" in reader.body]
        assert len(made) == len(lost) + 1
        for reader in lost:
            assert goodbye(await reader.rest()) == ("too_many_connections", False)
            target = path(reader).removesuffix("/events")
            assert (await harness.ask(server.port, "GET", target)).status == 200
        for reader in readers:
            await reader.close()
        await asking.end(server, held, *made)


async def test_6_2_while_the_server_drains() -> None:
    async with harness.running(harness.configured(server=QUIET)) as server:
        whole = await asking.finished(server.port, "tokens=3", flush_interval_ms=0)
        await asking.idle(server)
        await server.service.drain(0)
        for answer in await knock(server, whole):
            assert asking.sent_away(answer).data["reason"] == "draining"
            assert len(server.service.connections) == 0
        check_refused(await create(server), "draining")
        last = {"Last-Event-ID": asking.last_id(whole.body)}
        assert (await harness.ask(server.port, "GET", path(whole), last)).status == 204


async def test_6_2_while_the_log_cannot_be_read() -> None:
    async with serving_away() as (server, log):
        whole = await asking.finished(server.port, "tokens=3", flush_interval_ms=0)
        await asking.idle(server)
        log.reading = errors.LogUnavailable()
        for answer in await knock(server, whole):
            assert asking.sent_away(answer).data["reason"] == "log_unavailable"
            assert len(server.service.connections) == 0
        shown = await harness.ask(server.port, "GET", path(whole).removesuffix("/events"))
        check_refused(shown, "log_unavailable")
        log.reading = None
        for answer in await knock(server, whole):
            assert answer.clean


async def test_6_2_while_the_log_cannot_be_written(logged: conftest.Logged) -> None:
    async with serving_away() as (server, log):
        whole = await asking.finished(server.port, "tokens=3", flush_interval_ms=0)
        held = await asking.stalled(server.port)
        log.writing = errors.LogUnavailable()
        check_refused(await create(server), "log_unavailable")
        await harness.ask(server.port, "POST", path(held).replace("/events", "/cancel"))
        assert goodbye(await held.rest())[0] == "log_unavailable"
        for answer in await knock(server, whole):
            assert asking.sent_away(answer).data["reason"] == "log_unavailable"
        log.writing = None
        await asking.idle(server)
        for answer in await knock(server, whole):
            assert answer.clean
    asking.expected(logged, "log_failing")


async def test_6_2_each_reader_is_given_another_delay() -> None:
    async with harness.running(harness.configured(server=QUIET)) as server:
        lead = await asking.stalled(server.port)
        readers = [lead]
        readers += [await harness.Reader.open(server.port, "GET", path(lead)) for _ in range(19)]
        for reader in readers:
            await reader.until(asking.has(3))
        await server.service.drain(0)
        answers = [await reader.rest() for reader in readers]
        answers += [await harness.ask(server.port, "GET", path(lead)) for _ in range(20)]
    delays = [asking.retry(answer.blocks[-1]) for answer in answers]
    for answer, delay in zip(answers, delays, strict=True):
        assert b'"retry_ms":%d,' % delay in answer.blocks[-1]
        assert not answer.clean
    assert len(set(delays)) > 20
    assert 500 <= min(delays) < max(delays) <= 5000


# 6.3

BEAT = re.compile(
    rb'event: heartbeat\ndata: \{"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"\}\n\n'
)


def beats(reader: harness.Reader | harness.Response) -> int:
    return len(BEAT.findall(bytes(reader.body)))


async def test_6_3_a_silent_connection_gets_heartbeats_between_events() -> None:
    held, gate = asyncio.Event(), asyncio.Event()
    body = (held, asking.chunk("one"), gate, asking.chunk(" two"), asking.STOP)
    beating = {"heartbeat_interval": "50ms"}
    async with asking.vendor(replay.Answer(body=body), server=beating) as on:
        reader = await harness.begin(on.server.port, harness.wanted("vendor/m"))
        await reader.until(lambda reader: beats(reader) >= 3)
        held.set()
        await reader.until(lambda reader: b"one" in reader.body)
        before = beats(reader)
        await reader.until(lambda reader: beats(reader) >= before + 3)
        gate.set()
        whole = await reader.rest()
        plain = await harness.ask(on.server.port, "GET", path(whole))
    assert BEAT.sub(b"", whole.body) == plain.body
    assert whole.clean
    assert asking.content(plain.body) == "one two"


async def test_6_3_accepted_heartbeats_keep_a_connection() -> None:
    beating = {"heartbeat_interval": "50ms", "connection_timeout": "200ms"}
    async with harness.running(harness.configured(server=beating)) as server:
        reader = await asking.stalled(server.port)
        await reader.until(lambda reader: beats(reader) >= 12)
        await asking.end(server, reader)


class Seen(protocol.Protocol):
    """Every connection that is made."""

    made: ClassVar[list[Seen]] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.made.append(self)


async def test_6_3_a_connection_that_takes_no_byte_is_cut_and_can_be_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "Protocol", Seen)
    impatient = {"heartbeat_interval": "100ms", "connection_timeout": "500ms"}
    pieces = [asking.chunk(f"{n} " * 20_000) for n in range(100, 190)]
    answer = replay.Answer(body=(*pieces, asking.STOP))
    async with asking.vendor(answer, server=impatient) as on:
        server = on.server
        whole = await (await harness.begin(server.port, harness.wanted("vendor/m"))).rest()
        request = f"GET {path(whole)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        sock = raw_sockets.deaf(server.port, request)
        await asking.until(lambda: len(server.service.connections) == 1)
        (connection, *_) = server.service.connections.all()
        transport, held = Seen.made[-1].transport, 0
        async with asyncio.timeout(harness.PATIENCE):
            while len(server.service.connections):
                held = max(held, transport.get_write_buffer_size())
                await asyncio.sleep(0)
        assert connection.status == "disconnected"
        assert 0 < held < 1024 * 1024 < len(whole.body)
        got = await raw_sockets.drained(sock)
        assert not got.endswith(b"0\r\n\r\n")
        ids = re.findall(rb"\nid: (\S+)\n", got)
        assert 0 < len(ids) < len(whole.blocks)
        rest = await harness.ask(
            server.port, "GET", path(whole), {"Last-Event-ID": ids[-1].decode()}
        )
        assert rest.blocks == whole.blocks[len(ids) :]


async def test_6_3_who_does_not_read_is_cut_at_the_server_s_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The goodbye does not fit into the socket, and nobody waits for it."""
    pieces = [asking.chunk(f"{n} " * 20_000) for n in range(100, 190)]
    answer = replay.Answer(body=(*pieces, asking.STOP))
    async with asking.vendor(answer, server=QUIET) as on:
        whole = await (await harness.begin(on.server.port, harness.wanted("vendor/m"))).rest()
        request = f"GET {path(whole)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        sock = raw_sockets.deaf(on.server.port, request)
        await asking.until(lambda: any(one.unsent() for one in on.server.service.connections.all()))
    assert len(on.server.service.connections) == 0
    assert not (await raw_sockets.drained(sock)).endswith(b"0\r\n\r\n")
    assert [record.getMessage() for record in caplog.records] == []


# 6.4


@pytest.mark.case("2.13")
@pytest.mark.parametrize("reset", [False, True])
async def test_6_4_a_disconnect_never_cancels(reset: bool) -> None:
    gate = asyncio.Event()
    body = (asking.chunk("one"), gate, asking.chunk(" two"), asking.STOP)
    async with asking.vendor(replay.Answer(body=body)) as on:
        server, asked = on.server, harness.wanted("vendor/m")
        if reset:
            await raw_sockets.reset(server.port, raw_sockets.posting(asked), b'"one"')
        else:
            reader = await harness.begin(server.port, asked)
            await reader.until(lambda reader: b"one" in reader.body)
            await reader.close()
        await asking.until(lambda: len(server.service.connections) == 0)
        gate.set()
        await asking.idle(server)
        (entry,) = (await harness.ask(server.port, "GET", "/v1/streams")).json()["streams"]
        shown = (await harness.ask(server.port, "GET", f"/v1/streams/{entry['id']}")).json()
        assert (shown["status"], shown["content"]) == ("completed", "one two")


GONE = {
    "right after the connection": (b"", b""),
    "in the middle of a head": (b"GET /v1/streams/STREAM/events HTTP/1.1\r\nHo", b""),
    "in the middle of a body": (raw_sockets.posting(asking.demo("tokens=1"))[:-9], b""),
    "before the first byte": (b"GET /v1/streams/STREAM/events HTTP/1.1\r\n\r\n", b""),
    "before the first byte of a new one": (raw_sockets.posting(asking.demo("tokens=1")), b""),
    "after the head": (b"GET /v1/streams/STREAM/events HTTP/1.1\r\n\r\n", b"\r\n\r\n"),
    "after the first event": (b"GET /v1/streams/STREAM/events HTTP/1.1\r\n\r\n", b"\nid: "),
    "in the middle of a new one": (
        raw_sockets.posting(asking.demo("tokens=100 rate=1000")),
        b"\nid: ",
    ),
}


@pytest.mark.parametrize(("sent", "seen"), GONE.values(), ids=GONE)
async def test_6_4_no_slot_is_left_of_200_readers_that_were_reset(
    sent: bytes, seen: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with harness.running(harness.configured(server=QUIET)) as server:
        lead = await asking.stalled(server.port)
        request = sent.replace(b"STREAM", harness.stream_of(lead).encode())
        for _ in range(10):
            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(raw_sockets.reset(server.port, request, seen))
        await asking.until(lambda: len(server.service.connections) == 1)
        await asking.end(server, lead)
        statuses = {connection.status for connection in server.service.connections.all()}
        assert statuses <= {"disconnected", "completed"}
    assert [record.getMessage() for record in caplog.records] == []

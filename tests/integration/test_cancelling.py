"""A cancel in every state of a stream: one end, and the provider is let go.

Strategy: the provider is a server of our own that says nothing more until the other side closes
(`ending="stall"`), so that its record ends only when our connection to it does; nothing that it
says later can be the cause. A cancel never comes over the reader's connection. What the answer to
a cancel must be is PROTOCOL 7, tested in test_protocol_07_cancelling.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.integration import asking, conftest, harness, raw_provider

from holdfast import errors, events
from holdfast.eventlog import base, memory
from holdfast.testing import provider as replay

ASKED = harness.wanted("vendor/m", flush_interval_ms=0)
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
HANGING = replay.Answer(body=(asking.chunk("one"),), ending="stall")


async def rest(reader: harness.Reader) -> harness.Response:
    """To its end; heartbeats do not prolong the wait."""
    async with asyncio.timeout(harness.PATIENCE):
        return await reader.rest()


async def cancel(server: harness.Running, stream: str) -> harness.Response:
    return await harness.ask(server.port, "POST", f"/v1/streams/{stream}/cancel")


async def created(server: harness.Running) -> str:
    """A stream that nobody reads."""
    made = await harness.ask(server.port, "POST", "/v1/streams", None, ASKED)
    assert made.status == 201
    return str(made.json()["id"])


async def cancelled(server: harness.Running, stream: str) -> harness.Response:
    """All that the stream holds; its one end is the cancel, and stays it when asked again."""
    whole = await rest(
        await harness.Reader.open(server.port, "GET", f"/v1/streams/{stream}/events")
    )
    assert whole.clean
    kinds = asking.kinds(whole.body)
    assert [kind for kind in kinds if kind in ("complete", "error")] == kinds[-1:]
    assert harness.said(whole.body)[-1].data["code"] == "cancelled"
    again = await cancel(server, stream)
    assert (again.status, again.json()["status"]) == (200, "cancelled")
    await asking.idle(server)
    return whole


async def closed(gone: asyncio.Event) -> None:
    async with asyncio.timeout(harness.PATIENCE):
        await gone.wait()


# Before the provider has answered


@contextlib.asynccontextmanager
async def mute() -> AsyncIterator[socket.socket]:
    """A listening socket whose connections are made by the kernel, and served by nobody."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.mark.case("1.26")
async def test_during_the_connect() -> None:
    """TLS is part of it, and the other side says nothing to our greeting."""
    loop = asyncio.get_running_loop()
    async with mute() as listening:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/v1"
        row = {"kind": "openai", "base_url": url, "api_key": asking.KEY}
        late = {"connect": "300s", "first_byte": "300s"}  # so that no deadline does it
        config = harness.configured(providers={"vendor": row}, deadlines=late)
        async with harness.running(config) as server:
            reader = await harness.begin(server.port, ASKED)
            async with asyncio.timeout(harness.PATIENCE):
                sock, _ = await loop.sock_accept(listening)
            with sock:
                assert await loop.sock_recv(sock, 1) == b"\x16"  # a greeting
                await cancel(server, harness.stream_of(reader))
                whole = await rest(reader)
                assert whole.clean
                await cancelled(server, harness.stream_of(reader))
                async with asyncio.timeout(harness.PATIENCE):
                    with contextlib.suppress(ConnectionResetError):
                        while await loop.sock_recv(sock, harness.READ):
                            pass


@pytest.mark.case("1.26")
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-"], ids=["nothing", "half"])
async def test_while_the_head_is_awaited(sent: bytes) -> None:
    async with raw_provider.vendor(lambda: [sent]) as on:
        reader = await harness.begin(on.server.port, ASKED)
        await asking.until(lambda: len(on.provider.accounts) == 1)
        await cancel(on.server, harness.stream_of(reader))
        assert (await rest(reader)).clean
        await cancelled(on.server, harness.stream_of(reader))
        await closed(on.provider.accounts[0].gone)
        assert on.provider.accounts[0].closed_by_us


@pytest.mark.case("1.26")
async def test_at_any_moment_of_the_beginning() -> None:
    """The cancel comes any number of turns of the loop after the stream was made."""
    async with asking.vendor(HANGING) as on:
        for turns in range(60):
            stream = await created(on.server)
            for _ in range(turns):
                await asyncio.sleep(0)
            await on.server.service.cancel(events.stream_id(stream))
            await cancelled(on.server, stream)
        for record in on.provider.records:
            await closed(record.ended)
            assert record.gone


# During the answer


@pytest.mark.case("1.26")
async def test_in_mid_answer_with_many_readers() -> None:
    """All of them get the same end, and so does one that comes after it."""
    async with asking.vendor(HANGING) as on:
        lead = await harness.begin(on.server.port, ASKED)
        stream = harness.stream_of(lead)
        target = f"/v1/streams/{stream}/events"
        readers = [lead]
        readers += [await harness.Reader.open(on.server.port, "GET", target) for _ in range(30)]
        for reader in readers:
            await reader.until(asking.has(2))
        await cancel(on.server, stream)
        whole = await cancelled(on.server, stream)
        for reader in readers:
            told = await rest(reader)
            assert told.clean
            assert harness.durable(told.body) == whole.body
        assert asking.content(whole.body) == "one"
        (record,) = on.provider.records
        await closed(record.ended)
        assert (record.gone, record.written_after_gone) == (True, 0)


@pytest.mark.case("1.26")
@pytest.mark.case("2.11")
async def test_a_provider_that_never_stops_talking_is_cut_off() -> None:
    """It writes on as fast as it can; what it writes after our end is a few pieces."""
    piece, pieces = asking.chunk("word "), 200_000
    answer = replay.Answer(body=(piece,) * pieces)
    async with asking.vendor(answer) as on:
        reader = await harness.begin(on.server.port, ASKED)
        await reader.until(asking.has(5))
        await cancel(on.server, harness.stream_of(reader))
        whole = await rest(reader)
        assert whole.clean
        await cancelled(on.server, harness.stream_of(reader))
        (record,) = on.provider.records
        await closed(record.ended)
        assert record.gone
        assert record.written < pieces * len(piece)
        assert record.written_after_gone <= 50 * len(piece)


@pytest.mark.case("1.26")
async def test_after_the_finish_reason_and_before_the_end_marker() -> None:
    answer = replay.Answer(body=(asking.chunk("one"), FINISH), ending="stall")
    async with asking.vendor(answer) as on:
        reader = await harness.begin(on.server.port, ASKED)
        await reader.until(lambda reader: b'"finish"' in reader.body)
        await cancel(on.server, harness.stream_of(reader))
        assert (await rest(reader)).clean
        await cancelled(on.server, harness.stream_of(reader))
        await closed(on.provider.records[0].ended)
        assert on.provider.records[0].gone


@pytest.mark.case("1.26")
async def test_after_the_last_event_it_changes_nothing() -> None:
    answer = replay.Answer(body=(asking.chunk("one"), asking.STOP))
    async with asking.vendor(answer) as on:
        whole = await rest(await harness.begin(on.server.port, ASKED))
        stream = harness.stream_of(whole)
        for _ in range(3):
            again = await cancel(on.server, stream)
            assert (again.status, again.json()["status"]) == (200, "completed")
        target = f"/v1/streams/{stream}/events"
        assert (await harness.ask(on.server.port, "GET", target)).body == whole.body


@pytest.mark.case("1.26")
@pytest.mark.parametrize("read", [False, True], ids=["before the first reader", "when it left"])
async def test_with_nobody_there(read: bool) -> None:
    async with asking.vendor(HANGING) as on:
        stream = await created(on.server)
        if read:
            target = f"/v1/streams/{stream}/events"
            reader = await harness.Reader.open(on.server.port, "GET", target)
            await (await reader.until(asking.has(2))).close()
            await asking.until(lambda: len(on.server.service.connections) == 0)
        else:
            await asking.until(lambda: len(on.provider.records) == 1)
        await cancel(on.server, stream)
        await closed(on.provider.records[0].ended)
        assert on.provider.records[0].gone
        await cancelled(on.server, stream)


# While the log fails


class Failing(memory.MemoryLog):
    """Takes no tick while it is `away`, and with `all` no cancel either."""

    away = all = False

    async def append(self, tick: base.Tick) -> list[base.Result]:
        if self.away:
            raise errors.LogUnavailable
        return await super().append(tick)

    async def request_cancel(self, stream: events.StreamId) -> bool:
        if self.away and self.all:
            raise errors.LogUnavailable
        return await super().request_cancel(stream)


@pytest.mark.case("1.26")
async def test_while_the_log_takes_nothing(logged: conftest.Logged) -> None:
    """The provider is let go at once; the end is written when the log returns."""
    log = Failing()
    async with replay.ReplayServer([HANGING]) as provider:
        row = {"kind": "openai", "base_url": f"{provider.url}/v1", "api_key": asking.KEY}
        config = harness.configured(providers={"vendor": row})
        async with harness.running_on(log, config, 0.05) as server:
            reader = await harness.begin(server.port, ASKED)
            await reader.until(asking.has(2))
            stream = harness.stream_of(reader)
            await reader.close()
            log.away = True
            answer = await cancel(server, stream)
            assert answer.status == 202
            await closed(provider.records[0].ended)
            assert provider.records[0].gone
            assert (await cancel(server, stream)).status == 202  # still not there
            log.away = False
            await asking.until(lambda: not server.service.log_failing)
            await asking.idle(server)
            await cancelled(server, stream)
    asking.expected(logged, "log_failing")


@pytest.mark.case("1.26")
async def test_a_log_that_cannot_take_the_wish_says_so(logged: conftest.Logged) -> None:
    """503, so that the caller asks again; nothing is cancelled in secret."""
    log = Failing()
    async with replay.ReplayServer([HANGING]) as provider:
        row = {"kind": "openai", "base_url": f"{provider.url}/v1", "api_key": asking.KEY}
        config = harness.configured(providers={"vendor": row})
        async with harness.running_on(log, config, 0.05) as server:
            stream = await created(server)
            log.away = log.all = True
            refused = await cancel(server, stream)
            assert (refused.status, refused.json()["code"]) == (503, "log_unavailable")
            assert int(refused.headers["retry-after"]) > 0
            assert not provider.records or not provider.records[0].ended.is_set()
            log.away = False
            await asking.until(lambda: not server.service.log_failing)
            await cancel(server, stream)
            await cancelled(server, stream)
            await closed(provider.records[0].ended)
    logged.clear()


# Many


def called(records: list[replay.Record], times: int) -> bool:
    return len(records) == times


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.case("2.17")
async def test_two_hundred_cancelled_streams_burn_no_connection() -> None:
    """Each call has a connection of its own, and all are given back: the next one is served."""
    good = replay.Answer(body=(asking.chunk("one"), asking.STOP))
    async with asking.vendor(*[HANGING] * 201, good) as on:
        records = on.provider.records
        first = await created(on.server)  # what is made once is there
        await asking.until(lambda: len(records) == 1)
        before = descriptors()
        for number in range(10):
            streams = await asyncio.gather(*(created(on.server) for _ in range(20)))
            await asking.until(functools.partial(called, records, 1 + 20 * (number + 1)))
            await asyncio.gather(*(cancel(on.server, stream) for stream in streams))
        for record in records[1:]:
            await closed(record.ended)
            assert (record.gone, record.written_after_gone) == (True, 0)
        await asking.until(lambda: descriptors() <= before)
        whole = await rest(await harness.begin(on.server.port, ASKED))
        assert asking.kinds(whole.body)[-1] == "complete"
        await cancel(on.server, first)
        await asking.idle(on.server)


@pytest.mark.case("2.14")
async def test_what_a_cancelled_answer_has_cost_is_told() -> None:
    usage = {"input_tokens": 700, "output_tokens": 1}
    said: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "content": [], "usage": usage}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
    ]
    body = b"".join(
        b"event: %b\ndata: %b\n\n" % (each["type"].encode(), msgspec.json.encode(each))
        for each in said
    )
    async with replay.ReplayServer([replay.Answer(body=(body,), ending="stall")]) as provider:
        row = {"kind": "anthropic", "base_url": f"{provider.url}/v1", "api_key": "k"}
        async with harness.running(harness.configured(providers={"far": row})) as server:
            reader = await harness.begin(server.port, harness.wanted("far/m"))
            await reader.until(lambda reader: b'"a"' in reader.body)
            stream = harness.stream_of(reader)
            await cancel(server, stream)
            assert (await rest(reader)).clean
            shown = await harness.ask(server.port, "GET", f"/v1/streams/{stream}")
            assert shown.json()["usage"]["input_tokens"] == 700

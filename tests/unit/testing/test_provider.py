"""The replay server: what it plays is what arrives, and what was asked is noted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from holdfast import errors, transport
from holdfast.testing import listening, provider

SLICES = (b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n")


class Sink:
    """What came of one exchange; `ended` when it is over, `some` when a body has come."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.bodies: list[bytes] = []
        self.error: errors.TransportError | None = None
        self.some, self.ended = asyncio.Event(), asyncio.Event()

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers

    def body(self, data: bytes) -> None:
        self.bodies.append(data)
        self.some.set()

    def end(self, error: errors.TransportError | None) -> None:
        self.error = error
        self.ended.set()


def call(server: provider.ReplayServer, body: bytes = b"{}") -> transport.Request:
    return transport.Request("POST", f"{server.url}/v1/x?y=1", (("X-Key", "k"),), body)


async def ask(server: provider.ReplayServer, body: bytes = b"{}") -> Sink:
    sink, client = Sink(), transport.Transport()
    await client.open(call(server, body), sink)
    await sink.ended.wait()
    await client.close()
    return sink


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_a_clean_answer_in_each_framing(framing: str) -> None:
    answer = provider.Answer(body=SLICES, framing=framing)  # type: ignore[arg-type]
    async with provider.ReplayServer([answer]) as server:
        sink = await ask(server)
        assert b"".join(sink.bodies) == b"".join(SLICES)
        assert sink.status == 200
        assert sink.headers["content-type"] == "text/event-stream"
        # A close that no length announces cannot be told from a broken connection.
        assert isinstance(sink.error, errors.Truncated) == (framing == "close")
        (record,) = server.records
        await record.ended.wait()
        assert (record.written, record.written_after_gone) == (len(b"".join(SLICES)), 0)


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("ending", ["fin", "rst"])
async def test_an_end_before_the_end_is_seen(framing: str, ending: str) -> None:
    answer = provider.Answer(body=SLICES, framing=framing, ending=ending)  # type: ignore[arg-type]
    async with provider.ReplayServer([answer]) as server:
        sink = await ask(server)
        assert isinstance(sink.error, errors.Truncated)
        assert ("reset" in str(sink.error)) == (ending == "rst")
        if ending == "fin":
            assert b"".join(sink.bodies) == b"".join(SLICES)


async def test_each_slice_is_a_read_of_its_own() -> None:
    async with provider.ReplayServer([provider.Answer(body=SLICES)]) as server:
        assert tuple((await ask(server)).bodies) == SLICES


async def test_an_event_between_slices_is_waited_for() -> None:
    gate = asyncio.Event()
    answer = provider.Answer(body=(b"a", gate, b"b"))
    async with provider.ReplayServer([answer]) as server:
        sink, client = Sink(), transport.Transport()
        await client.open(call(server), sink)
        await sink.some.wait()
        assert sink.bodies == [b"a"]
        gate.set()
        await sink.ended.wait()
        assert sink.bodies == [b"a", b"b"]


async def test_a_stalled_answer_waits_until_the_client_goes() -> None:
    answer = provider.Answer(body=(b"a",), ending="stall")
    async with provider.ReplayServer([answer]) as server:
        sink, client = Sink(), transport.Transport()
        exchange = await client.open(call(server), sink)
        await sink.some.wait()
        (record,) = server.records
        assert not record.ended.is_set()
        exchange.abort()
        await record.ended.wait()
        assert record.gone


async def test_bytes_for_nobody_are_counted() -> None:
    gate = asyncio.Event()
    answer = provider.Answer(body=(b"first", gate, b"for nobody", b"x"))
    async with provider.ReplayServer([answer]) as server:
        sink, client = Sink(), transport.Transport()
        exchange = await client.open(call(server), sink)
        await sink.some.wait()
        exchange.abort()
        await client.close()
        (record,) = server.records
        gate.set()
        await record.ended.wait()
        assert record.gone
        assert record.written == len(b"first") + record.written_after_gone


async def test_bytes_for_one_who_only_stopped_sending_are_counted_too() -> None:
    gate = asyncio.Event()
    answer = provider.Answer(body=(b"first", gate, b"more"), framing="close")
    async with provider.ReplayServer([answer]) as server:
        port = int(server.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"first")
        writer.write_eof()
        gate.set()
        assert await reader.read() == b"more"
        (record,) = server.records
        await record.ended.wait()
        assert (record.written, record.written_after_gone) == (9, 4)
        writer.close()


async def test_requests_are_noted() -> None:
    async with provider.ReplayServer([provider.Answer()]) as server:
        await ask(server, b'{"model": "m"}')
        (asked,) = server.requests
        assert (asked.method, asked.target) == ("POST", "/v1/x?y=1")
        assert asked.headers["x-key"] == "k"
        assert asked.json() == {"model": "m"}


async def test_answers_are_played_in_turn_and_the_last_one_stays() -> None:
    answers = [provider.Answer(status=status, framing="length") for status in (429, 503)]
    async with provider.ReplayServer(answers) as server:
        assert [(await ask(server)).status for _ in range(3)] == [429, 503, 503]


async def test_a_function_may_choose_the_answer() -> None:
    async with provider.ReplayServer(
        lambda asked: provider.Answer(body=(asked.body,), headers=())
    ) as server:
        assert (await ask(server, b"echo")).bodies == [b"echo"]


async def test_without_an_answer_there_is_no_server() -> None:
    with pytest.raises(ValueError, match="answer"):
        provider.ReplayServer([])


async def test_closing_ends_what_is_open() -> None:
    sink, client = Sink(), transport.Transport()
    answer = provider.Answer(body=(b"a",), ending="stall")
    async with provider.ReplayServer([answer]) as server:
        await client.open(call(server), sink)
        await sink.some.wait()
    await sink.ended.wait()
    assert isinstance(sink.error, errors.Truncated)
    assert server.records[0].ended.is_set()
    await server.close()
    with pytest.raises(errors.Unreachable):
        await ask(server)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab",
        b"GET / HTTP/1.1\r\nX: " + b"x" * listening.MAX_HEAD + b"\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_closed_without_an_answer(sent: bytes) -> None:
    async with provider.ReplayServer([provider.Answer()]) as server:
        port = int(server.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        writer.write_eof()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        assert server.requests == []
        writer.close()


async def test_a_request_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "MAX_BODY", 10)
    async with provider.ReplayServer([provider.Answer()]) as server:
        assert (await ask(server, b"x" * 10)).status == 200
        assert (await ask(server, b"x" * 11)).status == 413

"""PROTOCOL 15, compression: what a reader accepts, and that it has each event when it is there.

Strategy: every reader is read off the wire and expanded a byte at a time, by a decoder that is
never told of an end. What it makes of the bytes is compared with what a reader without any coding
gets, and the provider is held at each piece until all have the one before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from tests.integration import asking, conftest, expanding, failing_log, harness

from holdfast import errors
from holdfast.http import coding
from holdfast.testing import provider as replay

CODINGS = ("gzip", "deflate", "zstd", "br")
codings = pytest.mark.parametrize("encoding", CODINGS)
OPTIONS = "tokens=40 reasoning=3 tool=1 unicode=1"
CHAT = {"model": "demo", "messages": [{"role": "user", "content": "Why?\n/demo tokens=20"}]}


async def opened(
    server: harness.Running, method: str, target: str, accepted: str, body: bytes | None = None
) -> expanding.Reader:
    fields = {"Accept-Encoding": accepted, **asking.SSE}
    return expanding.Reader(await harness.Reader.open(server.port, method, target, fields, body))


async def begun(server: harness.Running, accepted: str, body: bytes) -> expanding.Reader:
    return await opened(server, "POST", "/v1/streams", accepted, body)


def events_of(reader: expanding.Reader | harness.Response) -> str:
    made = reader.wire if isinstance(reader, expanding.Reader) else reader
    return f"/v1/streams/{harness.stream_of(made)}/events"


def gated(words: list[str]) -> tuple[replay.Answer, list[asyncio.Event]]:
    """An answer that waits before each of these words, and before the end."""
    gates = [asyncio.Event() for _ in [*words, ""]]
    pieces = [*(asking.chunk(word) for word in words), asking.STOP]
    return replay.Answer(body=tuple(_flat(zip(gates, pieces, strict=True)))), gates


def _flat(pairs: Any) -> list[Any]:
    return [part for pair in pairs for part in pair]


@contextlib.asynccontextmanager
async def running(**tables: Any) -> AsyncIterator[harness.Running]:
    async with harness.running(harness.configured(**tables)) as server:
        yield server
        await asking.idle(server)


# 15.1 What is negotiated


async def test_15_1_each_coding_says_what_it_is_and_brings_the_same_bytes() -> None:
    async with running() as server:
        whole = await asking.finished(server.port, OPTIONS)
        target = events_of(whole)
        for accepted in ("", "identity", "snappy", *CODINGS, "gzip, deflate, br, zstd", "*"):
            reader = await opened(server, "GET", target, accepted)
            chosen = coding.negotiated([accepted], coding.ORDER)
            assert reader.encoding == chosen
            assert reader.wire.headers["vary"] == "Accept-Encoding"
            found = await reader.rest()
            assert (found.body, found.clean, reader.ended) == (whole.body, True, True)


async def test_15_1_head_says_what_get_would() -> None:
    async with running() as server:
        whole = await asking.finished(server.port)
        for target in (events_of(whole), "/v1/metrics/live"):
            for accepted in ("identity", "gzip", "br;q=0.5, deflate;q=0.6"):
                asked = await opened(server, "GET", target, accepted)
                await asked.wire.close()
                head = await opened(server, "HEAD", target, accepted)
                assert (await head.wire.rest()).body == b""
                assert head.encoding == asked.encoding
                assert head.wire.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(("padded", "chosen"), [(True, "identity"), (False, "gzip")])
async def test_15_1_an_answer_of_openai_s_that_is_read_again(padded: bool, chosen: str) -> None:
    async with running() as server:
        made = await opened(server, "POST", "/v1/responses", "gzip", _response(padded))
        assert made.encoding == chosen
        whole = await made.rest()
        target = f"/v1/responses/resp_{harness.stream_of(made.wire)}?stream=true"
        for query in ("", "&starting_after=1"):
            again = await opened(server, "GET", target + query, "gzip")
            assert again.encoding == chosen
            assert whole.body.endswith((await again.rest()).body)
        head = await opened(server, "HEAD", target, "gzip")
        assert head.encoding == chosen
        await head.wire.close()


def _response(padded: bool) -> bytes:
    options = {"include_obfuscation": padded}
    asked = {"model": "demo", "input": "Why?\n/demo tokens=20", "stream": True}
    return msgspec.json.encode({**asked, "stream_options": options})


async def test_15_1_the_setting_is_preferred_or_turns_it_off() -> None:
    for table, chosen in (
        ({"algorithm": "deflate"}, "deflate"),
        ({"algorithm": "br", "level": 9}, "br"),
        ({"algorithm": "zstd", "level": 1}, "zstd"),
        ({"enabled": False}, "identity"),
    ):
        async with running(compression=table) as server:
            reader = await begun(server, "gzip, deflate, br, zstd", asking.demo("tokens=3"))
            assert reader.encoding == chosen
            assert asking.kinds((await reader.rest()).body)[-1] == "complete"
            only = await opened(server, "GET", events_of(reader), "gzip")
            assert only.encoding == ("identity" if chosen == "identity" else "gzip")
            await only.rest()


async def test_15_1_a_request_turns_it_off() -> None:
    async with running() as server:
        target = "/v1/streams?compression=off"
        made = await opened(server, "POST", target, "gzip", asking.demo("tokens=3"))
        whole = await made.rest()
        for query in ("?compression=off", "?after=0-0&compression=off"):
            again = await opened(server, "GET", events_of(made) + query, "gzip")
            assert (made.encoding, again.encoding) == ("identity", "identity")
            assert (await again.rest()).body == whole.body
        before = (await harness.ask(server.port, "GET", "/v1/streams")).json()["streams"]
        for method, path in (("POST", "/v1/streams"), ("GET", events_of(made))):
            body = asking.demo() if method == "POST" else None
            answer = await (
                await opened(server, method, f"{path}?compression=on", "gzip", body)
            ).rest()
            assert (answer.status, answer.json()["code"]) == (400, errors.InvalidField.code)
        after = (await harness.ask(server.port, "GET", "/v1/streams")).json()["streams"]
        assert after == before  # nothing was made


@pytest.mark.case("4.24")
async def test_15_1_what_is_padded_is_not_compressed() -> None:
    """Natively by the setting; in OpenAI's APIs unless the request says no."""
    async with running(streaming={"padding": True}) as server:
        for path, body in (
            ("/v1/streams", asking.demo("tokens=3")),
            ("/v1/messages", _body(max_tokens=9)),
            ("/api/chat", _ui()),
            ("/v1/chat/completions", _body()),
        ):
            reader = await opened(server, "POST", path, "gzip, br", body)
            assert (reader.encoding, path) == ("identity", path)
            await reader.rest()
    async with running() as server:
        for more, chosen in (({}, "identity"), ({"include_obfuscation": False}, "gzip")):
            body = _body(stream_options=more)
            reader = await opened(server, "POST", "/v1/chat/completions", "gzip", body)
            assert reader.encoding == chosen
            assert (await reader.rest()).body.endswith(b"data: [DONE]\n\n")


def _body(**fields: Any) -> bytes:
    return msgspec.json.encode({**CHAT, "stream": True, **fields})


def _ui() -> bytes:
    parts = [{"type": "text", "text": "Why?\n/demo tokens=20"}]
    message = {"id": "m", "role": "user", "parts": parts}
    return msgspec.json.encode(
        {"id": "c", "messages": [message], "trigger": "submit-message", "model": "demo"}
    )


# 15.2 Each event when it is there


@pytest.mark.case("1.10")
async def test_15_2_every_flush_ends_with_an_event() -> None:
    """The next piece is made only when each reader has the one before, and nothing less or more."""
    words = [f"word-{number} " for number in range(8)]
    answer, gates = gated(words)
    async with asking.vendor(answer) as vendor:
        server = vendor.server
        made = await begun(server, "gzip", harness.wanted("vendor/m", flush_interval_ms=0))
        # The head and `start` are there, and the provider has not said a word.
        await made.until(lambda plain: asking.kinds(plain) == ["start"])
        readers = [made]
        for encoding in ("identity", *CODINGS):
            readers.append(await opened(server, "GET", events_of(made), encoding))
        said = ""
        for gate, word in zip(gates, [*words, ""], strict=True):
            for reader in readers:
                plain = (await reader.until(_says(said))).look()
                assert _content(plain) == said
                assert plain.endswith(b"\n\n")
            said += word
            gate.set()
        found = [await reader.rest() for reader in readers]
        assert {one.body for one in found} == {found[0].body}
        assert [one.clean for one in found] == [reader.ended for reader in readers]
        assert all(one.clean for one in found)
        assert [reader.encoding for reader in readers[1:]] == ["identity", *CODINGS]
        await asking.idle(server)


def _says(text: str) -> Callable[[bytes], bool]:
    return lambda plain: bool(plain) and text in _content(plain)


def _content(plain: bytes) -> str:
    """Of the events that are whole."""
    return asking.content(b"".join(harness.blocks(plain)))


@codings
async def test_15_2_heartbeats_go_the_same_way(encoding: str) -> None:
    async with running(server={"heartbeat_interval": "50ms"}) as server:
        reader = await begun(server, encoding, asking.STALLED)
        await reader.until(lambda plain: plain.count(b"event: heartbeat\n") >= 3)
        plain = reader.look()
        assert plain.endswith(b"\n\n")
        assert set(asking.kinds(plain)) == {"start", "chunk", "heartbeat"}
        await asking.end(server, reader.wire)


@codings
async def test_15_2_who_watches_all_nodes_gets_frames_at_once(encoding: str) -> None:
    async with running() as server:
        reader = await opened(server, "GET", "/v1/metrics/live", encoding)
        assert reader.encoding == encoding
        await reader.until(lambda plain: len(harness.blocks(plain)) >= 2)
        frames = harness.said(reader.look())
        assert {one.event for one in frames} == {"snapshot"}
        assert frames[0].data["now"]
        server.service.hurry()
        await reader.wire.close()


@pytest.mark.parametrize(
    ("path", "body", "last"),
    [
        ("/v1/messages", _body(max_tokens=9), b'"type":"message_stop"}\n\n'),
        (
            "/v1/chat/completions",
            _body(stream_options={"include_obfuscation": False}),
            b"[DONE]\n\n",
        ),
        ("/v1/responses", _response(False), b"}}\n\n"),
        ("/api/chat", _ui(), b"data: [DONE]\n\n"),
    ],
)
@codings
async def test_15_2_other_apis_are_compressed_as_well(
    encoding: str, path: str, body: bytes, last: bytes
) -> None:
    async with running() as server:
        reader = await opened(server, "POST", path, encoding, body)
        found = await reader.rest()
        assert (reader.encoding, found.clean, reader.ended) == (encoding, True, True)
        assert found.body.endswith(last)
        assert len(reader.wire.body) < len(found.body) / 2


# 15.3 Ends


@codings
async def test_15_3_a_reader_that_is_sent_away_has_no_end_of_either_kind(encoding: str) -> None:
    async with running() as server:
        reader = await begun(server, encoding, asking.STALLED)
        await reader.until(lambda plain: len(_content(plain).split()) >= 2)
        server.service.connections.dismiss("draining")
        cut = await reader.rest()
        assert (cut.clean, reader.ended) == (False, False)
        assert cut.blocks[-1].startswith(b"event: reconnect\n")
        assert cut.body.endswith(b"\n\n")
        await asking.end(server, reader.wire)


@codings
async def test_15_3_a_reader_that_is_cut_has_whole_events_and_no_end(encoding: str) -> None:
    async with running() as server:
        reader = await begun(server, encoding, asking.STALLED)
        await reader.until(lambda plain: len(_content(plain).split()) >= 2)
        (connection, *_) = server.service.connections.all()
        connection.cut()
        cut = await reader.rest()
        assert (cut.clean, reader.ended) == (False, False)
        assert cut.body.endswith(b"\n\n")
        await asking.end(server, reader.wire)


@codings
async def test_15_3_an_answer_that_fails_ends_cleanly(encoding: str) -> None:
    async with running() as server:
        reader = await begun(server, encoding, asking.demo("tokens=3 error_at=1"))
        found = await reader.rest()
        assert (found.clean, reader.ended) == (True, True)
        assert asking.kinds(found.body)[-1] == "error"


@codings
@pytest.mark.parametrize("clean", [True, False], ids=["damaged", "away"])
async def test_15_3_a_reader_of_what_cannot_be_read_on_is_told_in_its_coding(
    encoding: str, clean: bool, logged: conftest.Logged
) -> None:
    """What is damaged is an error and the end; a log that is away is asked for again."""
    log = failing_log.FailingLog()
    async with harness.running_on(log, harness.configured(), 1.0) as server:
        reader = await begun(server, encoding, asking.STALLED)
        await reader.until(lambda plain: len(_content(plain).split()) >= 2)
        log.reading = errors.LogCorrupt("x") if clean else errors.LogUnavailable("x")
        for connection in server.service.connections.all():
            connection.wake()
        found = await reader.rest()
        assert (found.clean, reader.ended) == (clean, clean)
        last = b"event: error\n" if clean else b"event: reconnect\n"
        assert found.blocks[-1].startswith(last)
        assert found.body.endswith(b"\n\n")
        log.reading = None
        await asking.end(server, reader.wire)
    if clean:
        asking.expected(logged, "stream_corrupt")


async def test_15_3_who_finds_no_place_is_told_so_in_plain_text() -> None:
    async with running(server={"max_connections": 1}) as server:
        held = await begun(server, "gzip", asking.STALLED)
        await held.until(lambda plain: len(_content(plain).split()) >= 2)
        knocking = await opened(server, "GET", events_of(held), "gzip")
        assert knocking.encoding == "identity"
        assert asking.sent_away(await knocking.rest()).data["reason"] == "too_many_connections"
        await asking.end(server, held.wire)


async def test_15_3_what_has_no_events_is_not_coded() -> None:
    async with running() as server:
        whole = await asking.finished(server.port)
        last = asking.last_id(whole.body)
        fields = {"Accept-Encoding": "gzip", "Last-Event-ID": last}
        got = await harness.ask(server.port, "GET", events_of(whole), fields)
        posted = await harness.ask(
            server.port, "POST", "/v1/streams", {**fields, **asking.SSE}, b""
        )
        assert (got.status, posted.status) == (204, 200)
        for answer in (got, posted):
            assert (answer.body, answer.clean) == (b"", True)
            assert "content-encoding" not in answer.headers


# 15.4 Resuming


@codings
async def test_15_4_the_rest_is_the_same_whatever_coding_it_has(encoding: str) -> None:
    """A position is about events: it is taken along from any coding to any other."""
    async with running() as server:
        begin = await begun(server, encoding, asking.demo(OPTIONS, flush_interval_ms=0))
        whole = await begin.rest()
        for number in (0, 7, len(whole.blocks) - 2):
            id = harness.position(whole.blocks[number]) or ""
            stream, _, after = id.partition(":")
            path = f"/v1/streams/{stream}/events?after={after}"
            for other in ("identity", *CODINGS):
                reader = await opened(server, "GET", path, other)
                rest = await reader.rest()
                assert (reader.encoding, rest.clean, reader.ended) == (other, True, True)
                assert rest.blocks == whole.blocks[number + 1 :]


# 15.5 What is counted


async def test_15_5_what_was_sent_and_saved_is_told_to_the_byte() -> None:
    async with running() as server:
        sent: dict[str, int] = {}
        plain: dict[str, int] = {}
        for encoding in ("identity", *CODINGS):
            reader = await begun(server, encoding, asking.demo(OPTIONS))
            whole = await reader.rest()
            id = reader.wire.headers["x-connection-id"]
            await asking.idle(server)
            one = (await harness.ask(server.port, "GET", f"/v1/connections/{id}")).json()
            sent[encoding], plain[encoding] = len(reader.wire.body), len(whole.body)
            assert (one["encoding"], one["bytes_sent"]) == (encoding, sent[encoding])
            assert one["bytes_saved"] == plain[encoding] - sent[encoding]
            assert one["options"]["compression"] is (encoding != "identity")
            assert (one["bytes_saved"] > 0) is (encoding != "identity")
            own = await harness.ask(server.port, "GET", f"/v1/connections/{id}/metrics")
            assert own.json()["performance"]["bytes_saved"] == one["bytes_saved"]
        page = (await harness.ask(server.port, "GET", "/metrics")).body.decode()
        for name, found in (("bytes", sent), ("uncompressed_bytes", plain)):
            for encoding, value in found.items():
                if (name, encoding) != ("uncompressed_bytes", "identity"):
                    line = f'holdfast_{name}_total{{encoding="{encoding}"}} {float(value)}'
                    assert line in page.splitlines()
        told = (await harness.ask(server.port, "GET", "/v1/metrics")).json()["performance"]
        saved = sum(plain.values()) - sum(sent.values())
        assert (told["bytes"], told["bytes_saved"]) == (sum(sent.values()), saved)
        coded = sum(plain[encoding] for encoding in CODINGS)
        assert told["compression"] == round(saved / coded, 3)

"""What a broken or hostile provider can put on the wire: the right class, little memory, one end.

Strategy: a server in this process asks a provider that writes bare bytes, good or bad. Each row
says what comes and which class of PROTOCOL 9.3 it must become; and every time the reader gets a
clean end with one terminal event and no text that was not said, the provider's connection is
closed by us, and the node is as idle as before. Deadlines are exact in simulated time, in
tests/unit/producing/test_attempt_wire.py; here they only have to come.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import tracemalloc
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.integration import asking, harness, raw_provider

from holdfast import sse
from holdfast.testing import provider as replay

KIB, MIB = 1 << 10, 1 << 20
SOON = "300ms"
LATE: dict[str, Any] = {
    "deadlines": {"first_byte": SOON, "first_content": SOON, "between_contents": SOON},
    # Deadlines are looked at four times as often.
    "server": {"heartbeat_interval": SOON},
}


def forever(piece: bytes, times: int = 1 << 30) -> Iterator[bytes]:
    return itertools.repeat(piece, times)


async def judged(on: raw_provider.Stage) -> tuple[str, str]:
    """The text and the code that one answer came to, `complete` where there is none."""
    whole = await on.ask()
    assert (whole.status, whole.clean) == (200, True)
    assert sum(each in ("complete", "error") for each in asking.kinds(whole.body)) == 1
    last = harness.said(whole.body)[-1]
    assert last.event in ("complete", "error")
    await asking.idle(on.server)
    return asking.content(whole.body), last.data.get("code", "complete")


async def let_go(on: raw_provider.Stage) -> raw_provider.Account:
    """The account of the one connection, which we have closed."""
    (account,) = on.provider.accounts
    async with asyncio.timeout(harness.PATIENCE):
        await account.gone.wait()
    assert account.closed_by_us
    return account


# Silence

ONE = raw_provider.CHUNKED + raw_provider.chunk(asking.chunk("one"))

SILENT = {
    "before the first byte": (b"", ""),
    "in the status line": (b"HTTP/1.1 2", ""),
    "within its head": (raw_provider.HEAD, ""),
    "after its head": (raw_provider.CHUNKED, ""),
    "after a comment": (raw_provider.CHUNKED + raw_provider.chunk(b": wait\n\n"), ""),
    "in the first event": (raw_provider.CHUNKED + raw_provider.chunk(asking.chunk("one")[:20]), ""),
    "in the size of a chunk": (ONE + b"2", "one"),
    "after some of the answer": (ONE, "one"),
    "in the second event": (ONE + raw_provider.chunk(asking.chunk(" two")[:-9]), "one"),
}


@pytest.mark.case("1.1")
@pytest.mark.parametrize(("sent", "text"), SILENT.values(), ids=SILENT)
async def test_silence_ends_the_answer(sent: bytes, text: str) -> None:
    async with raw_provider.vendor(lambda: [sent], **LATE) as on:
        assert await judged(on) == (text, "provider_timeout")
        await let_go(on)


@pytest.mark.case("1.1")
async def test_comments_do_not_break_a_silence() -> None:
    async with raw_provider.vendor(
        lambda: itertools.chain([ONE], forever(raw_provider.chunk(b": ping\n\n"))), **LATE
    ) as on:
        assert await judged(on) == ("one", "provider_timeout")
        await let_go(on)


# Ends before the end

CUT = {
    "at once": b"",
    "in its head": raw_provider.HEAD,
    "after its head": raw_provider.CHUNKED,
    "in an event": raw_provider.CHUNKED + raw_provider.chunk(asking.chunk("one")[:20]),
    "in a chunk": raw_provider.CHUNKED + raw_provider.chunk(asking.chunk("one"))[:20],
    "without the end marker": raw_provider.CHUNKED + raw_provider.LAST,
}


@pytest.mark.case("1.4")
@pytest.mark.parametrize("sent", CUT.values(), ids=CUT)
async def test_an_end_before_the_end_is_an_interruption(sent: bytes) -> None:
    async with raw_provider.vendor(lambda: [sent], "fin") as on:
        assert await judged(on) == ("", "provider_interrupted")


@pytest.mark.case("1.4")
async def test_a_missing_last_chunk_is_no_end() -> None:
    async with raw_provider.vendor(lambda: [ONE], "fin") as on:
        assert await judged(on) == ("one", "provider_interrupted")


# What is no answer in HTTP

DONE = raw_provider.chunk(asking.chunk("one") + asking.STOP)

BROKEN = {
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00",
    "an answer without a head": b"data: {}\n\n" * 10,
    "another HTTP": b"HTTP/2.0 200 OK\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "a length that is none": raw_provider.HEAD + b"Content-Length: many\r\n\r\n" + asking.STOP,
    "two lengths": raw_provider.HEAD + b"Content-Length: 9\r\nContent-Length: 8\r\n\r\n",
    "a length and chunks": raw_provider.HEAD
    + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
    + DONE
    + raw_provider.LAST,
    "a chunk of no size": raw_provider.CHUNKED + b"zz\r\n" + DONE,
    "a chunk below zero": raw_provider.CHUNKED + b"-5\r\n" + DONE,
    "a chunk beyond all numbers": raw_provider.CHUNKED + b"f" * 17 + b"\r\n" + DONE,
    "a chunk that is longer than it says": raw_provider.CHUNKED + b"1\r\n" + DONE,
    "a gzip body in chunks": raw_provider.HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + DONE,
}


@pytest.mark.case("1.5")
@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
async def test_what_is_no_answer_in_http_is_malformed(sent: bytes) -> None:
    async with raw_provider.vendor(lambda: [sent]) as on:
        assert await judged(on) == ("", "provider_malformed")
        await let_go(on)


@pytest.mark.case("1.5")
async def test_what_came_before_a_broken_chunk_stands() -> None:
    async with raw_provider.vendor(lambda: [ONE + b"zz\r\n"]) as on:
        assert await judged(on) == ("one", "provider_malformed")
        await let_go(on)


@pytest.mark.case("1.5")
@pytest.mark.parametrize(
    "garbage",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"\x00" * 1000, asking.STOP],
    ids=["an answer", "zeros", "events"],
)
async def test_what_follows_the_end_is_nothing(garbage: bytes) -> None:
    sent = raw_provider.CHUNKED + DONE + raw_provider.LAST + garbage
    async with raw_provider.vendor(lambda: [sent]) as on:
        assert await judged(on) == ("one", "complete")
        await let_go(on)


# Without end

ENDLESS = {
    "a status line": (b"", b"H" * KIB),
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 8),
    "a header": (raw_provider.HEAD + b"X: ", b"x" * KIB),
    "headers": (raw_provider.HEAD, b"X-Filler: aaaaaaaaaaaaaaaa\r\n" * 16),
    "an extension of a chunk": (raw_provider.CHUNKED + b"5;x=", b"x" * KIB),
    "trailers": (raw_provider.CHUNKED + b"0\r\n", b"X-Filler: aaaaaaaaaaaaaaaa\r\n" * 16),
    "chunks of one byte of a line": (
        raw_provider.CHUNKED + raw_provider.chunk(b"data: "),
        b"1\r\nx\r\n" * KIB,
    ),
    "a line": (raw_provider.CHUNKED, raw_provider.chunk(b"x" * 64 * KIB)),
    "an event's line": (
        raw_provider.CHUNKED + raw_provider.chunk(b"data: "),
        raw_provider.chunk(b"x" * 64 * KIB),
    ),
    "an event": (raw_provider.CHUNKED, raw_provider.chunk(b"data: " + b"x" * 64 * KIB + b"\n")),
    "JSON outside of events": (
        raw_provider.CHUNKED + raw_provider.chunk(b"{"),
        raw_provider.chunk(b'"a":[' * KIB),
    ),
}


@pytest.mark.case("4.16")
@pytest.mark.case("1.5")
@pytest.mark.parametrize(("begin", "more"), ENDLESS.values(), ids=ENDLESS)
async def test_what_has_no_end_is_cut_off_and_held_by_nobody(begin: bytes, more: bytes) -> None:
    """64 MiB would come; a few are taken."""
    times = 64 * MIB // len(more)
    async with raw_provider.vendor(lambda: itertools.chain([begin], forever(more, times))) as on:
        await on.ask()  # so that what is made once is there
        tracemalloc.start()
        try:
            assert await judged(on) == ("", "provider_malformed")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        for account in on.provider.accounts:
            async with asyncio.timeout(harness.PATIENCE):
                await account.gone.wait()
            assert account.closed_by_us
            assert account.written < 32 * MIB
        assert peak < 4 * sse.MAX_EVENT


@pytest.mark.case("1.5")
async def test_a_million_comments_are_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    # Coverage and the tracing of memory make it twenty times slower than it is.
    monkeypatch.setattr(harness, "PATIENCE", 4 * harness.PATIENCE)
    comments = raw_provider.chunk(b": ping\n" * 1000 + b"\n")

    def pieces() -> Iterator[bytes]:
        return itertools.chain(
            [raw_provider.CHUNKED], forever(comments, 1000), [DONE + raw_provider.LAST]
        )

    async with raw_provider.vendor(pieces) as on:
        tracemalloc.start()
        try:
            assert await judged(on) == ("one", "complete")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8 * MIB


# Compressed, though nobody asked

BOMB = gzip.compress(bytes(64 * MIB))
ENCODED = {
    "gzip": (b"gzip", BOMB),
    "a small gzip": (b"gzip", gzip.compress(asking.chunk("one") + asking.STOP)),
    "deflate": (b"deflate", BOMB),
    "br": (b"br", BOMB),
    "zstd": (b"zstd", BOMB),
    "twice": (b"gzip, gzip", BOMB),
    "in capitals": (b"GZip", BOMB),
    "said and not so": (b"gzip", asking.chunk("one") + asking.STOP),
}


@pytest.mark.case("4.15")
@pytest.mark.case("1.5")
@pytest.mark.parametrize(("coding", "body"), ENCODED.values(), ids=ENCODED)
async def test_a_body_in_a_coding_that_was_not_asked_for_is_refused(
    coding: bytes, body: bytes
) -> None:
    head = (
        raw_provider.HEAD
        + b"Content-Encoding: "
        + coding
        + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    async with raw_provider.vendor(
        lambda: [head, raw_provider.chunk(body), raw_provider.LAST]
    ) as on:
        tracemalloc.start()
        try:
            assert await judged(on) == ("", "provider_malformed")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8 * MIB
        await let_go(on)


@pytest.mark.case("4.15")
@pytest.mark.case("1.5")
@pytest.mark.parametrize("body", [BOMB, gzip.compress(asking.STOP)], ids=["large", "small"])
async def test_a_coded_body_that_says_nothing_of_it_is_never_text(body: bytes) -> None:
    async with raw_provider.vendor(
        lambda: [raw_provider.CHUNKED, raw_provider.chunk(body), raw_provider.LAST], "fin"
    ) as on:
        text, code = await judged(on)
        assert text == ""
        assert code in ("provider_malformed", "provider_interrupted")


# Errors and nonsense in a stream that began well

EVENTS = {
    "openai_chat": (
        b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
        b'data: {"error":{"message":"no","type":"server_error","code":"overloaded"}}\n\n',
    ),
    "openai_responses": (
        b'event: response.created\ndata: {"type":"response.created","response":{"id":"r"}}\n\n',
        b'event: error\ndata: {"type":"error","code":"server_error","message":"no"}\n\n',
    ),
    "anthropic": (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"m"}}\n\n',
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
        b'"message":"no"}}\n\n',
    ),
    "google": (
        b'data: {"candidates":[{"content":{"parts":[{"text":""}]},"index":0}]}\n\n',
        b'data: {"error":{"code":503,"message":"no","status":"UNAVAILABLE"}}\n\n',
    ),
}
CODES = {
    "openai_chat": "provider_overloaded",
    "openai_responses": "provider_failed",
    "anthropic": "provider_overloaded",
    "google": "provider_overloaded",
}


async def answered(kind: str, *body: bytes) -> tuple[harness.Said, list[str]]:
    """The terminal event of an answer of this kind, and the names of all events."""
    async with replay.ReplayServer([replay.Answer(body=body)]) as provider:
        row = {"kind": kind, "base_url": f"{provider.url}/v1", "api_key": asking.KEY}
        async with harness.running(harness.configured(providers={"vendor": row})) as server:
            whole = await (await harness.begin(server.port, harness.wanted("vendor/m"))).rest()
            assert whole.clean
            await asking.idle(server)
            return harness.said(whole.body)[-1], asking.kinds(whole.body)


@pytest.mark.case("2.5")
@pytest.mark.case("1.3")
@pytest.mark.parametrize("kind", EVENTS)
async def test_an_error_as_the_second_event_is_an_error(kind: str) -> None:
    first, error = EVENTS[kind]
    last, names = await answered(kind, first, error)
    assert (last.event, last.data["code"]) == ("error", CODES[kind])
    assert names.count("error") == 1


@pytest.mark.case("1.3")
async def test_nothing_that_follows_an_error_makes_it_a_success() -> None:
    first, error = EVENTS["openai_chat"]
    last, names = await answered("openai_chat", first, error, asking.chunk("x"), asking.STOP)
    assert (last.event, last.data["code"]) == ("error", "provider_overloaded")
    assert "complete" not in names


NONSENSE = {
    "half an object": b"data: {bad\n\n",
    "another shape": b"data: []\n\n",
    "no number": b'data: {"choices":NaN}\n\n',
    "deep": b"data: " + b"[" * 100_000 + b"\n\n",
}


@pytest.mark.case("2.5")
@pytest.mark.case("1.5")
@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE)
async def test_an_event_that_cannot_be_read_ends_the_answer_and_what_was_said_stands(
    said: bytes,
) -> None:
    async with asking.vendor(
        replay.Answer(body=(asking.chunk("one"), said, asking.chunk(" two"), asking.STOP))
    ) as on:
        whole = await (await harness.begin(on.server.port, harness.wanted("vendor/m"))).rest()
        last = harness.said(whole.body)[-1]
        assert (last.event, last.data["code"]) == ("error", "provider_malformed")
        assert asking.content(whole.body) == "one"
        async with asyncio.timeout(harness.PATIENCE):
            await on.provider.records[0].ended.wait()
        shown = await harness.ask(on.server.port, "GET", f"/v1/streams/{harness.stream_of(whole)}")
        assert msgspec.json.decode(shown.body)["status"] == "error"


@pytest.mark.case("1.5")
async def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    """As the standard of event streams has it: the answer goes on."""
    said = b'data: {"choices":[{"index":0,"delta":{"content":"\xff"}}]}\n\n'
    async with asking.vendor(replay.Answer(body=(asking.chunk("one"), said, asking.STOP))) as on:
        whole = await (await harness.begin(on.server.port, harness.wanted("vendor/m"))).rest()
        assert asking.kinds(whole.body)[-1] == "complete"
        assert asking.content(whole.body) == "one\ufffd"

"""The sink: what it keeps, when it stops the socket, when it wakes whoever waits."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from tests.unit.client import scripted

from holdfast import errors, sse, transport
from holdfast.client import response
from holdfast.testing import simulated

SSE = {"content-type": "text/event-stream; charset=utf-8"}
REQUEST = transport.Request("GET", "http://127.0.0.1:1/", ())


class Wire:
    """Stands where the transport is: opens to itself, and notes what the sink asks for."""

    def __init__(self, at_once: bytes = b"") -> None:
        self.calls: list[str] = []
        self._at_once = at_once

    async def open(self, request: transport.Request, sink: transport.Sink) -> Wire:
        if self._at_once:
            sink.head(200, SSE)
            sink.body(self._at_once)
        return self

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def abort(self, error: errors.TransportError | None = None) -> None:
        self.calls.append("abort")


class Mute(Wire):
    """A kept connection on which nothing comes: opening returns with the first byte."""

    async def open(self, request: transport.Request, sink: transport.Sink) -> Wire:
        await asyncio.Event().wait()
        raise AssertionError


async def opened(
    wire: Wire, clock: scripted.Time | None = None, **limits: float
) -> response.Response:
    got = response.Response(
        response.Limits(**limits),  # type: ignore[arg-type]
        (clock or scripted.Time()).clock,
    )
    await got.open(cast(transport.Transport, wire), REQUEST)
    return got


def block(size: int) -> bytes:
    return sse.encode("x" * size)


async def test_a_full_buffer_stops_the_socket_until_it_is_below_half() -> None:
    wire = Wire()
    got = await opened(wire, max_buffer=10_000)
    got.head(200, SSE)
    cost = 1000 + 128
    for _ in range(10_000 // cost):
        got.body(block(1000))
    assert wire.calls == []
    got.body(block(1000))
    got.body(block(1000))
    assert wire.calls == ["pause"]
    for left in range(9, -1, -1):
        assert (await got.next()) is not None
        assert wire.calls == (["pause"] if left * cost >= 5000 else ["pause", "resume"])


async def test_empty_events_fill_the_buffer_too() -> None:
    wire = Wire()
    got = await opened(wire, max_buffer=10_000)
    got.head(200, SSE)
    got.body(b"data:\n\n" * 79)
    assert wire.calls == ["pause"]


async def test_what_comes_before_the_exchange_is_known_counts() -> None:
    wire = Wire(block(11_000))
    await opened(wire, max_buffer=10_000)
    assert wire.calls == ["pause"]


async def test_a_failure_before_the_exchange_is_known_closes_it() -> None:
    wire = Wire(b"data: " + b"x" * (sse.MAX_LINE + 1))
    got = await opened(wire)
    assert wire.calls == ["abort"]
    with pytest.raises(errors.LineTooLong):
        await got.next()


async def test_an_event_over_its_limit_comes_after_those_before_it() -> None:
    wire = Wire()
    got = await opened(wire)
    got.head(200, SSE)
    got.body(b"data: good\n\ndata: " + b"x" * (sse.MAX_LINE + 1))
    got.end(errors.Truncated("cut"))
    frame = await got.next()
    assert frame is not None
    assert frame.data == b"good"
    with pytest.raises(errors.LineTooLong):
        await got.next()


@simulated.timed
async def test_silence_ends_the_opening_too() -> None:
    got = response.Response(response.Limits(), simulated.now)
    with pytest.raises(errors.DeadlineExceeded, match="Nothing came for 45 s"):
        await got.open(cast(transport.Transport, Mute()), REQUEST)
    assert simulated.now() == simulated.BEGIN + 45


async def test_other_bodies_have_a_limit() -> None:
    fits = await opened(Wire(), max_body=100)
    fits.head(404, {})
    fits.body(b"x" * 100)
    fits.end(None)
    await fits.whole()
    assert len(fits.content) == 100
    wire = Wire()
    large = await opened(wire, max_body=100)
    large.head(404, {})
    large.body(b"x" * 100)
    assert wire.calls == []
    large.body(b"x")
    assert wire.calls == ["abort"]
    with pytest.raises(errors.ClientError, match="over 100 bytes"):
        await large.whole()


async def test_frames_come_before_the_end() -> None:
    got = await opened(Wire())
    got.head(200, SSE)
    got.body(block(1) + block(2) + b"data: unfinished\n")
    got.end(None)
    assert [len(frame.data) for frame in [await got.next(), await got.next()] if frame] == [1, 2]
    assert await got.next() is None
    assert await got.next() is None


async def test_whoever_waits_is_woken_by_head_event_and_end() -> None:
    got = await opened(Wire())
    head = asyncio.create_task(got.headed())
    await asyncio.sleep(0)
    assert not head.done()
    got.head(200, SSE)
    await head
    event = asyncio.create_task(got.next())
    await asyncio.sleep(0)
    assert not event.done()
    got.body(block(1))
    assert await event is not None
    end = asyncio.create_task(got.next())
    await asyncio.sleep(0)
    assert not end.done()
    got.end(None)
    assert await end is None


async def test_what_comes_after_the_end_is_dropped() -> None:
    got = await opened(Wire())
    got.head(200, SSE)
    got.body(block(1))
    got.close()
    got.body(block(2))
    got.end(errors.Truncated("late"))
    frame = await got.next()
    assert frame is not None
    assert len(frame.data) == 1
    assert await got.next() is None
    assert got.happened().text == "The response ended before its answer."


async def test_closing_wakes_whoever_waits() -> None:
    got = await opened(Wire())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(got.next())
        await asyncio.sleep(0)
        got.close()
        assert await task is None


async def test_a_cancelled_wait_takes_nothing_with_it() -> None:
    got = await opened(Wire())
    got.head(200, SSE)
    task = asyncio.create_task(got.next())
    await asyncio.sleep(0)
    got.body(block(3))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    frame = await got.next()
    assert frame is not None
    assert len(frame.data) == 3


async def test_silence_ends_a_response() -> None:
    wire, clock = Wire(), scripted.Time()
    got = await opened(wire, clock, read_timeout=45.0)
    got.head(200, SSE)
    clock.now += 45.0
    assert await got.next() is None
    assert wire.calls == ["abort"]
    assert got.happened().text == "Nothing came for 45 s."
    assert got.happened().status == 0
    assert got.last_byte == 1000.0


@pytest.mark.parametrize("alive", [b": ping\n", b"event: he", b"data: {"])
async def test_any_byte_is_a_sign_of_life(alive: bytes) -> None:
    clock = scripted.Time()
    got = await opened(Wire(), clock, read_timeout=45.0)
    got.head(200, SSE)
    for _ in range(10):
        clock.now += 44.0
        got.body(alive)
        task = asyncio.create_task(got.next())
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
    assert not got.ended


async def test_bytes_that_came_as_the_time_ran_out_count() -> None:
    clock = scripted.Time()
    got = await opened(Wire(), clock, read_timeout=45.0)
    got.head(200, SSE)
    clock.now += 45.0
    task = asyncio.create_task(got.next())
    await asyncio.sleep(0)  # it waits, with no time left
    got.body(b": ping\n")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not got.ended
    got.body(block(4))
    frame = await task
    assert frame is not None
    assert len(frame.data) == 4


async def test_a_reader_that_let_it_wait_does_not_blame_the_server() -> None:
    clock = scripted.Time()
    got = await opened(Wire(), clock, max_buffer=1000, read_timeout=45.0)
    got.head(200, SSE)
    got.body(block(2000))
    clock.now += 400.0
    await got.next()
    assert got.last_byte == 1400.0


def ended(status: int, headers: dict[str, str], *body: bytes) -> response.Response:
    got = response.Response(response.Limits(), scripted.Time().clock)
    got.head(status, headers)
    for part in body:
        got.body(part)
    got.end(None)
    return got


def test_a_verdict_is_read_from_the_problem_details() -> None:
    body = b'{"type":"about:blank","title":"Gone","status":410,"detail":"It went.","code":"gone"}'
    happened = ended(410, {"retry-after": "7"}, body[:9], body[9:]).happened()
    assert (happened.text, happened.status, happened.code) == ("It went.", 410, "gone")
    assert happened.hint == 7.0
    assert ended(410, {}, b'{"title":"Gone"}').happened().text == "Gone"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"detail":5}', b'{"detail":"\xff"}'])
def test_a_verdict_without_problem_details_says_what_came(body: bytes) -> None:
    happened = ended(502, {"content-type": "text/html"}, body).happened()
    assert happened.text == "The server answered 502, with text/html."
    assert ended(404, {}).happened().text == "The server answered 404, with no content type."


def test_a_verdict_s_text_has_a_limit() -> None:
    happened = ended(400, {}, b'{"detail":"%b"}' % (b"x" * 5000)).happened()
    assert len(happened.text) == 1000


def test_a_cut_takes_its_hint_from_the_retry_field() -> None:
    assert ended(200, SSE, b"data: x\n\n").happened().hint == 0.0
    happened = ended(200, SSE, b"retry: 2500\ndata: x\n\n").happened()
    assert (happened.hint, happened.status) == (2.5, 0)


@pytest.mark.parametrize(
    ("data", "hint", "text"),
    [
        (b'{"retry_ms":1500,"reason":"drain"}', 1.5, "The server asked to come back: drain"),
        (b'{"retry_ms":-5,"reason":""}', 0.0, "The server asked to come back: "),
        (b"{}", 0.0, "The server asked to come back."),
        (b"\xff", 0.0, "The server asked to come back."),
    ],
)
def test_a_reconnect_event_says_when(data: bytes, hint: float, text: str) -> None:
    happened = ended(200, SSE).happened(sse.Frame("reconnect", data, ""))
    assert (happened.hint, happened.text, happened.status) == (hint, text, 0)


def test_half_a_body_of_a_good_status_is_a_cut() -> None:
    got = response.Response(response.Limits(), scripted.Time().clock)
    got.head(202, {})
    got.body(b"{")
    assert not got.succeeded
    got.end(errors.Truncated("It broke."))
    assert not got.succeeded
    assert (got.happened().status, got.happened().text) == (0, "It broke.")


def test_only_a_json_object_will_do() -> None:
    assert ended(200, {}, b'{"a":1}').json() == {"a": 1}
    assert ended(202, {}).json() == {}
    for body in (b"[]", b"{", b'{"a":"\xff"}'):
        with pytest.raises(errors.ClientError, match="not a JSON object"):
            ended(200, {}, body).json()


def test_what_is_an_event_stream() -> None:
    assert ended(200, {"content-type": "Text/Event-Stream"}).is_stream
    for status, kind in ((201, "text/event-stream"), (200, "text/html"), (200, "")):
        assert not ended(status, {"content-type": kind}).is_stream


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("https://other.test:8443/v1?key=secret", "a redirect to https://other.test:8443:"),
        ("HTTPS://[::1]/", "a redirect to HTTPS://[::1]:"),
        ("/elsewhere", "a redirect:"),
        ("https://user:secret@other.test/", "a redirect:"),
        ("https://\x1b[31m/", "a redirect:"),
        ("", "a redirect:"),
    ],
)
def test_a_redirect_is_not_followed_and_says_what_to_correct(location: str, told: str) -> None:
    for status in (301, 302, 303, 307, 308):
        happened = ended(status, {"location": location}, b'{"title":"Moved"}').happened()
        assert happened.text.startswith(f"The server answered {status}, {told} redirects are not")
        assert "base_url (--url)" in happened.text
        assert "secret" not in happened.text
        assert happened.status == status


def test_a_proxy_that_wants_credentials_is_told_from_a_server() -> None:
    happened = ended(407, {"content-type": "text/html"}, b"<html>").happened()
    assert happened.text == (
        "The proxy wants other credentials (status 407): they stand in its URL, "
        "user:password@host, percent-encoded."
    )

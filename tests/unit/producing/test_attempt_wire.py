"""A provider that is slow on the wire, byte by byte, against the deadlines of an attempt.

Strategy: the exchange and its HTTP parser, the translator and the attempt are the shipped ones;
the socket is played by the test on simulated time, so that an hour of one token a minute is
exact and takes no time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from tests.contract import attempting
from tests.unit.producing import scripted

from holdfast import errors, events, request, transport
from holdfast.producing import attempt
from holdfast.providers import base, failures
from holdfast.providers import translator as translators
from holdfast.testing import simulated
from holdfast.transport import exchange

LATE = attempt.Deadlines(first_byte=60.0, first_content=120.0, between_contents=90.0, total=3600.0)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
PING = b": ping\n\n"


class Wire(base.Provider):
    """A `base.Provider` whose connection the test holds."""

    name = "wire"
    kind = "openai_chat"

    def __init__(self) -> None:
        self.closed = False
        self.exchange: exchange.Exchange | None = None

    def begun(self) -> None: ...

    def prepare(self, wanted: request.Request, model: str) -> transport.Request:
        return scripted.CALL

    def translator(self, wanted: request.Request) -> base.Translator:
        source = failures.Source(self.name)
        fold = attempting.FORMATS[self.kind].fold(wanted, source)
        return translators.Translator(fold, source)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> errors.ProviderError:
        return failures.Source(self.name).of_response(status, headers, body)

    async def open(self, call: transport.Request, sink: transport.Sink) -> base.Exchange:
        self.exchange = exchange.Exchange(sink, 64 << 10)
        self.exchange.begin(self)
        return self.exchange

    # An `exchange.Carrier`

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def done(self, *, reusable: bool) -> None:
        self.closed = True


class Played:
    """An attempt, swept once a second; `seconds` is how long it took."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.said: list[events.Body] = []
        self._attempt = attempt.Attempt(
            self.wire, scripted.WANTED, scripted.CALL, LATE, self.said.extend, attempting.STREAM
        )
        self._task: asyncio.Task[errors.HoldfastError | None] | None = None
        self._begun = simulated.now()

    async def begin(self) -> None:
        self._task = asyncio.create_task(self._attempt.run())
        await simulated.idle()

    @property
    def over(self) -> bool:
        return self._task is not None and self._task.done()

    async def second(self, data: bytes = b"") -> None:
        """One second passes, in which this comes."""
        assert self.seconds < 2 * LATE.total, "nothing ends it"
        if data and self.wire.exchange is not None:
            self.wire.exchange.received(data)
        await asyncio.sleep(1.0)
        self._attempt.sweep(simulated.now())
        await simulated.idle()

    async def error(self) -> tuple[str, str]:
        assert self._task is not None
        error = await self._task
        assert self.wire.closed
        return ("complete", "") if error is None else (error.code, error.message)

    @property
    def seconds(self) -> float:
        return simulated.now() - self._begun

    @property
    def text(self) -> str:
        return "".join(each.delta for each in self.said if isinstance(each, events.Chunk))


@pytest.mark.case("1.1")
@simulated.timed
async def test_a_head_that_comes_byte_by_byte_is_no_first_byte() -> None:
    played = Played()
    await played.begin()
    for byte in HEAD[:-2] + b"X-More: " + b"x" * 500:
        await played.second(bytes([byte]))
        if played.over:
            break
    code, why = await played.error()
    assert (code, played.seconds) == ("provider_timeout", 61.0)
    assert "no byte for 60 s" in why


@pytest.mark.case("1.1")
@pytest.mark.case("1.2")
@pytest.mark.parametrize("more", [PING, b":", b"\n", b"data: {}\n\n"[:1]])
def test_what_says_nothing_does_not_put_the_first_content_off(more: bytes) -> None:
    @simulated.timed
    async def check() -> None:
        played = Played()
        await played.begin()
        await played.second(HEAD)
        while not played.over:
            await played.second(more)
        code, why = await played.error()
        assert (code, played.seconds) == ("provider_timeout", 121.0)
        assert "nothing of the answer for 120 s" in why

    check()


@pytest.mark.case("1.1")
@simulated.timed
async def test_an_event_that_comes_byte_by_byte_is_none_until_it_is_whole() -> None:
    played = Played()
    await played.begin()
    await played.second(HEAD + token("one"))
    for byte in token("x" * 500):
        await played.second(bytes([byte]))
        if played.over:
            break
    code, why = await played.error()
    assert (code, played.text) == ("provider_timeout", "one")
    assert "silent for 90 s in mid-answer" in why


@pytest.mark.case("1.2")
@simulated.timed
async def test_a_long_pause_in_mid_answer_is_borne_with_and_without_pings() -> None:
    played = Played()
    await played.begin()
    await played.second(HEAD + token("one"))
    for pings in (PING, b""):
        for _ in range(85):
            await played.second(pings)
        await played.second(token(" more"))
    await played.second(b"data: [DONE]\n\n")
    assert (await played.error())[0] == "complete"
    assert played.text == "one more more"


@pytest.mark.case("1.2")
@simulated.timed
async def test_slow_but_alive_is_ended_by_the_time_in_all_alone() -> None:
    """A token each 80 seconds is in time every time, and an hour is an hour."""
    played = Played()
    await played.begin()
    await played.second(HEAD)
    tokens = 0
    while not played.over:
        await played.second(token("x"))
        tokens += 1
        for _ in range(79):
            if not played.over:
                await played.second()
    code, why = await played.error()
    assert (code, played.seconds) == ("provider_timeout", 3601.0)
    assert "over 3600 s in all" in why
    assert played.text == "x" * tokens
    assert tokens == 3600 // 80


def token(text: str) -> bytes:
    """An event of an OpenAI chat stream."""
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode()

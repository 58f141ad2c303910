"""Scripts played into a sink, on simulated time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from holdfast import errors, events, request, transport
from holdfast.providers import demo, playback
from holdfast.testing import simulated


class Sink:
    """Notes what comes and when, counted from the start; `react` is called at each body."""

    def __init__(self) -> None:
        self.begin = simulated.now()
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.bodies: list[tuple[float, bytes]] = []
        self.ends: list[errors.TransportError | None] = []
        self.react: Callable[[], None] = lambda: None

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        assert not self.bodies
        self.status, self.headers = status, headers

    def body(self, data: bytes) -> None:
        assert not self.ends
        assert data
        self.bodies.append((round(simulated.now() - self.begin, 6), data))
        self.react()

    def end(self, error: errors.TransportError | None) -> None:
        self.ends.append(error)


Pieces = list[tuple[float, bytes]]


@simulated.timed
async def test_each_piece_comes_when_it_is_due() -> None:
    sink = Sink()
    playback.Playback(iter([(0.5, b"a"), (0.25, b"b"), (1.0, b"c")]), sink)
    assert sink.status is None
    await asyncio.sleep(10)
    assert sink.status == 200
    assert sink.headers == {"content-type": "text/event-stream"}
    assert sink.bodies == [(0.5, b"a"), (0.75, b"b"), (1.75, b"c")]
    assert sink.ends == [None]


@simulated.timed
async def test_what_is_due_together_comes_in_one_call() -> None:
    sink = Sink()
    playback.Playback(iter([(0.0, b"a"), (0.0, b""), (0.0, b"b"), (1.0, b"c")]), sink)
    await asyncio.sleep(10)
    assert sink.bodies == [(0.0, b"ab"), (1.0, b"c")]


@simulated.timed
async def test_a_late_timer_delays_nothing_that_follows() -> None:
    sink = Sink()
    sink.react = lambda: setattr(loop, "_now", loop.time() + 0.35)  # 3.5 pieces are missed
    loop = asyncio.get_running_loop()
    playback.Playback(iter([(0.1, b"x")] * 40), sink)
    await asyncio.sleep(10)
    times = [time for time, _ in sink.bodies]
    assert sum(len(data) for _, data in sink.bodies) == 40
    assert max(times) <= 4.0 + 0.35
    assert times == sorted(times)


@simulated.timed
async def test_one_call_is_bounded() -> None:
    sink = Sink()
    piece = b"x" * (playback.MAX_BODY // 4 + 1)
    playback.Playback(iter([(0.0, piece)] * 10), sink)
    await asyncio.sleep(1)
    assert [len(data) // len(piece) for _, data in sink.bodies] == [4, 4, 2]
    assert sink.ends == [None]


@simulated.timed
async def test_pause_and_resume() -> None:
    sink = Sink()
    played = playback.Playback(iter([(1.0, b"a"), (1.0, b"b"), (1.0, b"c"), (9.0, b"d")]), sink)
    await asyncio.sleep(1.5)
    played.pause()
    played.pause()
    await asyncio.sleep(3)
    assert sink.bodies == [(1.0, b"a")]
    played.resume()
    played.resume()
    await asyncio.sleep(20)
    assert sink.bodies == [(1.0, b"a"), (4.5, b"bc"), (12.0, b"d")]
    assert sink.ends == [None]
    played.pause()
    played.resume()
    await asyncio.sleep(1)
    assert sink.ends == [None]


@simulated.timed
async def test_pauses_leave_no_timers_behind() -> None:
    played = playback.Playback(iter([(0.1, b"x")] * 10 + [(100.0, b"y")]), Sink())
    await asyncio.sleep(2)
    for _ in range(20):
        played.pause()
        played.resume()
        await simulated.idle()
    timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert len([timer for timer in timers if not timer.cancelled()]) == 1


@simulated.timed
async def test_a_pause_in_the_midst_is_heard() -> None:
    sink = Sink()
    piece = b"x" * playback.MAX_BODY
    played = playback.Playback(iter([(0.0, piece)] * 3), sink)
    sink.react = played.pause
    await asyncio.sleep(5)
    assert len(sink.bodies) == 1
    for _ in range(3):
        played.resume()
        await asyncio.sleep(5)
    assert len(sink.bodies) == 3
    assert sink.ends == [None]


@simulated.timed
async def test_a_pause_before_the_head_keeps_nothing_back_for_ever() -> None:
    sink = Sink()
    played = playback.Playback(iter([(0.0, b"a")]), sink)
    played.pause()
    await asyncio.sleep(1)
    assert (sink.headers, sink.bodies) == ({}, [])
    played.resume()
    await asyncio.sleep(1)
    assert sink.status == 200
    assert (sink.bodies, sink.ends) == ([(1.0, b"a")], [None])


@pytest.mark.parametrize("error", [None, errors.Truncated("stop")])
@simulated.timed
async def test_abort(error: errors.TransportError | None) -> None:
    sink = Sink()
    played = playback.Playback(iter([(1.0, b"a"), (1.0, b"b")]), sink)
    await asyncio.sleep(1.5)
    played.abort(error)
    played.abort(errors.Truncated("again"))
    played.resume()
    await asyncio.sleep(5)
    assert sink.bodies == [(1.0, b"a")]
    assert sink.ends == ([] if error is None else [error])


@simulated.timed
async def test_abort_from_within_the_sink() -> None:
    sink = Sink()
    played = playback.Playback(iter([(0.0, b"a")]), sink)
    sink.react = played.abort
    await asyncio.sleep(5)
    assert sink.ends == []


@simulated.timed
async def test_abort_at_the_end_has_no_effect() -> None:
    sink = Sink()
    played = playback.Playback(iter([]), sink)
    await asyncio.sleep(1)
    played.abort(errors.Truncated("late"))
    assert sink.ends == [None]


@simulated.timed
async def test_a_script_may_break_off() -> None:
    def script() -> Iterator[tuple[float, bytes]]:
        yield 0.0, b"a"
        raise errors.Truncated("as asked")

    sink = Sink()
    playback.Playback(script(), sink)
    await asyncio.sleep(1)
    assert sink.bodies == [(0.0, b"a")]
    assert [str(end) for end in sink.ends] == ["as asked"]


@simulated.timed
async def test_silence_sets_no_timer() -> None:
    sink = Sink()
    played = playback.Playback(iter([(0.0, b"a"), (math.inf, b"")]), sink)
    await asyncio.sleep(3600)
    assert (len(sink.bodies), sink.ends) == (1, [])
    played.pause()
    played.resume()
    played.abort(errors.DeadlineExceeded("enough"))
    assert [str(end) for end in sink.ends] == ["enough"]


@simulated.timed
async def test_a_sink_that_fails_ends_the_exchange_and_is_reported() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    sink = Sink()

    def fail() -> None:
        raise RuntimeError("bug")

    sink.react = fail
    playback.Playback(iter([(0.0, b"a"), (1.0, b"b")]), sink)
    await asyncio.sleep(5)
    assert len(sink.bodies) == 1
    assert [type(end) for end in sink.ends] == [errors.TransportError]
    assert [str(context["exception"]) for context in reported] == ["bug"]


async def answer(
    prompt: str, written: int | None = None
) -> tuple[Sink, list[events.Body], demo.Translator]:
    """An answer, or what is told again where so much of it is written."""
    wanted = request.Request(model="demo", messages=[request.Message("user", prompt)])
    provider = playback.Demo("show")
    again = None if written is None else provider.replay(wanted, "demo", None, written)
    call = again or provider.prepare(wanted, "demo")
    assert isinstance(call, transport.Request)
    translator = provider.translator(wanted)
    assert isinstance(translator, demo.Translator)
    sink = Sink()
    await provider.open(call, sink)
    await asyncio.sleep(60)
    said = [body for _, data in sink.bodies for body in translator.feed(data)]
    return sink, said, translator


@simulated.timed
async def test_the_demo_is_a_provider() -> None:
    sink, said, translator = await answer("/demo tokens=60 rate=30")
    assert translator.done
    assert len([body for body in said if isinstance(body, events.Chunk)]) == 60
    assert sink.bodies[-1][0] == 2.0
    assert sink.ends == [None]


@simulated.timed
async def test_the_demo_tells_the_same_again_and_what_is_written_at_once() -> None:
    prompt = "/demo tokens=60 rate=30"
    _, whole, _ = await answer(prompt)
    half = whole[:30]
    written = sum(len(body.delta) for body in half if isinstance(body, events.Chunk))
    sink, said, translator = await answer(prompt, written)
    assert translator.done
    assert said == whole
    at, first = sink.bodies[0]
    assert (at, demo.Translator().feed(first)) == (0.0, half)
    assert sink.bodies[-1][0] == 1.0


async def test_the_demo_keeps_nothing() -> None:
    assert playback.Demo().discard("resp_1") is None
    with pytest.raises(errors.InvalidField, match="tokens"):
        await answer("/demo tokens=-1", 0)


@simulated.timed
async def test_the_demo_refuses_as_it_is_asked_to() -> None:
    sink, _, _ = await answer("/demo status=503")
    ((_, body),) = sink.bodies
    assert sink.status == 503
    error = playback.Demo("show").failure(503, sink.headers, body)
    assert isinstance(error, errors.ProviderOverloaded)
    assert error.message.startswith("show: HTTP 503: The demo refuses")


async def test_a_bad_option_is_told_before_the_call() -> None:
    with pytest.raises(errors.InvalidField, match="tokens"):
        await answer("/demo tokens=-1")

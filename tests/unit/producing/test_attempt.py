"""One provider call: every way in which it ends, and what it says until then.

Strategy: the provider's side is played by the test, on simulated time; `calls.Call` runs an
attempt and keeps what it said. Deadlines, stopping and pausing are in their own file.
"""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from tests.unit.producing import scripted
from tests.unit.producing.calls import CUT, HELLO, STREAM, Call

from holdfast import errors, events
from holdfast.producing import attempt
from holdfast.testing import simulated

# Ends that are an answer


@simulated.timed
async def test_the_end_marker_is_a_whole_answer() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO)
    exchange.say(scripted.stop(), finished=True)
    exchange.say(events.Usage(1, 2, 3), done=True)
    assert await call.outcome() is None
    assert call.said == [[HELLO], [scripted.stop()], [events.Usage(1, 2, 3)]]
    assert exchange.released


@simulated.timed
async def test_the_end_marker_alone_is_an_answer_too() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(done=True)
    assert await call.outcome() is None
    assert call.said == []


@simulated.timed
async def test_a_clean_end_of_a_finished_answer_is_whole() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO, scripted.stop(), finished=True)
    exchange.end()
    assert await call.outcome() is None


@simulated.timed
async def test_what_was_held_back_is_said_at_a_clean_end() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO, finished=True)
    exchange.translator.held = [scripted.content("\ufffd")]
    exchange.end()
    assert await call.outcome() is None
    assert call.said == [[HELLO], [scripted.content("\ufffd")]]


@simulated.timed
async def test_an_end_marker_that_the_translator_finds_at_the_end_counts() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO)
    exchange.translator.done = True
    exchange.end()
    assert await call.outcome() is None


@simulated.timed
async def test_a_cut_after_every_choice_has_finished_is_whole() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO, scripted.stop(), finished=True)
    exchange.translator.held = [scripted.content("?")]
    exchange.end(CUT)
    assert await call.outcome() is None
    assert call.said == [[HELLO, scripted.stop()]]


@simulated.timed
async def test_two_seconds_after_the_finish_it_is_whole() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO, scripted.stop(), finished=True)
    await call.sweep(1.0)
    exchange.say(events.Usage(1, 2, 3))
    await call.sweep(1.0)
    assert call.running
    await call.sweep(0.25)
    assert await call.outcome() is None
    assert call.said[1:] == [[events.Usage(1, 2, 3)]]
    assert exchange.aborted


@simulated.timed
async def test_an_error_within_two_seconds_of_the_finish_wins() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO, scripted.stop(), finished=True)
    await call.sweep(1.5)
    error = errors.ProviderFailed("late")
    exchange.say(error=error)
    assert await call.outcome() is error


# Ends that are a failure


@simulated.timed
async def test_a_clean_end_of_an_unfinished_answer_is_an_interruption() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO)
    exchange.end()
    assert await call.failure() == (
        errors.ProviderInterrupted,
        "The provider's answer ended without its end marker.",
    )


@pytest.mark.parametrize(
    ("cause", "named"),
    [
        (errors.Unreachable("a"), errors.ProviderUnreachable),
        (errors.DeadlineExceeded("b"), errors.ProviderTimeout),
        (errors.Truncated("c"), errors.ProviderInterrupted),
        (errors.ProtocolViolation("d"), errors.ProviderMalformed),
        (errors.TransportError("e"), errors.ProviderFailed),
    ],
)
@pytest.mark.parametrize("stage", ["opening", "before the head", "in mid-answer"])
@simulated.timed
async def test_a_transport_error_is_told_in_the_providers_name(
    stage: str, cause: errors.TransportError, named: type[errors.ProviderError]
) -> None:
    provider = scripted.Provider()
    if stage == "opening":
        provider.fault = cause
    call = Call(provider)
    exchange = await call.begin()
    if stage == "in mid-answer":
        exchange.head()
        exchange.say(HELLO)
    if stage != "opening":
        exchange.end(cause)
    assert await call.failure() == (named, cause.message)


@simulated.timed
@pytest.mark.parametrize("late", [False, True])
async def test_the_usage_known_by_then_is_told_of_an_answer_that_broke_off(late: bool) -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO)
    exchange.translator.known = [events.Usage(1, 2, 3)]
    if late:
        await call.sweep(scripted.DEADLINES.between_contents + 1)
    else:
        exchange.end(CUT)
    assert await call.outcome() is not None
    assert call.said == [[HELLO], [events.Usage(1, 2, 3)]]


@simulated.timed
async def test_an_error_in_the_stream_ends_it_after_what_came_before() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    error = errors.ProviderOverloaded("busy")
    exchange.say(HELLO, error=error)
    assert await call.outcome() is error
    assert call.said == [[HELLO]]
    assert exchange.aborted


@simulated.timed
async def test_an_error_that_the_translator_finds_at_the_end_counts() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO)
    exchange.translator.error = errors.ProviderMalformed("half an event")
    exchange.end()
    assert await call.failure() == (errors.ProviderMalformed, "half an event")


# Refusals


@pytest.mark.parametrize(
    ("status", "content_type"),
    [
        (429, "application/json"),
        (500, "text/html"),
        (404, "text/event-stream"),
        (201, "text/event-stream"),
        (200, "application/json"),
        (200, " Application/JSON ; charset=utf-8"),
    ],
)
@pytest.mark.parametrize("end", [None, CUT])
@simulated.timed
async def test_an_answer_that_is_no_stream_is_a_refusal(
    end: errors.TransportError | None, status: int, content_type: str
) -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head(status, content_type)
    exchange.sink.body(b'{"err')
    exchange.sink.body(b'or":1}')
    assert call.running
    exchange.end(end)
    assert await call.failure() == (errors.ProviderRejected, f"scripted: HTTP {status}")
    headers = {"content-type": content_type}
    assert call.provider.refusals == [(status, headers, b'{"error":1}')]
    assert exchange.translator.fed == []


@simulated.timed
async def test_a_stream_needs_no_content_type() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.sink.head(200, {})
    exchange.say(HELLO, done=True)
    assert await call.outcome() is None
    assert call.said == [[HELLO]]


@pytest.mark.parametrize("piece", [1000, attempt.MAX_ERROR_BODY, 10**6])
@simulated.timed
async def test_of_a_refusal_only_so_much_is_read(piece: int) -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head(400)
    for _ in range(-(-attempt.MAX_ERROR_BODY // piece) - 1):
        exchange.sink.body(b"x" * piece)
    await simulated.idle()
    assert call.running
    exchange.sink.body(b"x" * piece)
    exchange.sink.body(b"x" * piece)
    assert await call.failure() == (errors.ProviderRejected, "scripted: HTTP 400")
    [(_, _, body)] = call.provider.refusals
    assert body == b"x" * attempt.MAX_ERROR_BODY
    assert exchange.aborted


@simulated.timed
async def test_a_refusal_whose_body_is_late_is_known_by_its_status() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head(429)
    await call.sweep(9.0)
    exchange.sink.body(b"half")
    await call.sweep(attempt.REFUSAL - 9.0)
    assert call.running
    await call.sweep(0.5)
    assert await call.failure() == (errors.ProviderRejected, "scripted: HTTP 429")
    assert call.provider.refusals[0][2] == b"half"


@simulated.timed
async def test_a_refusal_that_began_late_has_only_what_is_left() -> None:
    """The deadlines of the call go on: here 20 s until the first content."""
    call = Call()
    exchange = await call.begin()
    await call.sweep(9.75)
    await call.sweep(0.25)
    exchange.head(503)
    await call.sweep(9.0)
    assert call.running
    await call.sweep(1.25)
    assert (await call.failure())[0] is errors.ProviderRejected


# Bugs of ours


@pytest.mark.parametrize("refused", [False, True])
@simulated.timed
async def test_a_bug_at_the_end_is_logged_and_is_the_outcome(
    refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> list[events.Body]:
        raise KeyError("x")

    monkeypatch.setattr(scripted.Translator, "end", broken)
    monkeypatch.setattr(scripted.Provider, "failure", broken)
    call = Call()
    exchange = await call.begin()
    exchange.head(500 if refused else 200)
    with capture_logs() as logs:
        exchange.end()
    assert (await call.failure())[0] is errors.ProviderMalformed
    [line] = logs
    assert (line["event"], line["log_level"]) == ("translator_failed", "error")
    assert line["stream"] == STREAM
    assert "KeyError\n" in line["trace"]

"""What is recorded comes out as counts, each in its field and once."""

from __future__ import annotations

import pytest

from holdfast import errors, events
from holdfast.telemetry import counts, failures, record
from holdfast.telemetry.histogram import Histogram

STREAM = events.new_stream_id()


def call(error: str = "", usage: events.Tokens | None = None, **changes: object) -> record.Call:
    facts: dict[str, object] = {
        "stream": STREAM,
        "provider": "acme",
        "model": "big",
        "began": 100.0,
        "seconds": 2.0,
        "first_chunk": 0.5,
        **changes,
    }
    return record.Call(error=error, usage=usage, **facts)  # type: ignore[arg-type]


def test_a_call_is_counted_by_its_provider_and_the_label_of_its_model() -> None:
    kept = record.Record(lambda provider, model: f"{model[0]}*")
    with kept.calls("acme", "big").one():
        under_way = kept.counted().calls["acme/b*"]
        assert (under_way.calls_active, under_way.begun) == (1, 1)
    ended = [
        call(usage=events.Tokens(7, 3, 10, 1, 2)),
        call("provider_failed", first_chunk=None),
        call(model="small", error="provider_failed", seconds=0.0),
    ]
    for one in ended:
        kept.call_ended(one)
    found = kept.counted().calls
    assert set(found) == {"acme/b*", "acme/s*"}
    assert found["acme/b*"] == counts.Calls(
        begun=1,
        failed={"provider_failed": Histogram({2_000_000: 1}, 2_000_000)},
        duration=Histogram({2_000_000: 2}, 4_000_000),
        first_chunk=Histogram({500_000: 1}, 500_000),
        input_tokens=7,
        output_tokens=3,
        reasoning_tokens=1,
        cached_tokens=2,
    )


def test_a_call_that_is_given_up_is_not_active_any_more() -> None:
    kept = record.Record()
    with pytest.raises(KeyError), kept.calls("acme", "big").one():
        raise KeyError
    assert kept.counted().calls["acme/big"].calls_active == 0


def test_a_stream_is_counted_by_its_end() -> None:
    kept = record.Record()
    kept.started()
    kept.adopted()
    kept.wrote(4, 40)
    kept.ended(STREAM, events.Complete("stop", None, None, 4, 40, 40, "", 1500, 1, True))
    kept.ended(STREAM, events.Error(errors.Cancelled.code, "", False))
    for _ in range(2):
        kept.ended(STREAM, events.Error("provider_failed", "", True))
    kept.fallbacks += 3
    kept.first_chunk.add(20_000)
    kept.appends.add(100)
    kept.loop_lag.add(200)
    for reason in ("late", "late", "log"):
        kept.refused(reason)
    assert kept.counted() == counts.Counts(
        streams_started=1,
        streams_adopted=1,
        streams_completed=1,
        streams_error=2,
        streams_cancelled=1,
        fallbacks=3,
        errors={"provider_failed": 2},
        duration=Histogram({1_500_000: 1}, 1_500_000),
        first_chunk=Histogram({20_000: 1}, 20_000),
        written_chunks=4,
        written_bytes=40,
        appends=Histogram({100: 1}, 100),
        loop_lag=Histogram({200: 1}, 200),
        refused={"late": 2, "log": 1},
    )


def noted(kept: record.Record) -> list[tuple[str, str | None, int]]:
    return [(one.code, one.provider, one.count) for one in kept.failures.told()]


def test_what_failed_is_noted_by_its_provider_and_a_stream_by_its_end() -> None:
    kept = record.Record()
    for error in ("provider_failed", "continuation_diverged", ""):
        kept.call_ended(call(error))
    kept.ended(STREAM, events.Complete("stop", None, None, 4, 40, 40, "", 1500, 1, True))
    kept.ended(STREAM, events.failure(errors.ProviderFailed("SECRET, as a provider said it")))
    kept.ended(STREAM, events.failure(errors.LogLost("It is away.")))
    assert noted(kept) == [
        ("provider_failed", "acme", 1),
        ("continuation_diverged", "acme", 1),
        ("provider_failed", None, 1),
        ("log_lost", None, 1),
    ]
    told = [one.examples for one in kept.failures.told()]
    meaning = "The provider reported an error of its own."
    assert [example.message for (example,) in told] == [
        meaning,
        "The answer went on otherwise than it had begun.",
        meaning,
        "It is away.",
    ]
    assert {example.stream for (example,) in told} == {STREAM}
    assert all(example.at > 1_700_000_000_000 for (example,) in told)


@pytest.mark.parametrize(
    "stopped", [errors.Cancelled, errors.Interrupted, errors.TokenLimit, errors.StreamTooLarge]
)
def test_a_call_that_was_stopped_has_not_failed(stopped: type[errors.HoldfastError]) -> None:
    kept = record.Record()
    kept.call_ended(call(stopped.code))
    kept.ended(STREAM, events.failure(errors.Cancelled()))
    assert noted(kept) == []


def test_every_code_of_a_provider_s_is_told_without_its_words() -> None:
    for kind in errors.ProviderError.__subclasses__():
        assert failures.message(kind.code, "SECRET") == (kind.__doc__ or "").strip()

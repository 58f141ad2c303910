"""The policy of coming back, row by row: no clock, no network."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import errors
from holdfast.client import reconnect

LIMITS = reconnect.Limits()


def decide(attempt: int = 1, elapsed: float = 0.0, random: float = 0.5, **happened: Any) -> object:
    event = reconnect.Happened("it broke", **happened)
    return reconnect.decide(attempt, event, elapsed, random, LIMITS)


def test_the_bound_doubles_up_to_the_longest() -> None:
    bounds = [decide(attempt, random=1.0) for attempt in range(1, 10)]
    assert bounds == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    assert decide(10_000, random=1.0) == 15.0


def test_the_jitter_is_full() -> None:
    assert [decide(4, random=draw) for draw in (0.0, 0.25, 0.75)] == [0.0, 0.5, 1.5]


def test_a_hint_is_a_floor_under_the_jitter() -> None:
    assert decide(hint=7.0, random=0.0) == 7.0
    assert decide(2, hint=7.0, random=1.0) == 7.5
    assert decide(status=503, hint=3.0, random=0.0) == 3.0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 422, 501, 505])
def test_a_verdict_is_final(status: int) -> None:
    assert decide(status=status) == "refused"
    assert decide(status=status, hint=1.0) == "refused"


@pytest.mark.parametrize("status", [200, 201, 301, 302, 307])
def test_what_is_no_event_stream_is_refused(status: int) -> None:
    assert decide(status=status) == "refused"


@pytest.mark.parametrize("status", [0, 408, 425, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again(status: int) -> None:
    assert decide(status=status) == 0.125


@pytest.mark.parametrize(
    "code", ["missing_key", "log_locked", "log_corrupt", "key_missing", "not_yet"]
)
def test_some_5xx_do_not_pass(code: str) -> None:
    assert decide(status=503, code=code) == "refused"
    assert decide(status=503, code="draining") == 0.125


def test_a_try_behind_the_limit_is_not_waited_for() -> None:
    assert decide(random=0.0, elapsed=300.0) == 0.0
    assert decide(random=0.0, elapsed=300.1) == "gave up"
    assert decide(random=0.0, elapsed=200.0, hint=100.0) == 100.0
    assert decide(random=0.0, elapsed=200.0, hint=100.1) == "gave up"


CUT = reconnect.Happened("it broke")


def tries() -> reconnect.Tries:
    return reconnect.Tries(1000.0, LIMITS)


def test_tries_count_until_there_is_progress() -> None:
    account = tries()
    assert [account.after(CUT, 1000.0, 1.0) for _ in range(3)] == [0.25, 0.5, 1.0]
    account.progress()
    assert account.after(CUT, 1000.0, 1.0) == 0.25


def test_time_on_a_connection_does_not_count() -> None:
    account = tries()
    account.connected(1100.0)
    account.lost(9000.0)
    assert account.after(CUT, 9199.0, 1.0) == 0.25
    account.connected(9199.0)
    account.lost(9300.0)
    # 100 s, 199 s, and now the rest of the 300 s.
    assert account.after(CUT, 9300.5, 1.0) == 0.5
    with pytest.raises(errors.GaveUp):
        account.after(CUT, 9301.0, 1.0)


def test_progress_forgets_the_time_without_a_connection() -> None:
    account = tries()
    account.connected(1299.0)
    account.progress()
    account.lost(1299.0)
    assert account.after(CUT, 1590.0, 0.0) == 0.0


def test_giving_up_says_why_and_the_next_account_starts_anew() -> None:
    account = tries()
    busy = reconnect.Happened("Too many.", status=503, hint=400.0)
    with pytest.raises(
        errors.GaveUp, match=r"^Gave up at try 1, after 3 s: Too many\.$"
    ) as gave_up:
        account.after(busy, 1003.0, 0.0)
    assert gave_up.value.retry_after == 400.0
    assert gave_up.value.retryable
    assert account.after(CUT, 1299.0, 1.0) == 0.25


def test_a_refusal_carries_the_verdict() -> None:
    gone = reconnect.Happened("The stream has expired.", status=410, code="stream_expired")
    with pytest.raises(errors.RequestRefused, match=r"^The stream has expired\.$") as refused:
        tries().after(gone, 1000.0, 0.0)
    assert (refused.value.status, refused.value.code) == (410, "stream_expired")
    assert not refused.value.retryable


def test_a_refusal_without_a_code_has_the_class_s_own() -> None:
    with pytest.raises(errors.RequestRefused) as refused:
        tries().after(reconnect.Happened("no", status=404), 1000.0, 0.0)
    assert refused.value.code == "request_refused"


NOW = 1445412480.0  # Wed, 21 Oct 2015 07:28:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("1", 1.0),
        ("3600", 3600.0),
        ("Wed, 21 Oct 2015 07:29:00 GMT", 60.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("Wed, 21 Oct 99999 07:28:00 GMT", 0.0),
        ("-1", 0.0),
        ("1.5", 0.0),
        ("abc", 0.0),
        ("NaN", 0.0),
        ("1e400", 0.0),
        ("9" * 400, 0.0),
        ("٣", 0.0),
        ("", 0.0),
    ],
)
def test_retry_after(value: str, seconds: float) -> None:
    assert reconnect.retry_after(value, NOW) == seconds

"""When a client comes back, and when it stops: a pure policy.

Strategy: `decide` is a function of numbers. It takes no clock and draws no random number,
so every case is a row of a test. `Tries` is the account that one reader keeps for it. Time
is in seconds, by any clock that only goes forward.

- A final verdict (4xx, and what no waiting mends) refuses at once, a limit of the caller's own
  too: when there is room again is told, and may be tomorrow, so whether to wait is for who asks.
  No connection, a cut, 408, 425, 5xx, and a 429 of anybody else's are tried again.
- The delay is the server's hint (`reconnect`, `retry:`, Retry-After) plus full jitter, from
  0 to a bound that doubles with each try: readers that were given the same hint spread too.
- Only a new event is progress. Elapsed is the time without a connection since then, so that
  an answer which thinks for an hour on a good connection is not given up at its first cut,
  and one whose connections carry nothing is.
- A try that would fall behind the limit is not waited for.
"""

from __future__ import annotations

import email.utils
import re
from typing import Literal

import msgspec

from holdfast import errors

_PASSING = frozenset({408, 425, 429})
# Statuses of 5xx, and codes that come with one, which the same request meets again.
_LASTING = frozenset({501, 505})
_LASTING_CODES = frozenset(
    {
        errors.MissingKey.code,
        errors.LogLocked.code,
        errors.LogCorrupt.code,
        errors.KeyMissing.code,
        errors.NotYet.code,
    }
)
# Of a 429 of a server of ours: the caller has used what there was.
_QUOTA_CODES = frozenset(
    {
        errors.RequestLimit.code,
        errors.StreamLimit.code,
        errors.ConnectionLimit.code,
        errors.TokenLimit.code,
        errors.CostLimit.code,
    }
)


class Limits(msgspec.Struct, frozen=True):
    """Seconds: the bound of the first delay, of every delay, of trying in vain, and of that
    where nothing was ever reached (None: the same)."""

    first: float = 0.25
    longest: float = 15.0
    give_up_after: float = 300.0
    give_up_at_first: float | None = None


class Happened(msgspec.Struct, frozen=True):
    """How a try ended without the rest of the answer.

    `status` and `code` (of the problem details) are those of a response that was no event
    stream; 0 is a connection that was refused, cut or sent away. `hint` is in seconds.
    """

    text: str
    status: int = 0
    code: str = ""
    hint: float = 0.0


def decide(
    attempt: int, happened: Happened, elapsed: float, random: float, limits: Limits
) -> float | Literal["refused", "gave up"]:
    """The delay before the next try, or why there is none. `attempt` counts the tries without
    progress from 1, `elapsed` is their time in seconds, `random` lies in [0, 1)."""
    status = happened.status
    if happened.code in _LASTING_CODES or status in _LASTING or _used_up(happened):
        return "refused"
    if status and status not in _PASSING and status < 500:
        return "refused"
    # 2.0 ** 1024 overflows, and the bound is reached long before.
    delay = happened.hint + random * min(limits.longest, limits.first * 2.0 ** min(attempt - 1, 60))
    return "gave up" if elapsed + delay > limits.give_up_after else delay


def _used_up(happened: Happened) -> bool:
    """Whether a limit of the caller's own is reached."""
    return happened.status == 429 and happened.code in _QUOTA_CODES


def _refusal(happened: Happened) -> errors.RequestRefused:
    again = happened.hint or None if _used_up(happened) else None
    refused = errors.RequestRefused(
        happened.text, status=happened.status, code=happened.code, retry_after=again
    )
    refused.retryable = _used_up(happened)
    return refused


class Tries:
    """What one reader did since its last progress; `now` and `at` are readings of its clock."""

    def __init__(self, now: float, limits: Limits) -> None:
        self._later = self._limits = limits
        if limits.give_up_at_first is not None:
            self._limits = msgspec.structs.replace(limits, give_up_after=limits.give_up_at_first)
        self._lost_at = now
        self.progress()

    def progress(self) -> None:
        """A new event has come."""
        self._attempt = 0
        self._offline = 0.0

    def connected(self, now: float) -> None:
        """An event stream has begun: from here time does not count."""
        self._limits = self._later
        self._offline += now - self._lost_at

    def lost(self, at: float) -> None:
        """It broke off; `at` is when its last byte came, so that silence counts."""
        self._lost_at = at

    def after(self, happened: Happened, now: float, random: float) -> float:
        """Seconds to wait before the next try.

        Raises RequestRefused and GaveUp; whoever asks again after GaveUp starts anew. A refusal
        by a limit of the caller's own is `retryable`, after `retry_after` seconds where that is
        known.
        """
        self._attempt += 1
        elapsed = self._offline + now - self._lost_at
        decision = decide(self._attempt, happened, elapsed, random, self._limits)
        if isinstance(decision, float):
            return decision
        if decision == "refused":
            raise _refusal(happened)
        text = f"Gave up at try {self._attempt}, after {elapsed:.0f} s: {happened.text}"
        self._lost_at = now
        self.progress()
        raise errors.GaveUp(text, retry_after=happened.hint or None)


def retry_after(value: str, now: float) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3: seconds, or a date; `now`
    is in seconds since 1970). 0 for a date that has passed and for what is neither."""
    if re.fullmatch(r"\d{1,10}", value, re.ASCII):
        return float(value)
    parts = email.utils.parsedate_tz(value)
    try:
        return max(0.0, email.utils.mktime_tz(parts) - now) if parts else 0.0
    except (ValueError, OverflowError):
        return 0.0

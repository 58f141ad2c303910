"""Circuit breakers: a provider that fails for everybody is left alone for a while.

Strategy: three states and a table of what leads from one to the next. `closed` counts failures in
a row; enough of them open it. `open` lets nobody through until its pause is over; then, in
`half_open`, one call goes as a probe and decides for all, with its first word or its end. Each
probe that fails makes the next pause longer; one that ends without a verdict leaves its place to
the next call. Calls that were under way when it opened are old news and decide nothing. The time is
an argument, so every case is a row in a test.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal

import msgspec

from holdfast import errors

State = Literal["closed", "open", "half_open"]
Cause = Literal["success", "failure", "expiry"]

NEXT: dict[tuple[State, Cause], State] = {
    ("closed", "failure"): "open",
    ("open", "expiry"): "half_open",
    ("half_open", "success"): "closed",
    ("half_open", "failure"): "open",
}
"""What is not in the table changes nothing. In `closed` a `failure` is as many in a row as it
takes; `expiry` is a call that is wanted when the pause is over."""

HARMLESS = (
    errors.ProviderRejected,
    errors.ProviderContextLength,
    errors.ProviderModelNotFound,
    errors.ProviderRateLimited,
)
"""What refuses one request, by a provider that is there. As a probe it lets the others through; it
is no whole answer, so it does not end a row of failures."""


class Limits(msgspec.Struct, frozen=True, gc=False):
    """`failures` in a row open it. `pause` is for how many seconds, doubled after each probe that
    fails, up to `longest`. Raises `ValueError` where that cannot be."""

    failures: int = 5
    pause: float = 30.0
    longest: float = 300.0

    def __post_init__(self) -> None:
        if self.failures < 1 or not 0 < self.pause <= self.longest:
            raise ValueError("a breaker takes a failure and more, and a pause up to the longest")


class Breaker:
    """The breaker of one provider. Times are seconds of one clock that does not jump. `told` hears
    of each change."""

    def __init__(self, limits: Limits, told: Callable[[State], None] = lambda state: None) -> None:
        self.state: State = "closed"
        self._limits, self._told = limits, told
        self._failures = 0
        self._pause = limits.pause
        self._over_at = -math.inf  # when the last pause is over
        self._probing = False

    def shut(self, now: float) -> bool:
        """Whether a call that may go elsewhere should. Changes nothing."""
        if self.state == "half_open":
            return self._probing
        return self.state == "open" and now < self._over_at

    def admits(self, now: float) -> bool:
        """Whether a call may be made now. One that may must be followed by `ended`."""
        if self.state == "open" and now >= self._over_at:
            self._to("expiry", now)
        if self.state == "half_open" and not self._probing:
            self._probing = True
            return True
        return self.state == "closed"

    def answers(self, now: float) -> None:
        """A call that was let through has brought its first word: who answers is there, and others
        need not wait until the answer is whole."""
        if self.state == "half_open":
            self._probing = False
            self._to("success", now)

    def ended(
        self, error: errors.HoldfastError | None, now: float, *, began: float | None = None
    ) -> None:
        """How a call ended: None is a whole answer. `began` is when it was admitted; without it a
        call from before the last pause is taken for a new one."""
        if began is not None and began < self._over_at:
            return
        self._probing = False
        if error is None:
            self._failures = 0
            self._to("success", now)
        elif isinstance(error, HARMLESS):
            self._to("success", now)
        elif isinstance(error, errors.ProviderError):
            self._failures += 1
            if self.state != "closed" or self._failures >= self._limits.failures:
                self._to("failure", now)

    def _to(self, cause: Cause, now: float) -> None:
        before, self.state = self.state, NEXT.get((self.state, cause), self.state)
        if self.state == before:
            return
        if self.state == "open":
            longer = min(2 * self._pause, self._limits.longest)
            self._pause = longer if before == "half_open" else self._limits.pause
            self._over_at = now + self._pause
        self._failures = 0
        self._told(self.state)


class Breakers:
    """Those of all providers, by name; a provider that nobody has called has none yet. `told` hears
    of each change of one."""

    def __init__(
        self, limits: Limits, told: Callable[[str, State], None] = lambda provider, state: None
    ) -> None:
        self._limits, self._told = limits, told
        self._breakers: dict[str, Breaker] = {}

    @property
    def states(self) -> dict[str, State]:
        """By name."""
        return {name: one.state for name, one in self._breakers.items()}

    def shut(self, now: float) -> tuple[str, ...]:
        """The names of those that are passed over now: not one whose pause is over and whom nobody
        has called since."""
        return tuple(name for name, one in self._breakers.items() if one.shut(now))

    def of(self, provider: str) -> Breaker:
        found = self._breakers.get(provider)
        if found is None:
            told = functools.partial(self._told, provider)
            found = self._breakers[provider] = Breaker(self._limits, told)
        return found

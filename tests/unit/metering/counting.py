"""What the tests of metering have in common: a clock that stands still, and accounts under it."""

from __future__ import annotations

from holdfast import errors
from holdfast.archive.base import Quota
from holdfast.metering import account

BEGIN = 1_700_000_000_000
"""Where a slot of a minute begins, and one of a day does not."""


class Clock:
    """Gives ms since 1970; a test sets `now`."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> int:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


class Stops:
    """How often a stream was ended, and by what."""

    def __init__(self) -> None:
        self.errors: list[errors.HoldfastError] = []

    def __call__(self, error: errors.HoldfastError) -> None:
        self.errors.append(error)

    @property
    def codes(self) -> list[str]:
        return [error.code for error in self.errors]


def made(clock: Clock, name: str = "key:k", /, **quota: int) -> account.Account:
    return account.Account(name, Quota(**quota), clock)


def used(one: account.Account, what: str = "tokens") -> int:
    """What is counted of it, wherever it stands, over the first span of such a limit."""
    one.settle()
    return next(limit.window.used for limit in one.limits if limit.what == what)


def left(one: account.Account) -> list[tuple[str, int, int]]:
    """Of each limit over a span: its name, what is left of it, and the seconds until it is whole
    again."""
    return [(limit.name, left, seconds) for limit, left, seconds in one.left()]


def request(one: account.Account) -> None:
    """Makes a request. Raises `errors.RequestLimit`, and then has counted none."""
    one.check_requests()
    one.request()

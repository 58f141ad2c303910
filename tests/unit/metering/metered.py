"""Streams with meters, and what they are told.

Strategy: three models have prices, one of them none at all; an account counts tokens and costs, and
its limits are far away unless a test brings them near.
"""

from __future__ import annotations

from typing import Any

from tests.unit.metering.counting import Clock, made, used

from holdfast import events
from holdfast.metering import account, meter, prices

TABLE = prices.Prices(
    [
        prices.Row(("dear",), prices.Price(input=10.0, cached=1.0, output=100.0)),
        prices.Row(("cheap",), prices.Price(input=0.1, cached=0.01, output=0.3)),
        prices.Row(("free",), prices.Price()),
    ]
)
MOST = 10**12


def one_account(clock: Clock | None = None, **quota: int) -> account.Account:
    """Counts tokens and costs; a limit that is not named is far away."""
    return made(clock or Clock(), **{"tokens_per_minute": MOST, "cost_per_day": MOST, **quota})


def begun(
    one: account.Account, asked: int = 0, model: str = "free", choices: int = 1
) -> meter.Meter:
    stream = meter.Meter([one], TABLE, asked, choices)
    stream.check("p", model)
    stream.call("p", model)
    return stream


def sums(one: account.Account) -> tuple[int, int]:
    return used(one), used(one, "cost")


def say(text: str = "word", count: int = 1, **fields: Any) -> list[events.Body]:
    return [events.Chunk("content", text, **fields)] * count


def usage(sent: int, written: int, cached: int | None = None) -> events.Usage:
    return events.Usage(sent, written, sent + written, cached_tokens=cached)


def attempt(model: str, how: Any, number: int = 2) -> events.Attempt:
    return events.Attempt(number, "p", model, how=how)


def failed(model: str = "free", number: int = 1) -> events.Attempt:
    return events.Attempt(number, "p", model, "provider_failed", "It failed.")


FINISH = events.Finish(0, "stop", "stop")

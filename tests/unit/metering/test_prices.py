"""The price table: which row holds, and what a call costs by it."""

from __future__ import annotations

import pytest

from holdfast import events
from holdfast.metering import prices

ROWS = [
    prices.Row(("gpt-5-mini", "gpt-5-nano"), prices.Price(input=1.0)),
    prices.Row(("azure/gpt-5*",), prices.Price(input=2.0)),
    prices.Row(("gpt-*",), prices.Price(input=3.0)),
    prices.Row(("claude-?",), prices.Price(input=4.0)),
    prices.Row(("local/*",), prices.Price()),
]


@pytest.mark.parametrize(
    ("provider", "model", "price"),
    [
        ("openai", "gpt-5-mini", 1.0),
        ("azure", "gpt-5-nano", 1.0),
        ("azure", "gpt-5", 2.0),
        ("openai", "gpt-5", 3.0),
        ("openai", "GPT-5", None),
        ("a", "claude-4", 4.0),
        ("a", "claude-45", None),
        ("local", "anything/at-all", 0.0),
        ("other", "local", None),
        ("other", "local/x", 0.0),
        ("openai", "", None),
    ],
)
def test_the_first_row_that_fits_holds(provider: str, model: str, price: float | None) -> None:
    table = prices.Prices(ROWS)
    for _ in range(2):  # asked and remembered
        found = table.of(provider, model)
        assert (None if found is None else found.input) == price


def test_without_rows_nothing_has_a_price() -> None:
    assert prices.Prices().of("openai", "gpt-5") is None


def test_what_is_remembered_is_bounded() -> None:
    table = prices.Prices(ROWS)
    for number in range(2 * prices.MAX_FOUND):
        table.of("openai", f"gpt-{number}")
    assert table.of.cache_info().currsize == prices.MAX_FOUND


def test_a_price_is_for_a_million_tokens() -> None:
    """Which makes it millionths for one."""
    price = prices.Price(input=2.5, output=10.0)
    assert price.of(events.Tokens(1_000_000, 0)) == 2.5 * prices.UNIT
    assert price.of(events.Tokens(0, 1_000_000)) == 10 * prices.UNIT
    assert price.of(events.Tokens()) == 0


@pytest.mark.parametrize(
    ("cached", "cost"), [(None, 1000.0), (0, 1000.0), (40, 640.0), (100, 100.0), (101, 100.0)]
)
def test_what_was_kept_has_its_own_price(cached: int | None, cost: float) -> None:
    """A provider that says it had kept more than it was asked is not paid for the difference."""
    price = prices.Price(input=10.0, cached=1.0, output=100.0)
    assert price.of(events.Tokens(100, 0, 100, cached_tokens=cached)) == cost


def test_only_what_is_asked_and_answered_costs() -> None:
    """Of the answer, reasoning is a part."""
    price = prices.Price(input=1.0, output=2.0)
    assert price.of(events.Tokens(10, 20, 1000, reasoning_tokens=15)) == 50

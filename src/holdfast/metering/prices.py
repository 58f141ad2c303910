"""What tokens cost, by a table of the operator's.

Strategy: a price is in the currency of whoever writes the table, for a million tokens: so it is
also what one token costs in millionths. Sums are whole numbers of those, rounded up once a call.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Sequence

import msgspec

from holdfast import events

UNIT = 1_000_000
"""Of what is summed, in one of the currency."""


def millionths(amount: float) -> int:
    """A limit of cost as it is summed; what is more than nothing is never 0, which would be no
    limit."""
    return max(round(amount * UNIT), 1 if amount else 0)


class Price(msgspec.Struct, frozen=True, gc=False):
    """Of a million tokens: of what is asked, of what of that the provider had kept, of what is
    answered."""

    input: float = 0.0
    cached: float = 0.0
    output: float = 0.0

    def of(self, used: events.Tokens) -> float:
        """What a call costs, in millionths."""
        cached = min(used.cached_tokens or 0, used.input_tokens)
        fresh = used.input_tokens - cached
        return fresh * self.input + cached * self.cached + used.output_tokens * self.output


MAX_FOUND = 1000
"""Models whose price is remembered."""


class Row(msgspec.Struct, frozen=True):
    """A price of all models that a pattern fits: of `model`, or `provider/model`."""

    models: tuple[str, ...]
    price: Price


class Prices:
    """The first row that fits holds."""

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        self._rows = tuple(rows)
        self.of = functools.lru_cache(MAX_FOUND)(self._of)

    def _of(self, provider: str, model: str) -> Price | None:
        """The price of a provider's model; None where no row fits."""
        names = (model, f"{provider}/{model}")
        for row in self._rows:
            if any(fnmatch.fnmatchcase(name, fits) for fits in row.models for name in names):
                return row.price
        return None

"""How a crowded node is shared among tenants: a pure decision.

Strategy: one tenant alone may have the whole node. As soon as another one asks, nobody has more
than an equal part for certain: whoever holds more is not given the last of the room, which is then
there for the others as places become free. Nobody is thrown out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from holdfast.request import Priority

SHARES: Mapping[Priority, float] = MappingProxyType({"low": 0.75, "normal": 0.9, "high": 1.0})
"""Of the node's limits, up to which a new stream of this priority is taken."""

RETURNING = 0.05
"""Of the places for readers, what no new stream is given: it is there for those who come back."""

CROWDED = 0.9
"""Of what there is, up to which a tenant is given that has its part already; never the last
place."""


def room(limit: float, mine: int, tenants: int) -> float:
    """How much of `limit` may be in use for a tenant that holds `mine` of it to get more, while so
    many `tenants` want some."""
    if tenants < 2 or mine < max(1, limit // tenants):
        return limit
    return min(limit * CROWDED, math.ceil(limit) - 1)

"""All scenarios, in the order in which they run.

Strategy: the one place that knows them all; `scenario` tells what an entry is.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench import access, latency, many, providers, sealed, sidechannel, slow, watched
from bench.scenario import Scenario

ALL: Sequence[Scenario] = (
    latency.SCENARIO,
    many.SCENARIO,
    providers.SCENARIO,
    slow.SCENARIO,
    access.SCENARIO,
    watched.SCENARIO,
    sealed.SCENARIO,
    sidechannel.SCENARIO,
)

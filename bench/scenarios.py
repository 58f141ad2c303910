"""All scenarios, in the order in which they run.

Strategy: the one place that knows them all; `scenario` tells what an entry is.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench import (
    access,
    agree,
    compressed,
    crowd,
    dialects,
    everything,
    fanout,
    first,
    held,
    idle,
    latency,
    many,
    providers,
    readers,
    replay,
    saturation,
    sealed,
    setup,
    sidechannel,
    slow,
    soak,
    storm,
    tls,
    watched,
    workers,
)
from bench.peers import entry as peers
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
    saturation.SCENARIO,
    crowd.SCENARIO,
    held.SCENARIO,
    readers.SCENARIO,
    workers.SCENARIO,
    fanout.SCENARIO,
    storm.SCENARIO,
    peers.SCENARIO,
    tls.SCENARIO,
    dialects.SCENARIO,
    first.SCENARIO,
    setup.SCENARIO,
    replay.SCENARIO,
    idle.SCENARIO,
    compressed.SCENARIO,
    everything.SCENARIO,
    agree.SCENARIO,
    soak.SCENARIO,
)

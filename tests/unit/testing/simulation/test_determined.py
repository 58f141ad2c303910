"""Ids and the time follow from the seed while a run lasts, and no longer."""

from __future__ import annotations

import asyncio
import random
import secrets
import time

from holdfast import events
from holdfast.testing import simulated
from holdfast.testing.simulation import determined


def drawn(seed: int) -> tuple[str, int, int]:
    """An id, an epoch, and how far apart two stamps a simulated second apart are."""

    async def story() -> tuple[str, int, int]:
        first = events.now_ms()
        await asyncio.sleep(1.0)
        return events.new_stream_id(), events.new_epoch(0), events.now_ms() - first

    with determined.drawn_from(random.Random(seed)):
        return simulated.run(story())


def test_a_seed_gives_the_same_ids_and_times_again() -> None:
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert drawn(1)[2] == 1000


def test_afterwards_the_machine_is_asked_again() -> None:
    drawn(1)
    assert vars(events.ids)["secrets"] is secrets
    assert vars(events.event)["time"] is time
    assert abs(events.now_ms() / 1000 - time.time()) < 60

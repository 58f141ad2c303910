"""What the provider did to a stream is written down: whoever judges its end has to know."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from holdfast import errors, events, request
from holdfast.providers import playback
from holdfast.testing import simulated
from holdfast.testing.simulation import provider, record

STREAM = events.new_stream_id()
WANTED = request.Request("demo", [request.Message("user", "/demo tokens=3\ntag-2-7")])


class Sink:
    """A `transport.Sink` that hears nothing."""

    def head(self, status: int, headers: Mapping[str, str]) -> None: ...

    def body(self, data: bytes) -> None: ...

    def end(self, error: errors.TransportError | None) -> None: ...


def witnessed(
    unreachable: float = 0.0, diverging: float = 0.0
) -> tuple[provider.Witnessed, record.Record]:
    seen = record.Record()
    seen.created("tag-2-7", STREAM)
    chance = random.Random(1)
    inner = playback.Demo()
    made = provider.Witnessed(inner, seen, chance, unreachable=unreachable, diverging=diverging)
    return made, seen


@pytest.mark.parametrize(("share", "count"), [(1.0, 2), (0.0, 0)])
def test_calls_that_find_nobody_are_counted(share: float, count: int) -> None:
    made, seen = witnessed(unreachable=share)

    async def call() -> None:
        for _ in range(2):
            try:
                await made.open(made.prepare(WANTED, "demo"), Sink())
            except errors.Unreachable:
                continue

    simulated.run(call())
    assert seen.unreached[STREAM] == count


@pytest.mark.parametrize(("share", "found"), [(1.0, {STREAM}), (0.0, set())])
def test_an_answer_that_diverges_is_written_down(share: float, found: set[str]) -> None:
    made, seen = witnessed(diverging=share)
    call = made.replay(WANTED, "demo", None, provider.TOLD)
    assert seen.diverged == found
    assert (call == made._inner.replay(WANTED, "demo", None, provider.TOLD)) is not bool(found)
    seen.diverged.clear()
    made.replay(WANTED, "demo", None, provider.TOLD - 1)
    assert seen.diverged == set()

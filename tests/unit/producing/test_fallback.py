"""The decisions after a failed attempt and about an orphan: every case, as rows."""

from __future__ import annotations

import itertools

import pytest

from holdfast import errors
from holdfast.producing import fallback


@pytest.mark.parametrize("replaying", [False, True])
@pytest.mark.parametrize("attempts", [1, 3, fallback.REPLAYS])
@pytest.mark.parametrize(
    "error", [errors.ProviderFailed("no"), errors.ProviderAuth(), errors.Cancelled()]
)
def test_what_follows_a_failed_attempt(
    attempts: int, error: errors.HoldfastError, replaying: bool
) -> None:
    step = fallback.next_step(attempts, error, replaying)
    if not replaying or isinstance(error, errors.Cancelled):
        assert step == fallback.GiveUp(error)
    elif error.retryable and attempts < fallback.REPLAYS:
        assert step == fallback.Again({1: 1.0, 3: 4.0}[attempts])
    else:
        # What the reader has did not fail: its writer died, and nobody could tell it again.
        assert isinstance(step, fallback.GiveUp)
        assert isinstance(step.error, errors.Interrupted)


@pytest.mark.parametrize(
    ("attempts", "asked", "delay"),
    [(1, None, 1.0), (2, None, 2.0), (4, None, 8.0), (1, 5.0, 5.0), (4, 5.0, 8.0), (1, 1e9, 30.0)],
)
def test_a_replay_is_asked_for_again_later_and_later(
    attempts: int, asked: float | None, delay: float
) -> None:
    error = errors.ProviderRateLimited("no", retry_after=asked)
    assert fallback.next_step(attempts, error, replaying=True) == fallback.Again(delay)


BARREN = (1, 2, fallback.MAX_BARREN, fallback.MAX_BARREN + 1)
ORPHANS = list(itertools.product(BARREN, *[(False, True)] * 3))


@pytest.mark.parametrize(("barren", "cancelled", "finished", "replayable"), ORPHANS)
def test_what_becomes_of_an_orphan(
    barren: int, cancelled: bool, finished: bool, replayable: bool
) -> None:
    orphan = fallback.Orphan(
        barren=barren, cancelled=cancelled, finished=finished, replayable=replayable
    )
    step = fallback.adopt(orphan)
    if finished:
        assert step == fallback.Finish()
    elif cancelled:
        assert isinstance(step, fallback.GiveUp)
        assert isinstance(step.error, errors.Cancelled)
    elif replayable and barren <= fallback.MAX_BARREN:
        assert step == fallback.Replay()
    else:
        assert isinstance(step, fallback.GiveUp)
        assert isinstance(step.error, errors.Interrupted)

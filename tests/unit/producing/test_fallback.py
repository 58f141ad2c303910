"""The decisions after a failed attempt and about an orphan: every case, as rows."""

from __future__ import annotations

import itertools

import pytest

from holdfast import errors
from holdfast.producing import fallback

WRITTEN = [fallback.Written(*flags) for flags in itertools.product((False, True), repeat=3)]


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("attempts", [0, 1, 3])
@pytest.mark.parametrize(
    "error", [errors.ProviderFailed("no"), errors.ProviderAuth(), errors.Cancelled()]
)
def test_a_failed_attempt_ends_the_stream_with_its_error(
    attempts: int, error: errors.HoldfastError, written: fallback.Written
) -> None:
    step = fallback.next_step(attempts, error, written)
    if written.replaying and isinstance(error, errors.ProviderError):
        # What the reader has did not fail: its writer died, and nobody could tell it again.
        assert isinstance(step.error, errors.Interrupted)
    else:
        assert step.error is error


ORPHANS = list(itertools.product((1, 2, fallback.MAX_LIVES, fallback.MAX_LIVES + 1), *[(0, 1)] * 3))


@pytest.mark.parametrize(("lives", "cancelled", "finished", "replayable"), ORPHANS)
def test_what_becomes_of_an_orphan(
    lives: int, cancelled: bool, finished: bool, replayable: bool
) -> None:
    orphan = fallback.Orphan(
        lives=lives, cancelled=cancelled, finished=finished, replayable=replayable
    )
    step = fallback.adopt(orphan)
    if finished:
        assert step == fallback.Finish()
    elif cancelled:
        assert isinstance(step, fallback.GiveUp)
        assert isinstance(step.error, errors.Cancelled)
    elif replayable and lives <= fallback.MAX_LIVES:
        assert step == fallback.Replay()
    else:
        assert isinstance(step, fallback.GiveUp)
        assert isinstance(step.error, errors.Interrupted)


def test_nothing_is_written_by_itself() -> None:
    assert fallback.Written() == fallback.Written(False, False, False)
    assert fallback.MAX_LIVES == 8

"""The decision after a failed attempt: its first cases, as rows."""

from __future__ import annotations

import itertools

import pytest

from holdfast import errors
from holdfast.producing import fallback

WRITTEN = [fallback.Written(*flags) for flags in itertools.product((False, True), repeat=2)]


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("attempts", [0, 1, 3])
@pytest.mark.parametrize(
    "error", [errors.ProviderFailed("no"), errors.ProviderAuth(), errors.Cancelled()]
)
def test_a_failed_attempt_ends_the_stream_with_its_error(
    attempts: int, error: errors.HoldfastError, written: fallback.Written
) -> None:
    step = fallback.next_step(attempts, error, written)
    assert isinstance(step, fallback.GiveUp)
    assert step.error is error


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("cause", [errors.Interrupted(), errors.Draining()])
def test_an_orphan_ends_for_its_cause(
    cause: errors.HoldfastError, written: fallback.Written
) -> None:
    step = fallback.adopt(written, cause)
    assert isinstance(step, fallback.GiveUp)
    assert step.error is cause


def test_nothing_is_written_by_itself() -> None:
    assert fallback.Written() == fallback.Written(content=False, finished=False)

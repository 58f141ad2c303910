"""What happens after a failed attempt: a pure decision.

Strategy: (attempts so far, the error, what is written) to the next step. It takes no clock,
socket or log, so every case is a row in a test. The producer asks it when an attempt fails,
and whoever finds a stream without a writer asks it for that stream. The first cases only:
an attempt that failed ends the stream with its error, an orphan ends as interrupted.
"""

from __future__ import annotations

import msgspec

from holdfast import errors


class Written(msgspec.Struct, frozen=True, gc=False):
    """What the stream's readers have already. `finished`: every choice has its reason."""

    content: bool = False
    finished: bool = False


class GiveUp(msgspec.Struct, frozen=True):
    """End the stream with this error."""

    error: errors.HoldfastError


Step = GiveUp


def next_step(attempts: int, error: errors.HoldfastError, written: Written) -> Step:
    """The step after attempt number `attempts` ended with `error`."""
    return GiveUp(error)


def adopt(written: Written, cause: errors.HoldfastError) -> Step:
    """The step for a stream whose writer is gone, for this cause."""
    return GiveUp(cause)

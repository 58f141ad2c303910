"""What happens after a failed attempt, and to a stream without a writer: pure decisions.

Strategy: (attempts so far, the error, whether it was a replay) to the next step. It takes no clock,
socket or log, so every case is a row in a test. The producer asks it when an attempt fails,
and whoever finds a stream without a writer asks it for that stream. The first cases only: an
attempt that failed ends the stream with its error; an orphan goes on where its provider tells
the very same answer again, and else ends as interrupted.
"""

from __future__ import annotations

import msgspec

from holdfast import errors

MAX_BARREN = 8
"""Writers in a row that may bring nothing new. An answer that takes its node down with it must end
some day."""

REPLAYS = 5
"""Calls for one replay, where they fail for a passing reason: a quarter of a minute, in which a
host that is up gets its network. Readers wait meanwhile."""

DELAY_FIRST, DELAY_LAST = 1.0, 30.0
"""Seconds before such a call is made again: doubled from the first to the last."""


class Again(msgspec.Struct, frozen=True, gc=False):
    """Make the same call once more, after so many seconds."""

    delay: float


class GiveUp(msgspec.Struct, frozen=True):
    """End the stream with this error."""

    error: errors.HoldfastError


class Finish(msgspec.Struct, frozen=True, gc=False):
    """End the stream as it is: its answer is whole."""


class Replay(msgspec.Struct, frozen=True, gc=False):
    """Have the answer told again, and go on behind what is written."""


def next_step(attempts: int, error: errors.HoldfastError, replaying: bool) -> GiveUp | Again:
    """The step after the call number `attempts` of this life ended with `error`. `replaying`: it
    has told again what is written and nothing new, so it may be made as often as one likes."""
    if not replaying or not isinstance(error, errors.ProviderError):
        return GiveUp(error)
    if not error.retryable or attempts >= REPLAYS:
        return GiveUp(errors.Interrupted())
    delay = min(DELAY_FIRST * 2 ** (attempts - 1), DELAY_LAST)
    return Again(max(delay, min(error.retry_after or 0.0, DELAY_LAST)))


class Orphan(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A stream without a writer. `barren` counts the writers in a row that brought nothing new,
    with the one that comes now; `replayable`: its provider can tell the very same answer again."""

    barren: int = 1
    cancelled: bool = False
    finished: bool = False
    replayable: bool = False


def adopt(orphan: Orphan) -> GiveUp | Finish | Replay:
    """The step for a stream whose writer is gone."""
    if orphan.finished:
        return Finish()
    if orphan.cancelled:
        return GiveUp(errors.Cancelled())
    if orphan.replayable and orphan.barren <= MAX_BARREN:
        return Replay()
    return GiveUp(errors.Interrupted())

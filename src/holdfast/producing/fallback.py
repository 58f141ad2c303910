"""What happens after a failed attempt, and to a stream without a writer: pure decisions.

Strategy: (attempts so far, the error, what is written) to the next step. It takes no clock,
socket or log, so every case is a row in a test. The producer asks it when an attempt fails,
and whoever finds a stream without a writer asks it for that stream. The first cases only: an
attempt that failed ends the stream with its error; an orphan goes on where its provider tells
the very same answer again, and else ends as interrupted.
"""

from __future__ import annotations

import msgspec

from holdfast import errors

MAX_LIVES = 8
"""Writers that a stream may have. One that takes its node down with it must end some day."""


class Written(msgspec.Struct, frozen=True, gc=False):
    """What the stream's readers have already. `finished`: every choice has its reason.
    `replaying`: the attempt was still telling again what is written."""

    content: bool = False
    finished: bool = False
    replaying: bool = False


class GiveUp(msgspec.Struct, frozen=True):
    """End the stream with this error."""

    error: errors.HoldfastError


class Finish(msgspec.Struct, frozen=True, gc=False):
    """End the stream as it is: its answer is whole."""


class Replay(msgspec.Struct, frozen=True, gc=False):
    """Have the answer told again, and go on behind what is written."""


def next_step(attempts: int, error: errors.HoldfastError, written: Written) -> GiveUp:
    """The step after attempt number `attempts` ended with `error`."""
    if written.replaying and isinstance(error, errors.ProviderError):
        return GiveUp(errors.Interrupted())
    return GiveUp(error)


class Orphan(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A stream without a writer. `lives` counts its writers with the one that comes now;
    `replayable`: its provider can tell the very same answer again."""

    lives: int = 1
    cancelled: bool = False
    finished: bool = False
    replayable: bool = False


def adopt(orphan: Orphan) -> GiveUp | Finish | Replay:
    """The step for a stream whose writer is gone."""
    if orphan.finished:
        return Finish()
    if orphan.cancelled:
        return GiveUp(errors.Cancelled())
    if orphan.replayable and orphan.lives <= MAX_LIVES:
        return Replay()
    return GiveUp(errors.Interrupted())

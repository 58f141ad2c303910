"""Bugs to be found in what follows a call that failed; as in `plants`."""

from __future__ import annotations

from typing import Any

import pytest
from tests.faults import plants

from holdfast import errors, events, request
from holdfast.producing import continuation, course, fallback, joint, producer, seam, tally
from holdfast.testing.simulation import running


def nobody_else(patch: pytest.MonkeyPatch) -> running.Parts:
    """The next provider of the route is never asked."""
    step = fallback.next_step

    def stay(error: errors.HoldfastError, tried: fallback.Tried, *more: Any) -> fallback.Step:
        after = step(error, tried, *more)
        moves = isinstance(after, fallback.Ask) and after.target != tried.target
        return fallback.GiveUp(error) if moves else after

    patch.setattr(fallback, "next_step", stay)
    return running.Parts()


def asked_without_end(patch: pytest.MonkeyPatch) -> running.Parts:
    """Calls are not counted, so that none is one too many."""
    step = fallback.next_step

    def first(error: errors.HoldfastError, tried: fallback.Tried, *more: Any) -> fallback.Step:
        if isinstance(error, errors.ProviderError) and tried.seconds < 20 and tried.calls < 50:
            return fallback.Ask(tried.target, step_how(step(error, tried, *more)), 0.2)
        return step(error, tried, *more)

    def step_how(after: fallback.Step) -> fallback.How:
        return after.how if isinstance(after, fallback.Ask) else "fresh"

    patch.setattr(fallback, "next_step", first)
    return running.Parts()


def continued_from_too_little(patch: pytest.MonkeyPatch) -> running.Parts:
    """What is on its way to the log is not waited for before the rest is asked for."""

    async def at_once(self: producer.Producer) -> None:
        return

    patch.setattr(producer.Producer, "until_saved", at_once)
    return running.Parts()


def end_left_out(patch: pytest.MonkeyPatch) -> running.Parts:
    """Who goes on is sent all but the last character."""
    of = continuation.of

    def less(wanted: request.Request, written: str, **more: Any) -> request.Request:
        return of(wanted, written[:-1], **more)

    patch.setattr(continuation, "of", less)
    return running.Parts()


def first_piece_trimmed(patch: pytest.MonkeyPatch) -> running.Parts:
    """The seam takes the first character for a repetition."""
    release = seam.Seam.release
    patch.setattr(seam.Seam, "release", lambda self: release(self)[1:])
    return running.Parts()


def no_rewind(patch: pytest.MonkeyPatch) -> running.Parts:
    """An answer that is told anew does not say that the old one is void."""
    made = joint.Joint

    def silent(change: Any = None, *, seam: Any = None, rewind: Any = None) -> joint.Joint:
        return made(change, seam=seam)

    patch.setattr(joint, "Joint", silent)
    return running.Parts()


def half_a_call_continued(patch: pytest.MonkeyPatch) -> running.Parts:
    """What is of use only whole is gone on with like any text."""
    written = course.written

    def anything(*given: Any) -> fallback.Written:
        found = written(*given)
        return fallback.Written(
            content=found.content or found.other,
            finished=found.finished,
            replayable=found.replayable,
        )

    patch.setattr(course, "written", anything)
    return running.Parts()


def forgotten_at_a_failure(patch: pytest.MonkeyPatch) -> running.Parts:
    """What a call said before it failed is not in the account of what is written."""
    add = tally.Tally.add

    def forgetful(self: Any, body: events.Body) -> None:
        add(self, body)
        if isinstance(body, events.Attempt):
            self.said = set()

    patch.setattr(tally.Tally, "add", forgetful)
    return running.Parts()


PLANTS: tuple[plants.Plant, ...] = (
    nobody_else,
    asked_without_end,
    continued_from_too_little,
    end_left_out,
    first_piece_trimmed,
    no_rewind,
    half_a_call_continued,
    forgotten_at_a_failure,
)

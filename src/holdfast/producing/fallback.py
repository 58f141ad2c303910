"""What happens after a failed call, and to a stream without a writer: pure decisions.

Strategy: (what was tried, the error, what is written, the policy) to the next step. It takes no
clock, socket or log, so every case is a row in a test. The producer asks it when a call fails,
and whoever finds a stream without a writer asks the same rules for that stream.

A call that failed is made again at the same target, later each time, then at the next one, until
the policy's budget is used up. How it is made depends on what readers have: nothing of the answer,
and the call is the first one again; text, and the answer is continued from it; what cannot be
continued is forgotten by a `rewind` and answered anew, where the policy has it so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from holdfast import errors

Mode = Literal["continue", "restart", "none"]
Otherwise = Literal["restart", "error"]
How = Literal["fresh", "replay", "continue", "restart"]

MAX_BARREN = 8
"""Writers in a row that may bring nothing new. An answer that takes its node down with it must end
some day."""

REPLAYS = 5
"""Calls for one replay, where they fail for a passing reason: a quarter of a minute, in which a
host that is up gets its network. Readers wait meanwhile."""


GONE = (errors.ProviderRejected, errors.ProviderModelNotFound)
"""What a provider says of an answer that it does not keep any more."""


class Policy(msgspec.Struct, frozen=True, gc=False):
    """`mode` is what follows once content is written, `otherwise` what does where an answer cannot
    be continued. `attempts` are calls to one target, `calls` those to all; `delay` and
    `longest_delay` are seconds before a target is asked again, `seconds` how long after it began a
    writer makes calls."""

    mode: Mode = "continue"
    otherwise: Otherwise = "restart"
    attempts: int = 3
    calls: int = 10
    delay: float = 1.0
    longest_delay: float = 30.0
    seconds: float = 3600.0


class Tried(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`target` is the one that failed last, after so many `attempts`; `left` are those that were
    not asked yet, in order, and `open` those whose breaker lets nobody through; `calls` are the
    calls to all of them, `seconds` is the time since this writer began. `prefilled`: the call that
    failed continued the answer by a prefill; `spoke`: it said some of the answer; `retold`: it was
    to tell again what its provider keeps; `replaying`: it
    told again what is written and nothing new, so it may be made as often as one likes."""

    target: int
    attempts: int
    calls: int
    left: tuple[int, ...] = ()
    open: frozenset[int] = frozenset()
    seconds: float = 0.0
    prefilled: bool = False
    spoke: bool = False
    retold: bool = False
    replaying: bool = False


class Written(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the stream's readers have since the last rewind. `content`: text; `thought`: reasoning,
    and what else may stand before an answer; `other`: anything else of it; `finished`: every choice
    has its reason. `whole_only`: the answer is of use only whole, as JSON, tool calls and several
    choices are; `void`: nobody can go on from it; `binding`: its readers can neither be told to
    forget it nor read another answer behind it. `replayable`: its provider can tell the very same
    answer again."""

    content: bool = False
    thought: bool = False
    other: bool = False
    finished: bool = False
    whole_only: bool = False
    void: bool = False
    binding: bool = False
    replayable: bool = False


class GiveUp(msgspec.Struct, frozen=True):
    """End the stream with this error."""

    error: errors.HoldfastError


class Finish(msgspec.Struct, frozen=True, gc=False):
    """End the stream as it is: its answer is whole."""


class Ask(msgspec.Struct, frozen=True, gc=False):
    """Call this target after so many seconds: `fresh`, for the answer; `replay`, to have it told
    again and go on behind what is written; `continue`, for the rest of it; `restart`, for another
    answer in its place."""

    target: int
    how: How
    delay: float = 0.0


Step = GiveUp | Finish | Ask


def next_step(
    error: errors.HoldfastError, tried: Tried, written: Written, policy: Policy, dice: float = 0.0
) -> Step:
    """The step after a call that ended with `error`, or that could not be made for one of the
    request or the configuration. `dice` (0 to 1) spreads those who wait."""
    diverged = isinstance(error, errors.ContinuationDiverged)
    unasked = isinstance(error, errors.RequestError | errors.SettingsError)
    if written.finished or not (diverged or unasked or isinstance(error, errors.ProviderError)):
        return GiveUp(error)
    if diverged and tried.replaying:
        return GiveUp(error)
    # What failed with a replay is the answer's first writer: its readers have seen no error yet.
    end = GiveUp(errors.Interrupted() if tried.replaying else error)
    how = _how(written, policy)
    better = [number for number in tried.left if number not in tried.open]
    over = tried.calls >= policy.calls or tried.seconds > policy.seconds
    stays = error.retryable and not (better and how and not over and tried.target in tried.open)
    delay = _delay(error, tried.attempts, policy)
    if tried.replaying and stays and written.replayable and tried.attempts < REPLAYS:
        return Ask(tried.target, "replay", min(delay, policy.longest_delay))
    if over:
        return end
    if diverged:  # whoever told something else is there, and may tell it from its begin
        return end if how is None else Ask(tried.target, how)
    if tried.retold and not tried.spoke and (unasked or isinstance(error, GONE)):
        return end if how is None else Ask(tried.target, how)  # it is not kept any more
    if isinstance(error, errors.ProviderRejected) and not tried.spoke:
        if tried.prefilled and how is not None:
            return Ask(tried.target, how)  # without the prefill, which was what it refused
        if how != "continue":
            return end  # what one has refused is not shown to the next
    in_time = delay <= policy.longest_delay and tried.seconds + delay <= policy.seconds
    # Nothing is forgotten where the very same answer is told again.
    again = "replay" if written.replayable and _wished(written, policy) else how
    if stays and again and in_time and tried.attempts < policy.attempts and not tried.replaying:
        return Ask(tried.target, again, delay * (1 + dice / 2))
    if tried.left and how:
        # Where all that are left seem to be down, one is asked all the same.
        return Ask((better or tried.left)[0], how)
    return end


def _how(written: Written, policy: Policy) -> How | None:
    """How the answer is asked for of another target; None where it is not, as where nobody could
    read what is told anew."""
    wished = _wished(written, policy)
    return None if wished == "restart" and written.binding else wished


def _wished(written: Written, policy: Policy) -> How | None:
    if not (written.content or written.other):
        return "restart" if written.thought else "fresh"
    if policy.mode == "none":
        return None
    if policy.mode == "restart":
        return "restart"
    if written.content and not (written.whole_only or written.void):
        return "continue"
    return "restart" if policy.otherwise == "restart" else None


def _delay(error: errors.HoldfastError, attempts: int, policy: Policy) -> float:
    asked = error.retry_after if isinstance(error, errors.ProviderError) else None
    return max(min(policy.delay * 2.0 ** max(0, attempts - 1), policy.longest_delay), asked or 0.0)


def order(shut: Sequence[bool]) -> list[int]:
    """In which order targets are tried for the first call: `shut` are those whose breaker lets
    nobody through, and come last."""
    return sorted(range(len(shut)), key=lambda number: shut[number])


class Orphan(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A stream without a writer. `barren` counts the writers in a row that brought nothing new,
    with the one that comes now, `calls` all that were made; `askable`: what was asked for can be
    read, and whom the last call went to, `target`, is there still."""

    written: Written = Written()
    barren: int = 1
    calls: int = 1
    cancelled: bool = False
    askable: bool = False
    target: int = 0


def adopt(orphan: Orphan, policy: Policy) -> Step:
    """The step for a stream whose writer is gone."""
    if orphan.written.finished:
        return Finish()
    if orphan.cancelled:
        return GiveUp(errors.Cancelled())
    if orphan.askable and orphan.barren <= MAX_BARREN:
        if orphan.written.replayable:
            return Ask(orphan.target, "replay")
        how = _how(orphan.written, policy)
        if how is not None and orphan.calls < policy.calls:
            return Ask(orphan.target, how)
    return GiveUp(errors.Interrupted())

"""Whether each stream that did not get its whole answer has a cause for that.

Strategy: an answer may fail, so a product that gives up too easily breaks no rule about what is
read. But here it is known what was done to each stream, and which codes of an `error` may come of
it; any other is told of. `internal` comes of nothing, and `interrupted` only where every way to go
on was tried: the demo tells each of its answers again, as often as one likes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import msgspec

from holdfast import errors, events
from holdfast.producing import fallback
from holdfast.testing.simulation import faulty, plan, record

FAILING: dict[str, str] = {
    "cut_at": errors.ProviderInterrupted.code,
    "error_at": errors.ProviderFailed.code,
    "stall_at": errors.ProviderTimeout.code,
    "status": errors.ProviderOverloaded.code,
}
"""What the demo may be asked for that makes an answer fail, and how it fails then."""

MANY = 100
"""Calls that no answer here needs."""

SMALL = 1 << 20
"""Bytes of a stream that no answer here has; under a lower limit one may be too large."""


class Troubles(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a stream. `options` are the demo's; `mode` and `spare` are what may follow a
    failure, `few` that it may be followed by few calls; `cancelled`: by a client, or because nobody
    may have read it; `unreached` is how many calls found no provider."""

    options: str = ""
    mode: plan.Mode = "continue"
    spare: bool = False
    few: bool = False
    cancelled: bool = False
    log: bool = False
    limit: int = SMALL
    diverged: bool = False
    unreached: int = 0


def unexplained(
    stream: str, bodies: Sequence[events.Body], drawn: plan.Plan, seen: record.Record
) -> Iterator[str]:
    """What is to be said of a stream that the store holds so, if nothing explains its end."""
    end, asked = (
        bodies[-1] if bodies else None,
        {f"tag-{asked.number}": asked for asked in drawn.answers},
    )
    wanted = asked.get(seen.tags[stream].rpartition("-")[0])
    if not isinstance(end, events.Error) or wanted is None:
        return
    if end.code not in possible(_troubles(wanted, drawn, seen, stream), bodies):
        yield f"stream {stream} ended as {end.code}, and nothing explains that"


def _troubles(asked: plan.Asked, drawn: plan.Plan, seen: record.Record, stream: str) -> Troubles:
    return Troubles(
        options=asked.options,
        mode=asked.mode,
        spare=asked.spare,
        few=drawn.config.fallback.calls < MANY,
        cancelled=asked.cancel_at is not None or drawn.config.streaming.abandon_after > 0,
        log=drawn.faults != faulty.QUIET or bool(drawn.outages),
        limit=drawn.config.log.max_stream_bytes,
        diverged=stream in seen.diverged,
        unreached=seen.unreached[stream],
    )


def possible(done: Troubles, bodies: Sequence[events.Body]) -> set[str]:
    """The codes of an error that may end a stream with these events after these troubles."""
    options = {word.partition("=")[0] for word in done.options.split()}
    failing = {code for option, code in FAILING.items() if option in options}
    gone_on_with = done.spare and done.mode != "none" and not done.few and not done.unreached
    asked = (body for body in bodies if isinstance(body, events.Start | events.Attempt))
    elsewhere = any(body.provider != "demo" for body in asked)
    enough = failing or done.unreached >= fallback.REPLAYS
    replays_used_up = enough and _failed_last(bodies) >= fallback.REPLAYS
    causes: dict[str, object] = {
        errors.Cancelled.code: done.cancelled,
        errors.LogLost.code: done.log,
        errors.StreamTooLarge.code: done.limit < SMALL,
        errors.ContinuationDiverged.code: done.diverged,
        errors.ProviderUnreachable.code: done.unreached,
        errors.Interrupted.code: replays_used_up
        or _barren(bodies) > fallback.MAX_BARREN
        or (elsewhere and (done.few or done.mode == "none")),  # the spare one tells nothing again
    }
    return (set() if gone_on_with else failing) | {code for code, cause in causes.items() if cause}


def _failed_last(bodies: Sequence[events.Body]) -> int:
    """How many calls of the last life failed."""
    last = itertools.takewhile(lambda body: not isinstance(body, events.Adopted), reversed(bodies))
    return sum(isinstance(body, events.Attempt) and bool(body.error) for body in last)


def _barren(bodies: Sequence[events.Body]) -> int:
    """How many lives in a row, the last among them, brought nothing of the answer."""
    nothing = (events.Adopted, events.Attempt)
    last = itertools.takewhile(lambda body: isinstance(body, nothing), reversed(bodies[:-1]))
    return sum(isinstance(body, events.Adopted) for body in last)


def calls_a_life(drawn: plan.Plan) -> int:
    """How many calls one writer may make, replays of what its predecessor left apart."""
    policy = drawn.config.fallback
    if policy.attempts == 1 and not any(asked.spare for asked in drawn.answers):
        return 1
    # One more where an answer that is told again is another one, and so is told anew.
    return min(policy.calls, 2 * policy.attempts + 1)

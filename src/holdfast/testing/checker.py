"""Judges a history: the invariants I1 to I11, each a function that finds what breaks it.

Strategy: a stream has one writer at a time, so nothing has to be searched for: every rule is one
pass over what `invariants/account` has sorted. The rules know the protocol and nothing of how it is
kept, and each stands alone, so that one cause may break several. They are proved to be able to
fail by histories in which one thing was changed.

What only a clock can tell (I7, I9, I10) is asked for where no fault was on. A history without
`Kept` entries is judged by what readers saw.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from holdfast.testing import history
from holdfast.testing.invariants import account, delivery, outcome, verdict

Violation = verdict.Violation

LIVENESS = 30.0
"""Seconds in which a reader reaches the end, once the last fault is healed."""

ANSWER = 1.0
"""Seconds in which a bad cursor is answered."""

GRACE = 1.0
"""Seconds for which a provider may still be read after a cancel."""

MAX_VIOLATIONS = 100
"""Of each rule, that are told: one cause may break it a million times."""

RULES: dict[str, verdict.Rule] = {
    "I1": delivery.contiguity,
    "I2": delivery.agreement,
    "I3": delivery.sessions,
    "I4": delivery.durability,
    "I5": outcome.termination,
    "I6": delivery.monotony,
    "I7": outcome.answers,
    "I8": delivery.isolation,
    "I9": outcome.cost,
    "I10": outcome.liveness,
    "I11": outcome.content,
}


def check(
    entries: Iterable[history.Entry],
    *,
    now: float | None = None,
    liveness: float = LIVENESS,
    answer: float = ANSWER,
    grace: float = GRACE,
) -> list[Violation]:
    """What a history breaks, at most `MAX_VIOLATIONS` a rule. `now` is when the run ended, else
    the time of the latest entry. Raises `ValueError` for a history that cannot be one."""
    seen = account.Account(entries)
    end = seen.end if now is None else now
    limits = verdict.Limits(now=end, liveness=liveness, answer=answer, grace=grace)
    found = (itertools.islice(rule(seen, limits), MAX_VIOLATIONS) for rule in RULES.values())
    return list(itertools.chain.from_iterable(found))

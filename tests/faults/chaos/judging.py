"""How much the rules about time had to judge: what they would have found, had it come late.

Strategy: a rule that excuses what happens near a fault may excuse everything, and nobody would
notice. So each cancel and each made-up cursor of a storm is put to the rule itself once more, in a
history in which its provider is read on until it has said all, or its answer comes just too late:
what the rule finds there it would have found in the run. What is later than the end of the storm
does not count: in the calm after it everything can be judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from holdfast.testing import checker, history
from holdfast.testing.invariants import account, verdict

LATE = 0.001
"""Seconds over the limit."""

STEP = 0.05
"""Seconds between two pieces of a provider that speaks on."""

SPEAKING = 1.0
"""A provider that has said something in so many seconds before a cancel was still speaking."""


def cancels(
    entries: Sequence[history.Entry], speaks: Mapping[str, float], limits: verdict.Limits
) -> int:
    """The cancelled streams whose provider would have been found to be read for too long.
    `speaks` has the seconds from a call to the end of the text, by stream; `limits.now` is the
    end of the storm."""
    late: list[history.Entry] = _faults(entries)
    for name, stream in account.Account(entries).streams.items():
        over = stream.cancelled
        if over is None or name not in speaks or not stream.calls:
            continue
        if not any(sent.at >= over.at - SPEAKING for sent in stream.sent):
            continue
        end = min(limits.now, stream.calls[-1].at + speaks[name])
        steps = range(int(max(0, end - over.at) / STEP) + 1)
        late += [over, *(history.Sent(over.at + step * STEP, name, 1) for step in steps)]
    return len({found.stream for found in _found("I9", late, limits)})


def bad_cursors(entries: Sequence[history.Entry], limits: verdict.Limits) -> int:
    """The made-up cursors whose answers would have been found to come too late. `limits.now` is
    the end of the storm."""
    late: list[history.Entry] = _faults(entries)
    for entry in entries:
        if isinstance(entry, history.Connected) and entry.bad:
            at = entry.at + limits.answer + LATE
            if at <= limits.now:
                late += [entry, history.Answered(at, entry.conn, 400)]
    return len(_found("I7", late, limits))


def _faults(entries: Sequence[history.Entry]) -> list[history.Entry]:
    return [entry for entry in entries if isinstance(entry, history.Fault)]


def _found(
    rule: str, entries: list[history.Entry], limits: verdict.Limits
) -> list[checker.Violation]:
    return list(checker.RULES[rule](account.Account(entries), limits))

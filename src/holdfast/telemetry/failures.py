"""What failed on a node: by code and provider, how often, since when, and the newest examples.

Strategy: a failure is noted once, where it is counted anyway, so that who sees a rate go up finds
the streams behind it. Codes and providers are closed sets, and there is a bound all the same. What
a provider said in words may quote a prompt: in its place stands what the code means.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import msgspec

from holdfast import errors

MAX_KINDS = 200
"""Pairs of code and provider that are told apart; what is of further ones counts as `OTHER`."""

EXAMPLES = 5
"""Of each pair, the newest."""

MAX_MESSAGE = 300
"""Characters of an example's message."""

OTHER = ("other", None)


class Example(msgspec.Struct, frozen=True, gc=False):
    """One failure; `at` in ms since 1970."""

    stream: str
    at: int
    message: str


class Failure(msgspec.Struct, frozen=True):
    """All failures of a pair: with a `provider` calls to it that brought no whole answer, without
    one streams that ended so. `examples` are the newest first; times in ms since 1970."""

    code: str
    provider: str | None
    count: int
    first_at: int
    last_at: int
    examples: tuple[Example, ...]


class Failures:
    """Those of one node since it began."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str | None], Failure] = {}

    def note(self, code: str, provider: str | None, example: Example) -> None:
        """A call to this provider, or a stream, has failed."""
        kind: tuple[str, str | None] = (code, provider)
        if kind not in self._found and len(self._found) >= MAX_KINDS:
            kind = OTHER
        one = Failure(*kind, 1, example.at, example.at, (example,))
        before = self._found.get(kind)
        self._found[kind] = one if before is None else _both(before, one)

    def told(self) -> list[Failure]:
        """All of them, as they are now."""
        return list(self._found.values())


def merged(some: Iterable[Sequence[Failure]]) -> list[Failure]:
    """Those of several nodes as one list, what failed last first."""
    found: dict[tuple[str, str | None], list[Failure]] = {}
    for told in some:
        for one in told:
            found.setdefault((one.code, one.provider), []).append(one)
    sums = [functools.reduce(_both, same) for same in found.values()]
    return sorted(sums, key=lambda one: one.last_at, reverse=True)


def _both(one: Failure, other: Failure) -> Failure:
    examples = sorted((*other.examples, *one.examples), key=lambda told: told.at, reverse=True)
    return Failure(
        one.code,
        one.provider,
        one.count + other.count,
        min(one.first_at, other.first_at),
        max(one.last_at, other.last_at),
        tuple(examples[:EXAMPLES]),
    )


def message(code: str, said: str = "") -> str:
    """What may be told of an error: what it `said`, where these are our words, else what its code
    means."""
    ours = said and not code.startswith("provider_")
    return (said if ours else errors.meaning(code))[:MAX_MESSAGE]

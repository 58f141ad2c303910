"""What a scenario of the bench is, what it is given, and what it gives back.

Strategy: a scenario is one file with one entry, listed in `scenarios`. The command line knows no
scenario by name: it adds the options that the entries name, runs the chosen ones, keeps what they
found as JSON, and prints their tables. So a new scenario touches one line outside its own file.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

OUT = Path(__file__).resolve().parent / "out"

T = TypeVar("T")
Given = bool | int | str


class Size(NamedTuple):
    """How much a scenario does, unless the options say otherwise: streams (or readers) at once,
    runs of each, seconds of a run, tokens a second of a stream. 0 is what it has no use for."""

    streams: int = 0
    rounds: int = 0
    seconds: int = 10
    rate: int = 20


class Option(NamedTuple):
    """A flag of the command line beyond those of the size; entries may share one, word for word.
    A default that is False makes it a switch."""

    name: str
    help: str
    default: Given = False
    choices: Sequence[str] | None = None


LOAD = Option(
    "load", "who provides and asks: the pair in C, or Python", "auto", ("auto", "pair", "python")
)
"""Of all scenarios."""


class Figure(NamedTuple):
    """A number that a scenario stands for: `bench/RESULTS.md` and `bench check` look for it by its
    name. `beside` is what must be told with it (p50, p99, tokens a write, gaps); `ratio` is one
    that compares within a run, so that another day's may be compared with it; `higher` says that
    more is better."""

    value: float
    beside: str = ""
    ratio: bool = False
    higher: bool = False


class Result(NamedTuple):
    """What a scenario found: every single run as a row of JSON values, the Markdown table made of
    them, its figures by name, and whether all tokens came."""

    rows: Sequence[Mapping[str, object]]
    table: str
    figures: Mapping[str, Figure] = {}
    whole: bool = True


class Bench(NamedTuple):
    """What a scenario is given. `cores`: that of what is measured, then those of the load, where
    the bench itself runs. `options` has `load`, and those that its entry names."""

    scenario: str
    size: Size
    options: Mapping[str, Given]
    cores: Sequence[int]

    def say(self, text: str) -> None:
        """A line of progress."""
        say(f"{self.scenario}: {text}")

    def skip(self, what: str, why: str) -> None:
        """Says aloud that something is not measured."""
        self.say(f"{what} SKIPPED: {why}")

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Scratch on the disk that is measured, gone after the block."""
        with tempfile.TemporaryDirectory(dir=OUT) as made:
            yield Path(made)

    def turns(self, things: Sequence[T]) -> Iterator[tuple[int, T]]:
        """Everything once a round, in the other order each round, so that whatever drifts
        favours nobody; with the number of the round."""
        for number in range(1, self.size.rounds + 1):
            for one in things if number % 2 else reversed(things):
                yield number, one


class Scenario(NamedTuple):
    """An entry. `run` may raise `servers.Failed`; it gives None where it cannot run here, and has
    said why. Only `usual` ones run where none is named."""

    name: str
    help: str
    run: Callable[[Bench], Result | None]
    size: Size = Size()
    options: Sequence[Option] = ()
    usual: bool = True


def say(text: str) -> None:
    """A line of progress on stderr, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

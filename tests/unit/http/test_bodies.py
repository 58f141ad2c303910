"""Bodies that come are bounded together, and who holds most loses first."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator

import pytest

from holdfast.http import bodies


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MOST", 100)


class Uploads:
    """Bodies by name, `tenant/number`; `cut` are those that were."""

    def __init__(self, stack: contextlib.ExitStack, max_body: int = 1) -> None:
        self.all, self._stack = bodies.Bodies(max_body), stack
        self._came: dict[str, Callable[[int], None]] = {}
        self.cut: list[str] = []

    def bring(self, name: str, size: int) -> None:
        if name not in self._came:
            one = self.all.one(name.partition("/")[0], lambda: self.cut.append(name))
            self._came[name] = self._stack.enter_context(one)
        self._came[name](size)


@pytest.fixture
def uploads(bound: None) -> Iterator[Uploads]:
    with contextlib.ExitStack() as stack:
        yield Uploads(stack)


def test_who_holds_most_loses_what_has_brought_nothing_for_longest(uploads: Uploads) -> None:
    for name, size in (("a/1", 30), ("b/1", 20), ("b/2", 20), ("b/1", 10)):
        uploads.bring(name, size)
    assert uploads.cut == []
    uploads.bring("a/1", 21)  # now it is a that holds most, and has no other
    assert uploads.cut == ["a/1"]


def test_nobody_loses_one_for_what_another_holds(uploads: Uploads) -> None:
    uploads.bring("quiet/1", 30)
    for number in range(30):
        uploads.bring(f"loud/{number}", 10)
    uploads.bring("quiet/1", 10)
    assert uploads.cut == [f"loud/{number}" for number in range(24)]


def test_one_that_has_brought_nothing_costs_nothing(uploads: Uploads) -> None:
    uploads.bring("a/1", 0)
    uploads.bring("b/1", 0)
    for number in range(2, 4):
        uploads.bring(f"b/{number}", 60)
    assert uploads.cut in (["b/1", "b/2"], ["b/2"])


def test_what_was_cut_counts_no_more(uploads: Uploads) -> None:
    uploads.bring("a/1", 101)
    assert uploads.cut == ["a/1"]
    uploads.bring("a/1", 1000)  # it was on its way
    uploads.bring("b/1", 100)
    assert uploads.cut == ["a/1"]


def test_two_of_the_largest_have_room(bound: None) -> None:
    with contextlib.ExitStack() as stack:
        uploads = Uploads(stack, max_body=500)
        uploads.bring("a/1", 500)
        uploads.bring("a/2", 500)
        assert uploads.cut == []
        uploads.bring("b/1", 1)
        assert uploads.cut == ["a/1"]


@pytest.mark.parametrize("seed", range(20))
def test_in_the_end_nothing_is_held(seed: int, bound: None) -> None:
    dice, stack = random.Random(seed), contextlib.ExitStack()
    with stack:
        uploads = Uploads(stack)
        for _ in range(200):
            uploads.bring(f"{dice.choice('abc')}/{dice.randrange(5)}", dice.randrange(40))
            assert uploads.all._sum <= 100
            assert uploads.all._sum == uploads.all._sums.total()
    assert (uploads.all._sum, dict(uploads.all._sums), uploads.all._of) == (0, {}, {})

"""Three nodes, one of which tells: whoever dies, what fires is told once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from tests.unit.telemetry.alerts import scenes

from holdfast.telemetry.alerts import replica, sight

ERRORS = scenes.RULES["error_rate"]
WELL, BAD = scenes.shows(ERRORS, 0.0), scenes.shows(ERRORS, 0.5)
FIRES = 7
"""Rounds until it does."""


class Nodes:
    """So many, whose rounds come one after the other, ten seconds apart. `told` is what any of them
    has told, by `keys`; `deaf` are asked and say nothing."""

    def __init__(self, names: Iterable[str]) -> None:
        self.alive = {name: replica.Replica(tuple(scenes.RULES.values())) for name in names}
        self.deaf: set[str] = set()
        self.told: list[tuple[str, str]] = []
        self.keys: list[str] = []
        self.now = scenes.BEGIN
        self.settles = True
        self.own: dict[str, sight.Sight] = {}

    def answers(self, asker: str) -> dict[str, replica.Told | None]:
        return {
            name: None
            if name in self.deaf
            else replica.Told(one.leads, dict(one.states), replica.Sent())
            for name, one in self.alive.items()
            if name != asker
        }

    def rounds(self, seen: sight.Sight, times: int = 1) -> None:
        for _ in range(times):
            for name, one in list(self.alive.items()):
                one.take(name, self.answers(name))
                one.step(seen, self.own.get(name, WELL), self.now)
                for key, _, status in one.owed():
                    self.told.append((name, status))
                    self.keys.append(key)
                    if self.settles:
                        one.settle(key, status)
            self.now += 10_000

    @property
    def leaders(self) -> list[str]:
        return [name for name, one in self.alive.items() if one.leads]


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_one_of_them_tells_once(order: tuple[str, ...]) -> None:
    nodes = Nodes(order)
    nodes.rounds(BAD, 50)
    assert nodes.leaders == ["a"]
    assert nodes.told == [("a", "firing")]
    nodes.rounds(WELL, 50)
    assert nodes.told == [("a", "firing"), ("a", "resolved")]


def test_all_show_the_same() -> None:
    nodes = Nodes("cab")
    nodes.rounds(BAD, 20)
    states = [one.states[ERRORS.name] for one in nodes.alive.values()]
    assert all(one.fires and one.told for one in states)
    assert len({one.since for one in states}) == 1


@pytest.mark.parametrize("after", range(FIRES + 5))
def test_a_leader_that_dies_is_followed_by_the_next(after: int) -> None:
    """Before, while, and after it tells; each time all of it is told once."""
    nodes = Nodes("abc")
    nodes.rounds(BAD, after)
    del nodes.alive["a"]
    nodes.rounds(BAD, FIRES + 5)
    assert nodes.leaders == ["b"]
    assert [status for _, status in nodes.told] == ["firing"]
    nodes.rounds(WELL, 20)
    assert [status for _, status in nodes.told] == ["firing", "resolved"]


def test_what_was_sent_and_did_not_arrive_is_sent_by_the_next() -> None:
    nodes = Nodes("abc")
    nodes.settles = False
    nodes.rounds(BAD, FIRES)
    since = nodes.alive["b"].states[ERRORS.name].since
    del nodes.alive["a"]
    nodes.settles = True
    nodes.rounds(BAD, 5)
    assert nodes.told == [("a", "firing"), ("b", "firing")]
    # So that who gets both can tell: the id is made of it.
    assert nodes.alive["b"].states[ERRORS.name].since == since


def test_what_is_over_when_its_leader_dies_is_told_by_the_next() -> None:
    nodes = Nodes("abc")
    nodes.rounds(BAD, 20)
    del nodes.alive["a"]
    nodes.rounds(WELL, 20)
    assert nodes.told == [("a", "firing"), ("b", "resolved")]


def test_a_node_that_comes_later_takes_no_lead() -> None:
    nodes = Nodes("bc")
    nodes.rounds(BAD, 20)
    nodes.alive = {"a": replica.Replica(tuple(scenes.RULES.values())), **nodes.alive}
    nodes.rounds(BAD, 20)
    assert (nodes.leaders, nodes.told) == (["b"], [("b", "firing")])
    assert nodes.alive["a"].states[ERRORS.name].fires
    del nodes.alive["b"]
    nodes.rounds(BAD, 20)
    assert (nodes.leaders, nodes.told) == (["a"], [("b", "firing")])


def test_a_leader_that_says_nothing_keeps_its_place_for_a_moment() -> None:
    nodes = Nodes("abc")
    nodes.rounds(BAD, 3)
    nodes.deaf = {"a"}
    nodes.rounds(BAD, replica.SILENT_ROUNDS - 1)
    assert nodes.leaders == ["a"]
    nodes.rounds(BAD, 1)
    assert nodes.leaders == ["a", "b"]
    nodes.deaf = set()
    nodes.rounds(BAD, 1)
    assert nodes.leaders == ["a"]


def test_so_does_one_whose_name_is_not_the_smallest() -> None:
    nodes = Nodes("bc")
    nodes.rounds(BAD, 3)
    nodes.alive["a"] = replica.Replica(tuple(scenes.RULES.values()))
    nodes.rounds(BAD, 1)
    nodes.deaf = {"b"}
    nodes.rounds(BAD, replica.SILENT_ROUNDS - 1)
    assert nodes.leaders == ["b"]


def test_a_node_of_another_version_leads_nobody() -> None:
    nodes = Nodes("abc")
    nodes.deaf = {"a"}
    nodes.alive["a"].take = lambda me, others: None  # type: ignore[method-assign]
    nodes.rounds(BAD, 30)
    assert (nodes.leaders, nodes.told) == (["b"], [("b", "firing")])


def test_rules_that_are_not_known_here_are_left_alone() -> None:
    one = replica.Replica(tuple(scenes.RULES.values()))
    states = {"news": scenes.FIRING, ERRORS.name: scenes.FIRING}
    one.take("b", {"a": replica.Told(True, states)})
    assert set(one.states) == {ERRORS.name}


def test_who_does_not_lead_decides_nothing() -> None:
    one = replica.Replica(tuple(scenes.RULES.values()))
    one.take("b", {"a": replica.Told(True)})
    for number in range(20):
        one.step(BAD, WELL, scenes.BEGIN + 10_000 * number)
    one.settle(ERRORS.name, "firing")
    assert one.owed() == []
    assert one.states == {}


def test_what_is_each_node_s_own_is_told_by_each_that_has_it_and_by_no_other() -> None:
    failing = scenes.RULES["log_failing"]
    nodes = Nodes("abc")
    nodes.own = dict.fromkeys("bc", scenes.shows(failing, 1.0))
    nodes.rounds(WELL, 20)
    assert nodes.leaders == ["a"]
    assert nodes.told == [("b", "firing"), ("c", "firing")]
    assert nodes.alive["a"].states == {}
    nodes.own = dict.fromkeys("bc", scenes.shows(failing, 0.0))
    nodes.rounds(WELL, 20)
    assert nodes.told[2:] == [("b", "resolved"), ("c", "resolved")]


def test_each_provider_that_fails_is_told_and_so_is_its_end() -> None:
    def down(*names: str) -> sight.Sight:
        return sight.Sight(breakers_open=sight.Reading(float(len(names)), 1, names))

    nodes = Nodes("ab")
    nodes.rounds(down("x"), 10)
    assert nodes.keys == ["breaker_open x"]
    nodes.rounds(down("x", "y"), 10)
    assert nodes.keys[1:] == ["breaker_open y"]
    assert set(nodes.alive["b"].states) == {"breaker_open x", "breaker_open y"}
    del nodes.alive["a"]
    nodes.rounds(down("y"), 40)
    nodes.rounds(down(), 40)
    assert nodes.told[2:] == [("b", "resolved"), ("b", "resolved")]
    assert nodes.keys[2:] == ["breaker_open x", "breaker_open y"]
    assert {one.phase for one in nodes.alive["b"].states.values()} == {"inactive"}

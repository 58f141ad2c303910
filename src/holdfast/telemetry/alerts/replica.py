"""Which node evaluates for all, and what each knows of it, so that another one can go on.

Strategy: all nodes ask each other each round. One leads: it alone takes the states of the alerts a
step on and tells of changes; the others copy its states, `told` among them. So whoever takes over
goes on where the last one was: what fires and was told is never told again, what was not told yet
is. A leader leads until it is gone; of several, as after a start, the one with the smallest name.
One that says nothing keeps its place for `SILENT_ROUNDS`: it may be busy, and two that tell are
worse than a moment without one. Rules of each node's `own` are nobody's to lead. An announcement is
told once it has arrived, not when it is sent: should its node die in between, the next one sends it
again, so it may come twice and is never lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from holdfast.telemetry.alerts import rules, sight, state

SILENT_ROUNDS = 3
"""Questions in a row that a node may leave unanswered and still lead."""

Status = Literal["firing", "resolved"]


class Sent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What became of announcements to the webhook, since the node that leads began."""

    delivered: int = 0
    failed: int = 0
    waiting: int = 0


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node tells the others: whether it leads, the states as it knows them, and what it
    sees."""

    leads: bool = False
    states: dict[str, state.State] = {}
    sent: Sent = Sent()
    seen: sight.Seen = sight.Seen()


class Replica:
    """Of one node. It waits for nothing and calls nobody."""

    def __init__(self, some: Sequence[rules.Rule]) -> None:
        self._rules = tuple(some)
        self.leads = False
        self.states: dict[str, state.State] = {}
        """Of what is not well, or was not, by the rule's name; where a rule has a `label`, by that
        and the name that is the alert's detail. As many as there are rules, and names that
        nodes tell."""
        self.sent = Sent()
        """Of the leader, where another node leads."""
        self.heard: dict[str, sight.Seen] = {}
        """What each other node saw when it told last, for as long as its silence is borne."""
        self._leader = ""
        self._silent: dict[str, int] = {}

    def take(self, me: str, others: Mapping[str, Told | None]) -> None:
        """What the other nodes have told this one, `me`; None of one that has not."""
        self._silent = {
            name: self._silent.get(name, 0) + 1 for name, told in others.items() if told is None
        }
        self.heard = {
            name: self.heard.get(name, sight.Seen()) if told is None else told.seen
            for name, told in others.items()
            if self._silent.get(name, 0) < SILENT_ROUNDS
        }
        first = self._first(me, others)
        heard = None if first == me else others.get(first)
        self._leader, self.leads = first, first == me
        if heard is not None and heard.leads:
            mine = {key: one for key, one in self.states.items() if self._rule(key).own}
            self.states, self.sent = {**mine, **self._known(heard)}, heard.sent

    def _first(self, me: str, others: Mapping[str, Told | None]) -> str:
        """Who leads from now on."""
        leading = [name for name, told in others.items() if told is not None and told.leads]
        if self.leads:
            leading.append(me)
        if leading:
            return min(leading)
        patient = {name for name, rounds in self._silent.items() if rounds < SILENT_ROUNDS}
        if self._leader in patient:
            return self._leader
        answering = {name for name, told in others.items() if told is not None}
        return min((me, *patient, *answering))

    def _known(self, heard: Told) -> dict[str, state.State]:
        """A node of another version may have other rules."""
        shared = {rule.name for rule in self._rules if not rule.own}
        return {key: one for key, one in heard.states.items() if _named(key) in shared}

    def _rule(self, key: str) -> rules.Rule:
        return next(rule for rule in self._rules if rule.name == _named(key))

    def of(self, rule: rules.Rule) -> dict[str, state.State]:
        """The states of this rule, by their keys."""
        return {key: self.states[key] for key in sorted(self.states) if _named(key) == rule.name}

    def _decided(self) -> list[rules.Rule]:
        """The rules that this node evaluates and tells of."""
        return [rule for rule in self._rules if rule.own or self.leads]

    def step(self, seen: sight.Sight | None, own: sight.Sight, now: int) -> None:
        """Takes the states that are this node's to decide a step on, by what all nodes have `seen`
        and by its `own`; `now` in ms since 1970. None: the others could not be asked, and then its
        own share may raise an alert and end none."""
        for rule in self._decided():
            reading = (own if rule.own or seen is None else seen).of(rule)
            for key, part in self._parts(rule, reading).items():
                if seen is None and not rule.own and (part.value or 0.0) <= rule.threshold:
                    part = sight.NONE
                one = state.step(self.states.get(key, state.WELL), rule, part, now)
                if key in self.states or one.phase != "inactive":
                    self.states[key] = one

    def _parts(self, rule: rules.Rule, reading: sight.Reading) -> dict[str, sight.Reading]:
        """What is seen, by the keys of the states."""
        if rule.label is None:
            return {rule.name: reading}
        held = {name for one in self.of(rule).values() for name in one.detail}
        return {
            f"{rule.name} {name}": sight.Reading(float(name in reading.detail), 1, (name,))
            for name in held.union(reading.detail)
        }

    def owed(self) -> list[tuple[str, rules.Rule, Status]]:
        """What this node is to tell, and has not yet, by the keys of the states."""
        found: list[tuple[str, rules.Rule, Status]] = []
        for rule in self._decided():
            for key, one in self.of(rule).items():
                if one.fires != one.told:
                    found.append((key, rule, "firing" if one.fires else "resolved"))
        return found

    def settle(self, key: str, status: Status) -> None:
        """It has been told, or nobody can be told."""
        if key in self.states and (self.leads or self._rule(key).own):
            self.states[key] = msgspec.structs.replace(self.states[key], told=status == "firing")


def _named(key: str) -> str:
    return key.partition(" ")[0]

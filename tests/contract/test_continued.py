"""An answer that breaks off anywhere and is continued by another provider, of any kind.

Strategy: A is a text in the wire of each kind, or a recorded answer, and breaks off at every tenth
event. B is a script of another kind that reads what it was sent as a provider would, and behaves in
one of five ways. What readers have in the end is the prefix and B's text without repetition, by
the rules in `tests/seams.py`, and is proved by the hash that the stream ends with.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests import seams
from tests.contract import attempting, carried, wires
from tests.integration import replaying

from holdfast import answer, errors, events
from holdfast.testing import recordings, simulated

KINDS = tuple(wires.WIRES)
NAMES = {f"{side}-{kind}": kind for side in "ab" for kind in KINDS}
OTHER = "\N{SNOWMAN}"  # in no text

Behaviour = Callable[[str, str, random.Random], str]
"""What B says, by the whole text, what is written of it, and dice."""

BEHAVIOURS: dict[str, Behaviour] = {
    "goes on exactly": lambda text, old, dice: text[len(old) :],
    "repeats 24 to 200": lambda text, old, dice: text[max(0, len(old) - dice.randint(24, 200)) :],
    "repeats 1 to 23": lambda text, old, dice: text[max(0, len(old) - dice.randint(1, 23)) :],
    "starts over": lambda text, old, dice: text,
    "starts over and diverges": lambda text, old, dice: (
        text[: dice.randint(0, len(old))] + OTHER + text[len(old) :]
    ),
}


def pieces(text: str, dice: random.Random) -> Iterator[str]:
    """Of 1 to 12 code points."""
    at = 0
    while at < len(text):
        end = at + dice.randint(1, 12)
        yield text[at:end]
        at = end


class Stage:
    """The vendors of one node: `a-KIND` plays `wire` and breaks off, `b-KIND` continues `text`.
    `said` is what B was given as written, and what it said."""

    def __init__(self, text: str, behaviour: str) -> None:
        self.wire: Sequence[bytes] = ()
        self.text, self.behaviour = text, BEHAVIOURS[behaviour]
        self.dice = random.Random(f"{text} {behaviour}")
        self.said: list[tuple[str, str]] = []

    def vendors(self) -> dict[str, carried.Vendor]:
        return {name: self.a if name.startswith("a-") else self.b for name in NAMES}

    def a(self, call: carried.Call) -> carried.Said:
        return carried.Said(self.wire, "cut")

    def b(self, call: carried.Call) -> carried.Said:
        kind = call.provider.removeprefix("b-")
        old = wires.written(kind, call.body)
        said = self.behaviour(self.text, old, self.dice) if old else self.text
        self.said.append((old, said))
        return carried.Said(wires.WIRES[kind](pieces(said, self.dice)))


async def begun(kind: str, wire: Sequence[bytes]) -> attempting.Outcome:
    """What A's bytes say by themselves."""
    return await attempting.play(kind, wire, "cut")


async def broken_off(
    on: carried.Node, stage: Stage, a: str, wire: Sequence[bytes], b: str
) -> tuple[attempting.Outcome, answer.Answer]:
    """What A's kind says, and the answer, which B's kind continues."""
    stage.wire = wire
    stage.said.clear()
    on.carrier.calls.clear()
    found = await on.ask(carried.asking(f"a-{a}/m", f"b-{b}/n"))
    return await begun(a, wire), found


def proved(found: answer.Answer, text: str) -> None:
    """It is whole, with this text, and its end says so."""
    assert found.complete is not None, found.error
    assert found.choice().content == text
    assert found.complete.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert found.complete.length == len(text.encode())


def check(found: answer.Answer, stage: Stage, a: attempting.Outcome) -> None:
    """The whole answer is what the rules say, and what it tells of its calls is true."""
    if a.error is None:
        proved(found, a.text())
        assert stage.said == []
        return
    finished = any(isinstance(body, events.Finish) for body in a.said)
    refused = isinstance(a.error, errors.ProviderRejected) and not is_continued(a)
    if finished or refused:
        # Nothing is left to be said; or what one has refused is not shown to another.
        assert found.error is not None
        assert (found.error.code, stage.said) == (a.error.code, [])
        return
    old, said = stage.said[0]
    if not is_continued(a):
        # Nothing is written, or nothing that could be gone on from: told anew.
        assert old == ""
        proved(found, said)
        assert len(stage.said) == 1
        return
    assert old == a.text()
    new = seams.rules(old, said)
    if new is None:
        assert [one.error for one in found.attempts][1] == "continuation_diverged"
        assert stage.said[1] == ("", stage.text)
        proved(found, stage.text)
        return
    proved(found, old + new)
    [change] = found.fallbacks
    assert (change.at, change.trimmed) == (len(old), len(said) - len(new))
    assert change.exact is (change.trimmed > 0)
    assert (len(stage.said), len(found.attempts)) == (1, 1)


def is_continued(a: attempting.Outcome) -> bool:
    """By what A said: text is, half a tool call and a refusal are not."""
    said = {body.type for body in a.said if isinstance(body, events.Chunk)}
    return "content" in said and not said & {"tool_call", "refusal"}


def cuts(wire: Sequence[bytes]) -> list[Sequence[bytes]]:
    """The wire up to every tenth event; a short one up to ten places at least."""
    return [wire[:at] for at in range(0, len(wire), min(10, max(1, len(wire) // 10)))]


def node(stage: Stage, **fallback: Any) -> contextlib.AbstractAsyncContextManager[carried.Node]:
    """One whose first provider is asked once, as often as it fails."""
    table = {"attempts": 1, "breaker_failures": 1000, **fallback}
    return carried.node(NAMES, stage.vendors(), **table)


@pytest.mark.case("2.25")
@pytest.mark.case("1.7")
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.parametrize("text", seams.ALL.values(), ids=seams.ALL)
@simulated.timed
async def test_a_text_is_continued_by_the_rules(text: str, behaviour: str) -> None:
    stage, dice = Stage(text, behaviour), random.Random(text)
    told = {kind: wires.WIRES[kind](pieces(text, dice)) for kind in KINDS}
    pairs = itertools.cycle(itertools.product(KINDS, KINDS))
    async with node(stage) as on:
        # Each place once, of another kind and continued by another kind each time.
        for at in range(0, max(map(len, told.values())), 10):
            for kind, other in itertools.islice(pairs, 2):
                a, found = await broken_off(on, stage, kind, told[kind][:at], other)
                check(found, stage, a)
                if behaviour == "goes on exactly":
                    assert found.choice().content == text


async def continue_recorded(recording: recordings.Recording, behaviour: str) -> int:
    """The cuts of this recording at which text was continued; of several answers none is."""
    if replaying.choices_of(recording) > 1:
        return 0
    kind = replaying.FORMATS[recording.expected["protocol"]]
    whole = await begun(kind, [recording.wire])
    stage = Stage(whole.text() or "Nobody had said a word.", behaviour)
    others, continued = itertools.cycle(KINDS), 0
    async with node(stage) as on:
        for wire in cuts(recordings.per_event(recording.wire)):
            a, found = await broken_off(on, stage, kind, wire, next(others))
            check(found, stage, a)
            continued += a.error is not None and is_continued(a)
            for call in on.carrier.to("b-"):
                sent_nothing_else(a, call)
    return continued


def sent_nothing_else(a: attempting.Outcome, call: carried.Call) -> None:
    """B got its own key, and of what A said its text alone."""
    assert f"key-of-{call.provider}" in str(call.headers)
    assert "key-of-a" not in str(call.headers)
    assert b"key-of" not in call.raw
    sent = call.raw.decode()
    for body in a.said:
        if isinstance(body, events.Chunk):
            hidden = [] if body.type == "content" else [body.delta]
            hidden += strings(body.extra) if isinstance(body.extra, msgspec.Raw) else []
            # A shorter one may be in the text, or the name of a field.
            assert not [one for one in hidden if len(one) > 16 and one in sent]


def strings(extra: msgspec.Raw) -> list[str]:
    return re.findall(r'"((?:[^"\\]|\\.)*)"', bytes(extra).decode())


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@simulated.timed
async def test_our_recordings_are_continued(behaviour: str) -> None:
    for recording in attempting.playable(attempting.FIXTURES):
        await continue_recorded(recording, behaviour)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@simulated.timed
async def test_the_shared_recordings_are_continued(shared: Path, behaviour: str) -> None:
    found = attempting.playable(shared / "recordings")
    continued = [await continue_recorded(recording, behaviour) for recording in found]
    assert (sum(map(bool, continued)), sum(continued)) >= (40, 250)

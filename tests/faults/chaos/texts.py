"""What is asked for, and the text that must come of it.

Strategy: a number of the run and a seed decide everything about a stream: who answers, how much
and how fast, and whether the provider fails. So the provider finds what it has to say by the
label that the request carries, and the checker knows the text before anybody has said it.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from typing import Any, Literal

import msgspec

from holdfast.providers import demo_text

Ending = Literal["clean", "rst", "fin", "stall"]

LASTING = 12
"""Seconds for which a lasting stream is spoken: longer than a lull."""


class Wanted(msgspec.Struct, frozen=True):
    """A stream that is to be. `label` is its Idempotency-Key and its prompt."""

    label: str
    ours: bool
    seed: int
    pieces: int
    rate: int
    ending: Ending
    cancel_after: float | None
    """Seconds after its creation; None: it is not cancelled."""

    def spoken(self) -> list[str]:
        """The text, in the pieces in which the provider says it."""
        topic = "" if self.ours else self.label
        return list(itertools.islice(demo_text.endless(self.seed, topic, True), self.pieces))

    @property
    def seconds(self) -> float:
        """How long the provider speaks, at least."""
        return self.pieces / self.rate

    @property
    def sha256(self) -> str:
        return hashlib.sha256("".join(self.spoken()).encode()).hexdigest()

    def body(self) -> bytes:
        """The body of `POST /v1/streams`."""
        prompt, model = self.label, "ours/any"
        if not self.ours:
            model = "demo"
            options = f"tokens={self.pieces} rate={self.rate} seed={self.seed} unicode=1"
            if self.ending != "clean":
                # The demo stands still for ever, or fails in a way of its own.
                failing = "stall_at" if self.ending == "stall" else "cut_at"
                options += f" {failing}={self.pieces // 2}"
            prompt = f"{self.label}\n/demo {options}"
        messages: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
        return msgspec.json.encode({"model": model, "messages": messages})


def rest(pieces: list[str], said: str) -> list[str]:
    """The pieces without the text that they begin with; raises `ValueError` for another one."""
    if not "".join(pieces).startswith(said):
        raise ValueError(f"this is not how the answer begins: {said[-80:]!r}")
    left, found = len(said), []
    for piece in pieces:
        found.append(piece[left:])
        left = max(0, left - len(piece))
    return [piece for piece in found if piece]


def draw(seed: int, number: int) -> Wanted:
    """The stream of this number."""
    dice = random.Random(f"{seed} stream {number}")
    rate = dice.choice((20, 40, 80, 200))
    seconds = dice.choice((0.2, 1.0, 2.0, 5.0))
    return Wanted(
        label=f"chaos-{seed}-{number}",
        ours=dice.random() < 0.5,
        seed=dice.randrange(1000),
        pieces=max(4, int(rate * seconds)),
        rate=rate,
        ending=dice.choices(("clean", "rst", "fin", "stall"), (84, 6, 5, 5))[0],
        cancel_after=dice.uniform(0, 3) if dice.random() < 0.1 else None,
    )


def lasting(seed: int, number: int) -> Wanted:
    """The stream of this number, if it is begun in a lull: it is cancelled, and its provider, if
    nobody stopped it, would still speak when the lull is over."""
    dice = random.Random(f"{seed} lasting {number}")
    return Wanted(
        label=f"chaos-{seed}-{number}",
        ours=True,
        seed=dice.randrange(1000),
        pieces=20 * LASTING,
        rate=20,
        ending="clean",
        cancel_after=dice.uniform(0.3, 0.8),
    )

"""What the translator of a kind takes for a token, alone: no network, no log, no reader.

Strategy: an answer's frames go through the node's own translator in this process, one a read,
again and again; the fastest round counts, since all that disturbs only makes it slower. So
this number stays still where the ones of whole runs move with their noise, and says how much
of a difference between two kinds is the translator's.
"""

from __future__ import annotations

import time

from bench import servers, wires
from holdfast import events, request
from holdfast.providers import failures, translator, vendors

TOKENS, ROUNDS = 200, 400


def measure(kind: str, name: str, wire_name: str) -> float:
    """Microseconds a token, of a kind of provider and what it speaks. Raises `servers.Failed`
    where what comes out is not the answer."""
    wire = wires.WIRES[wire_name]
    texts = [wires.stamp(number, number) for number in range(TOKENS)]
    tokens = [wire.token(number, text).encode() for number, text in enumerate(texts)]
    ending = wire.ending(TOKENS, "".join(texts)).encode()
    fastest = float("inf")
    for _ in range(ROUNDS):
        reader = _translator(kind, name)
        reader.feed(wire.opening.encode())
        begun = time.perf_counter()
        bodies = [reader.feed(token) for token in tokens]
        fastest = min(fastest, time.perf_counter() - begun)
        bodies += [reader.feed(ending), reader.end()]
    said = [body for each in bodies for body in each if isinstance(body, events.Chunk)]
    if "".join(chunk.delta for chunk in said) != "".join(texts) or not reader.finished:
        raise servers.Failed(f"{name}: the answer does not come through its translator")
    return fastest / TOKENS * 1e6


def _translator(kind: str, name: str) -> translator.Translator:
    speaker = failures.Source(name, None)
    asked = request.Request(model="sim", messages=[request.Message("user", "go")])
    fold = vendors.VENDORS[kind].format.fold(asked, speaker)
    return translator.Translator(fold, speaker)

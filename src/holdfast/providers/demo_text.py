"""What the demo says: sentences about kelp, holdfasts and streams, in pieces.

Strategy: a seed chooses an order of the sentences by arithmetic alone, so that the text is
the same on every machine and every version of Python. A piece is a word with the space before
it, which is about what a model's token is.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

SENTENCES = (
    "Kelp has no roots.",
    "Where a plant would have roots, kelp has a holdfast: a knot of branching fingers that "
    "grips the rock.",
    "A holdfast takes nothing from the ground; it only stays where it is.",
    "The water moves all day, and the blades move with it.",
    "In a storm the swell pulls at a whole forest at once, and most of it is still there in "
    "the morning.",
    "What breaks off drifts away, and the rest grows on from where it was.",
    "Giant kelp can grow half a metre in a day, always from the same point.",
    "Small gas floats keep the blades near the light.",
    "An answer that is streamed is a little like that.",
    "It comes piece by piece, and the connection under it may part at any moment.",
    "A reader who comes back asks for what follows the last piece that he has.",
    "Nothing is sent that was not written down first.",
    "So a closed tab costs nothing, and neither does a tunnel or a tired battery.",
    "Order is kept by counting, never by a clock.",
    "Each piece is counted once, and keeps its number for ever.",
    "If the writer dies, another one takes over, and the readers hardly notice.",
    "When all is said, the length and a checksum let anybody prove that it is all there.",
    "Urchins graze on holdfasts, and otters eat urchins, which is why otters are good for forests.",
)

THOUGHTS = (
    "The question is a plain one.",
    "First I recall what anchors kelp.",
    "Then I look for a likeness to a stream of words.",
    "The likeness holds where both must give way without letting go.",
    "A short answer will do.",
)

ORNAMENTS = (
    "🌊",
    "👩\u200d🚀",  # one sign of three code points
    "e\u0301tude",  # an accent of its own
    "日本語",
    "\U0001d6fc\U0001d6fd",  # letters beyond 16 bits
    "🇳🇿",
    "שלום",
    "नमस्ते",
    "😀",
)

REFUSAL = "I am sorry, but I cannot help with that; the demo was asked to refuse."

_STEPS = (1, 5, 7, 11, 13, 17)  # without a divisor in common with the number of sentences
_PARAGRAPH = 3  # sentences
_ANSWER = 9  # sentences
_ORNATE = 4  # pieces from one ornament to the next


def endless(seed: int, topic: str, ornate: bool) -> Iterator[str]:
    """The answer, and more of the same for ever."""
    pieces = _pieces(_sentences(seed, topic))
    return _ornate(pieces, seed) if ornate else pieces


def answer(seed: int, topic: str, ornate: bool) -> Iterator[str]:
    """The answer with its natural end, a few paragraphs."""
    pieces = _pieces(itertools.islice(_sentences(seed, topic), _ANSWER))
    return _ornate(pieces, seed) if ornate else pieces


def thoughts(seed: int) -> Iterator[str]:
    """Reasoning for ever."""
    order = itertools.islice(itertools.cycle(THOUGHTS), seed % len(THOUGHTS), None)
    return _pieces(f" {thought}" for thought in order)


def refusal() -> Iterator[str]:
    """A refusal."""
    return _pieces(iter([REFUSAL]))


def arguments(seed: int) -> Iterator[str]:
    """The arguments of a tool call: a JSON object, cut anywhere."""
    text = f'{{"place": "Kelp Bay", "depth_m": {seed % 30 + 1}}}'
    return (text[n : n + 5] for n in range(0, len(text), 5))


def _sentences(seed: int, topic: str) -> Iterator[str]:
    """Every sentence once, then all over again, each with the space before it."""
    step = _STEPS[seed // len(SENTENCES) % len(_STEPS)]
    if topic:
        yield f"You asked: “{topic}”"
    for number in itertools.count():
        paragraph = number % _PARAGRAPH == 0
        space = ("\n\n" if number or topic else "") if paragraph else " "
        yield space + SENTENCES[(seed + number * step) % len(SENTENCES)]


def _pieces(texts: Iterator[str]) -> Iterator[str]:
    return (piece for text in texts for piece in re.findall(r"\s*\S+", text))


def _ornate(pieces: Iterator[str], seed: int) -> Iterator[str]:
    for number, piece in enumerate(pieces):
        if number and number % _ORNATE == 0:
            yield f" {ORNAMENTS[(seed + number // _ORNATE) % len(ORNAMENTS)]}"
        yield piece

"""Where an answer goes on from another provider: what it repeats is not said twice.

Strategy: a fold over the new answer's content. It holds text back until it is known what the new
answer begins with, which is nearly always its first few code points, and never more than `REACH`:

- an overlap: the end of what is written, at least `OVERLAP` code points of it. It is left out, the
  longest where there are several. Shorter ones cannot be told from text that goes on like this, and
  neither can one that repeats itself (`ha ha ha`, a run of zeros): those stay.
- a start: the first `START` code points of what is written, where they come only once in it and do
  not repeat themselves. The new answer starts over; it is swallowed while it is equal, and where it
  is not, or ends before all was told again, the continuation has failed.
- anything else goes on just there.

After a prefill that was accepted there is nothing to decide: the text follows, without as much of
the whitespace that the prefill could not end with as the new answer tells again.

How the new answer comes in pieces makes no difference. It costs little however long both are: of
all places where an overlap may begin, only the first that agrees is looked at. Everything is
counted in code points. The numbers are measured: trimming any overlap damages 4 % of exact
continuations, from 24 code points on none of 20,000.

One loss remains. Where what is written ends with a block of at least `OVERLAP` code points that is
to come again at once, and the new answer begins with it, nobody can tell the second block from the
first one repeated. It is taken for a repetition and left out, and `exact` is said in error. Once
the block is written twice in a row it is known to come again, and stays. So a text with a period
of 37 goes on a period short where it breaks off at 37 to 73 code points, and whole from 74 on.
"""

from __future__ import annotations

from holdfast import errors

OVERLAP = 24
"""The shortest overlap that is left out, in code points."""

START = 64
"""Code points that an answer has in common with what is written where it starts over."""

REACH = 4096
"""The longest overlap that is looked for, in code points: also the most that is held back."""


def periodic(text: str) -> bool:
    """Whether the text is one shorter text at least twice in a row, the last one perhaps cut."""
    return any(text.startswith(text[period:]) for period in range(1, len(text) // 2 + 1))


class Seam:
    """`trimmed` counts what was left out so far. `exact`: it is known that nothing is repeated and
    nothing missing. `decided`: nothing is held back any more. `swallowing`: it has started over,
    and not told all again yet."""

    def __init__(self, written: str, *, prefilled: bool, stripped: str = "") -> None:
        """`prefilled`: the target took what is written for the beginning of its answer, but for
        `stripped`, the whitespace that this ends with."""
        assert prefilled or not stripped
        self._written = written
        self._tail = written[-REACH:]
        self._stripped = stripped
        self._held = ""
        self._first = 0  # where the tail first has what is held
        self._told = 0  # how much of what is known to be a repetition has come
        self._over = not prefilled and _begins_once(written)
        self.swallowing = False
        self.decided = not stripped if prefilled else len(written) < OVERLAP
        self.exact = prefilled
        self.trimmed = 0

    def take(self, text: str) -> str:
        """More content of the new answer; what of it is new, as far as that is known. Raises
        `errors.ContinuationDiverged`."""
        if self.decided:
            return text
        if self._stripped:
            return self._unstrip(text)
        if self.swallowing:
            return self._swallow(text)
        self._held += text
        if self._over and self._written.startswith(self._held[:START]):
            if len(self._held) < START:
                return ""
            self.swallowing = True
            return self._swallow(self._held)
        return "" if self._overlaps() else self.release()

    def release(self) -> str:
        """No more content comes before something else does: what was held back. Raises
        `errors.ContinuationDiverged` where the new answer is only a part of the old."""
        if self.swallowing:
            raise errors.ContinuationDiverged("The answer was started over and ended too soon.")
        held, repeated = self._held, self._repeated()
        # Twice in a row it may as well be said a third time.
        if repeated and not periodic(repeated) and not self._written.endswith(2 * repeated):
            self.trimmed, self.exact = len(repeated), True
        self._decide()
        return held[self.trimmed :]

    def _decide(self) -> None:
        self.decided, self.swallowing = True, False
        self._written = self._tail = self._held = self._stripped = ""

    def _overlaps(self) -> bool:
        """Whether all that is held may be the beginning of an overlap. The first place where the
        tail has it has the most behind it, and only moves on as more is held."""
        if not self._tail.startswith(self._held, self._first):
            self._first = self._tail.find(self._held, self._first + 1)
        left = len(self._tail) - self._first
        return self._first >= 0 and left >= OVERLAP and left > len(self._held)

    def _repeated(self) -> str:
        """The longest overlap that what is held begins with."""
        held, tail = self._held, self._tail
        if len(held) < OVERLAP:
            return ""
        at = tail.find(held[:OVERLAP], max(0, len(tail) - len(held)))
        while at >= 0 and not held.startswith(tail[at:]):
            at = tail.find(held[:OVERLAP], at + 1)
        return tail[at:] if at >= 0 else ""

    def _swallow(self, text: str) -> str:
        """What follows where all that is written has been told again."""
        old = self._written[self._told : self._told + len(text)]
        if not text.startswith(old):
            raise errors.ContinuationDiverged("The answer was started over and went on otherwise.")
        self._told += len(old)
        self.trimmed = self._told
        if self._told == len(self._written):
            self.exact = True
            self._decide()
        return text[len(old) :]

    def _unstrip(self, text: str) -> str:
        """What follows as much of the stripped whitespace as is told again."""
        old = self._stripped[self._told : self._told + len(text)]
        pairs = enumerate(zip(old, text, strict=False))
        same = next((at for at, (one, other) in pairs if one != other), len(old))
        self._told += same
        self.trimmed = self._told
        if same < len(text) or self._told == len(self._stripped):
            self._decide()
        return text[same:]


def _begins_once(written: str) -> bool:
    """Whether the beginning is long enough to be known again, and does not come again: one that
    does may as well go on like this."""
    begin = written[:START]
    if len(begin) < START or periodic(begin) or periodic(written[: 2 * START]):
        return False
    return written.find(begin, 1) < 0

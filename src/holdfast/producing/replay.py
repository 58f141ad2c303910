"""An answer that is told a second time: compared with what is written, and let through after it.

Strategy: the first telling was cut into events by the ticks of its time, the second by those of
its own, so events cannot be compared. Both are spelled as bytes in which it cannot be seen how
pieces were gathered (`_Spelling`): a piece that could have joined the one before it adds its
text alone, everything else begins with a mark and its fields. What is written comes down to a
length and a hash of these bytes; of the second telling as many bytes must have that hash, and
what follows them is new. So the memory that this takes does not grow with the answer.
"""

from __future__ import annotations

import hashlib

import msgspec

from holdfast import errors, events
from holdfast.producing import pending

_encode = msgspec.json.Encoder().encode
_BEGIN, _END = b"\xff", b"\xfe"  # never a byte of UTF-8

_TOLD = (events.Chunk, events.Finish, events.Citation)
"""What the answer says; the rest is about calls, and differs. So does usage: a call that breaks off
tells what it has cost by then."""


class _Spelling:
    """Spells one body after the other."""

    def __init__(self) -> None:
        self._open: events.Chunk | None = None

    def spell(self, body: events.Body) -> tuple[bytes, bytes]:
        """The mark with the fields, empty where the body joins; and the text."""
        if not isinstance(body, events.Chunk):
            self._open = None
            return _BEGIN + body.kind.encode() + _encode(body) + _END, b""
        text = body.delta.encode()
        if self._open is not None and pending.joins(self._open, body):
            return b"", text
        self._open = body
        fields = msgspec.structs.replace(body, delta="")
        return _BEGIN + _encode(fields) + _END, text


class Written(msgspec.Struct, frozen=True):
    """The first telling, as far as it is written; `characters` is about how long its text is."""

    length: int
    digest: bytes
    characters: int


class Reading:
    """Reads what is written, event by event; `written` is the sum."""

    def __init__(self) -> None:
        self._spelling = _Spelling()
        self._hash = hashlib.sha256()
        self._length = self._characters = 0

    def add(self, body: events.Body) -> None:
        if not isinstance(body, _TOLD):
            return
        mark, text = self._spelling.spell(body)
        self._hash.update(mark + text)
        self._length += len(mark) + len(text)
        if isinstance(body, events.Chunk):
            self._characters += len(body.delta)

    @property
    def written(self) -> Written:
        return Written(self._length, self._hash.digest(), self._characters)


class Replay:
    """The second telling. `caught_up`: all that is written was told again, and was the same;
    `heard`: something of the answer was told; `new`: something was let through behind it."""

    def __init__(self, written: Written) -> None:
        self._left, self._digest = written.length, written.digest
        self._spelling = _Spelling()
        self._hash = hashlib.sha256()
        self.heard = self.new = False

    @property
    def caught_up(self) -> bool:
        return self._left == 0

    def take(self, bodies: list[events.Body]) -> list[events.Body]:
        """What of these is new. Raises `errors.ContinuationDiverged` where the answer is
        another one."""
        new: list[events.Body] = []
        self.heard = self.heard or any(isinstance(body, _TOLD) for body in bodies)
        for body in bodies:
            if self._left and isinstance(body, _TOLD):
                self._compare(body, new)
            elif not self._left and not isinstance(body, events.Kept):
                new.append(body)
        self.new = self.new or any(isinstance(body, _TOLD) for body in new)
        return new

    def end(self) -> list[events.Body]:
        """The answer has ended. Raises `errors.ContinuationDiverged` where it is shorter than what
        is written."""
        if not self.caught_up:
            raise errors.ContinuationDiverged
        return []

    def _compare(self, body: events.Body, new: list[events.Body]) -> None:
        mark, text = self._spelling.spell(body)
        said = (mark + text)[: self._left]
        self._hash.update(said)
        self._left -= len(said)
        if self._left:
            return
        rest = text[len(said) - len(mark) :]
        if self._hash.digest() != self._digest or len(said) < len(mark):
            self._left, self._digest = 1, b""  # whatever else is told: it never catches up
            raise errors.ContinuationDiverged
        if rest and isinstance(body, events.Chunk):
            # As the text ends with a whole character, so its rest begins with one.
            new.append(events.Chunk(body.type, rest.decode(), body.choice, body.call))

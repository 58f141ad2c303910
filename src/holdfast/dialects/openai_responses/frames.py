"""How a frame is written, and which number it has.

Strategy: numbers count the frames of a stream, so that a client that names the last one it has gets
exactly those behind it. Each claim of a stream begins a range of its own: what a lost life said
under a number is never taken for what the next one says.
"""

from __future__ import annotations

import msgspec

CLAIM_SHIFT = 32
"""Frames of one life of a writer have this many bits; with 21 for claims that is what every JSON
reader can hold."""

END = b"\n\n"
"""Of every frame; there is no raw line break in one."""

encode = msgspec.json.Encoder().encode


class Frames:
    """The frames of one stream; `number` is the next one's."""

    __slots__ = ("_said", "number")

    def __init__(self) -> None:
        self.number = 0
        self._said: list[bytes] = []

    def say(self, type: bytes, fields: bytes) -> None:
        """A frame of this type; `fields` are the members of its object, as JSON."""
        self._said.append(
            b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n'
            % (type, type, self.number, fields)
        )
        self.number += 1

    def taken(self) -> bytes:
        """The frames since the last call."""
        said, self._said = b"".join(self._said), []
        return said

    def claimed(self, claim: int) -> None:
        """Another life writes from here on."""
        self.number = claim << CLAIM_SHIFT

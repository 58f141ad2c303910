"""Letters that hide how long a piece of an answer is.

Strategy: the sizes of encrypted records tell who listens how long each token is, and whole answers
have been read from that. So a piece is filled up to a whole number of blocks. Every reader gets the
same letters, and no compression takes them away again, as they are a digest of their place. An API
whose strictest client takes no further field has them in a comment (`Commented`), which is no part
of what it says.
"""

from __future__ import annotations

import binascii
import hashlib

from holdfast import events
from holdfast.dialects import base

BLOCK = 32
"""Bytes. Nearly every token is shorter, so that all look the same; a digest gives 43 letters."""

KINDS: tuple[events.Kind, ...] = ("chunk", "metadata")
"""The kinds of events that say something of an answer, each with a length of its own."""


class Padding:
    """That of one stream."""

    __slots__ = ("_seed",)

    def __init__(self, stream: str) -> None:
        self._seed = hashlib.sha256(b"%b " % stream.encode())

    def of(self, number: int, length: int) -> bytes:
        """What fills up the piece of this number, which has `length` bytes: fewer than `BLOCK`
        letters, none of which JSON escapes."""
        digest = self._seed.copy()
        digest.update(b"%d" % number)
        return binascii.b2a_base64(digest.digest())[: -length % BLOCK]


class Commented:
    """A `base.ForeignFold` whose frames end with a comment. `bare` is how long a frame is that says
    nothing, in bytes: a token then has the whole block for itself."""

    def __init__(self, fold: base.ForeignFold, stream: events.StreamId, bare: int) -> None:
        self._fold, self._padding, self._bare = fold, Padding(stream), bare

    @property
    def ended(self) -> bool:
        """See `base.ForeignFold.ended`."""
        return self._fold.ended

    @property
    def failed(self) -> bool:
        """See `base.ForeignFold.failed`."""
        return self._fold.failed

    @property
    def padded(self) -> bool:
        """See `base.ForeignFold.padded`."""
        return True

    def render(self, event: events.Event) -> bytes:
        """See `base.Fold.render`."""
        frames = self._fold.render(event)
        if not frames or event.kind not in KINDS:
            return frames
        # Behind the data: some parsers look for it at the begin of a block.
        letters = self._padding.of(event.seq, len(frames) - self._bare)
        return b"%b: %b\n\n" % (frames[:-1], letters)

    def rewind(self, reason: str) -> bytes:
        """See `base.Fold.rewind`."""
        return self._fold.rewind(reason)

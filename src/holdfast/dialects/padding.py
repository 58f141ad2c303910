"""Letters that hide how long a piece of an answer is.

Strategy: the sizes of encrypted records tell who listens how long each token is, and whole answers
have been read from that. So a piece is filled up to a whole number of blocks. Every reader gets the
same letters, and no compression takes them away again, as they are a digest of their place.
"""

from __future__ import annotations

import binascii
import hashlib

BLOCK = 32
"""Bytes. Nearly every token is shorter, so that all look the same; a digest gives 43 letters."""


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

"""Ids of streams, positions in them, and epochs.

Strategy: an id or a position is checked where it is made, so no other file asks whether it may
hold a line break.
"""

from __future__ import annotations

import functools
import re
import secrets
from typing import NewType

import msgspec

from holdfast import errors

StreamId = NewType("StreamId", str)

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""Of ids, which are ASCII letters and digits."""

_STREAM_ID = re.compile(r"[0-9A-Za-z]{26}(?:[0-9A-Za-z]{6})?", re.ASCII)
_POSITION = re.compile(r"(?:([0-9A-Za-z]{26}|[0-9A-Za-z]{32}):)?(\d{1,20})-(\d{1,20})", re.ASCII)
_MAX_NUMBER = 2**63 - 1
_PAIRS = [low + high for high in ALPHABET for low in ALPHABET]


def new_stream_id() -> StreamId:
    """26 characters `[0-9A-Za-z]`: 154 random bits."""
    return spelled(secrets.randbits(160), 26)


def derived_stream_id(digest: bytes) -> StreamId:
    """The id for a keyed digest of at least 20 bytes: the same digest, the same id."""
    if len(digest) < 20:
        raise ValueError("a derived stream id needs a digest of at least 20 bytes")
    return spelled(int.from_bytes(digest, "big"), 26)


def spelled(number: int, count: int) -> StreamId:
    """A number, as far as so many letters, an even count, hold it; the lowest come first."""
    letters = []
    for _ in range(count // 2):
        number, rest = divmod(number, len(_PAIRS))
        letters.append(_PAIRS[rest])
    return StreamId("".join(letters))


def number_of(stream: StreamId) -> int:
    """The opposite of `spelled`."""
    return functools.reduce(lambda n, letter: n * 62 + ALPHABET.index(letter), stream[::-1], 0)


def stream_id(text: str) -> StreamId:
    """Checks an id that came from outside; raises `StreamNotFound`: no such id can exist."""
    if _STREAM_ID.fullmatch(text) is None:
        raise errors.StreamNotFound
    return StreamId(text)


class Position(msgspec.Struct, frozen=True, gc=False):
    """`(epoch, seq)` of the last event that a reader has; seq 0 is before the first."""

    epoch: int
    seq: int

    def __post_init__(self) -> None:
        if not (0 <= self.epoch <= _MAX_NUMBER and 0 <= self.seq <= _MAX_NUMBER):
            raise ValueError(f"a position holds two numbers from 0 to 2^63-1, not {self!r}")

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


BEGIN = Position(0, 0)


def event_id(stream: StreamId, position: Position) -> str:
    """The SSE id: `<stream_id>:<epoch>-<seq>`."""
    return f"{stream}:{position}"


def parse_event_id(text: str) -> tuple[StreamId | None, Position]:
    """Reads an SSE id, or its part after the colon; raises `MalformedPosition`."""
    match = _POSITION.fullmatch(text)
    if match is None or int(match[2]) > _MAX_NUMBER or int(match[3]) > _MAX_NUMBER:
        raise errors.MalformedPosition(
            "A position reads <stream_id>:<epoch>-<seq> or <epoch>-<seq>; send the last "
            "SSE id exactly as it came."
        )
    stream = StreamId(match[1]) if match[1] else None
    return stream, Position(int(match[2]), int(match[3]))


def new_epoch(previous: int) -> int:
    """The next life of a writer: claim counter `<< 16` plus 16 random bits."""
    return ((previous >> 16) + 1) << 16 | secrets.randbits(16)

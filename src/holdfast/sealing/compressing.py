"""Bytes made smaller before they are sealed: zstd where its library is, zlib elsewhere.

Strategy: what compressed a blob stands in its frame, so both lie in one store, and a node without
the library says which one it lacks. What is read back is bounded, whatever a blob says of itself.
"""

from __future__ import annotations

import zlib

from holdfast import errors

try:
    import zstandard
except ImportError:  # the extra `zstd`
    zstandard = None  # type: ignore[assignment]

NONE, ZLIB, ZSTD = 0, 1, 2
"""They are part of every frame: never renumber."""

MAX_BYTES = 1024 * 1024 * 1024
"""Of what one blob holds; a stream has `max_stream_bytes`, and some numbers an event."""

SMALL_BYTES = 64
"""What is smaller only grows."""

_ZLIB_LEVEL, _ZSTD_LEVEL = 1, 3
"""The fast ones: an answer's record is mostly its own JSON, said again and again."""


def compress(data: bytes) -> tuple[int, bytes]:
    """By what, and the bytes; `NONE` and as they were where that makes them no smaller."""
    if len(data) >= SMALL_BYTES:
        if zstandard is not None:
            how, less = ZSTD, zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(data)
        else:
            how, less = ZLIB, zlib.compress(data, _ZLIB_LEVEL)
        if len(less) < len(data):
            return how, less
    return NONE, data


def expand(how: int, data: bytes) -> bytes:
    """The opposite. Raises `errors.LogCorrupt`."""
    if how == NONE:
        return data
    if how == ZLIB:
        return _inflate(data)
    if how == ZSTD and zstandard is not None:
        return _expand_zstd(data)
    if how == ZSTD:
        raise errors.LogCorrupt("it is compressed by zstd, and needs: pip install zstandard")
    raise errors.LogCorrupt(f"unknown compression {how}, made by a newer version")


def _inflate(data: bytes) -> bytes:
    machine = zlib.decompressobj()
    try:
        found = machine.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise errors.LogCorrupt(f"it cannot be expanded: {error}") from error
    if not machine.eof or machine.unused_data:
        raise errors.LogCorrupt("it cannot be expanded: it is cut off, or too large")
    return found


def _expand_zstd(data: bytes) -> bytes:
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= MAX_BYTES:
            raise errors.LogCorrupt("it cannot be expanded: it does not say its size")
        return zstandard.ZstdDecompressor().decompress(
            data, max_output_size=size, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise errors.LogCorrupt(f"it cannot be expanded: {error}") from error

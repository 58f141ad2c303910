"""Sealed bytes: what a store keeps starts with the version and the codec that made it.

Strategy: six bytes before the payload, so that a blob says itself how to read it and a store
may hold blobs of several codecs at once: compression and encryption then cost no migration.

    0     version of this frame, 1
    1     codec: 0 plain; the next ones compress (1) and encrypt (2, AES-256-GCM)
    2-5   CRC-32 of version, codec, kind, binding and payload, little-endian
    6-    payload

The kind says what the bytes are for, and what they are bound to says whose they are and where they
stand. Neither is stored, only checked: bytes of one kind or place put into that of another are
refused. An encrypting codec takes both as associated data, and needs a key id and a nonce before
its payload; the tag then stands for the CRC.
"""

from __future__ import annotations

import zlib

from holdfast import errors

VERSION = 1
PLAIN = 0
OVERHEAD = 6
"""Bytes before the payload."""

REDO, SEGMENT, RECORD, HEADER, REQUEST, BATCH = range(1, 7)
"""The kinds. They are part of every checksum: never renumber."""


def pack(kind: int, data: bytes, bound: bytes = b"") -> bytes:
    """Seals bytes of a kind, which can be unpacked only with what they are bound to."""
    frame = bytes((VERSION, PLAIN))
    return b"".join((frame, _checksum(frame, kind, bound, data), data))


def unpack(kind: int, blob: bytes, bound: bytes = b"") -> bytes:
    """What was packed; raises `errors.LogCorrupt`, and the caller says where it lay."""
    if len(blob) < OVERHEAD:
        raise errors.LogCorrupt(f"{len(blob)} bytes are too few for sealed bytes")
    version, codec, data = blob[0], blob[1], blob[OVERHEAD:]
    if version != VERSION:
        raise errors.LogCorrupt(f"unknown frame version {version}, made by a newer version")
    if codec != PLAIN:
        raise errors.LogCorrupt(f"unknown codec {codec}, made by a newer version")
    if blob[2:OVERHEAD] != _checksum(blob[:2], kind, bound, data):
        raise errors.LogCorrupt("the checksum does not match")
    return data


def _checksum(frame: bytes, kind: int, bound: bytes, data: bytes) -> bytes:
    start = zlib.crc32(frame + bytes((kind,)) + bound)
    return zlib.crc32(data, start).to_bytes(4, "little")

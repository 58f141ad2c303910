"""Sealed bytes: what a store keeps starts with the version and the codec that made it.

Strategy: a frame says itself how it is to be read, so a store may hold blobs of several codecs at
once, and turning encryption on or off costs no migration.

    0     version of this frame, 1
    1     codec: the low four bits are the compression (`compressing`); 0x10 is sealed, 0x20 a key

    a plain one:     2-5  CRC-32 of version, codec, kind, place and payload, little-endian
                     6-   payload
    a sealed one:    2-13 nonce, 14-  payload under AES-256-GCM, the last 16 bytes its tag
    a wrapped key:   2-9  id of the ring's key, 10-21 nonce, 22-  the data key, sealed by that

The kind says what the bytes are for, and the place where they stand: in which stream, and behind
which event. Neither is stored, only checked: bytes of one kind or place put into that of another
are refused. What is sealed is bound to version, codec, kind, owner, stream and place as associated
data; a stream that has a data key has no plain bytes, so none can be put in their place.

Nonces are random: a derived one repeats when a failed tick is sealed again, or when two nodes think
that they write the same event. One key is for one stream, which stays far below the 2^32 messages
that NIST SP 800-38D, 8.3 allows.
"""

from __future__ import annotations

import os
import zlib
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from holdfast import errors
from holdfast.sealing import compressing

VERSION = 1
SEALED, KEY = 0x10, 0x20
OVERHEAD = 6
"""Bytes before the payload of a plain frame."""

NONCE_BYTES, TAG_BYTES, KEY_BYTES, ID_BYTES = 12, 16, 32, 8
SEALED_OVERHEAD = 2 + NONCE_BYTES + TAG_BYTES
_KEY_AT = 2 + ID_BYTES
WRAPPED_BYTES = _KEY_AT + NONCE_BYTES + KEY_BYTES + TAG_BYTES

REDO, SEGMENT, RECORD, HEADER, REQUEST, BATCH, DATA_KEY, STORE_KEY, SECRET, CONNECTION = range(
    1, 11
)
"""The kinds. They are part of every checksum and seal: never renumber."""

_KINDS = tuple(bytes((kind,)) for kind in range(11))
_SEALED = bytes((VERSION, SEALED))


class Codec(Protocol):
    """How the bytes of one stream are packed. `wrapped` is its data key as a store keeps it, None
    where there is none."""

    @property
    def wrapped(self) -> bytes | None: ...

    def pack(
        self, kind: int, data: bytes, place: bytes = b"", *, compress: bool = False
    ) -> bytes: ...

    def unpack(self, kind: int, blob: bytes, place: bytes = b"") -> bytes:
        """Raises `errors.LogCorrupt`; the caller says where it lay."""


class Plain:
    """Under a checksum alone."""

    wrapped: bytes | None = None

    def pack(self, kind: int, data: bytes, place: bytes = b"", *, compress: bool = False) -> bytes:
        how, data = compressing.compress(data) if compress else (compressing.NONE, data)
        frame = bytes((VERSION, how))
        return b"".join((frame, _checksum(frame, kind, place, data), data))

    def unpack(self, kind: int, blob: bytes, place: bytes = b"") -> bytes:
        how = _compression(blob, 0, OVERHEAD)
        data = blob[OVERHEAD:]
        if blob[2:OVERHEAD] != _checksum(blob[:2], kind, place, data):
            raise errors.LogCorrupt("the checksum does not match")
        return compressing.expand(how, data)


PLAIN = Plain()


class Sealed:
    """Under a data key, and bound to a stream and its owner."""

    __slots__ = ("_bound", "_cipher", "wrapped")

    def __init__(self, key: bytes, wrapped: bytes, owner: str, stream: str) -> None:
        self._cipher = AESGCM(key)
        self._bound = bound_to(owner, stream)
        self.wrapped: bytes | None = wrapped

    def pack(self, kind: int, data: bytes, place: bytes = b"", *, compress: bool = False) -> bytes:
        frame = _SEALED
        if compress:
            how, data = compressing.compress(data)
            frame = bytes((VERSION, SEALED | how))
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, data, frame + _KINDS[kind] + self._bound + place)
        return frame + nonce + sealed

    def unpack(self, kind: int, blob: bytes, place: bytes = b"") -> bytes:
        how = _compression(blob, SEALED, SEALED_OVERHEAD)
        begin = 2 + NONCE_BYTES
        said = blob[:2] + _KINDS[kind] + self._bound + place
        try:
            data = self._cipher.decrypt(blob[2:begin], blob[begin:], said)
        except InvalidTag:
            raise errors.LogCorrupt("the seal does not match") from None
        return compressing.expand(how, data)


def bound_to(owner: str, stream: str) -> bytes:
    """What data are bound to, each part with its length, so that no two pairs are one."""
    return b"".join(
        len(part).to_bytes(4, "big") + part for part in (owner.encode(), stream.encode())
    )


def wrap(cipher: AESGCM, key_id: str, kind: int, key: bytes, bound: bytes) -> bytes:
    """A key sealed by one of the ring's."""
    frame = bytes((VERSION, KEY)) + bytes.fromhex(key_id)
    nonce = os.urandom(NONCE_BYTES)
    return frame + nonce + cipher.encrypt(nonce, key, frame + _KINDS[kind] + bound)


def key_id(wrapped: bytes) -> str:
    """Which of the ring's keys it is sealed by. Raises `errors.LogCorrupt`."""
    if len(wrapped) != WRAPPED_BYTES or wrapped[:2] != bytes((VERSION, KEY)):
        raise errors.LogCorrupt("these bytes are no key, or one of a newer version")
    return wrapped[2:_KEY_AT].hex()


def unwrap(cipher: AESGCM, kind: int, wrapped: bytes, bound: bytes) -> bytes:
    """Raises `errors.LogCorrupt`."""
    begin = _KEY_AT + NONCE_BYTES
    said = wrapped[:_KEY_AT] + _KINDS[kind] + bound
    try:
        return cipher.decrypt(wrapped[_KEY_AT:begin], wrapped[begin:], said)
    except InvalidTag:
        raise errors.LogCorrupt("the seal of its key does not match") from None


def _compression(blob: bytes, sealed: int, least: int) -> int:
    """Raises `errors.LogCorrupt` for what is no such frame."""
    if len(blob) < least:
        raise errors.LogCorrupt(f"{len(blob)} bytes are too few for a frame")
    version, made = blob[0], blob[1]
    if version != VERSION:
        raise errors.LogCorrupt(f"unknown frame version {version}, made by a newer version")
    if made & 0xF0 not in (0, SEALED) or made & 0x0F > compressing.ZSTD:
        raise errors.LogCorrupt(f"unknown codec {made}, made by a newer version")
    if made & 0xF0 != sealed:
        raise errors.LogCorrupt(
            "it is not sealed, and its stream is" if sealed else "it is sealed, and has no key"
        )
    return made & 0x0F


def _checksum(frame: bytes, kind: int, place: bytes, data: bytes) -> bytes:
    start = zlib.crc32(frame + _KINDS[kind] + place)
    return zlib.crc32(data, start).to_bytes(4, "little")

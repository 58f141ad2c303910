"""What a thief finds in bytes: secrets in any form, also in whatever is compressed in them.

Strategy: all windows of every form of every secret (`canaries`) are known beforehand. Bytes are
taken eight at a time, each of which is one look into a set, so that whatever has fifteen bytes of a
form in a row is found, and what this finds has to have twelve. Every place that begins like
something compressed is expanded as far as it goes, and searched again: `within` frames of SQLite's
and PostgreSQL's pages nothing else is whole.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from tests.faults import canaries

try:
    import zstandard
except ImportError:  # then nothing that is searched was made by it
    zstandard = None  # type: ignore[assignment]

STEP = 8
"""Bytes that are looked up at once."""

BLOCK = 1 << 20
"""Bytes that are looked through before the places of what was found are asked for."""

FEED = 512
"""Bytes that are expanded at once: what is broken there is lost, and what came before is not."""

MOST = 4 << 20
"""Bytes that one frame is expanded to."""

MOST_IN_ALL = 256 << 20
"""Bytes that the frames of one file are expanded to."""

DEPTH = 3
"""A frame in a frame in a frame is searched."""

FRAME = 64
"""Bytes that are no accident: what only begins like a frame is seldom expanded to more."""

LEAST_LZF = 20
"""Bytes below which Redis compresses nothing."""

Finds = dict[str, set[str]]
"""By the name of a secret, in which forms it was found, `zlib: raw` for one."""


class Secret(Protocol):
    """As `canaries.Canary`."""

    name: str

    def forms(self) -> Iterator[tuple[str, bytes]]: ...


class Bytes:
    """A secret that is no text: a key."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name, self._data = name, data

    def forms(self) -> Iterator[tuple[str, bytes]]:
        yield "raw", self._data
        yield "reversed", self._data[::-1]
        yield from canaries._base64(self._data)
        yield "hex", self._data.hex().encode()
        yield "hex", self._data.hex().upper().encode()


class Search:
    """Looks for all of these, so many `secrets`, at once. `exact` has what each window is of;
    `looked` counts the bytes that it was given, `expanded` what it made of frames in them, `frames`
    those of at least `FRAME` bytes."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self.exact: dict[bytes, tuple[str, str]] = {}
        steps: set[bytes] = set()
        self.secrets = 0
        for secret in secrets:
            self.secrets += 1
            for form, data in _all_forms(secret):
                for at in range(len(data) - canaries.WINDOW + 1):
                    window = data[at : at + canaries.WINDOW]
                    self.exact.setdefault(window, (secret.name, form))
                steps.update(data[at : at + STEP] for at in range(len(data) - STEP + 1))
        self._steps = {int.from_bytes(step, sys.byteorder) for step in steps}
        self.looked = self.expanded = self.frames = 0

    def __call__(self, data: bytes, *, lzf: bool = False) -> Finds:
        """What is in these bytes; with `lzf` they are Redis', which compresses by that."""
        found: Finds = {}
        self.looked += len(data)
        left = MOST_IN_ALL
        pending = [("", data)]
        for _ in range(DEPTH + 1):
            inner = []
            for where, some in pending:
                self._look(some, where, found)
                for how, frame in _frames(some, lzf):
                    left -= len(frame)
                    assert left > 0, "there is more in frames than anybody looks through"
                    self.frames += len(frame) >= FRAME
                    self.expanded += len(frame)
                    inner.append((f"{where}{how}: ", frame))
            pending = inner
        return found

    def _look(self, data: bytes, where: str, found: Finds) -> None:
        padded = data + b"\xff" * (-len(data) % STEP)
        for begin in range(0, len(padded), BLOCK):
            part = memoryview(padded)[begin : begin + BLOCK].cast("Q")
            if self._steps.isdisjoint(part):
                continue
            for number, value in enumerate(part):
                if value in self._steps:
                    self._confirm(padded, begin + STEP * number, where, found)

    def _confirm(self, data: bytes, at: int, where: str, found: Finds) -> None:
        for begin in range(max(0, at - (canaries.WINDOW - STEP)), at + 1):
            name, form = self.exact.get(data[begin : begin + canaries.WINDOW], ("", ""))
            if name:
                found.setdefault(name, set()).add(f"{where}{form}")


def _all_forms(secret: Secret) -> Iterator[tuple[str, bytes]]:
    """With those that a database makes of a text that it compresses: PostgreSQL puts a byte before
    each eight, which is 0 where it has seen none of them before."""
    for form, data in secret.forms():
        yield form, data
        if form == "raw":
            for first in range(8):
                ends = [*range(first, len(data), 8), len(data)]
                begins = [0, *ends[:-1]]
                pieces = [data[a:b] for a, b in zip(begins, ends, strict=True) if b > a]
                yield "raw, by pglz", b"\0".join(pieces)


# Frames


def _frames(data: bytes, lzf: bool) -> Iterator[tuple[str, bytes]]:
    """What is compressed in these bytes, expanded as far as that goes."""
    for how, magics, machine in _KINDS:
        for magic in magics:
            for at in _places(data, magic):
                if frame := _expanded(machine(), data, at):
                    yield how, frame
    if lzf:
        for at in _places(data, b"\xc3"):
            if frame := _lzf(data, at + 1):
                yield "lzf", frame


def _places(data: bytes, magic: bytes) -> Iterator[int]:
    at = data.find(magic)
    while at >= 0:
        yield at
        at = data.find(magic, at + 1)


class _Machine(Protocol):
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes) -> bytes: ...


def _zstd() -> _Machine:
    machine: _Machine = zstandard.ZstdDecompressor().decompressobj()
    return machine


_KINDS: tuple[tuple[str, tuple[bytes, ...], Callable[[], _Machine]], ...] = (
    ("zlib", (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), zlib.decompressobj),
    ("gzip", (b"\x1f\x8b\x08",), lambda: zlib.decompressobj(31)),
    *((("zstd", (b"\x28\xb5\x2f\xfd",), _zstd),) if zstandard is not None else ()),
)
_BROKEN = (zlib.error, *((zstandard.ZstdError,) if zstandard is not None else ()))


def _expanded(machine: _Machine, data: bytes, at: int) -> bytes:
    made = bytearray()
    while at < len(data) and not machine.eof and len(made) < MOST:
        try:
            made += machine.decompress(data[at : at + FEED])
        except _BROKEN:
            break
        at += FEED
    return bytes(made)


def _lzf(data: bytes, at: int) -> bytes:
    """A text of a dump of Redis': its two lengths, then the bytes."""
    try:
        length, at = _length(data, at)
        size, at = _length(data, at)
        end = at + length
        if not LEAST_LZF < size <= MOST or not 4 < length < size or end > len(data):
            return b""
        made = bytearray()
        while at < end and len(made) < size:
            at = _lzf_step(data, at, made)
    except (IndexError, ValueError):
        return b""
    return bytes(made)


def _lzf_step(data: bytes, at: int, made: bytearray) -> int:
    control = data[at]
    at += 1
    if control < 32:
        made += data[at : at + control + 1]
        return at + control + 1
    count = control >> 5
    if count == 7:
        count += data[at]
        at += 1
    back = ((control & 31) << 8 | data[at]) + 1
    if back > len(made):
        raise ValueError("it looks back beyond its begin")
    for _ in range(count + 2):
        made.append(made[-back])
    return at + 1


def _length(data: bytes, at: int) -> tuple[int, int]:
    first = data[at]
    if first < 0x40:
        return first, at + 1
    if first < 0x80:
        return (first & 0x3F) << 8 | data[at + 1], at + 2
    if first == 0x80:
        return int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
    raise ValueError("no length")

"""How the body of an event stream is coded for one reader: which coding, and its bytes.

Strategy: what a reader accepts decides, by a pure function over its header; our order counts among
what it likes as well. A coder belongs to one response. Whatever is written is flushed at once, to a
whole byte, so that a reader has every event when its bytes are there; what stands behind the last
one is written by a clean end alone. Contexts are small, since ten thousand readers have one each:
an event is mostly like the one before it, so a longer memory finds hardly more. A reader that takes
nothing we have gets plain text, and is never refused.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol

from holdfast import errors

try:
    import brotli  # type: ignore[import-untyped]
except ImportError:  # the extra `brotli`
    brotli = None
try:
    import zstandard
except ImportError:  # the extra `zstd`
    zstandard = None  # type: ignore[assignment]

Name = Literal["identity", "gzip", "deflate", "zstd", "br"]

ORDER: Sequence[Name] = ("gzip", "zstd", "deflate", "br")
"""What is preferred, where the settings do not say otherwise. Token by token gzip's flush is the
shortest; a context of brotli's takes fifteen times as much memory."""

INSTALL: Mapping[str, str] = {"br": "pip install brotli", "zstd": "pip install zstandard"}
"""What brings the library of a coding."""

WINDOW, MEMORY = 10, 2
"""Of zlib: 1 KiB to look back on, and tables for 256 symbols: 12 KB a connection. Twice the one and
four times the other take 22 KB to save half a point more, and its own choice 136 KB for one."""

ZSTD_WINDOW = 11
"""Of zstd, as the power of two: five events of chat completions are more than the 1 KiB of zlib."""

_GZIP = 16
"""Added to the window: with the head and the end of gzip."""

_WEIGHT = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)
_NAMES = {"x-gzip": "gzip"}
"""RFC 9110, 8.4.1.3."""


def negotiated(accepted: Iterable[str], offered: Sequence[Name]) -> Name:
    """The coding for a reader that sent these values of `Accept-Encoding`, out of those offered,
    the preferred one first. "identity" where it names none of them, or likes that better."""
    weights: dict[str, float] = {}
    for member in ",".join(accepted).lower().split(","):
        name, *rest = (part.strip(" \t") for part in member.split(";"))
        if name:
            name = _NAMES.get(name, name)
            weights[name] = min(_weight(rest), weights.get(name, 1.0))
    other = weights.get("*", 0.0)
    best: Name = "identity"
    most = weights.get("identity", 0.0)
    for name in offered:
        weight = weights.get(name, other)
        if weight > most or (weight == most and weight and best == "identity"):
            best, most = name, weight
    return best


def _weight(parameters: Sequence[str]) -> float:
    """What is malformed accepts nothing."""
    if not parameters:
        return 1.0
    match = _WEIGHT.fullmatch(parameters[0])
    return float(match[1]) if match is not None and len(parameters) == 1 else 0.0


def offered(preferred: str) -> tuple[Name, ...]:
    """The codings that can be made here, this one first. Raises `errors.SettingsError` where it
    cannot."""
    if preferred in _missing():
        raise errors.SettingsError(
            f"compression.algorithm: {preferred} needs a library that is not here: "
            f"{INSTALL[preferred]}"
        )
    here = [name for name in ORDER if name not in _missing()]
    return tuple(sorted(here, key=lambda name: name != preferred))


def _missing() -> set[str]:
    return {name for name, library in (("br", brotli), ("zstd", zstandard)) if library is None}


class Coder(Protocol):
    """The codings of one response's body."""

    def code(self, data: bytes) -> bytes:
        """What tells a reader all of this, which is not empty."""

    def end(self) -> bytes:
        """What tells it that nothing follows."""


def coder(name: str, level: int) -> Coder | None:
    """For one body; None for one that stays as it is. `level` is from 1 to 9."""
    make = _CODERS.get(name)
    return None if make is None else make(level)


class _Deflate:
    __slots__ = ("_machine",)

    def __init__(self, level: int, window: int) -> None:
        self._machine = zlib.compressobj(level, zlib.DEFLATED, window, MEMORY)

    def code(self, data: bytes) -> bytes:
        machine = self._machine
        # `Z_PARTIAL_FLUSH` is three bytes shorter, but there are readers, those of Go among them,
        # that wait for the empty block.
        return machine.compress(data) + machine.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._machine.flush()


class _Zstd:
    __slots__ = ("_machine",)

    def __init__(self, level: int) -> None:
        small = zstandard.ZstdCompressionParameters.from_level(
            level, window_log=ZSTD_WINDOW, hash_log=10, chain_log=10
        )
        self._machine = zstandard.ZstdCompressor(compression_params=small).compressobj()

    def code(self, data: bytes) -> bytes:
        machine = self._machine
        return machine.compress(data) + machine.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._machine.flush()


class _Brotli:
    __slots__ = ("_machine",)

    def __init__(self, level: int) -> None:
        # Below 3 it makes a token longer than it was; 4 takes more memory than 5.
        self._machine = brotli.Compressor(quality=3 if level <= 6 else 5, lgwin=12)

    def code(self, data: bytes) -> bytes:
        machine = self._machine
        return bytes(machine.process(data) + machine.flush())

    def end(self) -> bytes:
        return bytes(self._machine.finish())


_CODERS: Mapping[str, Callable[[int], Coder]] = {
    "gzip": lambda level: _Deflate(level, WINDOW + _GZIP),
    "deflate": lambda level: _Deflate(level, WINDOW),
    "zstd": _Zstd,
    "br": _Brotli,
}

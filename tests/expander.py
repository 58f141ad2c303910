"""What a reader makes of bytes that are coded, as far as they have come.

Strategy: each coding by the decoder that its users have, fed as bytes come and never told that they
end. So what is given back is what a reader can show by then, and whether the coding itself was
ended is known too.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import zstandard


def _identity() -> tuple[Callable[[bytes], bytes], Callable[[], bool]]:
    return bytes, lambda: True


def _zlib(bits: int) -> tuple[Callable[[bytes], bytes], Callable[[], bool]]:
    machine = zlib.decompressobj(bits)
    return machine.decompress, lambda: machine.eof


def _zstd() -> tuple[Callable[[bytes], bytes], Callable[[], bool]]:
    machine = zstandard.ZstdDecompressor().decompressobj()
    return machine.decompress, lambda: machine.eof


def _brotli() -> tuple[Callable[[bytes], bytes], Callable[[], bool]]:
    machine = brotli.Decompressor()
    return machine.process, machine.is_finished


MACHINES = {
    "identity": _identity,
    "gzip": lambda: _zlib(31),
    "deflate": lambda: _zlib(15),
    "zstd": _zstd,
    "br": _brotli,
}


class Expander:
    """One body's. `ended`: its coding says that nothing follows."""

    def __init__(self, encoding: str) -> None:
        self._take, self._ended = MACHINES[encoding]()

    def feed(self, data: bytes) -> bytes:
        """What these bytes bring, a byte at a time."""
        return b"".join(self._take(data[at : at + 1]) for at in range(len(data)))

    @property
    def ended(self) -> bool:
        return self._ended()

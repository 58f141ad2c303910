"""Secrets that are planted, and the search for them in any form.

Strategy: a secret may be told raw, in base64 (at any of three alignments), in hex, percent-encoded,
or as the digest that somebody would look it up by, and cut short in each of these. So all windows
of `WINDOW` characters of every form are known beforehand, and what is searched is taken window by
window: whatever has twelve characters of a form in a row is found, wherever it was cut.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Iterable, Iterator

import zstandard

WINDOW = 12
"""Characters in a row by which a form is known: by chance they come nowhere."""

DIGESTS = ("md5", "sha1", "sha256", "sha512", "blake2b")

_LETTERS = string.ascii_letters + string.digits


def letters(count: int) -> str:
    """So many random letters and digits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(count))


class Canary:
    """A secret: `text` is what nobody may see, `whole` the texts that hold it and might be hashed,
    as the key that it is the secret part of."""

    def __init__(self, name: str, text: str, *whole: str) -> None:
        if len(text) < WINDOW:
            raise ValueError(f"a canary has at least {WINDOW} characters")
        self.name, self.text, self.whole = name, text, (text, *whole)

    def forms(self) -> Iterator[tuple[str, bytes]]:
        """Every form by its name, in full."""
        raw = self.text.encode()
        yield "raw", raw
        yield "reversed", raw[::-1]
        yield "json", self.text.encode("ascii", "backslashreplace")
        yield from _base64(raw)
        for upper, hexed in ((False, raw.hex()), (True, raw.hex().upper())):
            yield "hex", hexed.encode()
            pairs = [hexed[at : at + 2] for at in range(0, len(hexed), 2)]
            yield "percent", "".join(f"%{pair}" for pair in pairs).encode()
            yield "escaped", "".join(f"\\x{pair}" for pair in pairs).encode()
            if upper:
                yield "spaced hex", " ".join(pairs).encode()
        yield "utf-16", self.text.encode("utf-16-le")
        for text in self.whole:
            for name in DIGESTS:
                yield from _digest(name, hashlib.new(name, text.encode()).digest())


def _base64(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """At each alignment, without what depends on the bytes before and behind."""
    for before in range(3):
        padded = bytes(before) + raw
        for name, encode in (
            ("base64", base64.b64encode),
            ("base64url", base64.urlsafe_b64encode),
        ):
            coded = encode(padded).rstrip(b"=")
            begin = -(-before * 4 // 3)
            end = len(padded) * 8 // 6
            yield f"{name}, {before} bytes in", coded[begin:end]


def _digest(name: str, digest: bytes) -> Iterator[tuple[str, bytes]]:
    yield f"{name} as it is", digest
    yield f"{name} in hex", digest.hex().encode()
    yield f"{name} in hex", digest.hex().upper().encode()
    yield f"{name} in base64", base64.b64encode(digest).rstrip(b"=")
    yield f"{name} in base64", base64.urlsafe_b64encode(digest).rstrip(b"=")


class Search:
    """Looks for all of these canaries at once."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._windows: dict[bytes, str] = {}
        for canary in canaries:
            for name, form in canary.forms():
                for at in range(len(form) - WINDOW + 1):
                    window = form[at : at + WINDOW]
                    self._windows.setdefault(window, f"{canary.name} ({name})")

    def __call__(self, data: bytes) -> list[str]:
        """What is in these bytes: each canary and form once."""
        windows = self._windows
        found = {
            windows[data[at : at + WINDOW]]
            for at in range(len(data) - WINDOW + 1)
            if data[at : at + WINDOW] in windows
        }
        return sorted(found)


_BEGINS = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x28\xb5\x2f\xfd|\x1f\x8b\x08")
"""How zlib, zstd and gzip begin."""

MAX_EXPANDED = 1 << 20


def expanded(data: bytes) -> bytes:
    """All that lies compressed in these bytes, wherever it begins."""
    found = []
    for begin in _BEGINS.finditer(data):
        at = begin.start()
        try:
            if data[at] == 0x28:
                one = zstandard.ZstdDecompressor().decompressobj()
                found.append(one.decompress(data[at : at + MAX_EXPANDED])[:MAX_EXPANDED])
            else:
                found.append(zlib.decompressobj(47).decompress(data[at:], MAX_EXPANDED))
        except (zlib.error, zstandard.ZstdError):
            continue
    return b"\n".join(found)

"""stdout and stderr as pipes, as one terminal, or as one of each.

Strategy: real text streams over buffers; only what `isatty` says is put in.
"""

from __future__ import annotations

import io
import sys

import pytest


class Stream(io.TextIOWrapper):
    """A stream that is a terminal, or not."""

    def __init__(self, buffer: io.BytesIO, terminal: bool) -> None:
        super().__init__(buffer, encoding="utf-8", newline="", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


class Streams:
    """What was written; where both are one terminal `out` holds all of it, in order."""

    def __init__(self, patch: pytest.MonkeyPatch, out: bool, err: bool) -> None:
        self._out = io.BytesIO()
        self._err = self._out if out and err else io.BytesIO()
        patch.setattr(sys, "stdout", Stream(self._out, out))
        patch.setattr(sys, "stderr", Stream(self._err, err))

    @property
    def out(self) -> str:
        return self._out.getvalue().decode()

    @property
    def err(self) -> str:
        return self._err.getvalue().decode()

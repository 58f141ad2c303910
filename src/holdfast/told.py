"""What is told once: of each stream, or whatever else has a name.

Strategy: the names are remembered, and the oldest is forgotten where they become too many, so that
a store full of damage costs no more memory than this; what is forgotten may be told again.
"""

from __future__ import annotations


class Told:
    """Of at most so many names."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: dict[str, None] = {}

    def first(self, name: str) -> bool:
        """Whether this is the first time for it, as far as that is remembered."""
        if name in self._names:
            return False
        self._names[name] = None
        if len(self._names) > self._most:
            del self._names[next(iter(self._names))]
        return True

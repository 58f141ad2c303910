"""A reader of ours off the wire, whose body is expanded as its `Content-Encoding` says.

Strategy: `harness.Reader` takes the bytes and knows how the response ends; what they bring is found
a byte at a time, as far as they have come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from tests import expander
from tests.integration import harness


class Reader:
    """A `harness.Reader` whose body is read as its `Content-Encoding` says."""

    def __init__(self, wire: harness.Reader) -> None:
        self.wire, self.plain = wire, bytearray()
        self.encoding = wire.headers.get("content-encoding", "identity")
        self._expander, self._fed = expander.Expander(self.encoding), 0

    def look(self) -> bytes:
        """All that can be read by now."""
        body = self.wire.body
        self.plain += self._expander.feed(bytes(body[self._fed :]))
        self._fed = len(body)
        return bytes(self.plain)

    async def until(self, seen: Callable[[bytes], bool]) -> Self:
        """Reads until this is true of what can be read."""
        await self.wire.until(lambda _: seen(self.look()))
        return self

    async def rest(self) -> harness.Response:
        """To the end: as if it had not been coded."""
        whole = await self.wire.rest()
        return harness.Response(whole.status, whole.headers, self.look(), whole.clean)

    @property
    def ended(self) -> bool:
        """Whether the coding was ended, too."""
        return self._expander.ended

"""What was plain and is no more lies on in an append-only file until that is written anew.

Strategy: who replaces or destroys something plain notes that in Redis, before, as he may die in
between, and behind it, as another node may have cleaned up meanwhile. Each note is a random word,
and goes only as the one that was there before each primary began to write its file anew, and when
all have come to a good end with that.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

from redis import exceptions

from holdfast import errors
from holdfast.eventlog.redis import keys, lines, scripts

LOOK_SECONDS, LOOKS = 0.5, 120
"""Between two looks at whether servers are through with writing their files, and how many there are
in one pass; the next one goes on with that."""

_BUSY = (b"aof_rewrite_in_progress:1", b"aof_rewrite_scheduled:1")


def note() -> str:
    return secrets.token_hex(8)


class Cleaning:
    """Between a start and a close of the engine."""

    def __init__(self, wires: lines.Lines) -> None:
        self._lines = wires
        self._asked: tuple[bytes, int] | None = None
        """The note at which servers were asked for new files, and the connections broken until
        then: a server that has taken over since has another file."""

    @contextlib.asynccontextmanager
    async def soiled(self, *, plain: bool = True) -> AsyncIterator[None]:
        """Around what replaces or destroys something `plain`. Raises `errors.LogUnavailable`."""
        if not plain:
            yield
            return
        await self._note()
        try:
            yield
        except BaseException:  # the end, too: the note above is all there may be
            with contextlib.suppress(errors.LogUnavailable):
                await self._note()
            raise
        await self._note()

    async def _note(self) -> None:
        words = ("HSET", keys.STORE, "unclean", note())
        await self._lines.ask([lines.Keyed(keys.STORE, words)])

    async def clean(self) -> None:
        """Asks for new files where there is a note. Raises `errors.LogUnavailable`."""
        for look in range(LOOKS):
            if look:
                await asyncio.sleep(LOOK_SECONDS)
            if await self._is_over():
                return

    async def _is_over(self) -> bool:
        """Whether all is done that can be: a server may refuse, or fail, which is for who runs it,
        and for the next pass. A file that is being written anew just now is of what was there when
        that began."""
        (found,) = await self._ask("HGET", keys.STORE, "unclean")
        if found is None:
            return True
        told = await self._lines.each(("INFO", "persistence"))
        if any(isinstance(one, exceptions.ResponseError) for one in told):
            return True
        if any(sign in one for one in told for sign in _BUSY):
            return False
        if any(b"aof_enabled:1" in one for one in told):
            now = (found, self._lines.broken)
            if self._asked != now:
                said = await self._lines.each(("BGREWRITEAOF",))
                refused = any(isinstance(one, exceptions.ResponseError) for one in said)
                self._asked = None if refused else now
                return refused
            self._asked = None
            if not all(b"aof_last_bgrewrite_status:ok" in one for one in told):
                return True
        await self._ask(*scripts.CLEAN.call((keys.STORE,), found))
        return True

    async def _ask(self, *words: bytes | str | int) -> list[Any]:
        return await self._lines.ask([lines.Keyed(keys.STORE, words)])

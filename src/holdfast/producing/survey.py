"""Whose the streams are that were found without a writer.

Strategy: taking a stream over takes a while, and a limit of answers under way holds meanwhile. So
before the first is taken over, all of them get a place in their owners' accounts, which takes no
claim and reads no event; who has a limit begins no stream before that. Each gives its place back
when a meter has it, or when it needs none.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from holdfast import errors, events, told
from holdfast.eventlog import base
from holdfast.metering import ledger
from holdfast.producing import producer

AGAIN = 1.0
"""Seconds before a log is asked again that could not be reached."""

MAX_ORPHANS = 1_000_000
"""That are asked for, far more than a node writes at once."""

LOOKS_A_TURN = 100
"""Orphans that are looked at before others have their turn."""

MAX_TOLD = 10_000
"""Orphans that cannot be looked at, which are remembered so that each is told once."""

_log = structlog.get_logger("holdfast")


class Survey:
    """Made before the first stream is taken over."""

    def __init__(self, log: base.EventLog, accounts: ledger.Ledger, patience: float) -> None:
        """`patience` in seconds is how long `wait` waits."""
        self._log, self._accounts, self._patience = log, accounts, patience
        self._over = asyncio.Event()
        self._told = told.Told(MAX_TOLD)
        self.failure: str | None = None
        """Why the log could not be asked twice in a row; None in health."""

    async def run(self) -> list[events.StreamId]:
        """Finds those that there are now; asks again where the log cannot be reached."""
        found = await self._orphans()
        for number, stream in enumerate(found, 1):
            await self._look(stream)
            if not number % LOOKS_A_TURN:
                await asyncio.sleep(0)
        self.end()
        return found

    def end(self) -> None:
        """Nobody waits any more, whether all are found or the node stops."""
        self._over.set()

    async def metered(self, work: producer.Work, header: base.Header) -> producer.Work:
        """The work of a stream that is taken over, with its meter."""
        accounts = await self._accounts.of(header.owner, header.key)
        counted = self._accounts.metered(accounts, work.wanted, work.size, work.tally.bytes)
        return msgspec.structs.replace(work, meter=counted)

    def release(self, stream: events.StreamId) -> None:
        """To be called with each stream that was found, in the turn in which its meter begins to
        count, or when nobody will write it."""
        self._accounts.release(stream)

    async def wait(self) -> None:
        """Returns when all are found. Raises `errors.LogUnavailable` where that takes too long."""
        if self._over.is_set():
            return
        try:
            async with asyncio.timeout(self._patience):
                await self._over.wait()
        except TimeoutError:
            raise errors.LogUnavailable("It is not known yet who has answers under way.") from None

    async def _orphans(self) -> list[events.StreamId]:
        told = False
        while True:
            try:
                found = await self._log.orphans(MAX_ORPHANS)
            except errors.LogError as error:
                if not told:
                    _log.error("orphans_unknown", error=error.message)
                else:
                    self.failure = error.message
                told = True
                await asyncio.sleep(AGAIN)
            else:
                self.failure = None
                return found

    async def _look(self, stream: events.StreamId) -> None:
        while True:
            try:
                info = await self._log.stat(stream)
            except errors.LogUnavailable:
                await asyncio.sleep(AGAIN)
            except Exception as error:  # who takes it over sees to that
                if self._told.first(stream):
                    _log.error("orphan_unknown", stream=stream, trace=errors.trace(error))
                return
            else:
                if isinstance(info, base.Info):
                    self._accounts.hold(stream, info.header.owner, info.header.key)
                return

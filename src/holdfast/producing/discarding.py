"""Telling a provider that nobody wants an answer any more that it keeps.

Strategy: closing the connection ends most answers; one that the provider keeps it goes on
writing, and charging for, until it is told. One call, whose answer nobody reads; where it fails
nothing can be done but say so in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from holdfast import errors, events
from holdfast.providers import base

PATIENCE = 10.0
"""Seconds that the call may take."""

_log = structlog.get_logger("holdfast")


class _Heard:
    """A `transport.Sink` that wants to know the status."""

    def __init__(self) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        if not self.status.done():
            self.status.set_result(status)

    def body(self, data: bytes) -> None:
        """It says nothing of use."""

    def end(self, error: errors.TransportError | None) -> None:
        if not self.status.done():
            self.status.set_exception(error or errors.Truncated())


async def discard(provider: base.Provider, kept: str, stream: events.StreamId) -> None:
    """Tells the provider to stop the answer that it keeps as `kept`. Raises nothing of ours."""
    name = provider.name
    try:
        call = provider.discard(kept)
        if call is None:
            return
        heard = _Heard()
        async with asyncio.timeout(PATIENCE):
            exchange = await provider.open(call, heard)
            try:
                status = await heard.status
            finally:
                exchange.release()
    except (errors.HoldfastError, TimeoutError) as error:
        _log.warning("discard_failed", stream=stream, provider=name, error=str(error))
    else:
        if status >= 400 and status != 404:
            _log.warning("discard_failed", stream=stream, provider=name, status=status)

"""A key set that is published over real HTTP on loopback, and one that is fetched from there.

Strategy: the server plays what the issuer says, and the test moves the clock of the key set: so
ten minutes and a day are a line each.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.access import issuers

from holdfast import errors, transport
from holdfast.access import jwks
from holdfast.testing import provider

OLD = issuers.jwk(issuers.private("Ed25519"), "old")
NEW = issuers.jwk(issuers.private("P-256"), "new")
GUARD = 10.0  # seconds after which a test that hangs fails


def answer(*listed: Any, **fields: Any) -> provider.Answer:
    """A JWKS document with these keys; `fields` of the answer are played otherwise."""
    kind = ("Content-Type", "application/json")
    played = {"body": (issuers.document(*listed),), "headers": (kind,), **fields}
    return provider.Answer(framing=played.pop("framing", "length"), **played)


class World:
    """A server, whose next answers are `answers` (the last one for good), and a key set of it
    whose clock shows `now`."""

    def __init__(self, *answers: provider.Answer) -> None:
        self.now = 1000.0
        self.answers = list(answers)
        self.server = provider.ReplayServer(lambda request: self._next())
        self.asked = asyncio.Event()  # since it was cleared
        self.keys: jwks.KeySet

    def _next(self) -> provider.Answer:
        self.asked.set()
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def fetches(self) -> int:
        return len(self.server.requests)

    async def has(self, kid: str) -> bool:
        """Whether who asks for it is given a set that has it."""
        return kid in (await self.keys.get(kid)).by_id

    async def unavailable(self, kid: str) -> float | None:
        """Who asks for it is told to come again, after so many seconds."""
        with pytest.raises(errors.KeysUnavailable) as caught:
            await self.keys.get(kid)
        assert caught.value.retryable
        return caught.value.retry_after


@contextlib.asynccontextmanager
async def world(*answers: provider.Answer, path: str = "/keys") -> AsyncIterator[World]:
    made = World(*answers)
    carrier = transport.Transport()
    async with asyncio.timeout(GUARD), made.server:
        made.keys = jwks.KeySet(f"{made.server.url}{path}", carrier, lambda: made.now)
        try:
            yield made
        finally:
            await carrier.close()

"""A gate whose archive, issuer and time are in a test's hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from holdfast import errors
from holdfast.access import gate, keys, principal, tokens
from holdfast.archive import base, memory
from holdfast.testing import simulated

NOW = 1_700_000_000.0
"""What the clock shows at first, in seconds since 1970."""

PLACE = "/var/lib/secret-place/holdfast-archive.db: database is locked."
"""What an archive says that is away."""

STREAM, OTHER = "0" * 32, "1" * 32


class Store(memory.MemoryArchive):
    """An archive that can be away or slow. `asked` are the times of the questions for keys, on the
    loop's clock."""

    def __init__(self) -> None:
        super().__init__()
        self.away, self.closed = False, 0
        self.asked: list[float] = []
        self.go = asyncio.Event()
        self.go.set()

    async def keys(self, known: int) -> base.Keys | None:
        self.asked.append(asyncio.get_running_loop().time())
        found = await super().keys(known)
        await self.go.wait()
        if self.away:
            raise errors.KeysUnavailable(PLACE)
        return found

    async def close(self) -> None:
        self.closed += 1


class Issuer:
    """Vouches for who shows a token that it was told of. `kids` are the keys that it has."""

    def __init__(self, **claims: tokens.Claims) -> None:
        self.claims_of, self.kids = claims, {claim.key for claim in claims.values()}
        self.shown: list[str] = []
        self.ready, self.closed = True, 0
        self.renewed: list[float] = []

    async def claims(self, token: str, now: float) -> tokens.Claims:
        self.shown.append(token)
        if not self.ready:
            raise errors.KeysUnavailable
        found = self.claims_of.get(token.partition(".")[0])
        if found is None or now >= found.expires_at:
            raise errors.Unauthorized("The token's signature is not valid.")
        return found

    def holds(self, kid: str) -> bool:
        return kid in self.kids

    async def renew(self) -> None:
        self.renewed.append(asyncio.get_running_loop().time())

    async def close(self) -> None:
        self.closed += 1


class World:
    """A gate that was started, with what is around it. `now` is what its clock shows."""

    def __init__(self, issuer: Issuer | None, authorize: gate.Authorize | None) -> None:
        self.now = NOW
        self.store = Store()
        self.gate = gate.Gate(self.store, issuer, authorize, clock=lambda: self.now)

    async def key(self, tenant: str = "acme", **said: Any) -> tuple[str, base.Key]:
        """A new key in the archive; the gate is not told."""
        token, kept = keys.new(self.store.secret, "name", tenant, now=int(self.now * 1000), **said)
        await self.store.add(kept)
        return token, kept

    async def known(self, tenant: str = "acme", **said: Any) -> tuple[str, base.Key]:
        """A new key that the gate has seen."""
        token, kept = await self.key(tenant, **said)
        await self.bearer(token)
        return token, kept

    async def revoke(self, kept: base.Key) -> None:
        """And the gate knows."""
        await self.store.revoke(kept.id, int(self.now * 1000))
        await self.gate.keyring.ask()

    async def says(
        self,
        said: str | None,
        query: str = "",
        signed: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> principal.Principal:
        """Who is let in with this in `Authorization`."""
        found = dict(headers or {}) if said is None else {"authorization": said}
        values = dict(parse_qsl(query, keep_blank_values=True))
        asked = gate.Asked("GET", "/v1/streams", found, values, "127.0.0.1")
        return await self.gate.admit(asked, signed)

    async def bearer(self, token: str) -> principal.Principal:
        return await self.says(f"Bearer {token}")

    async def refusal(self, said: str | None, query: str = "", signed: str | None = None) -> str:
        """What is said to who is refused for good with this in `Authorization`."""
        try:
            found = await self.says(said, query, signed)
        except errors.Unauthorized as error:
            return error.message
        raise AssertionError(f"{found} was let in")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The gate looks for changes meanwhile."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.gate.run())
            try:
                yield
            finally:
                task.cancel()


@contextlib.asynccontextmanager
async def world(
    issuer: Issuer | None = None, authorize: gate.Authorize | None = None
) -> AsyncIterator[World]:
    made = World(issuer, authorize)
    await made.gate.start()
    made.store.asked.clear()
    try:
        yield made
    finally:
        await made.gate.close()


async def verdict(work: Any) -> principal.Principal | type[errors.HoldfastError]:
    """Who was let in, or by which error not."""
    try:
        found: principal.Principal = await work
    except errors.HoldfastError as error:
        return type(error)
    return found


def of(kept: base.Key) -> principal.Principal:
    return keys.Held.of(kept).principal


def claims(user: str = "alice", key: str = "k1", expires_at: int = 2**40) -> tokens.Claims:
    return tokens.Claims("acme", user, frozenset(("read",)), key, expires_at)


def replaced(found: principal.Principal, **said: Any) -> principal.Principal:
    return msgspec.structs.replace(found, **said)


async def pass_(seconds: float) -> None:
    """On a simulated loop: lets this time pass, and all happen that then can."""
    await asyncio.sleep(seconds)
    await simulated.idle()

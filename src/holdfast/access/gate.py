"""The gate: from what a request brings to who calls, and whether somebody may still be here.

Strategy: a node has all keys in memory and asks the archive every few seconds whether anything
has changed, so a caller is let in by a look-up, and a revoked key is known soon. A key that is not
known may be a new one: the archive is asked once more, for all that wait together. While the
archive cannot be reached the keys of before hold, as nobody can revoke any either. A node that has
no key, no tokens and no hook is open: everybody is the same principal. One that has seen a key
never opens again, whatever becomes of the archive.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from holdfast import errors, events
from holdfast.access import keys, principal, signing, tokens
from holdfast.archive import base

REFRESH_SECONDS = 5.0
"""How long a node goes by what it knows of the keys."""

AGAIN_SECONDS = 0.5
"""Least time between two questions to the archive for keys that are not known; who shows one waits
as long."""

MAX_WAITING = 64
"""Callers that wait at a time for news of keys that are not known, and as many for those of tokens,
so that made-up ones do not take all places, nor those of the other kind. Who comes beyond is told
to come again."""

STALE_SECONDS = 300.0
"""How long keys hold that the archive could not be asked for."""

HOOK_SECONDS = 10.0
"""How long an embedder's hook may take."""

RING_SLICE = 250
"""Keys that are taken in at once, about 1 ms; then others have their turn."""

MAX_CREDENTIAL = 8192
"""Characters of what is looked at."""

_BEARER = re.compile(r"bearer +([!-~]+)", re.ASCII | re.IGNORECASE)
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)

_log = structlog.get_logger("holdfast")


class Asked(msgspec.Struct, frozen=True):
    """What a hook may go by. Headers are found by their names in lower case; `client` is an
    address."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    client: str | None


Authorize = Callable[[Asked], Awaitable[principal.Principal | None]]
"""An embedder's own way to know callers: a principal with a tenant; None is nobody that it
knows."""


class Issuer(Protocol):
    """Who vouches for users by signed tokens."""

    async def claims(self, token: str, now: float) -> tokens.Claims:
        """Raises `errors.Unauthorized`, `errors.KeysUnavailable`."""

    def holds(self, kid: str) -> bool:
        """Whether it still has this key."""

    @property
    def ready(self) -> bool:
        """Whether its keys are known at all."""

    async def renew(self) -> None:
        """Looks for changes where it is time to. Raises nothing of ours."""

    async def close(self) -> None: ...


class _Places:
    """Of those who wait: `MAX_WAITING` at a time."""

    def __init__(self) -> None:
        self._taken = 0

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Raises `errors.KeysUnavailable` where all are taken, which is no verdict."""
        if self._taken >= MAX_WAITING:
            raise errors.KeysUnavailable(retry_after=1.0)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class Gate:
    """One for a node. `refresh` in seconds; `clock` gives seconds since 1970."""

    def __init__(
        self,
        archive: base.Archive,
        issuer: Issuer | None = None,
        authorize: Authorize | None = None,
        *,
        refresh: float = REFRESH_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._archive, self._issuer, self._authorize = archive, issuer, authorize
        self.refresh, self._clock = refresh, clock
        self._ring = keys.Ring()
        self._keyed = False  # there was a key once
        self._asked_at = self._known_at = float("-inf")  # on the loop's clock
        self._asking = asyncio.Lock()
        self._asked = self._answered = self._failed = 0  # questions: the last one that was so
        self._key_places, self._token_places = _Places(), _Places()

    async def start(self) -> None:
        """Raises `errors.KeysUnavailable`, `errors.SettingsError`."""
        await self._archive.start()
        await self._ask()

    async def close(self) -> None:
        """Idempotent, and safe before `start`."""
        if self._issuer is not None:
            await self._issuer.close()
        await self._archive.close()

    async def follow_issuer(self) -> None:
        """Looks for changes of the issuer's keys for as long as it is let; apart from `run`, as an
        issuer may take its time."""
        while self._issuer is not None:
            await self._issuer.renew()
            await asyncio.sleep(self.refresh)

    async def run(self) -> None:
        """Looks for changes for as long as it is let."""
        while True:
            await asyncio.sleep(self.refresh)
            try:
                await self._ask()
            except errors.KeysUnavailable as error:
                _log.warning("keys_unavailable", error=error.message)

    @property
    def file(self) -> Path | None:
        """Where the keys lie, if that is a file."""
        return self._archive.file

    @property
    def is_open(self) -> bool:
        """Nobody needs to say who they are."""
        return not self._keyed and self._issuer is None and self._authorize is None

    async def admit(self, asked: Asked, signed: str | None = None) -> principal.Principal:
        """Who calls. `signed` is the stream whose events are asked for, where they are, as the path
        has it. Raises `errors.Unauthorized`, `errors.KeysUnavailable`."""
        if asyncio.get_running_loop().time() - self._known_at > STALE_SECONDS:
            raise errors.KeysUnavailable
        if self._authorize is not None:
            found = await self._hooked(self._authorize, asked)
            # Without a tenant it is nobody: who needs no key is for a node without any to say.
            if found is not None and found.tenant:
                return msgspec.structs.replace(found, key="hook:", stream=None)
        said = asked.headers.get("authorization")
        if said is None and signed is not None and signing.is_signed(asked.query):
            return self._of_link(signed, asked.query)
        if said is None and self.is_open:
            return principal.ANYBODY
        return await self._of_bearer(said or "")

    async def _hooked(self, authorize: Authorize, asked: Asked) -> principal.Principal | None:
        """What the hook says. Raises `errors.KeysUnavailable` where it fails: no verdict."""
        try:
            async with asyncio.timeout(HOOK_SECONDS):
                return await authorize(asked)
        except errors.HoldfastError:
            raise
        except Exception as error:
            # Its text may hold what was sent to it.
            _log.error("authorize_failed", error=type(error).__name__)
            raise errors.KeysUnavailable from None

    async def _of_bearer(self, said: str) -> principal.Principal:
        found = _BEARER.fullmatch(said) if len(said) <= MAX_CREDENTIAL else None
        if found is None:
            raise errors.Unauthorized("Send a key as `Authorization: Bearer KEY`.")
        if self._issuer is not None and _TOKEN.fullmatch(found[1]):
            return await self._of_token(self._issuer, found[1])
        held = self._ring.find(self._archive.secret, found[1])
        if held is None and await self._news():
            held = self._ring.find(self._archive.secret, found[1])
        if held is None and self.is_open:
            raise errors.Unauthorized(
                "There is no key here at all: ask without one, or start the server where the key "
                "was made."
            )
        if held is None or not keys.valid(held.key, self._clock()):
            raise errors.Unauthorized("This key is not valid here, or not any more.")
        return held.principal

    async def _of_token(self, issuer: Issuer, token: str) -> principal.Principal:
        # Whose key is known waits for nothing; or one of them does, who fetches the next ones.
        known = issuer.holds(tokens.named_key(token))
        with contextlib.nullcontext() if known else self._token_places.one():
            found = await issuer.claims(token, self._clock())
        return principal.Principal(
            found.tenant, found.user, found.scopes, f"jwt:{found.key}", found.expires_at
        )

    def _of_link(self, stream: str, query: Mapping[str, str]) -> principal.Principal:
        grant = signing.verified(self._archive.secret, stream, query, self._clock())
        reader = principal.Principal(
            "", scopes=frozenset(("read",)), key=grant.key, expires_at=grant.expires, stream=stream
        )
        if grant.key.startswith("jwt:") and self._issuer is not None and not self._issuer.ready:
            raise errors.KeysUnavailable  # no verdict
        if not self.holds(reader):
            raise errors.Unauthorized("The key that signed this URL is not valid any more.")
        return reader

    def link(
        self, asker: principal.Principal, stream: events.StreamId, seconds: float
    ) -> tuple[str, int]:
        """The query that lets others read this stream as long as the asker's key holds, and until
        when, in seconds since 1970."""
        expires = int(self._clock() + seconds)
        # One that a token made is there to the answer's end; see docs/threats.md.
        if asker.expires_at is not None and not asker.key.startswith("jwt:"):
            expires = min(expires, int(asker.expires_at))
        grant = signing.Grant(stream, asker.key, expires)
        return signing.query(self._archive.secret, grant), expires

    def holds(self, present: principal.Principal) -> bool:
        """Whether what let somebody in still does."""
        if present.expires_at is not None and self._clock() >= present.expires_at:
            return False
        kind, _, name = present.key.partition(":")
        if kind == "key":
            held = self._ring.by_id.get(name)
            return held is not None and keys.valid(held.key, self._clock())
        if kind == "jwt":
            return self._issuer is not None and self._issuer.holds(name)
        if kind == "hook":
            return self._authorize is not None
        return self.is_open

    def owner_of(self, link: principal.Principal) -> str:
        """Who made the link that let this reader in, as `Principal.owner`; empty where no API key
        did, as the link tells no more."""
        kind, _, name = link.key.partition(":")
        held = self._ring.by_id.get(name) if kind == "key" else None
        return "" if held is None else held.principal.owner

    def limits(self, key_id: str) -> base.Limits:
        """What a key says of its quota."""
        held = self._ring.by_id.get(key_id)
        return keys.NO_LIMITS if held is None else held.key.quota

    async def _news(self) -> bool:
        """Whether the archive has other keys by now. Raises `errors.KeysUnavailable`."""
        before = self._ring.revision
        with self._key_places.one():
            try:
                await self._ask(AGAIN_SECONDS)
            except errors.KeysUnavailable as error:
                # Where the archive is, and what ails it, is for the operator: `run` says it.
                raise errors.KeysUnavailable from error
        return self._ring.revision != before

    async def _ask(self, pause: float = 0.0) -> None:
        """Has the archive asked once more from now on, at least `pause` seconds after the last
        time: all who come before that share one answer, or its failure."""
        loop, before = asyncio.get_running_loop(), self._asked
        async with self._asking:
            if self._answered > before:
                return
            if self._failed > before:
                raise errors.KeysUnavailable
            await asyncio.sleep(self._asked_at + pause - loop.time())
            self._asked += 1
            self._asked_at = loop.time()
            try:
                found = await self._archive.keys(self._ring.revision)
                if found is not None:
                    self._keyed = self._keyed or bool(found.keys)
                    self._ring = await _taken_in(found)
            except errors.KeysUnavailable:
                self._failed = self._asked
                raise
            self._answered, self._known_at = self._asked, self._asked_at


async def _taken_in(found: base.Keys) -> keys.Ring:
    """A ring of these; others have their turns meanwhile. Not in a thread: one that computes keeps
    the loop waiting for longer at a time."""
    ring = keys.Ring(found.revision)
    for taken, key in enumerate(found.keys, start=1):
        ring.add(key)
        if taken % RING_SLICE == 0:
            await asyncio.sleep(0)
    return ring

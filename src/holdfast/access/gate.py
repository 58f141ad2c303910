"""The gate: from what a request brings to who calls, and whether somebody may still be here.

Strategy: an embedder's hook is asked first; then whoever brings a bearer is judged by that alone,
and whoever brings none by the signed URL, if it is one. The keyring knows the keys, the issuer the
tokens; here is what they make of a request. A node that has no key, no tokens and no hook is open:
everybody is the same principal. One that has seen a key never opens again, whatever becomes of the
archive.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from holdfast import errors, events
from holdfast.access import keyring, keys, principal, signing, tokens
from holdfast.archive import base

REFRESH_SECONDS = 5.0
"""How long a node goes by what it knows of the keys."""

HOOK_SECONDS = 10.0
"""How long an embedder's hook may take."""

_BEARER = re.compile(r"bearer +([!-~]+)", re.ASCII | re.IGNORECASE)

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


class Gate:
    """One for a node. `refresh` in seconds; `clock` gives seconds since 1970. `start` and `run` are
    the keyring's."""

    def __init__(
        self,
        archive: base.Archive,
        issuer: Issuer | None = None,
        authorize: Authorize | None = None,
        *,
        refresh: float = REFRESH_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer, self._authorize = issuer, authorize
        self.refresh, self._clock = refresh, clock
        self.keyring = keyring.Keyring(archive, refresh)
        self.start, self.run = self.keyring.start, self.keyring.run
        self._token_places = asyncio.Semaphore(keyring.MAX_WAITING)

    async def close(self) -> None:
        """Idempotent, and safe before `start`."""
        if self._issuer is not None:
            await self._issuer.close()
        await self.keyring.archive.close()

    async def follow_issuer(self) -> None:
        """Looks for changes of the issuer's keys for as long as it is let; apart from `run`, as an
        issuer may take its time."""
        while self._issuer is not None:
            await self._issuer.renew()
            await asyncio.sleep(self.refresh)

    @property
    def file(self) -> Path | None:
        """Where the keys lie, if that is a file."""
        return self.keyring.archive.file

    @property
    def is_open(self) -> bool:
        """Nobody needs to say who they are."""
        return not self.keyring.keyed and self._issuer is None and self._authorize is None

    async def admit(
        self, asked: Asked, signed: str | None = None, *, any_key: bool = False
    ) -> principal.Principal:
        """Who calls. `signed` is the stream whose events are asked for, where they are, as the path
        has it. `any_key`: an open node takes whatever key is sent, as stock clients do not work
        without one. Raises `errors.Unauthorized`, `errors.KeysUnavailable`."""
        if not self.keyring.ready:
            raise errors.KeysUnavailable
        if self._authorize is not None:
            found = await self._hooked(self._authorize, asked)
            # Without a tenant it is nobody: who needs no key is for a node without any to say.
            if found is not None and found.tenant:
                return msgspec.structs.replace(found, key="hook:", stream=None)
        said = asked.headers.get("authorization")
        if said is None and (key := asked.headers.get("x-api-key")) is not None:
            said = f"Bearer {key}"
        if said is None and signed is not None and signing.is_signed(asked.query):
            return self._of_link(signed, asked.query)
        if (said is None or any_key) and self.is_open:
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
        found = _BEARER.fullmatch(said) if len(said) <= tokens.MAX_TOKEN else None
        if found is None:
            raise errors.Unauthorized("Send a key as `Authorization: Bearer KEY`.")
        if self._issuer is not None and tokens.SHAPE.fullmatch(found[1]):
            return await self._of_token(self._issuer, found[1])
        held = await self.keyring.find(found[1])
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
        async with contextlib.nullcontext() if known else keyring.place(self._token_places):
            found = await issuer.claims(token, self._clock())
        return principal.Principal(
            found.tenant, found.user, found.scopes, f"jwt:{found.key}", found.expires_at
        )

    def _of_link(self, stream: str, query: Mapping[str, str]) -> principal.Principal:
        grant = signing.verified(self.keyring.archive.secret, stream, query, self._clock())
        kind, _, name = grant.key.partition(":")
        # Who made it is where its reader counts, and no right beside that stream's events.
        made = self.keyring.ring.by_id.get(name) if kind == "key" else None
        tenant, user = ("", "") if made is None else (made.key.tenant, made.key.user)
        reader = principal.Principal(
            tenant, user, frozenset(("read",)), grant.key, grant.expires, stream
        )
        if kind == "jwt" and self._issuer is not None and not self._issuer.ready:
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
        return signing.query(self.keyring.archive.secret, grant), expires

    def holds(self, present: principal.Principal) -> bool:
        """Whether what let somebody in still does."""
        if present.expires_at is not None and self._clock() >= present.expires_at:
            return False
        kind, _, name = present.key.partition(":")
        if kind == "key":
            held = self.keyring.ring.by_id.get(name)
            return held is not None and keys.valid(held.key, self._clock())
        if kind == "jwt":
            return self._issuer is not None and self._issuer.holds(name)
        if kind == "hook":
            return self._authorize is not None
        return self.is_open

    def limits(self, key_id: str) -> base.Quota:
        """What a key says of its quota."""
        held = self.keyring.ring.by_id.get(key_id)
        return keys.NO_QUOTA if held is None else held.key.quota

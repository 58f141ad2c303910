"""An issuer's key set: fetched when it is needed, and kept.

Strategy: nobody waits for what they do not need. A set serves for `FRESH_SECONDS` without a
question; a key that it does not have may be a new one, so one fetch follows, for all that wait
together, and not the next one before `AGAIN_SECONDS` have passed, however many unknown keys are
shown. Who finds a set that is old, but has their key, while somebody fetches the next, goes by it.
A fetch runs in the call of the first who needs it: there is no task. If that call is cancelled, the
next one fetches.

While fetching fails the last set holds, for `STALE_SECONDS`: an issuer that is away for an hour
locks nobody out. A key that it does not have cannot be judged then, which is no verdict on the
token (`errors.KeysUnavailable`).

A document counts only as a whole: status 200 from the very address that was set (a redirect is
not followed), within `MAX_DOCUMENT` bytes and `DEADLINE_SECONDS`, and a key set.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Mapping

import structlog

from holdfast import errors, transport
from holdfast.access import public_keys, tokens

FRESH_SECONDS = 600.0
"""How long a set serves before it is fetched again: a key that its issuer withdrew is known as
withdrawn after this time and one fetch."""

AGAIN_SECONDS = 10.0
"""Least time from the end of one fetch to the next, whatever came of it."""

STALE_SECONDS = 86400.0
"""How long the last set holds while no other can be had."""

DEADLINE_SECONDS = 10.0
"""Of a fetch, from the look-up of the name to the last byte."""

_HEADERS = (("Accept", "application/jwk-set+json, application/json"),)

_log = structlog.get_logger("holdfast")


def fetching(url: str) -> transport.Request:
    """The request for the key set at this address: https, or http on this machine. Raises
    `errors.SettingsError`, which does not quote the address."""
    try:
        request = transport.Request("GET", url, _HEADERS)
    except ValueError as error:
        raise errors.SettingsError(f"The address of a key set cannot be used: {error}.") from None
    if not request.place.secure and not _is_here(request.place.host):
        raise errors.SettingsError(
            "The address of a key set is https://, as whoever changes its bytes on the way can "
            "let anybody in; http:// is for localhost and loopback addresses."
        )
    return request


def _is_here(host: str) -> bool:
    """Whether it is certainly this machine, without a look-up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class KeySet:
    """The keys at one address, for one event loop."""

    def __init__(
        self,
        url: str,
        carrier: transport.Transport,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds and does not jump. Raises `errors.SettingsError`."""
        self._request, self._carrier, self._clock = fetching(url), carrier, clock
        self._keys: public_keys.Keys | None = None
        self._got_at = self._asked_at = float(
            "-inf"
        )  # when the last good fetch ended, and the last of all
        self._failed = False  # the last one
        self._fetching = asyncio.Lock()

    async def get(self, kid: str) -> public_keys.Keys:
        """The newest set, which has no such key if its issuer has none. Waits for a fetch where
        one is due, or under way for others. Raises `errors.KeysUnavailable` where no set can be
        had, or none that tells whether there is such a key."""
        if self._is_due(kid) and not (self._fetching.locked() and self.holds(kid)):
            await self._fetch(kid)
        keys = self._held()
        if keys is None or (self._failed and kid not in keys.by_id):
            rest = self._asked_at + AGAIN_SECONDS - self._clock()
            raise errors.KeysUnavailable(
                "The keys of the tokens' issuer cannot be fetched now.", retry_after=max(0.0, rest)
            )
        return keys

    async def renew(self) -> None:
        """Fetches the set if it is due, and nobody does already: called now and then, it keeps
        callers from waiting, and `holds` from going by an old set. Raises nothing of ours."""
        if self._is_due(None) and not self._fetching.locked():
            await self._fetch(None)

    def holds(self, kid: str) -> bool:
        """Whether the newest set has this key. While fetching fails it is the last one, for
        `STALE_SECONDS`; after that, and before the first, there is no key."""
        keys = self._held()
        return keys is not None and kid in keys.by_id

    @property
    def ready(self) -> bool:
        """Whether there is a set to go by."""
        return self._held() is not None

    async def close(self) -> None:
        """Ends what is kept of connections."""
        await self._carrier.close()

    def _held(self) -> public_keys.Keys | None:
        return self._keys if self._clock() - self._got_at < STALE_SECONDS else None

    def _is_due(self, kid: str | None) -> bool:
        """Whether to fetch, for this key or for none."""
        now = self._clock()
        if now - self._asked_at < AGAIN_SECONDS:
            return False
        stale = self._keys is None or now - self._got_at >= FRESH_SECONDS
        return stale or (kid is not None and not self.holds(kid))

    async def _fetch(self, kid: str | None) -> None:
        async with self._fetching:
            if not self._is_due(kid):  # any more: somebody has meanwhile
                return
            try:
                self._keys = public_keys.Keys.parse(await self._document())
            except (errors.TransportError, ValueError) as error:
                self._failed = True
                place = self._request.place.authority
                _log.warning("key_set_not_fetched", issuer=place, error=str(error))
            else:
                self._failed, self._got_at = False, self._clock()
            self._asked_at = self._clock()

    async def _document(self) -> bytes:
        """Raises `errors.TransportError`."""
        heard = _Heard()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                exchange = await self._carrier.open(self._request, heard)
                try:
                    await heard.ended
                finally:
                    exchange.abort()
        except TimeoutError:
            text = f"The key set did not come within {DEADLINE_SECONDS:g} s."
            raise errors.DeadlineExceeded(text) from None
        if heard.fault is not None:
            raise heard.fault
        return bytes(heard.content)


class _Heard:
    """A `transport.Sink` that wants the whole body of a 200, if it is small. `ended` is done when
    it is there, or when it is known that it will not be, which `fault` tells. What is read until
    the exchange is aborted, which is a read or two, comes on top of the limit."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.fault: errors.TransportError | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        if status != 200:
            self.end(errors.TransportError(f"The key set's address answers with status {status}."))

    def body(self, data: bytes) -> None:
        self.content += data
        if len(self.content) > public_keys.MAX_DOCUMENT:
            text = f"The key set has over {public_keys.MAX_DOCUMENT} bytes."
            self.end(errors.TransportError(text))

    def end(self, error: errors.TransportError | None) -> None:
        if not self.ended.done():
            self.fault = error
            self.ended.set_result(None)


class Issuer:
    """Who vouches for callers by signed tokens: its rules, and its keys."""

    def __init__(self, rules: tokens.Rules, keys: KeySet) -> None:
        self._rules, self._keys = rules, keys
        self.holds, self.renew, self.close = keys.holds, keys.renew, keys.close

    @property
    def ready(self) -> bool:
        """See `KeySet.ready`."""
        return self._keys.ready

    async def claims(self, token: str, now: float) -> tokens.Claims:
        """Who shows this token, at `now` (seconds since 1970). Raises `errors.Unauthorized`, and
        `errors.KeysUnavailable` where that cannot be told now."""
        kid = tokens.key_id(token, self._rules)
        return tokens.verify(token, await self._keys.get(kid), self._rules, now)

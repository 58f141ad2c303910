"""The webhook: an announcement is posted as JSON, signed, and posted again until it is taken.

Strategy: a request is made once, with one id, so that whoever gets it twice can tell; its time and
its signature are those of each try (Standard Webhooks: `webhook-id`, `webhook-timestamp`,
`webhook-signature`). A status that says no for good ends it, as does `GIVE_UP_SECONDS`; any other
failure is followed by another try, each after a longer wait. Neither the address, which may hold a
token, nor the body is logged: host and port are.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping

import structlog

from holdfast import errors, events, transport

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
"""Before the second try, and the longest before any later one; each wait is twice the last."""

GIVE_UP_SECONDS = 900.0
"""After the first try; none begins later."""

TRY_SECONDS = 10.0
"""For one try, from the look-up of the name to the status of the answer."""

AGAIN = (408, 425, 429)
"""Of the statuses below 500, those that say: not now."""

_log = structlog.get_logger("holdfast")


def key_of(secret: str) -> bytes:
    """The key in a secret: `whsec_` and base64, as Standard Webhooks has it."""
    return base64.b64decode(secret.removeprefix("whsec_"))


def signature(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """What `webhook-signature` says; `timestamp` in seconds since 1970."""
    signed = f"{id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


class Webhook:
    """Where announcements go. `url` is http or https, `key` signs; without one nothing is signed.
    Counts what was `delivered` and what `failed` for good."""

    def __init__(
        self,
        url: str,
        key: bytes | None,
        carrier: transport.Transport,
        clock: Callable[[], int] = events.now_ms,
    ) -> None:
        """`clock` gives ms since 1970. Raises `ValueError` for what is no such address."""
        self._url, self._key, self._carrier, self._clock = url, key, carrier, clock
        self._place = transport.Request("POST", url, ()).place.authority
        self.delivered = self.failed = 0

    async def send(self, id: str, body: bytes) -> None:
        """Returns when it was taken, or will not be."""
        clock = asyncio.get_running_loop().time
        until, wait = clock() + GIVE_UP_SECONDS, FIRST_WAIT_SECONDS
        while True:
            why, again = await self._try(id, body)
            if why is None:
                self.delivered += 1
                return
            if not again or clock() + wait > until:
                self.failed += 1
                _log.error("webhook_failed", host=self._place, id=id, error=why)
                return
            _log.warning("webhook_again", host=self._place, id=id, error=why, wait=wait)
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    async def _try(self, id: str, body: bytes) -> tuple[str | None, bool]:
        """Why it was not taken, and whether another try may help; None where it was."""
        heard = _Status()
        try:
            async with asyncio.timeout(TRY_SECONDS):
                exchange = await self._carrier.open(self._request(id, body), heard)
                try:
                    said = await heard.known
                finally:
                    exchange.abort()
        except TimeoutError:
            return f"no answer within {TRY_SECONDS:g} s", True
        except errors.TransportError as error:
            return error.message, True
        if isinstance(said, errors.TransportError):
            return said.message, True
        if 200 <= said < 300:
            return None, False
        return f"status {said}", said >= 500 or said in AGAIN

    def _request(self, id: str, body: bytes) -> transport.Request:
        seconds = self._clock() // 1000
        headers = [
            ("Content-Type", "application/json"),
            ("webhook-id", id),
            ("webhook-timestamp", str(seconds)),
        ]
        if self._key is not None:
            headers.append(("webhook-signature", signature(self._key, id, seconds, body)))
        return transport.Request("POST", self._url, tuple(headers), body)

    async def close(self) -> None:
        """Ends what is kept of connections."""
        await self._carrier.close()


class _Status:
    """A `transport.Sink` that wants the status alone, or why there is none."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.known: asyncio.Future[int | errors.TransportError] = loop.create_future()

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self._know(status)

    def body(self, data: bytes) -> None:
        """Whatever it says, the status has said it."""

    def end(self, error: errors.TransportError | None) -> None:
        self._know(error or errors.Truncated("The answer has no status."))

    def _know(self, what: int | errors.TransportError) -> None:
        if not self.known.done():
            self.known.set_result(what)

"""What all exchanges of one client share: where to, with which key, limits and clock.

Strategy: one object that `AsyncClient` makes and its answers use, so that neither has to know
the other. `call` is an exchange that is no stream: one JSON object, or the verdict.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from holdfast import errors, transport
from holdfast.client import reconnect, response


class Link:
    """What every exchange of one client needs."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        tries: reconnect.Limits,
        limits: response.Limits,
        connect_timeout: float,
        ca_file: Path | None,
        proxies: transport.Proxies | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        draw: Callable[[], float],
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.transport = transport.Transport(
            connect_timeout=connect_timeout,
            tls=None if ca_file is None else transport.tls_context(ca_file),
            proxies=proxies or transport.Proxies(),
        )
        self.closed = False
        self.clock = clock
        self.sleep = sleep
        self.draw = draw
        self._headers = [("Authorization", f"Bearer {api_key}")] if api_key else []
        self._tries = tries
        self._limits = limits
        self.request("GET", "/")

    def tries(self) -> reconnect.Tries:
        return reconnect.Tries(self.clock(), self._tries)

    def response(self) -> response.Response:
        if self.closed:
            raise errors.ClientError("The client is closed.")
        return response.Response(self._limits, self.clock)

    def request(
        self, method: str, path: str, *headers: tuple[str, str], body: bytes = b""
    ) -> transport.Request:
        """Raises InvalidField for what cannot stand in a URL or a header."""
        try:
            url = self.base_url + path
            return transport.Request(method, url, (*headers, *self._headers), body)
        except ValueError as error:
            raise errors.InvalidField(f"The request cannot be sent: {error}.") from None

    async def call(self, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        """The JSON object of a 200, 201 or 202, {} of an empty body. `body` is JSON.

        Raises RequestRefused, GaveUp, and ClientError for a body over its limit or no object.
        """
        headers = [("Accept", "application/json")]
        if body:
            headers.append(("Content-Type", "application/json"))
        request = self.request(method, path, *headers, body=body)
        tries = self.tries()
        while True:
            got = self.response()
            try:
                await got.open(self.transport, request)
                await got.whole()
                if got.succeeded:
                    return got.json()
                happened = got.happened()
            except errors.TransportError as error:
                happened = reconnect.Happened(error.message)
            finally:
                got.close()
            await self.sleep(tries.after(happened, self.clock(), self.draw()))

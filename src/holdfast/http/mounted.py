"""A node as one ASGI application, alone or mounted in another one.

Strategy: an application may be served by anybody's server and stand in anybody's application, and
neither tells it what our own server does. So here is what they leave out. Nobody runs the lifespan
of what is mounted: it is there to be passed on, and until it runs every call is answered with the
line that is missing. Servers wait for responses before they end the lifespan: so their signal is
heard (`signals`). Middleware that passes a body on ends it cleanly, whatever was meant: so a
response that is to end unfinished has one piece more, which nobody can pass on. Each lifespan is a
node's whole life, and the next one gets a new node, as in tests that start an application again and
again.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import structlog
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from holdfast import errors
from holdfast.http import headers, problems, signals, sockets
from holdfast.service import Service

MISSING = (
    "Pass it on: FastAPI(lifespan=llm.lifespan), where llm is what holdfast.asgi gave; "
    "or write `async with llm.lifespan():` in the lifespan that there is."
)
"""What is to be written where an application does not run the lifespan of what is mounted in it."""

_log = structlog.get_logger("holdfast")


class BrokenOff:
    """In the place of a body's bytes: whoever looks at it fails, and so breaks the response off.
    (A message of a kind that ASGI does not know may be left out on the way.)"""

    def __len__(self) -> int:
        raise errors.Truncated(
            "The response ends here on purpose, so that no client takes it for a whole one."
        )


class App:
    """A node: an ASGI application, its `lifespan` for the application that it is mounted in, and
    the `service` inside with its `calls`, which are others after each lifespan."""

    def __init__(self, make: Callable[[], Service], surface: Callable[[Service], ASGIApp]) -> None:
        """`make` gives a node that has not been started, `surface` its calls."""
        self._make, self._surface = make, surface
        self._entered = 0
        self._ended = self._complained = False
        self._starts = Router(lifespan=self.lifespan)
        self.service = make()
        self.calls = surface(self.service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._starts(scope, receive, send)
        elif scope["type"] == "http" and not self.service.running:
            await headers.Headers(self._refusal())(scope, receive, send)
        elif sockets.socket_of(scope) is not None:
            await self.calls(scope, receive, send)
        else:
            await self._among_others(scope, receive, send)

    def _refusal(self) -> Response:
        if self._ended:
            return problems.response(errors.Draining())
        error = errors.NotStarted(MISSING)
        if not self._complained:
            self._complained = True
            _log.error("not_started", error=error.message)
        return problems.response(error)

    async def _among_others(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.calls(scope, receive, send)
        except Exception:
            await _break_off(send)
            raise
        if sockets.is_unfinished(scope):
            await _break_off(send)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """Starts the node and closes it; meanwhile a signal that ends the server drains first. For
        `FastAPI(lifespan=...)` and its like, or `async with` within a lifespan of one's own."""
        self._entered += 1
        try:
            if self._entered > 1:  # mounted at two places of one application
                yield
            else:
                async with self._life():
                    yield
        finally:
            self._entered -= 1

    @contextlib.asynccontextmanager
    async def _life(self) -> AsyncIterator[None]:
        if self._ended:
            self.service, self._ended = self._make(), False
            self.calls = self._surface(self.service)
        try:
            async with self.service:
                with signals.heard(self._signalled):
                    yield
        finally:
            self._ended = True

    def _signalled(self) -> None:
        """The first signal drains, the next one does not wait."""
        if self.service.draining:
            self.service.hurry()
        else:
            self.service.supervisor.job(self.drain(), "drain")

    async def drain(self) -> None:
        """Lets streams go on for their readers, `server.drain_timeout` at most, and then asks the
        readers that are left to come back. It is for who stops a server otherwise than by a
        signal, before that. Idempotent."""
        await self.service.drain()


async def _break_off(send: Send) -> None:
    # Whatever refuses it has done what it is for.
    with contextlib.suppress(Exception):
        await send({"type": "http.response.body", "body": BrokenOff(), "more_body": True})

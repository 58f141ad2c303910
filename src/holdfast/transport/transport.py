"""Opens exchanges: over a connection that is idle, or one that is made here.

Strategy: `open` takes an idle connection where the pool has one, else makes one, step by step
under one deadline. `held` has all connections, for the event loop that is running. There is no
task: what waits is `open` itself, in its caller's.

`open` either returns and the sink gets its `end`, or raises and the sink hears nothing from
then on. The sink may be called before `open` has returned. Time limits other than the one for
connecting are the caller's: it sees the bytes, and aborts. A redirect is a status like any
other: to follow it could carry a key to another host.
"""

from __future__ import annotations

import asyncio
import ssl

from holdfast import errors
from holdfast.transport import connection, failures, held, proxies, reads, response
from holdfast.transport import tls as tls_layer
from holdfast.transport.connection import Connection
from holdfast.transport.exchange import Exchange, Sink
from holdfast.transport.proxies import Proxies, Proxy
from holdfast.transport.request import Place, Request

CONNECT_TIMEOUT = 10.0  # seconds: name look-up, connecting, a proxy's tunnel and TLS together
KEEP_ALIVE = 15.0  # seconds: below the idle limits of the servers that are around
MAX_IDLE = 100  # connections

_DIRECT = Proxies()


class Transport:
    """Opens exchanges, and owns their connections. One for a process is enough.

    It serves one event loop after the other; a connection stays with the loop that made it.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        max_head: int = response.MAX_HEAD,
        tls: ssl.SSLContext | None = None,
        proxies: Proxies = _DIRECT,
        keep_alive: float = KEEP_ALIVE,
        max_idle: int = MAX_IDLE,
    ) -> None:
        """`connect_timeout` in seconds, `max_head` in bytes. An idle connection is kept for
        `keep_alive` seconds, 0 for none, and at most `max_idle` of them in all.

        Without `tls`, certificates are verified against the system's roots; they are read at
        the first https request, in a thread, because that takes tens of milliseconds.
        """
        self._connect_timeout, self._max_head = connect_timeout, max_head
        self._tls, self._proxies = tls, proxies
        self._max_idle, self._keep_alive = max_idle, keep_alive
        self._keeps = keep_alive > 0 and max_idle > 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held = held.Held(max_idle, keep_alive)
        self._buffer = bytearray(connection.READ)
        self._closed = False

    async def open(self, request: Request, sink: Sink) -> Exchange:
        """Send the request; what comes back, and every later failure, is the sink's.

        On a connection that has served before, it returns when the response begins, or the
        exchange has ended: should that connection close at once (`exchange.STALE`), the request
        is sent once more, on a new one. How long the response may take is the caller's to limit.

        Raises Unreachable (name look-up, refusal, TLS, a proxy; or the transport is closed) and
        DeadlineExceeded (`connect_timeout` has passed).
        """
        if self._closed:
            raise errors.Unreachable("The transport is closed.")
        place = request.place
        proxy = self._proxies.choose(place.secure, place.host, place.port)
        plainly = proxy if not place.secure else None
        payload = request.encode(
            keep=self._keeps,
            absolute=plainly is not None,
            hop=plainly.headers if plainly is not None else (),
        )
        origin = (place.secure, place.host, place.port, proxy)
        exchange = Exchange(sink, self._max_head)
        here = self._here()
        used = here.idle_one(origin)
        if used is not None:
            answered = exchange.answered()
            used.begin(exchange, payload)
            try:
                if await answered:
                    return exchange
            except BaseException:
                exchange.abort()
                raise
            exchange = Exchange(sink, self._max_head)
        made = await self._connect(here, place, proxy, origin)
        made.begin(exchange, payload)
        return exchange

    def gather(self, pace: reads.Pace) -> None:
        """What comes in the running loop is read at this pace."""
        self._here().bodies.pace = pace

    async def close(self) -> None:
        """Abort what is under way (Truncated) and what is connecting (Unreachable), close what is
        idle; return when every socket is closed, which no other side can delay. Idempotent."""
        self._closed = True
        await self._here().close()

    def _here(self) -> held.Held:
        """What there is in the running loop; no other loop's is touched, it may be closed."""
        running = asyncio.get_running_loop()
        if self._loop is not running:
            self._loop = running
            self._held = held.Held(self._max_idle, self._keep_alive)
        return self._held

    async def _connect(
        self, here: held.Held, place: Place, proxy: Proxy | None, origin: object
    ) -> Connection:
        if self._closed:
            raise errors.Unreachable("The transport was closed.")
        made = Connection(origin, self._buffer, here.bodies, here.rest, here.forget)
        stage = _Stage()
        try:
            async with asyncio.timeout(self._connect_timeout) as deadline:
                here.connections[made] = deadline
                await self._make(made, place, proxy, stage)
            if self._closed:  # in the moment between the last step and this line
                raise errors.Unreachable("The transport was closed.")
        except BaseException as error:
            made.abort()
            # Also if it did connect: uvloop tells no loss of a connection so interrupted.
            here.forget(made)
            if isinstance(error, TimeoutError) and self._closed:
                raise errors.Unreachable("The transport was closed.") from None
            if isinstance(error, OSError | errors.ProtocolViolation):
                raise failures.why(error, stage.where, secure=stage.secure) from error
            raise
        if made in here.connections:  # else it is lost already, which its exchange will be told
            here.connections[made] = None
        return made

    async def _make(
        self, made: Connection, place: Place, proxy: Proxy | None, stage: _Stage
    ) -> None:
        """From the name to a connection that can carry the request."""
        loop = asyncio.get_running_loop()
        target = f"{place.host}:{place.port}"
        if proxy is None:
            stage.where = target
            await loop.create_connection(lambda: made, place.host, place.port)
        else:
            stage.where = f"proxy {proxy.host}:{proxy.port}"
            await loop.create_connection(lambda: made, proxy.host, proxy.port)
            if proxy.secure:
                stage.secure = True
                await made.encrypt(await self._context(), proxy.host)
                stage.secure = False
            if place.secure:
                head = proxies.connect(proxy, place.host, place.port)
                status = await made.tunnel(head, self._max_head)
                if not 200 <= status < 300:
                    raise failures.no_tunnel(proxy, target, status)
        if place.secure:
            stage.where, stage.secure = target, True
            await made.encrypt(await self._context(), place.host)

    async def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            here = self._here()
            if here.loading is None:
                loop = asyncio.get_running_loop()
                here.loading = loop.run_in_executor(None, tls_layer.tls_context)
            # Several may wait for it, and one that is cancelled must not end it for all.
            self._tls = await asyncio.shield(here.loading)
        return self._tls


class _Stage:
    """How far a connection has come: what an error has to name."""

    def __init__(self) -> None:
        self.where = ""  # host and port that are being reached
        self.secure = False  # whether TLS with it has begun

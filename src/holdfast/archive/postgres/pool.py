"""Connections to PostgreSQL, few and bounded, and what its failures mean.

Strategy: a connection serves one call at a time and is handed on only after a call that ended well.
One whose call failed, was cancelled or took too long is thrown away, for an answer may still be on
its way there, and it would be somebody else's: a new one costs milliseconds. One that is being made
when nobody wants it any more is made and thrown away. So nothing here relies on how the driver
cleans up.

A call waits for a place, for a connection and for each of its statements, each for a bounded time
and with a message of its own. What may take long (to keep a stream, to let old ones go) has
half of the places, so that keys and readers find one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, TypeAlias

import asyncpg
import msgspec

from holdfast import errors, supervisor

CONNECTIONS = 4
"""Connections of a node."""

LONG = 2
"""Of these so many at most do what may take long."""

PLACE_SECONDS = 5.0
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 10.0
"""How long a call waits for a place, for a connection, and for each statement."""

FAILURES = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that was ended while nobody read from it
)
"""What the driver raises."""

UNFIT = (asyncpg.DataError, asyncpg.ProgramLimitExceededError)
"""What it says of a value that it cannot take, now or later."""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Pool:
    """The connections to one database; `place` is what messages call it. `open` is false before
    the start and after the close."""

    def __init__(self, url: str, place: str) -> None:
        self._url, self.place = url, place
        self.open = False
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._long = asyncio.Semaphore(LONG)
        self._idle: list[Connection] = []
        self._tasks = supervisor.Supervisor(lambda why: None)
        self._making: set[asyncio.Task[Connection]] = set()

    async def close(self) -> None:
        """What is under way may end."""
        self.open = False
        await asyncio.gather(*self._making, return_exceptions=True)
        while self._idle:
            with contextlib.suppress(Exception):  # it ends anyway
                await self._idle.pop().close(timeout=CONNECT_SECONDS)

    @contextlib.asynccontextmanager
    async def connection(self, *, long: bool = False) -> AsyncIterator[Connection]:
        """One for this block alone. Raises `errors.ArchiveUnavailable`, also for what the block
        raises of the driver's."""
        if not self.open:
            raise errors.ArchiveUnavailable(f"{self.place} is not open.")
        async with contextlib.AsyncExitStack() as stack:
            for places in (self._long, self._places) if long else (self._places,):
                await self._wait(places)
                stack.callback(places.release)
            found = await self._connected()
            try:
                with mapped(self.place):
                    yield found
            except BaseException:
                found.terminate()
                raise
            if self.open and not found.is_closed():
                self._idle.append(found)
            else:
                found.terminate()

    @contextlib.asynccontextmanager
    async def transaction(self, *, long: bool = False) -> AsyncIterator[Connection]:
        """The same, and all that is executed in it holds at its end, or nothing does."""
        async with self.connection(long=long) as found:
            # Whatever the database's default: a statement sees what was committed before it.
            await found.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            yield found
            if found.is_in_transaction():  # the block may have taken it back
                await found.execute("COMMIT")

    async def _wait(self, places: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                await places.acquire()
        except TimeoutError:
            raise errors.ArchiveUnavailable(
                f"{self.place}: all connections were in use for {PLACE_SECONDS:.0f} s; "
                "the database is slower than what is asked of it."
            ) from None

    async def _connected(self) -> Connection:
        while self._idle:
            found = self._idle.pop()
            if not found.is_closed():
                return found
        making = self._tasks.job(connect(self._url, self.place), "connect to PostgreSQL")
        self._making.add(making)
        making.add_done_callback(self._making.discard)
        try:
            # Cancelled at the wrong moment, the driver would leave a socket open for good.
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(_unwanted)
            raise


def _unwanted(making: asyncio.Task[Connection]) -> None:
    """Whoever wanted this connection is gone."""
    if not making.cancelled() and making.exception() is None:
        making.result().terminate()


async def connect(url: str, place: str) -> Connection:
    """A new connection. Raises `errors.ArchiveUnavailable`, `SettingsError`."""
    try:
        return await asyncpg.connect(
            url,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            server_settings={"application_name": "holdfast"},
        )
    except TimeoutError:
        raise errors.ArchiveUnavailable(
            f"{place}: no connection within {CONNECT_SECONDS:.0f} s."
        ) from None
    except (ValueError, asyncpg.ClientConfigurationError):
        # What they say may repeat a part of the URL.
        raise errors.SettingsError(
            f"{place} is no URL of PostgreSQL; it reads postgresql://USER:PASSWORD@HOST/DATABASE, "
            "with other characters than letters and digits as %-escapes."
        ) from None
    except FAILURES as error:
        raise errors.ArchiveUnavailable(f"{place}: {_said(error)}.") from error


@contextlib.contextmanager
def mapped(place: str) -> Iterator[None]:
    """The driver's errors become ours."""
    try:
        yield
    except TimeoutError as error:
        raise errors.ArchiveUnavailable(
            f"{place}: a statement took more than {COMMAND_SECONDS:.0f} s."
        ) from error
    except FAILURES as error:
        raise errors.ArchiveUnavailable(f"{place}: {_said(error)}.") from error
    except msgspec.DecodeError as error:
        raise errors.LogCorrupt(f"{place}: {error}.") from error


@contextlib.contextmanager
def fitting() -> Iterator[None]:
    """Around values that come from elsewhere: ValueError for one that cannot be kept at all."""
    try:
        yield
    except UNFIT as error:
        raise ValueError(_said(error)) from error


def _said(error: Exception) -> str:
    """What an error says, without a value that was asked for."""
    if isinstance(error, UNFIT):
        return "a value does not fit its column"
    if isinstance(error, asyncpg.InternalClientError):
        return "the connection was ended"
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(said).partition("\n")[0].rstrip(".")


def terms(wanted: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """A WHERE of those terms that have a value, and the values in their order; a term has a `{}`
    for each value of its own."""
    said: list[str] = []
    values: list[Any] = []
    for term, value in wanted.items():
        if value is not None:
            own = value if isinstance(value, tuple) else (value,)
            numbers = range(len(values) + 1, len(values) + len(own) + 1)
            said.append(term.format(*(f"${number}" for number in numbers)))
            values += own
    return f"WHERE {' AND '.join(said) or 'true'}", values


def packed(text: str | None) -> str | None:
    """A text as PostgreSQL takes it: it has no NUL. Of two texts two come."""
    if text is None or ("\0" not in text and "\x01" not in text):
        return text
    return text.replace("\x01", "\x01\x02").replace("\0", "\x01\x01")


def unpacked(text: Any) -> Any:
    """The opposite of `packed`, for texts; anything else stays as it is."""
    if not isinstance(text, str) or "\x01" not in text:
        return text
    return text.replace("\x01\x01", "\0").replace("\x01\x02", "\x01")

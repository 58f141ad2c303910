"""Hints between nodes: who has written a stream tells those who wait for it.

Strategy: one channel for all, to which every node listens on a connection of its own, and one
besides for what is said to this node alone. A message has the life of who sent it, whose own hints
need no way through Redis, a letter, and stream ids: one message a tick. A message that is lost
costs a poll's interval (`eventlog.watch`), so nothing is made good after a broken connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import structlog
from redis import exceptions
from redis.asyncio import connection as driver

from holdfast import events
from holdfast.eventlog import memory
from holdfast.eventlog.redis import keys

SILENCE = 10.0
"""Seconds after which a silent connection is asked whether it is there, and as many again until
it counts as broken."""

AGAIN = 1.0
"""Seconds between two tries to listen."""

MORE, CANCEL = b"m", b"c"
"""There may be more of these streams; somebody wants their end."""

_log = structlog.get_logger("holdfast")


def message(life: bytes, what: bytes, streams: Iterable[events.StreamId]) -> bytes:
    """What is published: who says what of which streams."""
    return framed(life, what, ",".join(streams).encode())


def framed(life: bytes, what: bytes, said: bytes) -> bytes:
    return b"%b %b %b" % (life, what, said)


async def listen(
    dial: Callable[[int], Awaitable[driver.AbstractConnection]],
    life: bytes,
    hints: memory.Hints,
    written: Callable[[events.StreamId], None],
    other: Callable[[bytes, bytes, bytes], None],
) -> None:
    """Passes on what other nodes say than that of this `life`; never returns. `dial` opens a
    connection, to another server each time where it can; `written` is told of a stream before
    those are who wait for it, and `other` of what is no hint: who says what, and its text."""
    number = 0
    while True:
        try:
            async with asyncio.timeout(SILENCE):
                connection = await dial(number)
            try:
                async for said in _messages(connection, life):
                    _pass_on(said, life, hints, written, other)
            finally:
                await connection.disconnect(nowait=True)
        except (exceptions.RedisError, OSError) as error:  # OSError: a TimeoutError too
            _log.warning("log_hints_interrupted", error=str(error))
        number += 1
        await asyncio.sleep(AGAIN)


async def _messages(connection: driver.AbstractConnection, life: bytes) -> AsyncIterator[bytes]:
    """Ends with the connection, by an error."""
    await connection.send_command("SUBSCRIBE", keys.HINTS, keys.hints_for(life))
    asked = False
    while True:
        reply = await connection.read_response(timeout=SILENCE)
        if reply is None:
            if asked:
                raise exceptions.ConnectionError(f"silent for {2 * SILENCE:g} s")
            await connection.send_command("PING")
        elif reply[0] == b"message":
            yield reply[2]
        asked = reply is None


def _pass_on(
    said: bytes,
    life: bytes,
    hints: memory.Hints,
    written: Callable[[events.StreamId], None],
    other: Callable[[bytes, bytes, bytes], None],
) -> None:
    """One message; one that cannot be read is not for this version."""
    who, _, rest = said.partition(b" ")
    what, _, text = rest.partition(b" ")
    if who == life:
        return
    if what not in (MORE, CANCEL):
        other(who, what, text)
        return
    for id in text.decode(errors="replace").split(","):
        stream = events.StreamId(id)
        if what == CANCEL:
            hints.cancelled(stream)
        else:
            written(stream)
            hints.wake(stream)

"""Readers: they take a stream off raw sockets, and come back until they have its end.

Strategy: a reader knows nothing but the bytes of its response and the id of the last whole event,
as a browser would; what it saw goes into the book before it looks at the next byte. It comes back
in each of the ways that the protocol has, with a position as it was given. Some begin with one
that cannot be good, some go away for good, some leave with a reset.
"""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

from tests.faults.chaos import book as books
from tests.faults.chaos import wire

from holdfast.testing import history

PAUSE = (0.02, 0.4)
"""Seconds before a reader comes back."""


class Block(NamedTuple):
    """One event as it came; `id` is empty for a transient one."""

    event: str
    data: bytes
    id: str


def blocks(buffer: bytearray) -> list[Block]:
    """Takes the whole blocks out of what has come."""
    found = []
    while (end := buffer.find(b"\n\n")) >= 0:
        fields = dict(line.split(b": ", 1) for line in bytes(buffer[:end]).split(b"\n"))
        del buffer[: end + 2]
        event, id = fields[b"event"].decode(), fields.get(b"id", b"").decode()
        found.append(Block(event, fields[b"data"], id))
    return found


class Reader:
    """Reads one stream to its end. `cursor` is where it begins: with `bad`, a made-up place."""

    def __init__(
        self,
        book: books.Book,
        where: wire.Where,
        stream: str,
        name: str,
        dice: random.Random,
        cursor: str = "",
        bad: bool = False,
    ) -> None:
        self._book, self._where, self._stream, self._name = book, where, stream, name
        self._dice, self._cursor, self._bad = dice, cursor, bad
        self._done = False
        self._leaves_at = dice.randrange(100) if dice.random() < 0.05 else None

    async def follow(self) -> None:
        """Comes back until there is nothing to come back for."""
        book, number = self._book, 0
        book.counts["readers"] += 1
        while not self._done:
            conn = f"{self._name}.{number}"
            clean = ours = False
            place = self._cursor.rpartition(":")[2] if not self._bad else self._cursor
            entry = history.Connected(book.now, self._name, conn, self._stream, place, self._bad)
            book.add(entry)
            try:
                clean, ours = await self._once(conn)
            except TimeoutError:
                ours = True
                book.counts["silences"] += 1
                if not book.on:
                    book.problem(f"{conn}: not a byte in {wire.SILENCE:g} s, and no fault")
            except wire.LOST:
                pass
            book.add(history.Disconnected(book.now, conn, clean, ours))
            number += 1
            if not self._done:
                book.counts["reconnects"] += 1
                await asyncio.sleep(self._dice.uniform(*PAUSE))

    async def _once(self, conn: str) -> tuple[bool, bool]:
        """One response: whether it ended cleanly, and whether it was the reader that left."""
        way = self._dice.choice(("header", "query", "post"))
        method, target, headers = self._request(way)
        door = self._book.doors[conn] = self._where()
        async with wire.asked(door, method, target, headers) as answer:
            await answer.head()
            self._book.add(history.Answered(self._book.now, conn, answer.status))
            buffer = bytearray()
            while data := await answer.more():
                buffer += data
                if answer.status != 200:
                    continue
                for block in blocks(buffer):
                    self._take(conn, block)
                if self._leaves():
                    answer.reset()
                    return False, True
            if answer.status == 404 and self._book.forgets:
                self._book.counts["not known for the moment"] += 1
                return answer.clean, False
            # A refusal is final, and so is 204: a browser would not come back.
            self._done = self._done or answer.status != 200 or answer.clean
            return answer.clean, False

    def _request(self, way: str) -> tuple[str, str, dict[str, str]]:
        path = f"/v1/streams/{self._stream}/events"
        headers = {"Accept": "text/event-stream"}
        if not self._cursor:
            return "GET", path, headers
        if way == "query":
            return "GET", f"{path}?after={self._cursor}", headers
        headers["Last-Event-ID"] = self._cursor
        # By POST a stream is found by the id alone, so a made-up one would find another.
        if way == "post" and not self._bad:
            return "POST", "/v1/streams", headers
        return "GET", path, headers

    def _take(self, conn: str, block: Block) -> None:
        now, book = self._book.now, self._book
        if not block.id:
            if block.event == "rewind":
                book.add(history.Reset(now, conn))
            return
        tag, _, place = block.id.rpartition(":")
        epoch, _, seq = place.partition("-")
        digest = history.digest(block.event, block.data)
        book.add(history.Delivered(now, conn, int(epoch), int(seq), digest, block.event, tag))
        book.counts["deliveries"] += 1
        self._cursor, self._bad = block.id, False
        if self._leaves_at is not None:
            self._leaves_at -= 1

    def _leaves(self) -> bool:
        self._done = self._done or (self._leaves_at is not None and self._leaves_at <= 0)
        return self._done


LIFE = 2 << 16
"""A life that there is not: a real one has random bits."""


def made_up(stream: str, other: str, dice: random.Random) -> str:
    """A position that no stream has given to anybody, or one of another stream."""
    return dice.choice(
        (
            "nonsense",
            "1-2-3",
            "-1-2",
            f"{2**64}-1",
            f"{other}:{LIFE}-1",
            f"{LIFE}-999999",
            f"{stream}:{LIFE}-1",
            f"{stream}:1-1",
        )
    )

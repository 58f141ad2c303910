"""Who asks and who reads: workers that each have one stream at a time, with its readers.

Strategy: a worker creates a stream with an Idempotency-Key, as often as it takes until an answer
comes, and sets readers on it: at once, later, from made-up places. It goes on when all of them
are through. So there are as many streams under way as workers, and never a reader without end.
In a lull some more are created, and cancelled while their provider speaks: only there the rules
about time can tell what is late. Some streams are destroyed when they have ended, while somebody
reads them once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from tests.faults.chaos import book as books
from tests.faults.chaos import readers, texts, upstream, wire

from holdfast.producing import fallback
from holdfast.testing import history

CALLS = fallback.Policy().calls
"""To the provider, for one stream: what broke off is continued."""

RETRY = 0.2
"""Seconds before a request that got no answer is sent again."""

IN_A_LULL = 4
"""Streams that are created and cancelled in each."""

CHANCES = (0.5, 0.9, 0.9)
"""Of the readers of such a stream: one from its start, two from made-up places."""

DESTROYED_EACH = 6
"""Of so many streams one is destroyed in the end."""

DESTROYED = "destroyed"
"""What is counted."""

GONE = (404, 410)
"""Statuses of what an earlier request has destroyed."""

PASSING = (503,)
"""Statuses that may be another one soon."""


class Plan(NamedTuple):
    """What a worker's streams are like, by seed and number, and how many readers each has from the
    beginning, at least and at most."""

    draw: Callable[[int, int], texts.Wanted] = texts.draw
    readers: tuple[int, int] = (1, 4)


class Crowd:
    """`open` counts the readers under way."""

    def __init__(
        self,
        book: books.Book,
        seed: int,
        where: wire.Where,
        provider: upstream.Upstream,
        plan: Plan = Plan(),  # noqa: B008  # it does not change
    ) -> None:
        self._book, self._seed, self._where = book, seed, where
        self._provider, self._plan = provider, plan
        self._numbers = itertools.count()
        self._streams: list[str] = []
        self._over = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self.open = 0

    async def live(self, workers: int) -> None:
        """Returns when all streams of all workers are read, after `leave` was called."""
        async with self._group as group:
            for _ in range(workers):
                group.create_task(self._work())

    def use_lull(self) -> None:
        """Begins, in a lull, what only a lull can judge."""
        for _ in range(IN_A_LULL):
            number = next(self._numbers)
            wanted = texts.lasting(self._seed, number)
            self._group.create_task(self._attend(number, wanted, CHANCES))

    def leave(self) -> None:
        """No stream is begun any more."""
        self._over.set()

    async def _work(self) -> None:
        while not self._over.is_set():
            number = next(self._numbers)
            dice = random.Random(f"{self._seed} crowd {number}")
            wanted = self._plan.draw(self._seed, number)
            chances = [dice.random() for _ in range(dice.randint(*self._plan.readers))]
            stream = await self._attend(number, wanted, chances)
            # And one more, who finds it ended; its key still stands for it, also in a process
            # that began since.
            await self._read(stream, f"r{number}.late", dice.random())
            if number % 4 == 0:
                await self._create(wanted)
            if number % DESTROYED_EACH == 1:
                await self._destroy(stream, number, dice)

    async def _attend(self, number: int, wanted: texts.Wanted, chances: Sequence[float]) -> str:
        """Creates a stream, and returns when its readers are through."""
        stream = await self._create(wanted)
        async with asyncio.TaskGroup() as group:
            for n, chance in enumerate(chances):
                group.create_task(self._read(stream, f"r{number}.{n}", chance))
            if wanted.cancel_after is not None:
                group.create_task(self._cancel(stream, wanted.cancel_after))
        return stream

    async def _create(self, wanted: texts.Wanted) -> str:
        """The stream of this label, whether it is there already or not."""
        book = self._book
        self._provider.wanted[wanted.label] = wanted
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": wanted.label,
            "X-Client-Id": wanted.label,
        }
        _, body = await self._ask("/v1/streams", (200, 201), headers, wanted.body())
        stream = str(msgspec.json.decode(body)["id"])
        if wanted.label not in book.streams:
            book.counts["streams"] += 1
            book.streams[wanted.label] = stream
            self._streams.append(stream)
        expected = history.Expected(
            book.now, stream, wanted.sha256, CALLS, wanted.label, observed=wanted.ours
        )
        book.add(expected)
        return stream

    async def _cancel(self, stream: str, after: float) -> None:
        await asyncio.sleep(after)
        await self._ask(f"/v1/streams/{stream}/cancel", (200, 202), {}, b"")
        self._book.counts["cancels"] += 1
        self._book.add(history.Cancelled(self._book.now, stream))

    async def _destroy(self, stream: str, number: int, dice: random.Random) -> None:
        """While somebody reads it from its begin; who comes then is told that it is gone."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(stream, f"r{number}.last", 0.5))
            await asyncio.sleep(dice.uniform(0, 0.1))
            await self._shred(stream)
        await self._read(stream, f"r{number}.gone", dice.uniform(0.5, 1))

    async def _shred(self, stream: str) -> None:
        book, sent = self._book, 0
        book.add(history.Shredded(book.now, stream))
        while True:
            sent += 1
            with contextlib.suppress(*wire.LOST):
                status, answer = await wire.ask(self._where(), "DELETE", f"/v1/streams/{stream}")
                forgotten = status == 404 and book.forgets
                if status == 204 or (status in GONE and sent > 1 and not forgotten):
                    break
                if status not in (202, *PASSING) and not forgotten:
                    book.problem(f"DELETE {stream}: {status} {answer[:300]!r}")
            await asyncio.sleep(RETRY)
        book.counts[DESTROYED] += 1
        book.add(history.Shredded(book.now, stream, True))

    async def _ask(
        self, path: str, good: tuple[int, ...], headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """The answer to a POST, which is sent until there is one that is good."""
        while True:
            try:
                status, answer = await wire.ask(self._where(), "POST", path, headers, body)
            except wire.LOST:
                pass
            else:
                if status in good:
                    return status, answer
                if status not in PASSING and not (status == 404 and self._book.forgets):
                    self._book.problem(f"POST {path}: {status} {answer[:300]!r}")
            await asyncio.sleep(RETRY)

    async def _read(self, stream: str, name: str, chance: float) -> None:
        dice = random.Random(f"{self._seed} reader {name}")
        if chance < 0.3 and not name.endswith("late"):
            await asyncio.sleep(dice.uniform(0, 3))
        cursor, bad = "", chance > 0.8
        if bad:
            self._book.counts["bad cursors"] += 1
            cursor = readers.made_up(stream, dice.choice(self._streams), dice)
        self.open += 1
        try:
            reader = readers.Reader(self._book, self._where, stream, name, dice, cursor, bad)
            await reader.follow()
        finally:
            self.open -= 1

"""The course of a run: a storm, then a calm in which everything must come to its end.

Strategy: the storm lasts as long as who runs it says. Then all is healed, no stream is begun any
more, and all readers must end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tests.faults.chaos import book as books
from tests.faults.chaos import crowd, weather

LIVENESS = 40.0
"""Seconds for all readers to end once it is calm: deadlines of a stalled provider, and a
machine that is busy."""

TELL_SECONDS = 5.0

Tell = Callable[[str], None]


async def run(
    book: books.Book,
    made: weather.Weather,
    people: crowd.Crowd,
    workers: int,
    goes_on: Callable[[float], bool],
    tell: Tell,
    liveness: float = LIVENESS,
) -> None:
    """`goes_on` is asked whether the storm does, after so many seconds; `tell` is told lines of
    progress. Readers who are not through are a problem after `liveness` seconds of calm."""
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        living = group.create_task(people.live(workers))
        blowing = group.create_task(made.blow())
        telling = group.create_task(_tell(book, people, begun, tell))
        while goes_on(time.monotonic() - begun):  # noqa: ASYNC110
            await asyncio.sleep(0.2)  # it is the time that is waited for
        made.calm()
        people.leave()
        await blowing
        book.calm = book.now
        tell("calm: everything is healed, all readers have to end")
        await asyncio.wait([living], timeout=liveness + 5)
        if not living.done():
            book.problem(f"{people.open} readers are not through")
            living.cancel()
        telling.cancel()


async def _tell(book: books.Book, people: crowd.Crowd, begun: float, tell: Tell) -> None:
    while True:
        await asyncio.sleep(TELL_SECONDS)
        counts = book.counts
        tell(
            f"{time.monotonic() - begun:4.0f} s: {book.faults.total()} faults, "
            f"{counts['streams']} streams, {people.open} readers open, "
            f"{counts['deliveries']} deliveries, {counts['reconnects']} reconnects"
        )

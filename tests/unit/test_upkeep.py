"""What is looked at each second, in simulated time."""

from __future__ import annotations

import asyncio
import functools

import pytest

from holdfast import connections, events, settings, upkeep
from holdfast.testing import simulated

OPTIONS = connections.Options(8192, 100, False, False, 15.0)


class Looks:
    """Each, with the turn of the event loop that it was in."""

    def __init__(self) -> None:
        self.turn, self._asked = 0, False
        self.seen: list[tuple[int, str]] = []

    def note(self, what: str) -> None:
        self.seen.append((self.turn, what))
        if not self._asked:
            self._asked = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self.turn, self._asked = self.turn + 1, False


class Streams:
    def __init__(self, number: int, looks: Looks) -> None:
        self.under_way, self._looks = range(number), looks

    def sweep(self, now: float, some: tuple[int, ...], *_: object) -> None:
        for one in some:
            self._looks.note(f"stream {one}")


class Nothing:
    def sweep(self, now: float) -> None: ...
    def watches(self, stream: events.StreamId) -> bool:
        return True


@pytest.mark.parametrize("number", [0, 1, 4, 5, 12])
@simulated.timed
async def test_a_token_waits_for_a_few_looks_and_not_for_all(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "AT_A_TIME", 4)
    looks, book = Looks(), connections.Book(20)

    def unsent(at: int) -> int:
        looks.note(f"reader {at}")
        return 0

    for at in range(number):
        peer, stream = connections.Peer(), events.new_stream_id()
        reader = connections.Connection(stream, "p", "m", peer, OPTIONS, lambda: None, 0.0)
        reader.unsent = functools.partial(unsent, at)
        book.enter(reader)
    looking = upkeep.Upkeep(
        settings.Settings(),
        None,
        book,
        Streams(number, looks),  # type: ignore[arg-type]
        Nothing(),  # type: ignore[arg-type]
        Nothing(),  # type: ignore[arg-type]
        lambda now: False,
    )
    sweeping = asyncio.ensure_future(looking.sweep())
    await asyncio.sleep(1.5)
    sweeping.cancel()
    names = [f"{kind} {at}" for kind in ("stream", "reader") for at in range(number)]
    assert [what for _, what in looks.seen] == names
    turns = [turn for turn, _ in looks.seen]
    assert all(turns.count(turn) <= 4 for turn in turns)

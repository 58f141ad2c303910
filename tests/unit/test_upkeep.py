"""What is looked at each second, in simulated time."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

import pytest

from holdfast import connections, endings, events, settings, upkeep
from holdfast.access import principal
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


class Revoked:
    """A gate that nobody may be behind any more."""

    refresh = 0.5

    def holds(self, reader: principal.Principal) -> bool:
        return False


def entered(book: connections.Book, asked: Callable[[], None]) -> connections.Connection:
    """A reader, of whom `asked` is told when it is looked at."""
    peer, stream = connections.Peer(), events.new_stream_id()
    reader = connections.Connection(stream, "p", "m", peer, OPTIONS, lambda: None, 0.0)
    reader.to("connected")

    def unsent() -> int:
        asked()
        return 0

    reader.unsent = unsent
    book.enter(reader)
    return reader


async def swept(book: connections.Book, streams: Streams, access: Revoked | None = None) -> None:
    """One round."""
    looking = upkeep.Upkeep(
        settings.Settings(),
        access,  # type: ignore[arg-type]
        book,
        streams,  # type: ignore[arg-type]
        Nothing(),  # type: ignore[arg-type]
        Nothing(),  # type: ignore[arg-type]
        lambda now: False,
    )
    sweeping = asyncio.ensure_future(looking.sweep())
    await asyncio.sleep(1.5)
    sweeping.cancel()


@pytest.mark.parametrize("number", [0, 1, 4, 5, 12])
@simulated.timed
async def test_a_token_waits_for_a_few_looks_and_not_for_all(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "AT_A_TIME", 4)
    looks, book = Looks(), connections.Book(20)
    for at in range(number):
        entered(book, functools.partial(looks.note, f"reader {at}"))
    await swept(book, Streams(number, looks))
    names = [f"{kind} {at}" for kind in ("stream", "reader") for at in range(number)]
    assert [what for _, what in looks.seen] == names
    turns = [turn for turn, _ in looks.seen]
    assert all(turns.count(turn) <= 4 for turn in turns)


@simulated.timed
async def test_who_leaves_between_two_looks_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "AT_A_TIME", 2)
    looks, book = Looks(), connections.Book(20)
    last = entered(book, lambda: book.leave(other, "completed"))
    entered(book, lambda: None)
    other = entered(book, functools.partial(looks.note, "one that has left"))
    late = entered(book, functools.partial(looks.note, "one that is there"))
    other.last_activity = late.last_activity = -1e9  # both would be given up for their silence
    cut: list[str] = []
    other.cut, late.cut = (lambda: cut.append("left")), (lambda: cut.append("there"))
    await swept(book, Streams(0, looks))
    assert [what for _, what in looks.seen] == ["one that is there"]
    assert (other.status, other.reason, other.farewell) == ("completed", "completed", None)
    assert (cut, last.status) == (["there"], "connected")


@pytest.mark.parametrize("readers", [1, 5])
@simulated.timed
async def test_a_revoked_key_ends_its_readers_in_parts(
    readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "AT_A_TIME", 2)
    book = connections.Book(20)
    all_of_them = [entered(book, lambda: None) for _ in range(readers)]
    await swept(book, Streams(0, Looks()), Revoked())
    assert {one.farewell for one in all_of_them} == {endings.ACCESS_ENDED}

"""Places of streams that nobody writes yet, in accounts that may not be made.

Strategy: the clock stands still, and the counters are those in memory.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.metering.counting import Clock
from tests.unit.metering.nodes import WANTED, Sums, begin, node

from holdfast import errors, events

STREAMS = [events.new_stream_id() for _ in range(3)]
"""As many as a tenant may have under way."""


async def test_a_place_that_is_held_counts_in_every_account() -> None:
    book = node(None, Clock())
    for stream in STREAMS:
        book.hold(stream, "acme/", "key:k")
        book.hold(stream, "acme/", "key:k")
    accounts = await book.of("acme/", "key:k")
    assert [one.streams for one in accounts] == [3, 3]
    (other, _) = await book.of("acme/", "key:another")
    assert other.streams == 0
    with pytest.raises(errors.StreamLimit):
        book.open((other, accounts[1]), WANTED, 0, "p", "m")
    for _ in range(2):
        book.release(STREAMS[0])
    assert [one.streams for one in accounts] == [2, 2]
    begin(book, accounts).close()


async def test_a_place_is_held_in_an_account_that_is_there() -> None:
    book = node(None, Clock())
    accounts = await book.of("acme/alice", "")
    book.hold(STREAMS[0], "acme/alice", "")
    assert [one.streams for one in accounts] == [1, 1]
    book.release(STREAMS[0])
    assert [one.streams for one in accounts] == [0, 0]


async def test_a_place_that_is_free_before_its_account_is_made_leaves_nothing() -> None:
    book = node(None, Clock())
    for stream in STREAMS:
        book.hold(stream, "acme/", "key:k")
    for stream in STREAMS[1:]:
        book.release(stream)
    assert [one.streams for one in await book.of("acme/", "key:k")] == [1, 1]
    book.release(STREAMS[0])
    assert [one.streams for one in await book.of("acme/", "key:k")] == [0, 0]
    assert not book._early
    assert not book._held


async def test_a_place_that_changes_while_its_account_is_made() -> None:
    sums = Sums()
    sums.held = asyncio.Event()
    book = node(sums, Clock())
    book.hold(STREAMS[0], "acme/", "key:k")
    asking = asyncio.create_task(book.of("acme/", "key:k"))
    await sums.added.wait()
    book.hold(STREAMS[1], "acme/", "key:k")
    book.release(STREAMS[0])
    sums.held.set()
    assert [one.streams for one in await asking] == [1, 1]


async def test_an_account_is_not_forgotten_while_a_place_is_held_there() -> None:
    book = node(None, Clock())
    book.hold(STREAMS[0], "acme/", "key:k")
    assert not any(one.idle for one in await book.of("acme/", "key:k"))


async def test_who_has_no_tenant_has_no_place() -> None:
    book = node(None, Clock())
    book.hold(STREAMS[0], "", "key:k")
    assert not book._early
    book.release(STREAMS[0])

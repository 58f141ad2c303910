"""Connections, and metrics by minute, in every archive."""

from __future__ import annotations

import itertools
import random

import msgspec
import pytest
from tests.contract import archives
from tests.contract.archives import NewArchive

from holdfast.archive import rows

DAY = 86_400_000


def connection(id: str = "a", /, **said: object) -> rows.Connection:
    usual = rows.Connection(id, "s" * 26, "acme/ann", 1000, 1000, b"data")
    return msgspec.structs.replace(usual, **said)


OPEN = connection(data=b"open")
LATER = connection(updated_at=2000, data=b"later")
CLOSED = connection(updated_at=2000, closed_at=2000, data=b"closed")


@pytest.mark.parametrize("engine", archives.EVERY, indirect=True)
async def test_a_connection_comes_back_as_it_went(new: NewArchive) -> None:
    archive = await new()
    everything = connection(
        "ï\0d", stream="\x01", owner="acme/\0'; --", data=bytes(range(256)), closed_at=2**62
    )
    nothing = connection("", stream="", owner="", data=b"", opened_at=0, updated_at=0)
    await archive.keep_connections([everything, nothing])
    assert await archive.connection(everything.id) == everything
    assert await archive.connection("") == nothing
    assert await archive.connection("b") is None
    await archive.keep_connections([])


@pytest.mark.parametrize("order", list(itertools.permutations([OPEN, LATER, CLOSED])))
@pytest.mark.parametrize("together", [False, True])
async def test_the_newest_state_stays_in_whatever_order_they_come(
    new: NewArchive, order: tuple[rows.Connection, ...], together: bool
) -> None:
    """Also where each comes twice, and of one time a closed one is the newer."""
    archive = await new()
    for batch in [order * 2] if together else [[one] for one in order * 2]:
        await archive.keep_connections(batch)
    assert await archive.connection("a") == CLOSED
    assert await archive.connections(rows.Sought()) == [CLOSED]


async def test_of_one_age_the_last_holds(new: NewArchive) -> None:
    archive = await new()
    for data in (b"1", b"2"):
        await archive.keep_connections([connection(data=data)])
    assert await archive.connection("a") == connection(data=b"2")


async def test_connections_are_found_by_stream_owner_and_tenant(new: NewArchive) -> None:
    archive = await new()
    kept = [
        connection(f"{number}", stream=stream, owner=owner, opened_at=time)
        for number, (stream, owner, time) in enumerate(
            [
                ("s", "acme/ann", 1),
                ("s", "acme/bob", 2),
                ("t", "acme/ann", 3),
                ("t", "acme2/ann", 3),
                ("%", "ac%/ann", 4),
                ("u", "nobody", 5),
            ]
        )
    ]
    mixed = list(kept)
    random.Random(7).shuffle(mixed)
    await archive.keep_connections(mixed)
    wanted: list[tuple[rows.Sought, str]] = [
        (rows.Sought(), "543210"),
        (rows.Sought(limit=2), "54"),
        (rows.Sought(limit=0), ""),
        (rows.Sought(limit=-1), ""),
        (rows.Sought(before=(3, "3")), "210"),
        (rows.Sought(before=(3, "2")), "10"),
        (rows.Sought(stream="s"), "10"),
        (rows.Sought(stream="t", owner="acme/ann"), "2"),
        (rows.Sought(owner="acme/ann"), "20"),
        (rows.Sought(tenant="acme"), "210"),
        (rows.Sought(tenant="acme", stream="t"), "2"),
        (rows.Sought(tenant="acme", before=(2, "1")), "0"),
        (rows.Sought(tenant="ac%"), "4"),
        (rows.Sought(tenant="nobody"), ""),
        (rows.Sought(stream="%"), "4"),
    ]
    for sought, ids in wanted:
        found = await archive.connections(sought)
        assert "".join(one.id for one in found) == ids, sought
        assert found == [kept[int(one.id)] for one in found]


async def test_minutes_come_in_order_and_the_last_told_holds(new: NewArchive) -> None:
    archive = await new()
    told = [rows.Minute(at, node, b"%d" % at) for at in (3, 1, 2) for node in ("b", "B", "a\0")]
    await archive.keep_minutes(told)
    await archive.keep_minutes([rows.Minute(2, "B", b"old"), rows.Minute(2, "B", b"new")])
    await archive.keep_minutes([])
    order = [(at, node) for at in (1, 2, 3) for node in ("B", "a\0", "b")]
    found = await archive.minutes(0, 10, 100)
    assert [(one.at, one.node) for one in found] == order
    assert {one.data for one in found if (one.at, one.node) == (2, "B")} == {b"new"}
    assert [(one.at, one.node) for one in await archive.minutes(2, 3, 100)] == order[3:6]
    assert await archive.minutes(4, 9, 100) == []
    assert await archive.minutes(0, 10, 0) == []
    paged, after = [], (-1, "")
    while page := await archive.minutes(0, 10, 2, after):
        assert len(page) <= 2
        paged += page
        after = (page[-1].at, page[-1].node)
    assert paged == found


async def test_what_is_old_is_forgotten_some_at_a_time(new: NewArchive) -> None:
    archive = await new()
    await archive.keep_connections(
        [connection(f"{time}", opened_at=0, updated_at=time) for time in range(5)]
    )
    await archive.keep_minutes([rows.Minute(time, "n", b"") for time in range(4)])
    assert await archive.forget(3, 0) == 0
    assert await archive.forget(3, 2) == 4
    assert {one.id for one in await archive.connections(rows.Sought())} == {"2", "3", "4"}
    assert [one.at for one in await archive.minutes(0, 9, 9)] == [2, 3]
    assert await archive.forget(3, 5) == 2
    assert await archive.forget(3, 5) == 0
    assert {one.id for one in await archive.connections(rows.Sought())} == {"3", "4"}
    assert [one.at for one in await archive.minutes(0, 9, 9)] == [3]


async def test_a_call_takes_and_gives_so_many_rows_at_most(new: NewArchive) -> None:
    archive = await new()
    many = [connection(f"{number:05}") for number in range(rows.MAX_ROWS + 1)]
    minutes = [rows.Minute(number, "n", b"") for number in range(rows.MAX_ROWS + 1)]
    with pytest.raises(ValueError, match="rows"):
        await archive.keep_connections(many)
    with pytest.raises(ValueError, match="rows"):
        await archive.keep_minutes(minutes)
    assert await archive.connections(rows.Sought()) == []
    for half in (many[1:], many[:1]):
        await archive.keep_connections(half)
    for part in (minutes[1:], minutes[:1]):
        await archive.keep_minutes(part)
    assert len(await archive.connections(rows.Sought(limit=10**6))) == rows.MAX_ROWS
    assert len(await archive.minutes(0, DAY, 10**6)) == rows.MAX_ROWS

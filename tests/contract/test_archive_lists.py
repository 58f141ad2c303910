"""Lists of every archive: by owner, tenant, status and time, as the event log lists streams."""

from __future__ import annotations

import itertools

import msgspec
from tests.contract import archives
from tests.contract.archives import NewArchive, Told, told

from holdfast import events, storage
from holdfast.testing.eventlog import reading

TENANTS = {**reading.TENANTS, "é": ("é/alice",)}
"""One more than in the log's suite: a database orders letters in its own way."""

NOBODYS = reading.NOBODYS

CANCELLED = events.Error("cancelled", "The stream was cancelled.", False)
FAILED = events.Error("interrupted", "The writer died.", True)


async def test_the_newest_come_first_page_by_page(new: NewArchive) -> None:
    """Of one time by id, and ids are ordered as their bytes are."""
    archive = await new()
    times = [3_000, 1_000, 2_000, 2_000, 2_000, 2_000, 4_000]
    names = ["a" * 26, "b" * 26, "B" * 26, "a" * 25 + "b", "0" * 26, "Z" * 26, "c" * 26]
    streams = [told("x", created_at=t, stream=n) for t, n in zip(times, names, strict=True)]
    await archives.kept(archive, *streams)
    order = sorted(zip(times, names, strict=True), reverse=True)
    for limit in (1, 2, 4, 7, 50):
        before, found = None, []
        while page := await archive.find(storage.Query(before=before, limit=limit)):
            assert len(page) <= limit
            found += [(info.header.created_at, info.stream) for info in page]
            before = found[-1]
        assert found == order
    for limit in (0, -1):
        assert await archive.find(storage.Query(limit=limit)) == []


async def test_lists_are_filtered(new: NewArchive) -> None:
    archive = await new()
    a = told("x", created_at=1_000, owner="a/", client_id="c1", session_id="s")
    b = told("x", created_at=2_000, owner="a/", client_id="c2", end=FAILED)
    c = told("x", created_at=3_000, owner="b/", client_id="c1", session_id="s")
    d = told("x", created_at=4_000, owner="b/", end=CANCELLED)
    await archives.kept(archive, a, b, c, d)
    wanted: list[tuple[storage.Query, list[Told]]] = [
        (storage.Query(), [d, c, b, a]),
        (storage.Query(owner="a/"), [b, a]),
        (storage.Query(owner="nobody"), []),
        (storage.Query(client_id="c1"), [c, a]),
        (storage.Query(client_id=""), []),
        (storage.Query(session_id="s", owner="a/"), [a]),
        (storage.Query(session_id="s", tenant="b"), [c]),
        (storage.Query(status="completed"), [c, a]),
        (storage.Query(status="error"), [b]),
        (storage.Query(status="cancelled"), [d]),
        (storage.Query(status="pending"), []),
        (storage.Query(created_from=2_000, created_to=4_000), [c, b]),
        (
            storage.Query(created_from=2_000, created_to=4_000, before=(3_000, c.info.stream)),
            [b],
        ),
        (storage.Query(owner="a/", tenant="b"), []),
    ]
    for query, streams in wanted:
        assert await archive.find(query) == [one.info for one in streams], query


async def test_a_tenant_is_known_by_its_whole_name(new: NewArchive) -> None:
    """It is neither a pattern nor the beginning of another one's name."""
    archive = await new()
    owners = [*itertools.chain(*TENANTS.values()), *NOBODYS]
    await archives.kept(archive, *(told(created_at=t, owner=o) for t, o in enumerate(2 * owners)))
    unknown = ("acm", "acme22", "acme/", "acme/alice", "/", "%", "_", "?", "a*", "nobody")
    wanted: dict[str, tuple[str, ...]] = {**dict.fromkeys(unknown, ()), **TENANTS}
    for tenant, whose in {**wanted, "": tuple(owners)}.items():
        for limit in (3, 50):
            found, before = [], None
            query = storage.Query(tenant=tenant, limit=limit)
            while page := await archive.find(msgspec.structs.replace(query, before=before)):
                found += [info.header.owner for info in page]
                before = (page[-1].header.created_at, page[-1].stream)
            assert found == 2 * list(whose[::-1]), tenant
    for owner, tenant in itertools.product(owners[::3], wanted):
        page = await archive.find(storage.Query(owner, tenant=tenant))
        whose = (owner,) if owner in wanted[tenant] else ()
        assert [info.header.owner for info in page] == 2 * list(whose), (owner, tenant)

"""A storm twice, with sealing and without, and what a thief can read of each.

Strategy: what the search finds where nothing is sealed is its control: every secret that lies in a
store, at each of its places. With sealing nothing may be found anywhere, and it is looked for more:
for the keys themselves. Beside the texts the shape is looked at: what is sealed is marked as that,
and no size, checksum or digest of what was said lies beside it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.faults.stolen import course as courses
from tests.faults.stolen import nodes, places, planted, searching, thief

from holdfast import events
from holdfast.sealing import codec, ring, sources

TOLD_SHORT = ("logs", "error bodies")
TOLD = (*TOLD_SHORT, "spans")
"""Places that hold no secret in either case."""

KEEPS = "PostgreSQL's WAL"
"""What a store that is sealed later cannot be rid of; docs/sealing.md says so."""

Found = dict[str, searching.Finds]
"""By place."""


class Size(msgspec.Struct, frozen=True):
    """`nodes` of them, more than one on Redis; `long`: with spans, and until all has expired."""

    nodes: int = 1
    redis: bool = False
    postgres: bool = False
    long: bool = True
    turned: bool = True
    """Whether sealing is turned on in the end, where it was off."""


class Storm(msgspec.Struct):
    """What a storm leaves. `rows` are those of each theft; `holding` and `archiving` as those of
    its stores."""

    secrets: planted.Planted
    ring: ring.Ring
    taking: thief.Thief
    late: thief.Thief | None
    answers: list[bytes]
    rows: list[dict[str, list[thief.Row]]]
    holding: Mapping[str, str]
    archiving: bool
    thefts: int
    streams: int


async def stormed(size: Size, sealed: bool, folder: Path) -> Storm:
    """In a folder that is there, and empty."""
    secrets = planted.Planted()
    source = sources.File(folder / nodes.RING)
    source.make(events.now_ms())
    for key in source.read().keys:
        secrets.pasted["key of the ring"] = base64.b64encode(key.secret).decode()
    async with contextlib.AsyncExitStack() as stack:
        opening = places.opened(folder, size.redis, size.postgres)
        stores = await stack.enter_async_context(opening)
        vendor = await stack.enter_async_context(planted.Vendor(secrets))
        running = await stack.enter_async_context(nodes.running(folder, stores, secrets))
        folders = {**stores.folders, running.temporary: lambda path: thief.NAMELESS}
        taking = thief.Thief(folder / "loot", folders)
        running.traced = size.long
        course = courses.Course(running, stores, vendor, secrets, taking)
        late = None
        if size.turned and not sealed:
            late = thief.Thief(folder / "late", folders)
        await course.run(sealed, size.nodes, size.long, late)
    for log in running.logs:
        taking.tell("logs", log.read_bytes())
    for asked in running.collector.requests:
        taking.tell("spans", asked.body)
    return Storm(
        secrets,
        source.read(),
        taking,
        late,
        course.answers,
        course.rows,
        stores.holding,
        stores.archiving,
        course.thefts,
        course.streams,
    )


class Taken(msgspec.Struct):
    """What was found in it, and how many bytes there were, by place; `late` what was found when
    sealing had been turned on."""

    storm: Storm
    found: Found
    late: Found
    looked: dict[str, int]
    search: searching.Search


def searched(storm: Storm) -> Taken:
    secrets = storm.secrets.secrets()
    search = searching.Search([*secrets, *keys_of(storm.rows, storm.ring)])
    taken = Taken(storm, {}, {}, {}, search)
    for place, _, data in storm.taking.loot():
        taken.looked[place] = taken.looked.get(place, 0) + len(data)
        finds = search(data, lzf=place in places.OF_REDIS)
        if place in TOLD:  # operators are told of who asks
            finds = {name: forms for name, forms in finds.items() if name not in planted.LABELS}
        _join(taken.found, place, finds)
    if storm.late is not None:
        for place, _, data in storm.late.loot():
            _join(taken.late, place, search(data, lzf=place in places.OF_REDIS))
    for rows in storm.rows:
        for store, some in rows.items():
            _join(taken.found, as_read(store), search(thief.as_bytes(some)))
    return taken


def as_read(store: str) -> str:
    return f"{store}, as its program reads it"


def _join(found: Found, place: str, finds: searching.Finds) -> None:
    for name, forms in finds.items():
        found.setdefault(place, {}).setdefault(name, set()).update(forms)


# The keys of the stores


def keys_of(
    all_rows: Iterable[Mapping[str, list[thief.Row]]], found: ring.Ring
) -> Iterator[searching.Bytes]:
    """The secret of each store, its own key, and all data keys, as who has the ring knows them."""
    ciphers = {key.id: AESGCM(key.secret) for key in found.keys}
    for key in found.keys:
        yield searching.Bytes("key of the ring", key.secret)
    seen = set[bytes]()
    for rows in all_rows:
        for store, some in rows.items():
            yield from _secret_of(store, some, ciphers, seen)
            for owner, stream, wrapped in _wrapped(some):
                if wrapped not in seen:
                    seen.add(wrapped)
                    bound = codec.bound_to(owner, stream)
                    cipher = ciphers[codec.key_id(wrapped)]
                    opened = codec.unwrap(cipher, codec.DATA_KEY, wrapped, bound)
                    yield searching.Bytes("data key", opened)


def _secret_of(
    store: str, rows: Iterable[thief.Row], ciphers: Mapping[str, AESGCM], seen: set[bytes]
) -> Iterator[searching.Bytes]:
    secret, guards = b"", list[bytes]()
    for table, row in rows:
        if table in ("meta", "holdfast:store"):
            secret = _meta(row) or secret
        elif table == "guard":
            guards.append(row.get("key") or row["blob"])
        elif table == "holdfast:guards":
            guards.extend(row.values())
    if secret in seen:
        return
    seen.add(secret)
    if len(secret) == 32:
        yield searching.Bytes(f"secret of the {store}", secret)
        return
    for guard in guards:
        own = codec.unwrap(ciphers[codec.key_id(guard)], codec.STORE_KEY, guard, b"")
        yield searching.Bytes("store's own key", own)
        opened = codec.Sealed(own, b"", "", "").unpack(codec.SECRET, secret)
        yield searching.Bytes(f"secret of the {store}", opened)


def _meta(row: Mapping[str, Any]) -> bytes:
    if "secret" in row:
        return bytes(row["secret"])
    return bytes(row["value"]) if row.get("name") in ("secret", "sealed_secret") else b""


def _wrapped(rows: Iterable[thief.Row]) -> Iterator[tuple[str, str, bytes]]:
    """Whose each data key is, its stream, and the key as it lies."""
    for table, row in rows:
        if table in ("seal", "stream") and row["key"] is not None:
            yield row["owner"], row.get("stream") or row["id"], row["key"]
        elif table.startswith("holdfast:{") and "key" in row:
            stream = table.partition("{")[2].partition("}")[0]
            yield row["owner"].decode(), stream, row["key"]


# Judging


def check_plain(taken: Taken, told: Iterable[str] = TOLD) -> None:
    """The control: each kind was found, at each place."""
    log = {*planted.ANSWERED, *planted.PROMPTS, *planted.NOWHERE, *taken.storm.secrets.pasted}
    log |= {planted.LONG_ANSWER, "user of the request", "secret of the log"}
    archive = {*planted.LABELS, "secret of the archive"}
    if taken.storm.archiving:
        archive.update(planted.ANSWERED)
    wanted = {places.LOG: log, places.ARCHIVE: archive}
    programs = {as_read(store): store for store in wanted}
    for place, store in {**taken.storm.holding, **programs}.items():
        missed = wanted[store] - taken.found.get(place, {}).keys()
        if place.endswith("WAL"):  # it was written as the store was made, and that is long ago
            missed -= {f"secret of the {store}"}
        assert not missed, f"{place}: the search misses {sorted(missed)}"
    forms = {form for finds in taken.found.values() for form in finds.get("answer", ())}
    assert "raw" in forms, forms
    assert any("sha256 in hex" in form for form in forms), forms
    assert any(": " in form for form in forms), forms  # in something compressed
    assert taken.late.keys() <= {KEEPS}, taken.late
    if taken.storm.late is not None:
        check_shape(taken.storm.rows[-1])
    _check_told(taken, told)


def check_sealed(taken: Taken, told: Iterable[str] = TOLD) -> None:
    """Nothing was found, though everything was said."""
    found = {place: finds for place, finds in taken.found.items() if finds}
    assert not found, found
    answers = b"".join(taken.storm.answers)
    for name in (*planted.ANSWERED, planted.LONG_ANSWER):
        assert taken.storm.secrets[name].encode() in answers, name
    assert all(taken.looked.get(place) for place in taken.storm.holding), taken.looked
    for rows in taken.storm.rows:
        check_shape(rows)
    assert sum(1 for rows in taken.storm.rows for _ in _wrapped(rows[places.LOG]))
    _check_told(taken, told)


def _check_told(taken: Taken, told: Iterable[str]) -> None:
    """What was told holds nothing, and would show it."""
    for place in told:
        assert taken.looked.get(place), place
        assert not taken.found.get(place), (place, taken.found[place])
    for secret in taken.storm.secrets.secrets():
        assert secret.name in taken.search(b"x" * 5 + secret.text.encode() + b"y")


MARKED = {
    "record": ("header", "events"),
    "stream": ("header",),
    "segment": ("header", "events"),
    "connection": ("data",),
}
OF_EVENTS = ("kinds", "times", "sizes", "crcs")
"""Columns of an archive that tell of each event of a plain stream; SQLite has `events`."""


def check_shape(rows: Mapping[str, list[thief.Row]]) -> None:
    """What is sealed says so, and nothing of its events lies beside it."""
    for table, row in (pair for some in rows.values() for pair in some):
        names = MARKED.get(table, ())
        if table == "segment" and "upto" not in row:  # of an archive
            assert not any(row.get(name) for name in OF_EVENTS), row
            assert row.get("events", "[]") == "[]", row
            names = ("data",)
        elif table == "redo":
            _check_redo(row["operations"])
        elif table.endswith(":events"):
            names = ("b",)
        elif table.startswith("holdfast:{") and "owner" in row:
            names = ("header", "request")
        for name in names:
            if blob := row.get(name):
                marks = blob[0], blob[1] & 0xF0
                assert marks == (codec.VERSION, codec.SEALED), (table, name)


def _check_redo(blob: bytes) -> None:
    """A row has operations on streams in clear, and everything of their events sealed."""
    for operation in msgspec.msgpack.decode(blob[codec.OVERHEAD :]):
        kind = operation["op"]
        assert kind == "cancel" or kind.endswith("_sealed"), kind
        drafts = [unit[6:] for unit in operation.get("tick", ())]
        assert not any(some and some[0] for some in drafts), kind


# At full size

SIZES = {
    "SQLite": Size(),
    "Redis, SQLite": Size(redis=True, long=False),
    "Redis, PostgreSQL": Size(nodes=2, redis=True, postgres=True),
}


async def stolen(size: Size, folder: Path) -> tuple[Taken, Taken]:
    """Both storms, which are as they must be: without sealing, and with it."""
    folders = [Path(tempfile.mkdtemp(dir=folder)) for _ in range(2)]
    both = [stormed(size, bool(sealed), here) for sealed, here in enumerate(folders)]
    plain, sealed = (searched(storm) for storm in await asyncio.gather(*both))
    told = TOLD if size.long else TOLD_SHORT
    check_plain(plain, told)
    check_sealed(sealed, told)
    return plain, sealed


async def steal_all(folder: Path) -> dict[str, float]:
    """Each kind of service with sealing and without, and the figures of all."""
    figures: dict[str, float] = {}
    for name, size in SIZES.items():
        plain, sealed = await stolen(size, folder)
        finds = [len(found) for found in plain.found.values()]
        figures |= {
            f"{name}: streams": sealed.storm.streams,
            f"{name}: thefts": sealed.storm.thefts,
            f"{name}: secrets": sealed.search.secrets,
            f"{name}: MB": (plain.search.looked + sealed.search.looked) / 1e6,
            f"{name}: in clear": sum(finds),
            f"{name}: places": len(finds),
            f"{name}: sealed": sum(map(len, sealed.found.values())),
        }
    return figures

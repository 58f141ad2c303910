"""What lies under which key: of the stores themselves, or as a node tells it.

Strategy: both give one value, that of `GET /v1/seal`, so that everything is shown and decided in
one way. A command that opens the stores is for Redis and PostgreSQL beside running nodes, and for
files while no node has them. What starts a store needs all of its keys; its guards are there
before that.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import msgspec

from holdfast import app, errors, events, resealing, settings
from holdfast.archive import base as archive_base
from holdfast.archive import url as archive_url
from holdfast.cli import listing, output, stored, target, valkey
from holdfast.eventlog import base as log_base
from holdfast.eventlog import url as log_url
from holdfast.sealing import ring, sealer, sources, stores

BESIDE = (
    "A node runs on it: ask that one, by --url and a key with the scope admin, or stop it first."
)
"""What helps where a file is a node's."""


class Key(msgspec.Struct, frozen=True):
    """A key of the ring; `since` in ms since 1970."""

    id: str
    since: int
    tenant: str


class Store(msgspec.Struct, frozen=True):
    """How many streams lie under each key ("" is plain), and the keys without which it does not
    start. `by_key` is None where it cannot be opened."""

    by_key: Mapping[str, int] | None
    guards: tuple[str, ...]


class Pass(msgspec.Struct, frozen=True):
    """The pass over all streams that a node makes, or the last one."""

    kind: str
    done: int
    left: int
    unreadable: int
    running: bool
    error: str | None


class State(msgspec.Struct, frozen=True, rename={"pass_": "pass"}):
    """`GET /v1/seal`. A store is None where there is none that lasts."""

    on: bool
    keys: list[Key]
    log: Store | None
    archive: Store | None
    pass_: Pass | None = None

    @property
    def stores(self) -> dict[str, Store]:
        both = {"log": self.log, "archive": self.archive}
        return {name: one for name, one in both.items() if one is not None}

    def under(self, key_id: str) -> int:
        """How many streams lie under it, as far as that is known."""
        return sum((one.by_key or {}).get(key_id, 0) for one in self.stores.values())


class Kept(Protocol):
    """A store of streams, whichever."""

    async def start(self) -> None: ...
    async def close(self) -> None: ...


class Stores(NamedTuple):
    """Those of the settings that last and are there, not started; and what they are sealed by.
    `absent` are files that are not there, which may lie in another folder."""

    given: settings.Settings
    source: sources.Named | None
    by: sealer.Sealer
    ring: ring.Ring | None
    on: bool
    log: log_base.EventLog | None
    archive: archive_base.Archive | None
    absent: tuple[str, ...]

    @property
    def all(self) -> dict[str, stores.SealedStore]:
        both: dict[str, stores.SealedStore | None] = {"log": self.log, "archive": self.archive}
        return {name: one for name, one in both.items() if one is not None}

    @property
    def known(self) -> set[str]:
        """The ids of the ring's keys."""
        return {key.id for key in (() if self.ring is None else self.ring.keys)}

    @property
    def overlap_ms(self) -> int:
        """For how long after a rotation the key before may be used yet: where no node can run, it
        is not."""
        shared = self.log is None or self.log.nodes is not None
        return resealing.OVERLAP_MS if shared else 0

    async def state(self, *, started: bool = True) -> State:
        """As far as it is known, unless they are `started`."""
        found = {
            name: Store(
                await (one.wrapped_by() if started else _maybe(one)), tuple(await one.guards())
            )
            for name, one in self.all.items()
        }
        some = () if self.ring is None else self.ring.keys
        known = [Key(key.id, key.since, key.tenant) for key in some]
        return State(self.on, known, found.get("log"), found.get("archive"))


class Forgiving(sealer.Sealer):
    """Opens a store without these keys, if there is another one that opens it."""

    def __init__(self, known: sealer.Sealer, lost: Collection[str]) -> None:
        super().__init__(known.ring, on=known.on, place=known.place)
        self._lost = frozenset(lost)

    def open_store(self, guards: Mapping[str, bytes], place: str) -> sealer.StoreKey | None:
        left = {by: guard for by, guard in guards.items() if by not in self._lost}
        return super().open_store(left or guards, place)


async def found(given: settings.Settings, lost: Collection[str] = ()) -> Stores:
    """The stores of these settings, which start without the keys that are `lost`. Raises
    `errors.SettingsError`, also where none lasts."""
    held = app.holding(given)
    await held.start()
    by = Forgiving(held.sealer, lost) if lost else held.sealer
    said = given.log
    archive = archive_url.open_archive(given.archive.url, said.url, by)
    wanted = log_url.Wanted(said.durability, archive.lasting, said.lease, by)
    log = log_url.open_log(said.url, wanted)
    in_memory = urlsplit(said.url).scheme == "memory"
    if in_memory and not archive.lasting:
        raise errors.SettingsError("The log and the archive are in memory: nothing is sealed.")
    absent = [one for one in (_file_of(said.url), archive.file) if one and not one.exists()]
    return Stores(
        given,
        source_of(given),
        by,
        held.sealer.ring,
        held.sealer.on,
        None if in_memory or _file_of(said.url) in absent else log,
        None if not archive.lasting or archive.file in absent else archive,
        tuple(map(str, absent)),
    )


def not_seen(given: settings.Settings) -> Path | None:
    """Where several workers keep their log, if they had one: a Valkey of their own has it, which is
    reached by a node alone."""
    folder = valkey.folder_of(given.log.url)
    return folder if folder is not None and folder.exists() else None


def check_seen(
    given: settings.Settings, instead: str = "ask one by --url and a key with the scope admin"
) -> None:
    """Raises `errors.SettingsError` where there is a log that is not looked at without a node."""
    if (folder := not_seen(given)) is not None:
        raise errors.SettingsError(
            f"Workers keep their log in {folder}, which only they reach: while they run, "
            f"{instead}. If they are not used any more, move that folder away."
        )


def check_one_log(given: settings.Settings) -> None:
    """Raises `errors.SettingsError` where there is a log of a single process and one of workers,
    of which one is not looked at."""
    file, folder = _file_of(given.log.url), not_seen(given)
    if file and folder and file.exists():
        raise errors.SettingsError(
            f"There is a log in {file}, and one of several workers in {folder}; keys are destroyed "
            "once the one is gone that is not used any more."
        )


def source_of(given: settings.Settings) -> sources.Named | None:
    """Where the key ring of these settings is; None where they name none."""
    said = given.sealing
    return sources.named(said.keys, said.ring.get_secret_value() if said.ring else None)


def _file_of(url: str) -> Path | None:
    parts = urlsplit(url)
    return Path(unquote(parts.path[1:])) if parts.scheme == "sqlite" else None


@contextlib.asynccontextmanager
async def started(kept: Stores) -> AsyncIterator[None]:
    """While the stores are open. Raises what their `start` raises, with what helps as a note."""
    async with contextlib.AsyncExitStack() as stack:
        some: tuple[Kept | None, ...] = (kept.log, kept.archive)
        for one in some:
            if one is not None:
                stack.push_async_callback(one.close)
                try:
                    await one.start()
                except errors.LogLocked as error:
                    error.add_note(BESIDE)
                    raise
                except errors.SettingsError as error:
                    if hint := stored.hint(kept.given):
                        error.add_note(hint)
                    raise
        yield


async def looked_at(given: settings.Settings) -> State:
    """Of the stores; also of some that do not start, as the ring lacks what they need."""
    kept = await found(given)
    lost = await guards(kept) - kept.known
    if lost:
        kept = await found(given, lost)
    try:
        async with started(kept):
            return await kept.state()
    except errors.SettingsError:
        if not lost:
            raise
        return await kept.state(started=False)


async def _maybe(store: stores.SealedStore) -> Mapping[str, int] | None:
    with contextlib.suppress(errors.LogUnavailable, errors.ArchiveUnavailable):
        return await store.wrapped_by()
    return None


async def guards(kept: Stores) -> set[str]:
    """The keys without which the stores do not start, as far as that is known before they do."""
    some: set[str] = set()
    for store in kept.all.values():
        with contextlib.suppress(errors.LogUnavailable):
            some.update(await store.guards())
    return some


async def needed(given: settings.Settings) -> set[str]:
    """The keys without which the stores of these settings do not start, before there is a ring.
    Raises what they raise where they cannot be asked."""
    said = given.sealing.model_copy(update={"keys": None, "ring": None})
    given = given.model_copy(update={"sealing": said})
    archive = archive_url.open_archive(given.archive.url, given.log.url)
    if urlsplit(given.log.url).scheme == "memory" and not archive.lasting:
        return set()
    kept = await found(given)
    return {one for store in kept.all.values() for one in await store.guards()}


def of_node(found: dict[str, object]) -> State:
    """What a node said."""
    return listing.read(found, State)


async def asked(node: target.Target) -> State:
    async with node.client() as client:
        return of_node(await client.seal())


def unneeded(state: State, overlap_ms: int) -> list[str]:
    """The keys of the ring that nothing needs any more, the oldest first."""
    kept = ring.needed(state.keys, events.now_ms(), overlap_ms)
    return [
        key.id
        for key in sorted(state.keys, key=lambda key: key.since)
        if key.id not in kept and not state.under(key.id)
    ]


def show(state: State, where: str, hint: str = "") -> None:
    """A state as a table, and what there is to say of it. `where` is the ring, "" if it is a
    node's; the `hint` helps where there is none."""
    if not state.keys:
        output.note(
            f"There is no key ring: nothing is sealed (sealing.keys). {hint}".strip() + "\n"
        )
    else:
        place = where and f"; the key ring is {where}"
        output.note(f"Sealing is {'on' if state.on else 'off'}{place}.\n")
    now = events.now_ms()
    used = ring.needed(state.keys, now, 0)
    rows = [
        (
            key.id,
            events.rfc3339(key.since)[:19] + "Z",
            key.tenant or "(all)",
            "next" if key.since > now else "used" if key.id in used else "old",
            *_counts(state, key.id),
        )
        for key in state.keys
    ]
    known = {key.id for key in state.keys}
    guards = [one for store in state.stores.values() for one in store.guards]
    under = [one for store in state.stores.values() for one in store.by_key or {}]
    lost = sorted({*guards, *under} - known - {""})
    rows += [(one, "", "", "missing", *_counts(state, one)) for one in lost]
    rows.append(("(plain)", "", "", "", *_counts(state, "")))
    head = ("KEY", "SINCE", "TENANT", "STATE", "LOG", "ARCHIVE")
    output.write(output.table(head, rows, shrinks=2))
    if lost:
        output.note(
            _missing(lost, [one for one in lost if one in guards], has_ring=bool(state.keys))
        )
    if state.pass_ is not None:
        one = state.pass_
        how = "runs" if one.running else f"failed: {one.error}" if one.error else "is over"
        output.note(
            f"The pass ({one.kind}) {how}: {one.done} done, {one.left} left, "
            f"{one.unreadable} unreadable.\n"
        )


def _missing(lost: Sequence[str], needed: Sequence[str], *, has_ring: bool) -> str:
    """What is said of keys that lie nowhere, of which a start needs some."""
    said = f"What lies under the missing {sealer.named(lost)} cannot be read"
    if needed:
        said = f"A node does not start without the {sealer.named(needed)}. {said}"
    said += ": put back the ring that has what is missing."
    if has_ring:
        those = "".join(f"--key {one} " for one in lost)
        said += (
            f" Only where that is gone for good: `holdfast seal shred {those}--forced` destroys "
            "all that lies there."
        )
    return f"{said}\n"


def _counts(state: State, key_id: str) -> tuple[str, str]:
    return _count(state.log, key_id), _count(state.archive, key_id)


def _count(store: Store | None, key_id: str) -> str:
    if store is None:
        return "-"
    return "?" if store.by_key is None else str(store.by_key.get(key_id, 0))

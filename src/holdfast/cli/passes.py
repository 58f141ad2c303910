"""Passes over all streams, as commands make them: on the stores themselves, or by a node.

Strategy: either way the ring is changed here, where it is, and after the stores: a key that is
destroyed is one that no store needs any more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import msgspec

from holdfast import errors, resealing, settings
from holdfast.cli import output, sealed, shredding, stored, target
from holdfast.client import AsyncClient
from holdfast.sealing import sources, stores

POLL_SECONDS = (0.1, 1.0)
"""Between two looks at a pass that a node makes: the first times, and later."""

STRANGERS = 60
"""Answers in a row that are of another node, and no more is asked."""

TOLD_SECONDS = 5.0
"""Between two lines of how far a pass is."""

END_TRIES = 30
"""Seconds that a stream has for its end before it is destroyed."""

Call = Callable[[], Awaitable[dict[str, Any]]]
"""A call of a node's, which answers with its state."""


class Rewrapped(msgspec.Struct, frozen=True):
    """What a pass came to; `unneeded` are keys under which nothing is left, `destroyed` those of
    them that are gone."""

    done: int
    left: int
    unreadable: int
    unneeded: list[str]
    destroyed: list[str]


def file_of(given: settings.Settings) -> sources.File:
    """The ring's file. Raises `errors.SettingsError` where it is in none."""
    source = sealed.source_of(given)
    if source is None:
        raise errors.SettingsError(
            "There is no key ring: `holdfast serve --encrypt` makes one, or sealing.keys names it. "
            f"{stored.hint(given)}".strip()
        )
    if not isinstance(source, sources.File):
        raise sources.unchangeable()
    return source


async def rewrapped(given: settings.Settings, destroy_old: bool) -> Rewrapped:
    sealed.check_seen(given)
    kept = await sealed.found(given)
    _check_on(kept.on, stored.hint(given))
    total = stores.Resealed()
    async with sealed.started(kept):
        for name, store in kept.all.items():
            part = await stores.reseal_all(store, told=_Told(name))
            total = stores.Resealed(
                total.done + part.done,
                total.left + part.left,
                total.unreadable + part.unreadable,
            )
        old = sealed.unneeded(await kept.state(), kept.overlap_ms)
        if destroy_old and old:
            await shredding.keys(kept, old)
    return Rewrapped(total.done, total.left, total.unreadable, old, old if destroy_old else [])


def _check_on(on: bool, hint: str = "") -> None:
    if not on:
        raise errors.SettingsError(
            "Sealing is off, so nothing can be brought under a key: set sealing.keys, and "
            f"sealing.on to true. {hint}".strip()
        )


class _Told:
    """Tells now and then how far a pass is."""

    def __init__(self, name: str) -> None:
        self._name, self._at = name, time.monotonic()

    def __call__(self, so_far: stores.Resealed) -> None:
        now = time.monotonic()
        if now - self._at >= TOLD_SECONDS:
            self._at = now
            output.note(f"{self._name}: {so_far.done} streams so far\n")


async def rewrapped_by(
    node: target.Target, given: settings.Settings, destroy_old: bool
) -> Rewrapped:
    """The node makes the pass, and lets go of the keys that nothing needs then."""
    source = file_of(given) if destroy_old else None
    if source is not None:
        sealed.check_one_log(given)
    async with node.client() as client:
        _check_on(sealed.of_node(await client.seal(counts=False)).on)
        state = await _passed("rewrap", client.rewrap, client)
    guards = {one for store in state.stores.values() for one in store.guards}
    old = [key for key in sealed.unneeded(state, resealing.OVERLAP_MS) if key not in guards]
    gone: list[str] = []
    if source is not None and old:
        here = {key.id for key in source.read().keys}
        gone = [key_id for key_id in old if key_id in here]
        if gone:
            source.destroy(*gone)
    last = state.pass_
    assert last is not None
    return Rewrapped(last.done, last.left, last.unreadable, old, gone)


async def _passed(kind: str, begin: Call, node: AsyncClient) -> sealed.State:
    """Begins a pass of a node's, and waits for its end. Another node that is found by the same URL
    tells of its own, and is passed over. Raises `errors.ClientError` where it failed."""
    state, tries, strange = sealed.of_node(await begin()), 0, 0
    said = time.monotonic()
    while state.pass_ is None or state.pass_.kind != kind or state.pass_.running:
        strange = 0 if state.pass_ is not None and state.pass_.kind == kind else strange + 1
        if strange > STRANGERS:
            raise errors.ClientError("The node does not tell of its pass: name one node by --url.")
        await asyncio.sleep(POLL_SECONDS[0] if tries < 10 else POLL_SECONDS[1])
        tries += 1
        state = sealed.of_node(await node.seal(counts=False))
        if time.monotonic() - said >= TOLD_SECONDS and state.pass_ is not None:
            said = time.monotonic()
            output.note(f"{state.pass_.done} streams so far\n")
    if state.pass_.error is not None:
        raise errors.ClientError(f"The pass has failed: {state.pass_.error}; run it again.")
    return msgspec.structs.replace(sealed.of_node(await node.seal()), pass_=state.pass_)


async def shredded_by(shred: Callable[[str], Awaitable[bool]], one: str) -> str:
    try:
        for _ in range(END_TRIES):
            if await shred(one):
                return "destroyed"
            await asyncio.sleep(POLL_SECONDS[1])
    except errors.RequestRefused as error:
        if error.status in (404, 410):
            return "not there"
        raise
    return "open"


async def tenant_by(node: target.Target, given: settings.Settings, name: str) -> shredding.Shredded:
    """In the order that `shredding` has: the node destroys the streams, the tenant's own keys go
    from the ring, here; and once that is read the node destroys what came meanwhile, and lets go of
    the keys. Raises `errors.ClientError` where the node does not read it."""
    source = sealed.source_of(given)
    async with node.client() as client:

        async def shredded() -> tuple[sealed.State, shredding.Shredded]:
            state = await _passed("shred", lambda: client.shred_tenant(name), client)
            assert state.pass_ is not None
            return state, shredding.Shredded(state.pass_.done, state.pass_.left)

        state, found = await shredded()
        own = {key.id for key in state.keys if key.tenant == name}
        if found.open or any(map(state.under, own)) or not isinstance(source, sources.File):
            return found
        own &= {key.id for key in source.read().keys}
        if not own:
            return found
        sealed.check_one_log(given)
        source.destroy(*own)
        await _read(client, own)
        await shredding.all_have_read()
        _, more = await shredded()
    return shredding.Shredded(found.done + more.done, more.open, tuple(sorted(own)))


async def _read(node: AsyncClient, gone: Collection[str]) -> None:
    """Until a node has read the ring without these keys."""
    for _ in range(STRANGERS):
        if not any(key.id in gone for key in sealed.of_node(await node.seal(counts=False)).keys):
            return
        await asyncio.sleep(POLL_SECONDS[1])
    raise errors.ClientError(
        "The keys are destroyed in the ring that is here, and the node still has them: run this "
        "again once it has read that ring."
    )

"""Sealing is turned on for plain stores that are full; whoever does it is killed again and again.

Strategy: a process that kills itself at a step (`turned`), on stores that a fixed mixture fills
(`plain_stores`). It is started again where the one before was killed, until nothing is plain any
more; then all is compared with what was told before, and the files are searched. Between two lives
another node may look, that reads what is sealed and seals nothing. Thereafter keys are rotated and
all is rewrapped, and a tenant is destroyed, by commands or by nodes that are killed in the same
way: a stream is wholly there, or gone. Lives follow each other on new stores until there were so
many kills.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from tests import postgres_server, redis_servers
from tests.faults import dying, plain_kits, plain_stores
from tests.faults.storms import storming

from holdfast import errors, events, storage
from holdfast.archive import base as archive_base
from holdfast.eventlog import base as log_base
from holdfast.sealing import ring, sealer

POLL = 0.03
"""Seconds between two looks at how far a pass is."""

MOST_DELAY_MS = 4.0
"""Between a step and the death behind it."""


class Size(msgspec.Struct, frozen=True):
    """`kills` of nodes that turn sealing on, and of commands that rewrap and shred, each; at most
    `at_once` of the same stores. `steps` are how many there are in each of the three at least, as
    far as that is not known yet."""

    kills: int = 50
    commands: int = 50
    at_once: int = 4
    steps: tuple[int, int, int] = (300, 40, 40)
    stores: plain_stores.Size = plain_stores.Size()


class Counted:
    """How many kills there were, of so many that are wanted, and at which steps one may come."""

    def __init__(self, dice: random.Random, size: Size, wanted: int, steps: int) -> None:
        self.dice, self.most, self._wanted, self._at_once = dice, steps, wanted, size.at_once
        self.kills = self.starting = self.looks = self.plain = self.mixed = self.by_node = 0

    @property
    def left(self) -> int:
        """How often these stores may be killed."""
        return min(self._at_once, self._wanted - self.kills)

    def drawn(self) -> tuple[int, float]:
        """As often in the first quarter, and in the last, as anywhere: there are a start and what
        comes behind a pass."""
        part = self.dice.choice((1.0, 0.25, -0.25)) * self.dice.random()
        step = 1 + int(self.most * (part if part >= 0 else 1 + part))
        return step, self.dice.choice((0.0, self.dice.uniform(0, MOST_DELAY_MS)))


# Turned on


async def _asked(port: int, target: str, body: bytes | None = None) -> Any:
    """An answer's JSON. Raises OSError or `msgspec.DecodeError` where it is cut off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        method = "GET" if body is None else "POST"
        fields = f"Host: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body or b'')}"
        writer.write(f"{method} {target} HTTP/1.1\r\n{fields}\r\n\r\n".encode() + (body or b""))
        return msgspec.json.decode((await reader.read()).partition(b"\r\n\r\n")[2])
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _is_over(port: int) -> bool:
    """Whether a node has sealed all that there is, and nothing waits for its end. Raises what is
    raised where it has died."""
    state = await _asked(port, "/v1/seal")
    passed = state["pass"]
    if passed is None or passed["running"] or passed["left"]:
        return False
    assert passed["error"] is None, state
    assert passed["unreadable"] == 0, state
    return not any(state[name]["by_key"].get("", 0) for name in ("log", "archive"))


async def _sealed_by(found: dying.Process) -> bool:
    """Waits until all is sealed; false where it died before."""
    if not await found.ready():
        return False
    with contextlib.suppress(OSError, msgspec.DecodeError):  # it dies
        while not await _is_over(found.port):  # noqa: ASYNC110
            await asyncio.sleep(POLL)
        return True
    return False


async def turn_on(place: plain_stores.Place, before: plain_stores.Told, counted: Counted) -> None:
    """Until all is sealed."""
    left = counted.left
    while True:
        at = counted.drawn() if left > 0 else (0, 0.0)
        async with dying.process(place, at, "serve", "--port", "0") as found:
            if await _sealed_by(found):
                counted.most = await found.counted() or counted.most
                over = found.running.returncode is None
                if over:
                    found.running.send_signal(signal.SIGTERM)
                if not await found.was_killed():
                    return
            assert await found.was_killed(), found.said
        left -= 1
        counted.kills += 1
        counted.starting += not found.port
        if counted.dice.random() < 0.5:
            await _look(place, before, counted)


async def _look(place: plain_stores.Place, before: plain_stores.Told, counted: Counted) -> None:
    """As a node does that seals nothing."""
    reading = place.by(on=False)
    between = await plain_stores.told(place, reading)
    plain_stores.compare(before, between, over=False)
    async with place.opened(reading) as stores:
        some = [await store.wrapped_by() for store in stores]
    counted.looks += 1
    counted.mixed += any(set(one) > {""} for one in some)
    counted.plain += any("" in one for one in some)


async def _refused(store: log_base.EventLog | archive_base.Archive) -> str:
    """Why it does not start with the ring that it was given."""
    try:
        await store.start()
    except errors.SettingsError as error:
        return error.message
    await store.close()
    raise AssertionError("it starts without its key")


async def check_plain(place: plain_stores.Place, kit: plain_kits.Kit) -> None:
    """What is searched for is found while it is there."""
    found = plain_stores.found_in(await kit.files(place), place)
    assert all(any(part in one for one in found) for part in kit.kept_in), found


async def check_sealed(
    place: plain_stores.Place, before: plain_stores.Told, kit: plain_kits.Kit
) -> plain_stores.Told:
    """All reads as before, nothing is plain, and no file has what was said."""
    now = await plain_stores.told(place, place.by())
    plain_stores.compare(before, now, over=True)
    async with place.opened(place.by()) as stores:
        for store in stores:
            assert set(await store.wrapped_by()) == set(place.keys)
            assert set(await store.guards()) == set(place.keys)
    for bad in (sealer.OFF, plain_stores.with_ring(ring.new_key(0))):
        for one in (place.log(bad), place.archive(bad)):
            assert place.keys[0] in await _refused(one) or bad.ring is None
    files = await kit.files(place)
    assert files
    found = plain_stores.found_in(files, place, *before.secrets)
    assert not found, found
    return now


# Keys, and what is destroyed


class Work(msgspec.Struct, frozen=True):
    """What is done by a command of these words; or by a node, in a pass of this kind."""

    args: tuple[str, ...]
    kind: str
    body: bytes = b""


async def _by_command(work: Work, found: dying.Process) -> bool:
    """Whether it came to its end."""
    return not await found.was_killed()


async def _by_node(work: Work, found: dying.Process) -> bool:
    """The same. A node that begins looks for what is plain first, in a pass of its own."""
    with contextlib.suppress(OSError, msgspec.DecodeError):  # it dies
        if await found.ready():
            told: Any = {"pass": None}
            while (told.get("pass") or {}).get("kind") != work.kind:
                told = await _asked(found.port, f"/v1/seal/{work.kind}", work.body)
                await asyncio.sleep(POLL)
            while told["pass"]["running"]:
                told = await _asked(found.port, "/v1/seal")
                await asyncio.sleep(POLL)
            assert told["pass"]["error"] is None, told
            await found.counted()
            found.running.send_signal(signal.SIGTERM)
    return not await found.was_killed()


async def _killed(
    place: plain_stores.Place,
    counted: Counted,
    work: Work,
    check: Callable[[], Awaitable[None]],
    *,
    by_node: bool,
) -> None:
    """Who does this work is killed some times, and it is looked at after each; then it comes to its
    end."""
    left, args = counted.left, ("serve", "--port", "0") if by_node else work.args
    run = _by_node if by_node else _by_command
    while True:
        at = counted.drawn() if left > 0 else (0, 0.0)
        async with dying.process(place, at, *args) as found:
            over = await run(work, found)
        await check()
        if over:
            counted.most = max(counted.most, found.steps)
            return
        left -= 1
        counted.kills += 1
        counted.by_node += by_node


async def rotate(
    place: plain_stores.Place,
    sealed: plain_stores.Told,
    counted: Counted,
    kit: plain_kits.Kit,
    *,
    by_node: bool,
) -> None:
    """Rotated, rewrapped, and without the old key."""
    (old,) = place.ring.read().keys
    copy = await kit.copied(place)
    await dying.command(place, "seal", "rotate", "--delay", "0s")

    async def check() -> None:
        plain_stores.compare(sealed, await plain_stores.told(place, place.by()), over=True)

    args = ("seal", "rewrap", "--destroy-old")
    await _killed(place, counted, Work(args, "rewrap"), check, by_node=by_node)
    if by_node:  # the ring is where it is
        await dying.command(place, *args)
        await check()
    (new,) = place.keys
    assert new != old.id
    async with place.opened(place.by()) as stores:
        for store in stores:
            assert plain_stores.key_of(await store.wrapped_by()) == {new}
            assert await store.guards() == (new,)
    await check_copy(copy, await kit.keys(copy), place.by(), old, sealed)


async def check_copy(
    copy: plain_stores.Place,
    keys: list[plain_kits.Key],
    by: sealer.Sealer,
    old: ring.RingKey,
    sealed: plain_stores.Told,
) -> None:
    """A backup from before can be opened by nobody but who has kept the old key."""
    for one in (copy.log(by), copy.archive(by)):
        assert old.id in await _refused(one)
    assert {stream for stream, _, _ in keys} >= sealed.log.keys() | sealed.archive.keys()
    for stream, owner, key in keys:
        try:
            by.open(stream, owner, key)
        except errors.KeyMissing:
            continue
        raise AssertionError(f"{stream} of a copy can be opened")
    assert await plain_stores.told(copy, plain_stores.with_ring(old)) == sealed


async def shred(
    place: plain_stores.Place, sealed: plain_stores.Told, counted: Counted, *, by_node: bool
) -> None:
    """A tenant, whose every stream is wholly there or gone."""
    gone: set[events.StreamId] = set()
    both = {**sealed.archive, **sealed.log}

    async def check() -> None:
        now = await plain_stores.told(place, place.by())
        for was, found in ((sealed.log, now.log), (sealed.archive, now.archive)):
            for name, one in found.items():
                assert one.events == both[name].events, name
                assert name not in was or one == was[name], name
            assert all(map(_theirs, (was[name] for name in was.keys() - found.keys())))
        there = now.log.keys() | now.archive.keys()
        assert not gone & there, "it was gone, and is there again"
        gone.update(both.keys() - there)
        await _check_gone(place, gone)

    args = ("seal", "shred", "--tenant", "acme")
    work = Work(args, "shred", b'{"tenant":"acme"}')
    await _killed(place, counted, work, check, by_node=by_node)
    wanted = {name for name, one in both.items() if _theirs(one)}
    assert gone == wanted, f"{len(wanted - gone)} of {len(wanted)} are there still"


def _theirs(one: plain_stores.Stream) -> bool:
    return one.info.header.owner.startswith("acme/")


async def _check_gone(place: plain_stores.Place, gone: Iterable[events.StreamId]) -> None:
    async with place.opened(place.by()) as stores:
        for store in stores:
            for stream in gone:
                try:
                    await store.read(stream, events.BEGIN)
                except errors.StreamNotFound:
                    assert not isinstance(await store.stat(stream), storage.Info)
                    continue
                raise AssertionError(f"{stream} was destroyed, and can be read")


# All of it


async def turn(size: Size, folder: Path, kit: plain_kits.Kit, seed: int = 1) -> storming.Figures:
    dice = random.Random(seed)
    wanted = (size.kills, size.commands, size.commands)
    on, rewrapping, shredding = (
        Counted(dice, size, most, steps) for most, steps in zip(wanted, size.steps, strict=True)
    )
    lives = 0
    while on.left > 0 or rewrapping.left > 0 or shredding.left > 0:
        lives += 1
        place = await kit.place(folder / str(lives))
        await plain_stores.fill(place, size.stores)
        await kit.soil(place)
        before = await plain_stores.told(place)
        if lives == 1:
            await check_plain(place, kit)
        place.ring.make(events.now_ms() - 1000)
        await turn_on(place, before, on)
        sealed = await check_sealed(place, before, kit)
        if rewrapping.left > 0:
            await rotate(place, sealed, rewrapping, kit, by_node=lives % 2 == 0)
        if shredding.left > 0:
            await shred(place, sealed, shredding, by_node=lives % 2 == 0)
    return {
        "stores": lives,
        "kills while turned on": on.kills,
        "of these before it served": on.starting,
        "looked at in between": on.looks,
        "of these with something plain": on.plain,
        "of these of both kinds": on.mixed,
        "kills of rewrap": rewrapping.kills,
        "kills of shred": shredding.kills,
        "of both, of a node": rewrapping.by_node + shredding.by_node,
        "steps to turn on": on.most,
        "steps to rewrap": rewrapping.most,
        "steps to shred": shredding.most,
    }


async def turn_all(folder: Path) -> storming.Figures:
    """The long form, on both."""
    program, binaries = redis_servers.valkey_program(), postgres_server.programs()
    assert program is not None
    assert binaries is not None
    figures = storming.Figures()
    told = await turn(Size(), folder, plain_kits.files())
    figures |= {f"files: {name}": value for name, value in told.items()}
    valkey = redis_servers.alone(program, folder / "valkey", *plain_kits.KEPT)
    try:
        with postgres_server.running(binaries) as postgres:
            kit = plain_kits.servers(valkey, postgres)
            told = await turn(Size(), folder / "servers", kit)
    finally:
        valkey.stop()
    return figures | {f"servers: {name}": value for name, value in told.items()}

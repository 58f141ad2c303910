"""What is done to keys while it storms: rotations, passes over all streams, and an end of old keys.

Strategy: none of it is a fault, in the book or in a reader's eyes: nothing is excused by it, and no
lull waits for it. Keys are rotated by the command that operators have, in the one file that every
node follows. Passes over all streams are asked for at a node, die with it, and are begun anew at
any. Now and then a node finds at its start that it is not to seal what is new, so plain and sealed
streams lie side by side. In the end the keys that nothing needs are destroyed: what is there must
be read without them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from tests.faults.chaos import book as books
from tests.faults.chaos import wire
from tests.integration import processes

from holdfast import errors, events
from holdfast.sealing import sources

SETTINGS = """
[sealing]
keys = "{ring}"
on = true
rotate_every = "10m"
"""
"""A node whose clock is an hour ahead rotates by itself."""

ROTATED = "keys: rotated"
PASSED = "keys: passes to the end"
MOVED = "keys: streams sealed, or wrapped anew"
DESTROYED = "keys: destroyed"
"""What is counted."""

LOOK = 0.2
"""Seconds between two looks at a pass."""

OFF = 0.25
"""How often sealing is off for those that start from then on."""


class Manner(msgspec.Struct, frozen=True):
    """`pause` seconds between two rotations, at least and at most; a new key is used after `delay`,
    as a command takes it. `destroys` is a caller's key, by which old ones are destroyed meanwhile;
    `turns_off`: some nodes do not seal."""

    pause: tuple[float, float] = (0.5, 3.0)
    delay: str = "0s"
    destroys: str = ""
    turns_off: bool = True


class Keys:
    """Those of the nodes whose settings are in the file `config`, which has `SETTINGS`."""

    def __init__(
        self,
        book: books.Book,
        seed: int,
        config: Path,
        where: wire.Where,
        manner: Manner = Manner(),  # noqa: B008  # it does not change
    ) -> None:
        self._book, self._config, self._where, self._manner = book, config, where, manner
        self._dice = random.Random(f"{seed} keys")

    @contextlib.asynccontextmanager
    async def turning(self) -> AsyncIterator[None]:
        """While the block runs keys are rotated, and all is brought under them."""
        task = asyncio.create_task(self._turn())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._switch(on=True)

    async def _turn(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rotate())
            group.create_task(self._move())

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(self._dice.uniform(*self._manner.pause))
            if self._manner.turns_off:
                self._switch(on=self._dice.random() >= OFF)
            if await self._command("rotate", "--delay", self._manner.delay) is not None:
                self._book.counts[ROTATED] += 1

    async def _move(self) -> None:
        """Makes passes, one after the other: of a node alone, or with an end of old keys."""
        dice = random.Random(self._dice.random())
        while True:
            await asyncio.sleep(dice.uniform(*self._manner.pause))
            if self._manner.destroys and dice.random() < 0.5:
                await self.destroy("--url", _url(self._where()), key=self._manner.destroys)
            else:
                await self._pass()

    def _switch(self, *, on: bool) -> None:
        """For nodes that start from now on."""
        said = self._config.read_text().replace("on = false", "on = true")
        new = self._config.with_suffix(".new")
        new.write_text(said if on else said.replace("on = true", "on = false"))
        new.replace(self._config)

    async def _pass(self) -> None:
        """Asks a node for one, and sees what comes of it, if that can be seen."""
        door = self._where()
        try:
            status, _ = await wire.ask(door, "POST", "/v1/seal/rewrap")
            while status in (200, 202):
                await asyncio.sleep(LOOK)
                status, answer = await wire.ask(door, "GET", "/v1/seal")
                found = msgspec.json.decode(answer).get("pass") if status == 200 else None
                if found is not None and not found["running"]:
                    self._judge(found)
                    return
        except wire.LOST:
            return

    def _judge(self, found: dict[str, Any]) -> None:
        """What a pass came to. A store may be out of reach; nothing is ever unreadable."""
        book = self._book
        if found["unreadable"]:
            book.problem(f"a pass found {found['unreadable']} streams that cannot be read")
        if found.get("error") == errors.HoldfastError.code:
            book.problem("a pass has failed by a bug")
        elif not found.get("error"):
            book.counts[PASSED] += 1
        book.counts[MOVED] += found["done"]

    async def destroy(self, *where: str, key: str = "") -> None:
        """Brings all under the present keys and destroys those that nothing needs then; a command
        without `--url` for stores that no node has for itself."""
        more = {"HOLDFAST_API_KEY": key} if key else {}
        found = await self._command("rewrap", "--destroy-old", *where, env=more)
        if found is None:
            return
        self._judge(found)
        self._book.counts[DESTROYED] += len(found["destroyed"])

    async def check(self) -> None:
        """Of stores at rest: nothing is plain, or lies under a key that there is not."""
        state = await self._command("status")
        if state is None:
            return
        ours = {key["id"] for key in state["keys"]}
        for name in ("log", "archive"):
            under = (state[name] or {}).get("by_key") or {}
            if lost := {one: count for one, count in under.items() if one not in ours}:
                self._book.problem(f"in the {name} streams lie under no key of the ring: {lost}")

    async def _command(
        self, what: str, *options: str, env: dict[str, str] | None = None
    ) -> dict[str, Any] | None:
        """What `holdfast seal` says; None where it fails, which is a problem where no node and no
        store has part in it."""
        done = await processes.run(
            *("seal", what, *options, "--json", "--config", str(self._config)),
            folder=self._config.parent,
            env=env,
        )
        if done.code:
            self._book.counts[f"keys: seal {what} failed"] += 1
            if "--url" not in options:
                self._book.problem(f"seal {what} failed: {done.err[-500:]}")
            return None
        found: dict[str, Any] = msgspec.json.decode(done.out)
        return found


def _url(door: wire.Door) -> str:
    return f"http://{door.host}:{door.port}"


def settings(folder: Path, sealed: bool) -> str:
    """What is added to the settings of nodes that are to seal; makes their ring."""
    if not sealed:
        return ""
    ring = folder / "keys.json"
    sources.File(ring).make(events.now_ms())
    return SETTINGS.format(ring=ring)


def lacking(counts: Mapping[str, int], wanted: Sequence[str]) -> Iterator[str]:
    """Why a run says nothing of keys."""
    for name in wanted:
        if not counts[name]:
            yield f"deaf: {name}: none"

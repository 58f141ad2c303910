"""A node that has seen a key stays closed, whatever becomes of its archive; and how it takes in
many keys.

Strategy: simulated time where the archive is in memory, a real file where one is replaced.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.unit.access import gates
from tests.unit.access.gates import of, pass_, verdict, world

from holdfast import errors
from holdfast.access import gate, keyring, keys, principal
from holdfast.archive import base, sqlite
from holdfast.testing import simulated
from holdfast.testing.simulated import timed

NO_KEY = "Send a key as `Authorization: Bearer KEY`."


class Watched(sqlite.SqliteArchive):
    """Tells when it has first refused an answer."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.refused = asyncio.Event()

    async def keys(self, known: int) -> base.Keys | None:
        try:
            return await super().keys(known)
        except errors.KeysUnavailable:
            self.refused.set()
            raise


def emptied(w: gates.World) -> None:
    """The archive is another one by now, without any key."""
    w.store._keys.clear()
    w.store._revision += 1


@timed
async def test_a_node_whose_keys_are_gone_does_not_open_itself() -> None:
    async with world() as w:
        assert w.gate.is_open
        anybody = await w.says(None)
        assert anybody == principal.ANYBODY
        token, _ = await w.known()
        assert not w.gate.is_open
        emptied(w)
        async with w.running():
            await pass_(gate.REFRESH_SECONDS)
            assert not w.gate.is_open
            assert await w.refusal(None) == NO_KEY
            assert not w.gate.holds(anybody)
            await w.refusal(f"Bearer {token}")
            fresh, kept = await w.known("globex")
            assert await w.bearer(fresh) == of(kept)


@timed
async def test_a_node_that_found_keys_at_its_start_does_not_open_itself() -> None:
    made = gates.World(None, None)
    await made.key()
    await made.gate.start()
    emptied(made)
    await made.gate.keyring.ask()
    assert not made.gate.is_open
    await made.gate.close()


async def test_a_node_whose_file_is_gone_stays_closed_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    command = sqlite.SqliteArchive(path)
    await command.start()
    token, kept = keys.new(command.secret, "name", "acme", now=1)
    await command.add(kept)
    await command.close()
    archive = Watched(path)
    entrance = gate.Gate(archive, refresh=0.0)
    await entrance.start()
    path.unlink()
    try:
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as group:
                running = group.create_task(entrance.run())
                await archive.refused.wait()
                running.cancel()
        said = {"event": "keys_unavailable", "error": f"{path} is not there any more."}
        assert said.items() <= logs[0].items()
        shown = gate.Asked("GET", "/", {"authorization": f"Bearer {token}"}, {}, None)
        assert await entrance.admit(shown) == of(kept)  # as before, for a while
        with pytest.raises(errors.Unauthorized):
            await entrance.admit(gate.Asked("GET", "/", {}, {}, None))
        assert not entrance.is_open
        assert not path.exists()
    finally:
        await entrance.close()


@pytest.mark.parametrize("count", [keyring.RING_SLICE * 4, keyring.RING_SLICE * 4 + 1])
@timed
async def test_others_have_their_turn_while_many_keys_are_taken_in(count: int) -> None:
    async with world() as w:
        made = [await w.key() for _ in range(count)]
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        async with asyncio.TaskGroup() as group:
            beside = group.create_task(others())
            await asyncio.sleep(0)
            turns = 0
            await w.gate.keyring.ask()
            beside.cancel()
        assert turns >= -(-count // keyring.RING_SLICE) - 1
        ring = w.gate.keyring.ring
        assert ring.revision == count
        assert {id: one.key for id, one in ring.by_id.items()} == {
            kept.id: kept for _, kept in made
        }
        assert ring.by_digest == {one.key.digest: one for one in ring.by_id.values()}
        for token, kept in (made[0], made[-1]):
            assert await w.bearer(token) == of(kept)


@timed
async def test_who_leaves_while_keys_are_taken_in_loses_none() -> None:
    """A request's end in the midst of it leaves the ring as it was: the next one asks again."""
    async with world() as w:
        made = [await w.key() for _ in range(keyring.RING_SLICE * 3)]
        await pass_(keyring.AGAIN_SECONDS)
        token, kept = made[-1]
        w.store.go.clear()
        first = asyncio.create_task(verdict(w.bearer(token)))
        second = asyncio.create_task(verdict(w.bearer(token)))
        await simulated.idle()
        w.store.go.set()
        for _ in range(2):
            await asyncio.sleep(0)
        assert w.gate.keyring.keyed  # it is in the midst of them
        assert not w.gate.keyring.ring.by_id
        first.cancel()
        assert await second == of(kept)

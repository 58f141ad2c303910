"""`holdfast seal` and `serve --encrypt`: from the ring to the stores, and back.

Strategy: the commands run in this process on real stores, in files and in Redis and PostgreSQL,
which a test fills by their contracts. A node that has a file is a server in a thread. Time is no
test's: what waits a minute for other nodes' clocks is told that it need not.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import signal
import sqlite3
import stat
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click import testing
from tests import postgres_server, redis_servers
from tests.contract import archives
from tests.integration import asking, conftest, harness, processes, server_in_thread

import holdfast
from holdfast import app, errors, events, resealing, settings, storage
from holdfast.archive import base as archive_base
from holdfast.archive import url as archive_at
from holdfast.cli import main, passes, sealed, shredding
from holdfast.eventlog import base as log_base
from holdfast.eventlog import url
from holdfast.sealing import holder, ring, sources
from holdfast.testing.eventlog import parts

NOW = events.now_ms()


class Place(msgspec.Struct, frozen=True):
    """Where a node's log, archive and ring are."""

    folder: Path
    log_url: str
    archive_url: str

    @property
    def ring(self) -> sources.File:
        return sources.File(self.folder / "holdfast.keys")

    @property
    def keys(self) -> list[str]:
        return [key.id for key in self.ring.read().keys]

    def settings(self, **sealed: Any) -> settings.Settings:
        return harness.configured(
            self.log_url,
            archive={"url": self.archive_url},
            sealing={"keys": str(self.ring.path), **sealed},
        )

    def holdfast(self, *args: str, **environ: str) -> testing.Result:
        env = {
            "HOLDFAST_LOG__URL": self.log_url,
            "HOLDFAST_ARCHIVE__URL": self.archive_url,
            "HOLDFAST_SEALING__KEYS": str(self.ring.path),
            **environ,
        }
        known = {name: value for name, value in env.items() if value}
        return testing.CliRunner().invoke(
            main, args, env={**dict.fromkeys(env), **known}, prog_name="holdfast"
        )

    def json(self, *args: str) -> Any:
        done = self.holdfast(*args, "--json")
        assert done.exit_code == 0, done.output
        return msgspec.json.decode(done.stdout)

    @contextlib.asynccontextmanager
    async def opened(
        self, **sealed: Any
    ) -> AsyncIterator[tuple[log_base.EventLog, archive_base.Archive]]:
        """The stores, as a node has them."""
        given = self.settings(**sealed)
        held = app.holding(given)
        await held.start()
        archive = archive_at.open_archive(self.archive_url, self.log_url, held.sealer)
        log = url.open_log(self.log_url, url.Wanted(archived=True, sealer=held.sealer))
        await log.start()
        try:
            await archive.start()
            yield log, archive
        finally:
            await archive.close()
            await log.close()

    def filled(self, *owners: str, **sealed: Any) -> list[events.StreamId]:
        """A stream in the log, and one in the archive, of each owner."""

        async def fill() -> list[events.StreamId]:
            made: list[events.StreamId] = []
            async with self.opened(**sealed) as (log, archive):
                for owner in owners:
                    pen = await parts.begin(log, owner=owner, created_at=NOW)
                    await pen.write(parts.chunk("an answer"), parts.COMPLETE, ts=NOW)
                    told = archives.told("an answer", created_at=NOW, ended_at=NOW, owner=owner)
                    await archive.keep(told.info, (), told.pages())
                    made += [pen.stream, told.info.stream]
            return made

        return asyncio.run(fill())

    def readable(self, *streams: events.StreamId) -> list[bool]:
        async def look() -> list[bool]:
            async with self.opened() as stores:
                return [await _can_read(stores, stream) for stream in streams]

        return asyncio.run(look())


async def _can_read(
    stores: tuple[log_base.EventLog, archive_base.Archive], stream: events.StreamId
) -> bool:
    for store in stores:
        with contextlib.suppress(errors.StreamNotFound, errors.LogCorrupt):
            page = await store.read(stream, events.BEGIN)
            return page.events[-1].kind == "complete"
    return False


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """In files, or where a test says so in Redis and PostgreSQL."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resealing, "OVERLAP_MS", 0)  # no other node's clock is behind
    if getattr(request, "param", "files") == "files":
        made = Place(tmp_path, f"sqlite:///{tmp_path}/log.db", f"sqlite:///{tmp_path}/archive.db")
    else:
        valkey: redis_servers.Server = request.getfixturevalue("valkey")
        server: postgres_server.Server = request.getfixturevalue("postgres")
        log_url = f"redis://{valkey.host}:{valkey.port}/{redis_servers.next_database()}"
        made = Place(tmp_path, log_url, asyncio.run(server.fresh()))
    made.ring.make(NOW - 1000)
    return made


@pytest.fixture
def files(place: Place) -> Place:
    return place


BOTH = pytest.mark.parametrize("place", ["files", "shared"], indirect=True)


# On the stores themselves


@BOTH
def test_after_rotate_rewrap_and_the_end_of_the_old_key_everything_reads(place: Place) -> None:
    made = place.filled("acme/ann", "other/bob")
    (old,) = place.keys
    state = place.json("seal", "status")
    assert (state["on"], [key["id"] for key in state["keys"]]) == (True, [old])
    assert state["log"] == state["archive"] == {"by_key": {old: 2}, "guards": [old]}
    done = place.holdfast("seal", "rotate", "--delay", "0s")
    assert (done.exit_code, done.stdout.strip()) == (0, place.keys[1])
    new = place.keys[1]
    refused = place.holdfast("seal", "shred", "--key", old)
    assert refused.exit_code == 1
    assert "4 streams lie under the key" in refused.stderr
    assert "rewrap" in refused.stderr
    found = place.json("seal", "rewrap")
    assert found == {
        "done": 4,
        "left": 0,
        "unreadable": 0,
        "unneeded": [old],
        "destroyed": [],
    }
    assert place.keys == [old, new]
    again = place.holdfast("seal", "rewrap", "--destroy-old")
    assert again.exit_code == 0
    assert f"Destroyed: {old}." in again.stderr
    assert place.keys == [new]
    state = place.json("seal", "status")
    assert state["log"] == state["archive"] == {"by_key": {new: 2}, "guards": [new]}
    assert place.readable(*made) == [True] * 4


def test_what_was_plain_is_sealed_by_rewrap(place: Place) -> None:
    made = place.filled("acme/ann", on=False)
    (key,) = place.keys
    assert place.json("seal", "status")["log"]["by_key"] == {"": 1}
    off = place.holdfast("seal", "rewrap", HOLDFAST_SEALING__ON="false")
    assert (off.exit_code, "Sealing is off" in off.stderr) == (1, True)
    assert place.json("seal", "rewrap")["done"] == 2
    state = place.json("seal", "status")
    assert state["log"]["by_key"] == state["archive"]["by_key"] == {key: 1}
    assert place.readable(*made) == [True, True]


def test_a_shredded_stream_is_gone_and_the_others_are_not(place: Place) -> None:
    first, second, third, fourth = place.filled("acme/ann", "other/bob")
    done = place.holdfast("seal", "shred", first, fourth)
    assert done.exit_code == 0
    assert done.stdout == f"{first} destroyed\n{fourth} destroyed\n"
    assert "Copies" in done.stderr
    assert place.readable(first, second, third, fourth) == [False, True, True, False]

    async def in_archive() -> object:
        async with place.opened() as (_, archive):
            return await archive.stat(first)

    # A node that has read it to archive it comes too late.
    assert isinstance(asyncio.run(in_archive()), storage.Tombstone)
    again = place.holdfast("seal", "shred", first)
    assert (again.exit_code, again.stdout) == (1, f"{first} not there, or open\n")
    nobody = place.holdfast("seal", "shred", "--tenant", "nobody")
    assert (nobody.exit_code, nobody.stdout) == (0, "0 streams destroyed\n")
    for done in (again, nobody):
        assert "Copies" not in done.stderr


def test_what_a_tenant_wrote_before_it_had_keys_is_not_said_to_be_dead(files: Place) -> None:
    files.filled("acme/ann")
    files.holdfast("seal", "rotate", "--tenant", "acme", "--delay", "0s")
    files.filled("acme/eve")
    done = files.holdfast("seal", "shred", "--tenant", "acme")
    assert (done.exit_code, done.stdout) == (0, "4 streams destroyed\n")
    assert "Copies made while it had keys of its own are dead" in done.stderr
    assert "older ones once `holdfast seal rewrap --destroy-old`" in done.stderr


def test_a_tenant_is_destroyed_with_its_own_keys(place: Place) -> None:
    own = place.holdfast("seal", "rotate", "--tenant", "acme", "--delay", "0s").stdout.strip()
    (common, _) = place.keys
    theirs, copy = place.filled("acme/ann", "acme/eve"), place.filled("other/bob")
    state = place.json("seal", "status")
    assert state["log"]["by_key"] == state["archive"]["by_key"] == {own: 2, common: 1}
    found = place.json("seal", "shred", "--tenant", "acme")
    assert found == {"done": 4, "open": 0, "keys": [own]}
    assert place.keys == [common]
    assert place.readable(*theirs, *copy) == [False] * 4 + [True] * 2
    assert own not in place.json("seal", "status")["log"]["guards"]
    # One without keys of its own leaves copies that its key still opens.
    done = place.holdfast("seal", "shred", "--tenant", "other")
    assert (done.exit_code, done.stdout) == (0, "2 streams destroyed\n")
    assert "rewrap --destroy-old" in done.stderr
    assert place.keys == [common]


@pytest.mark.parametrize("place", ["shared"], indirect=True)
def test_what_a_node_makes_under_a_dying_key_is_destroyed_too(
    place: Place, monkeypatch: pytest.MonkeyPatch, logged: conftest.Logged
) -> None:
    """The key has a guard until then, so no start passes over such a stream."""
    own = place.ring.add("acme", NOW - 1).keys[1].id
    place.filled("acme/ann")
    monkeypatch.setattr(resealing, "OVERLAP_MS", 1)

    async def shred() -> None:
        async with place.opened() as (log, archive):  # a node that has not read the ring yet
            made: list[events.StreamId] = []

            async def write() -> None:
                assert own not in place.keys
                pen = await parts.begin(log, owner="acme/eve", created_at=NOW)
                await pen.write(parts.COMPLETE, ts=NOW)
                made.append(pen.stream)
                assert await log.wrapped_by() == {own: 1}
                for store in (log, archive):
                    assert own in await store.guards()

            monkeypatch.setattr(shredding, "all_have_read", write)
            kept = await sealed.found(place.settings())
            async with sealed.started(kept):
                found = await shredding.tenant(kept, "acme")
            assert found == shredding.Shredded(3, 0, (own,))
            assert isinstance(await log.stat(made[0]), storage.Tombstone)
            for store in (log, archive):
                assert own not in await store.guards()

    asyncio.run(shred())
    asking.expected(logged, "stream_unreadable")


def test_an_open_stream_of_a_tenant_is_asked_to_end(files: Place) -> None:
    async def begin() -> events.StreamId:
        async with files.opened() as (log, _):
            return (await parts.begin(log, owner="acme/ann", created_at=NOW)).stream

    stream = asyncio.run(begin())
    done = files.holdfast("seal", "shred", "--tenant", "acme")
    assert (done.exit_code, done.stdout) == (1, "0 streams destroyed\n")
    assert "1 are open" in done.stderr

    async def look() -> bool:
        async with files.opened() as (log, _):
            info = await log.stat(stream)
            assert isinstance(info, log_base.Info)
            return info.cancelled

    assert asyncio.run(look())


def test_a_key_in_use_is_not_destroyed(files: Place) -> None:
    (used,) = files.keys
    done = files.holdfast("seal", "shred", "--key", used, "--forced")
    assert (done.exit_code, files.keys) == (1, [used])
    assert "New streams are sealed by the key" in done.stderr
    files.holdfast("seal", "rotate", "--delay", "1h")
    later = files.keys[1]
    done = files.holdfast("seal", "shred", "--key", later)
    assert (done.exit_code, files.keys) == (1, [used, later])


@BOTH
def test_forced_destroys_what_lies_under_a_key(place: Place) -> None:
    made = place.filled("acme/ann")
    (old,) = place.keys
    place.holdfast("seal", "rotate", "--delay", "0s")
    more = place.filled("acme/eve")
    before = place.ring.path.read_bytes()
    done = place.holdfast("seal", "shred", "--key", old, "--forced")
    assert (done.exit_code, done.stdout) == (0, f"{old} destroyed, and 2 streams with it\n")
    assert old not in place.keys
    place.ring.path.write_bytes(before)  # a copy that somebody kept opens nothing any more
    assert place.readable(*made, *more) == [False] * 2 + [True] * 2
    state = place.json("seal", "status")
    assert state["log"]["by_key"] == state["archive"]["by_key"] == {place.keys[1]: 1}


def test_what_the_other_store_can_read_outlives_a_forced_key(files: Place) -> None:
    first, _ = files.filled("acme/ann")
    (old,) = files.keys
    files.holdfast("seal", "rotate", "--delay", "0s")

    async def keep() -> None:
        async with files.opened() as (_, archive):
            same = archives.told("an answer", created_at=NOW, ended_at=NOW, stream=first)
            await archive.keep(same.info, (), same.pages())

    asyncio.run(keep())
    assert files.json("seal", "status")["archive"]["by_key"] == {old: 1, files.keys[1]: 1}
    done = files.holdfast("seal", "shred", "--key", old, "--forced")
    assert (done.exit_code, done.stdout) == (0, f"{old} destroyed, and 2 streams with it\n")
    assert files.readable(first) == [True]
    assert files.json("seal", "status")["log"]["by_key"] == {}


@BOTH
def test_a_lost_key_is_told_and_let_go(place: Place) -> None:
    made = place.filled("acme/ann")
    (old,) = place.keys
    place.holdfast("seal", "rotate", "--delay", "0s")
    more = place.filled("acme/eve")
    place.ring.destroy(old)  # by hand, and by mistake
    with pytest.raises(errors.SettingsError, match=f"shred --key {old} --forced"):
        place.readable(*more)
    shown = place.holdfast("seal", "status")
    assert shown.exit_code == 0
    assert f"{old}" in shown.stdout
    assert "missing" in shown.stdout
    refused = place.holdfast("seal", "shred", "--key", old)
    assert (refused.exit_code, "--forced" in refused.stderr) == (1, True)
    done = place.holdfast("seal", "shred", "--key", old, "--forced")
    assert done.exit_code == 0, done.output
    assert place.readable(*made, *more) == [False] * 2 + [True] * 2
    nothing = place.holdfast("seal", "shred", "--key", "f" * 16)
    assert nothing.exit_code == 1


@BOTH
def test_lost_keys_are_told_and_let_go_together(place: Place) -> None:
    gone = []
    for owner in ("acme/ann", "acme/bob"):
        gone += place.filled(owner)
        assert place.holdfast("seal", "rotate", "--delay", "0s").exit_code == 0
    first, second, _ = place.keys
    kept = place.filled("acme/eve")
    everything = place.ring.path.read_bytes()
    place.ring.destroy(first, second)  # by hand, and by mistake
    both = ", ".join(sorted((first, second)))
    with pytest.raises(errors.SettingsError, match=f"sealed by the keys {both}") as refused:
        place.readable(*kept)
    said = refused.value.message
    assert f"the key ring {place.ring.path} lacks; it has the key {place.keys[0]}." in said
    assert said.index("Put back the ring") < said.index("shred")
    shown = place.holdfast("seal", "status")
    assert shown.exit_code == 0
    assert f"A node does not start without the keys {both}." in shown.stderr
    one = place.holdfast("seal", "shred", "--key", first, "--forced")
    assert (one.exit_code, f"lacks the key {second} too" in one.stderr) == (1, True)
    named = ("--key", first, "--key", second)
    assert place.holdfast("seal", "shred", *named).exit_code == 1
    place.ring.path.write_bytes(everything)  # nothing is lost yet
    assert place.readable(*gone) == [True] * 4
    place.ring.destroy(first, second)
    done = place.holdfast("seal", "shred", *named, "--forced")
    assert (done.exit_code, done.stdout) == (
        0,
        f"{first}, {second} destroyed, and 4 streams with it\n",
    )
    assert "missing" not in place.holdfast("seal", "status").output
    place.ring.path.write_bytes(everything)
    assert place.readable(*gone, *kept) == [False] * 4 + [True] * 2


def test_what_lies_where_is_told_without_any_key_that_opens_it(files: Place) -> None:
    files.filled("acme/ann")
    (old,) = files.keys
    other = files.folder / "other.keys"
    sources.File(other).make(NOW)
    for path in ("", str(other)):
        done = files.holdfast("seal", "status", "--json", HOLDFAST_SEALING__KEYS=path)
        assert done.exit_code == 0, done.output
        state = msgspec.json.decode(done.stdout)
        assert state["log"] == state["archive"] == {"by_key": {old: 1}, "guards": [old]}
    hint = f"({files.ring.path} is here: set HOLDFAST_SEALING__KEYS={files.ring.path})"
    for args in (
        ("seal", "status"),
        ("seal", "rotate"),
        ("seal", "rewrap"),
        ("keys", "create", "web"),
    ):
        assert hint in files.holdfast(*args, HOLDFAST_SEALING__KEYS="").stderr


@BOTH
def test_no_ring_is_made_where_a_store_is_sealed(place: Place) -> None:
    place.filled("acme/ann")
    (old,) = place.keys
    place.ring.path.rename(place.folder / "mislaid.keys")
    for path in ("", str(place.ring.path)):
        done = place.holdfast("serve", "--encrypt", "--port", "0", HOLDFAST_SEALING__KEYS=path)
        assert done.exit_code == 1
        assert f"There is no key ring at {place.ring.path}, and none was made" in done.stderr
        assert f"sealed already, by the key {old}." in done.stderr
        assert not place.ring.path.exists()


def test_a_ring_of_the_environment_is_read_and_not_changed(files: Place) -> None:
    made = files.filled("acme/ann")
    text = files.ring.path.read_text()
    own = {"HOLDFAST_SEALING__KEYS": "", "HOLDFAST_SEALING__RING": text}
    shown = files.holdfast("seal", "status", **own)
    assert shown.exit_code == 0
    assert "HOLDFAST_SEALING__RING" in shown.stderr
    refused = files.holdfast("seal", "rotate", **own)
    assert refused.exit_code == 1
    assert "cannot be changed from here" in refused.stderr
    both = files.holdfast("config", "check", HOLDFAST_SEALING__RING=text)
    assert (both.exit_code, "in one place" in both.stderr) == (1, True)
    assert made


def test_no_command_shows_a_key(files: Place) -> None:
    files.filled("acme/ann")
    files.holdfast("seal", "rotate", "--delay", "0s")
    secrets = [key.secret for key in files.ring.read().keys]
    text = files.ring.path.read_text()
    said = ""
    for args in (
        ("seal", "status"),
        ("seal", "status", "--json"),
        ("seal", "rewrap", "--destroy-old"),
        ("config", "show", "--all"),
        ("config", "check"),
    ):
        said += files.holdfast(*args).output
    own = {"HOLDFAST_SEALING__KEYS": "", "HOLDFAST_SEALING__RING": text}
    said += files.holdfast("config", "show", "--all", **own).output
    cut = {**own, "HOLDFAST_SEALING__RING": text[:-4]}
    said += files.holdfast("seal", "status", **cut).output
    said += files.holdfast("config", "check", **cut).output
    assert "sealing.ring" in said
    for secret in secrets:
        for form in (secret.hex(), base64.b64encode(secret).decode()[:-1]):
            assert form not in said


def test_a_check_before_a_start_reads_the_ring(files: Place) -> None:
    assert files.holdfast("config", "check").exit_code == 0
    files.ring.path.chmod(0o644)
    done = files.holdfast("config", "check")
    assert (done.exit_code, "chmod 600" in done.stderr) == (1, True)


def test_keys_are_made_in_a_sealed_archive(place: Place) -> None:
    place.filled("acme/ann")
    made = place.holdfast("keys", "create", "web")
    assert made.exit_code == 0, made.output
    listed = place.holdfast("keys", "list", "--json")
    assert [row["name"] for row in msgspec.json.decode(listed.stdout)] == ["web"]
    refused = place.holdfast("keys", "list", HOLDFAST_SEALING__KEYS="")
    assert (refused.exit_code, "sealing.keys" in refused.stderr) == (1, True)


def test_no_key_is_destroyed_where_a_store_is_not_seen(files: Place, tmp_path: Path) -> None:
    """The usual mistake is another folder than the server's: nothing is under any key there."""
    files.filled("acme/ann")
    (old,) = files.keys
    files.holdfast("seal", "rotate", "--delay", "0s")
    elsewhere = Place(tmp_path, "sqlite:///none.db", files.archive_url)
    before = files.keys
    for args in (("rewrap", "--destroy-old"), ("shred", "--key", old, "--forced")):
        done = elsewhere.holdfast("seal", *args)
        assert done.exit_code == 1
        assert "There is no none.db" in done.stderr
    assert files.keys == before
    files.ring.destroy(old)  # a lost one has its guards until all is seen
    done = elsewhere.holdfast("seal", "shred", "--key", old, "--forced")
    assert (done.exit_code, "There is no none.db" in done.stderr) == (1, True)
    state = files.json("seal", "status")
    assert old in state["log"]["guards"]
    assert old in state["archive"]["guards"]


def test_beside_a_log_of_workers_nothing_is_said_to_be_destroyed(
    files: Place, tmp_path: Path
) -> None:
    """The log's URL stands for theirs too, which only they reach."""
    first, *_ = made = files.filled("acme/ann")
    (old,) = before = files.keys
    folder = tmp_path / "log-valkey"
    folder.mkdir()
    for args in (
        ("rewrap",),
        ("rewrap", "--destroy-old"),
        ("shred", first),
        ("shred", "--tenant", "acme"),
        ("shred", "--key", old, "--forced"),
    ):
        done = files.holdfast("seal", *args)
        assert (done.exit_code, done.stdout) == (1, "")
        assert f"Workers keep their log in {folder}" in done.stderr
        assert ("ask one by --url" in done.stderr) is ("--key" not in args)
        assert ("rewrap --destroy-old --url" in done.stderr) is ("--key" in args)
    for args in (("seal", "status"), ("seal", "status", "--json")):
        shown = files.holdfast(*args)
        assert (shown.exit_code, f"log of workers in {folder}" in shown.stderr) == (0, True)
    folder.rmdir()
    assert (files.readable(*made), files.keys) == ([True, True], before)


def test_a_key_stays_as_long_as_something_lies_under_it(files: Place) -> None:
    made = files.filled("acme/ann", "other/bob")
    (old,) = files.keys
    files.holdfast("seal", "rotate", "--delay", "0s")
    with contextlib.closing(sqlite3.connect(files.folder / "log.db")) as db, db:
        where = "WHERE stream = ?"
        (key,) = db.execute(f"SELECT key FROM seal {where}", (made[0],)).fetchone()
        worse = key[:-1] + bytes((key[-1] ^ 1,))
        db.execute(f"UPDATE seal SET key = ? {where}", (worse, made[0]))
    found = files.json("seal", "rewrap", "--destroy-old")
    assert (found["done"], found["unreadable"], found["destroyed"]) == (3, 1, [])
    assert old in files.keys
    assert files.readable(*made) == [False, True, True, True]


# By a node that has the file


@pytest.fixture
def node(files: Place) -> Iterator[harness.Running]:
    with server_in_thread.running(files.settings()) as running:
        yield running


def _asked(node: harness.Running) -> str:
    with (
        holdfast.Client(node.url) as client,
        client.stream(model="demo-fast", prompt="/demo tokens=3 rate=1000") as answer,
    ):
        answer.final()
        return answer.stream_id


def test_a_node_that_has_the_file_is_asked(files: Place, node: harness.Running) -> None:
    stream, kept = _asked(node), _asked(node)
    (old,) = files.keys
    locked = files.holdfast("seal", "status")
    assert (locked.exit_code, "--url" in locked.stderr) == (1, True)
    state = files.json("seal", "status", "--url", node.url)
    assert state["log"]["by_key"] == {old: 2}
    shown = files.holdfast("seal", "status", "--url", node.url)
    assert shown.stderr.startswith("Sealing is on.\n")
    files.ring.add("", NOW - 1)
    asyncio.run(_look(node))
    found = files.json("seal", "rewrap", "--destroy-old", "--url", node.url)
    assert (found["done"], found["destroyed"]) == (2, [old])
    assert files.keys == [key for key in files.keys if key != old]
    done = files.holdfast("seal", "shred", stream, "--url", node.url)
    assert (done.exit_code, done.stdout) == (0, f"{stream} destroyed\n")
    again = files.holdfast("seal", "shred", stream, "--url", node.url)
    assert (again.exit_code, again.stdout) == (1, f"{stream} not there\n")
    with holdfast.Client(node.url) as client:
        assert client.get(kept)["status"] == "completed"
    with urllib.request.urlopen(f"{node.url}/v1/connections") as answer:
        shown = msgspec.json.decode(answer.read())["connections"]
    assert shown
    assert all(one["options"]["encryption"] for one in shown)
    age = r"^holdfast_key_age_seconds (\S+)$"
    with urllib.request.urlopen(f"{node.url}/metrics") as answer:
        found = re.search(age, answer.read().decode(), re.MULTILINE)
    assert found is not None
    assert 0 <= float(found[1]) < 3600
    refused = files.holdfast("seal", "shred", "--key", old, "--url", node.url)
    assert refused.exit_code == 1


async def _look(node: harness.Running) -> None:
    """Has the node look at its ring now, in its own loop."""
    node.service.keys.sealer.replace(sources.File(_path(node)).read())


def _path(node: harness.Running) -> Path:
    return Path(node.service.config.sealing.keys or "")


def test_a_node_destroys_a_tenant(files: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holder, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(passes, "POLL_SECONDS", (0.01, 0.02))
    monkeypatch.setattr(shredding, "READ_SECONDS", 0.0)
    (common,) = files.keys
    own = files.ring.add("acme", NOW - 1).keys[1].id
    theirs, archived, others, kept = files.filled("acme/ann", "other/bob")
    with server_in_thread.running(files.settings()) as node:
        found = files.json("seal", "shred", "--tenant", "acme", "--url", node.url)
        state = files.json("seal", "status", "--url", node.url)
    assert (found["done"], found["open"]) == (2, 0)
    assert (found["keys"], files.keys) == ([own], [common])
    assert own not in state["log"]["by_key"]
    assert own not in state["log"]["guards"]
    assert common in state["log"]["guards"]
    assert files.readable(theirs, archived, others, kept) == [False, False, True, True]


# serve --encrypt


@pytest.mark.asyncio
async def test_a_server_makes_its_ring_and_is_not_started_without_it(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.keys"
    async with processes.serving("--encrypt", folder=tmp_path) as server:
        said = server.said
        ended = await server.end(signal.SIGTERM)
    assert ended.code == 0
    assert f"A key ring was made in {path}. Keep it apart from the data" in said
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = path.read_bytes()
    secret = ring.parse(made).keys[0].secret
    assert secret.hex() not in ended.err
    without = await processes.run("serve", "--port", "0", folder=tmp_path)
    assert without.code == 1
    assert "sealing.keys" in without.err

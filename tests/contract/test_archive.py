"""Every archive keeps the contract of keys, and one that processes share keeps it among them.

Strategy: one suite for the interface, run on every engine; a second one for what is shared, in
which two archives on one store stand for two processes, and real processes for the races that only
those have.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests import postgres_server
from tests.contract import archives
from tests.contract.archives import NewArchive

import holdfast
from holdfast import errors
from holdfast.archive import base, url

PROCESSES, ROUNDS, EACH = 4, 20, 5
"""Processes that race, the files that they race for, and the keys that each makes in each."""

RACER = """
import asyncio, os, sys
from holdfast.archive import base, url

async def run(where):
    archive = url.open_archive(where, "memory://")
    try:
        await archive.start()
        for number in range(int(sys.argv[1])):
            name = f"{os.getpid()} {number}"
            quota = base.Quota()
            await archive.add(base.Key(name, name.encode(), "", "t", "", (), number, quota))
            await archive.revoke(name, 7)
        return archive.secret.hex()
    except Exception as error:
        return repr(error)
    finally:
        await archive.close()

print("ready", flush=True)
for where in sys.stdin:
    print(asyncio.run(run(where.strip())), flush=True)
"""
"""A process that makes the archives whose URLs it is told; it says their secrets."""


def key(id: str = "a", /, **said: object) -> base.Key:
    """A key with this id, and a digest that goes with it."""
    usual = base.Key(
        id=id,
        digest=f"digest of {id}".encode(),
        name=f"name of {id}",
        tenant="acme",
        user="",
        scopes=("generate", "read"),
        created_at=1000,
        quota=base.Quota(),
    )
    return msgspec.structs.replace(usual, **said)


async def all_of(archive: base.Archive) -> tuple[base.Key, ...]:
    found = await archive.keys(-1)
    assert found is not None
    return found.keys


async def revision_of(archive: base.Archive) -> int:
    found = await archive.keys(-1)
    assert found is not None
    return found.revision


class TestKeys:
    """What every archive does."""

    async def test_a_new_one_has_no_key_and_a_revision(self, new: NewArchive) -> None:
        archive = await new()
        found = await archive.keys(-1)
        assert found is not None
        assert found.keys == ()
        assert found.revision >= 0

    async def test_keys_come_once_for_each_revision(self, new: NewArchive) -> None:
        archive = await new()
        known = await revision_of(archive)
        assert await archive.keys(known) is None
        await archive.add(key())
        found = await archive.keys(known)
        assert found == base.Keys(found.revision if found else -1, (key(),))
        assert found is not None
        assert found.revision != known
        assert await archive.keys(found.revision) is None
        assert await archive.keys(known) == found

    async def test_an_unknown_revision_gets_all(self, new: NewArchive) -> None:
        """Also one that is still to come: of a store that was put back from a copy."""
        archive = await new()
        await archive.add(key())
        known = await revision_of(archive)
        for other in (-1, -7, known + 1, known + 10**12):
            found = await archive.keys(other)
            assert found == base.Keys(known, (key(),)), other

    async def test_a_key_comes_back_as_it_went(self, new: NewArchive) -> None:
        archive = await new()
        everything = key(
            digest=bytes(range(256)),
            name="Zoë's \N{GRINNING FACE} '; DROP TABLE key; --",
            user="ünï/code user",
            scopes=("admin",),
            quota=base.Quota(0, 1, 2, 3, 4, 2**62),
            expires_at=2**62,
        )
        nothing = key("b", digest=b"", name="", tenant="", scopes=(), created_at=1001)
        for one in (everything, nothing):
            await archive.add(one)
        assert await all_of(archive) == (everything, nothing)

    async def test_no_limit_and_a_limit_left_to_the_settings_stay_apart(
        self, new: NewArchive
    ) -> None:
        archive = await new()
        await archive.add(key(quota=base.Quota(streams=0, tokens_per_day=None)))
        (kept,) = await all_of(archive)
        assert (kept.quota.streams, kept.quota.tokens_per_day) == (0, None)

    async def test_the_oldest_comes_first(self, new: NewArchive) -> None:
        """By the time of its making, and of one time by id, in whatever order they came."""
        archive = await new()
        times = {"d": 5, "a": 9, "c": 7, "b": 7, "e": -1}
        for name, time in times.items():
            await archive.add(key(name, created_at=time))
        assert [one.id for one in await all_of(archive)] == ["e", "d", "b", "c", "a"]

    @pytest.mark.parametrize(
        "again",
        [
            key(),
            key("a", digest=b"another"),
            key("b", digest=key().digest),
            key("a", digest=b"another", tenant="other", created_at=9),
        ],
    )
    async def test_an_id_or_a_digest_twice_is_refused(
        self, new: NewArchive, again: base.Key
    ) -> None:
        archive = await new()
        await archive.add(key())
        before = await archive.keys(-1)
        with pytest.raises(ValueError, match="already"):
            await archive.add(again)
        assert await archive.keys(-1) == before
        await archive.revoke("a", 7)
        with pytest.raises(ValueError, match="already"):
            await archive.add(again)

    async def test_ids_are_told_apart_by_case_and_are_no_pattern(self, new: NewArchive) -> None:
        archive = await new()
        for name in ("a", "A", "%", "_"):
            await archive.add(key(name))
        await archive.revoke("%", 7)
        revoked = {one.id: one.revoked_at for one in await all_of(archive)}
        assert revoked == {"a": None, "A": None, "%": 7, "_": None}

    async def test_a_revoked_key_stays_with_its_time(self, new: NewArchive) -> None:
        archive = await new()
        await archive.add(key())
        await archive.add(key("b"))
        known = await revision_of(archive)
        assert await archive.revoke("a", 2000) == key(revoked_at=2000)
        found = await archive.keys(known)
        assert found is not None
        assert found.keys == (key(revoked_at=2000), key("b"))

    async def test_to_revoke_twice_keeps_the_time_and_changes_nothing(
        self, new: NewArchive
    ) -> None:
        archive = await new()
        await archive.add(key())
        await archive.revoke("a", 2000)
        known = await revision_of(archive)
        for now in (1, 2000, 3000):
            assert await archive.revoke("a", now) == key(revoked_at=2000)
        assert await archive.keys(known) is None
        assert await all_of(archive) == (key(revoked_at=2000),)

    async def test_revoked_at_the_beginning_of_time_is_revoked(self, new: NewArchive) -> None:
        archive = await new()
        await archive.add(key())
        await archive.revoke("a", 0)
        assert await archive.revoke("a", 5) == key(revoked_at=0)

    @pytest.mark.parametrize("name", ["", "b", "A", "a ", "' OR '1'='1", "a\0", "%", "é"])
    async def test_what_is_not_there_is_not_revoked(self, new: NewArchive, name: str) -> None:
        archive = await new()
        await archive.add(key())
        known = await revision_of(archive)
        assert await archive.revoke(name, 2000) is None
        assert await archive.keys(known) is None
        assert await all_of(archive) == (key(),)

    async def test_each_has_a_secret_of_its_own(self, new: NewArchive) -> None:
        one, other = await new(), await new()
        assert (len(one.secret), len(other.secret)) == (32, 32)
        assert one.secret != other.secret
        before = one.secret
        await one.add(key())
        assert one.secret == before

    async def test_many_at_once_are_all_kept_and_all_counted(self, new: NewArchive) -> None:
        archive = await new()
        known = await revision_of(archive)
        names = [f"{number:03}" for number in range(50)]
        await asyncio.gather(*(archive.add(key(name)) for name in names))
        assert [one.id for one in await all_of(archive)] == names
        assert await revision_of(archive) == known + 50
        await asyncio.gather(*(archive.revoke(name, 7) for name in names))
        assert {one.revoked_at for one in await all_of(archive)} == {7}
        assert await revision_of(archive) == known + 100

    async def test_of_the_same_at_once_one_is_kept(self, new: NewArchive) -> None:
        archive = await new()
        again = [archive.add(key("same", digest=bytes([number]))) for number in range(20)]
        done = await asyncio.gather(*again, return_exceptions=True)
        assert done.count(None) == 1
        assert sum(isinstance(one, ValueError) for one in done) == 19
        assert len(await all_of(archive)) == 1

    async def test_a_close_may_come_twice_and_before_the_start(self, new: NewArchive) -> None:
        archive = await new()
        await archive.close()
        await archive.close()


async def test_what_lasts_says_so(new: NewArchive, engine: str) -> None:
    archive = await new()
    assert archive.lasting is (engine != "memory")
    assert archive.shared is (engine == "postgres")


@pytest.mark.parametrize("engine", archives.SHARED, indirect=True)
class TestShared:
    """Each `join` is one more archive on one store."""

    async def test_the_secret_is_the_same_for_all(self, join: NewArchive) -> None:
        one, other = await join(), await join()
        assert one.secret == other.secret

    async def test_a_second_one_sees_what_the_first_has_done(self, join: NewArchive) -> None:
        one, other = await join(), await join()
        known = await revision_of(other)
        await one.add(key())
        found = await other.keys(known)
        assert found is not None
        assert found.keys == (key(),)
        assert await other.revoke("a", 7) == key(revoked_at=7)
        assert await all_of(one) == (key(revoked_at=7),)
        assert await one.revoke("a", 9) == key(revoked_at=7)
        assert await revision_of(one) == await revision_of(other) == known + 2

    async def test_a_second_one_may_not_have_the_same(self, join: NewArchive) -> None:
        one, other = await join(), await join()
        await one.add(key())
        with pytest.raises(ValueError, match="already"):
            await other.add(key())

    async def test_two_that_write_at_once_lose_nothing(self, join: NewArchive) -> None:
        both = [await join(), await join()]
        names = [f"{number:03}" for number in range(60)]
        await asyncio.gather(
            *(both[number % 2].add(key(name)) for number, name in enumerate(names))
        )
        for archive in both:
            assert [one.id for one in await all_of(archive)] == names

    async def test_all_is_there_after_a_restart(self, join: NewArchive) -> None:
        archive = await join()
        secret = archive.secret
        await archive.add(key())
        await archive.add(key("b"))
        await archive.revoke("a", 7)
        known = await revision_of(archive)
        await archive.close()
        with pytest.raises(errors.KeysUnavailable):
            await archive.keys(-1)
        again = await join()
        assert again.secret == secret
        assert await again.keys(-1) == base.Keys(known, (key(revoked_at=7), key("b")))
        await archive.start()
        assert archive.secret == secret
        assert await archive.keys(known) is None


@pytest.mark.parametrize("engine", archives.SHARED)
async def test_processes_that_make_it_at_once_share_it(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The first start is a race for the file, its secret and its tables; then each writes."""
    if engine == "sqlite":
        urls = [f"sqlite:///{tmp_path}/{number}.db" for number in range(ROUNDS)]
    else:
        server: postgres_server.Server = request.getfixturevalue("postgres")
        urls = [await server.fresh() for _ in range(5)]
    said = await asyncio.to_thread(_race, urls)
    for where, secrets in zip(urls, said, strict=True):
        archive = url.open_archive(where, "memory://")
        await archive.start()
        try:
            assert secrets == [archive.secret.hex()] * PROCESSES
            kept = await all_of(archive)
            assert len({one.id for one in kept}) == PROCESSES * EACH
            assert {one.revoked_at for one in kept} == {7}
            assert await revision_of(archive) == 2 * PROCESSES * EACH
        finally:
            await archive.close()


def _race(urls: list[str]) -> list[list[str]]:
    """What each of the processes says of each file, which all of them begin at once."""
    command = [sys.executable, "-W", "error", "-c", RACER, str(EACH)]
    pipe, env = subprocess.PIPE, {"PYTHONPATH": str(Path(holdfast.__file__).parent.parent)}
    racers = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env, text=True)
        for _ in range(PROCESSES)
    ]
    said = []
    with contextlib.ExitStack() as stack:
        for racer in racers:
            stack.enter_context(racer)
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for where in urls:
            for racer in racers:
                assert racer.stdin is not None
                racer.stdin.write(f"{where}\n")
                racer.stdin.flush()
            said.append([racer.stdout.readline().strip() for racer in racers if racer.stdout])
    return said

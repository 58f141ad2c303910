"""What lies on the disk of a Redis whose log is sealed, and a plain one that is sealed later.

Strategy: a server of the test's own keeps an append-only file and a dump, which are searched for
what was planted. What the server has no room for is refused, and nothing is lost by that.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests import redis_servers
from tests.unit.eventlog.redis import logs

from holdfast import errors
from holdfast.eventlog.redis import cleaning, keys, lines, scripts
from holdfast.sealing import stores
from holdfast.testing.eventlog import parts, sealing

PLANTED = "canary-7f3a-of-the-answer"
ASKED = b'{"q":"canary-91bc-of-the-prompt"}'


@pytest.fixture
def server(valkey_program: Path, tmp_path: Path) -> Iterator[redis_servers.Server]:
    kept = ("--appendonly", "yes", "--appendfsync", "always", "--rdbcompression", "no")
    found = redis_servers.alone(valkey_program, tmp_path / "own", *kept)
    yield found
    found.stop()


def on_disk(server: redis_servers.Server, *texts: bytes) -> list[bytes]:
    """Which of these the folder of the server has, as they are or in base64."""
    whole = b"".join(path.read_bytes() for path in server.folder.rglob("*") if path.is_file())
    return [text for text in texts if text in whole or base64.b64encode(text)[:-4] in whole]


@pytest.mark.case("4.25")
async def test_what_is_sealed_is_on_no_disk_and_what_was_plain_goes(
    server: redis_servers.Server,
) -> None:
    texts = PLANTED.encode(), ASKED
    async with logs.nodes(server) as nodes:
        sealed = await nodes.start(by=sealing.by(sealing.OLD))
        pen = await parts.begin(sealed, request=ASKED)
        await pen.write(parts.chunk(PLANTED))
        server.do("SAVE")
        assert on_disk(server, *texts, sealed.secret) == []
        await pen.write(parts.chunk(PLANTED), parts.COMPLETE)
        assert on_disk(server, *texts, sealed.secret) == []
    async with logs.nodes(server) as nodes:
        log = await nodes.start()
        pen = await parts.begin(log, request=ASKED)
        await pen.write(parts.chunk(PLANTED), parts.COMPLETE)
        wanted = await parts.read_all(log, pen.stream)
        server.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
        assert on_disk(server, *texts, log.secret) == [*texts, log.secret]
        log = await nodes.start(by=sealing.by(sealing.OLD))
        server.do("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(errors.LogUnavailable, match="maxmemory"):
            await stores.reseal_all(log)
        assert await parts.read_all(log, pen.stream) == wanted
        server.do("CONFIG", "SET", "maxmemory", 0)
        assert (await stores.reseal_all(log)).done == 1
        await asyncio.to_thread(
            redis_servers.wait_for,
            lambda: on_disk(server, *texts, log.secret) == [],
            "the rewriting of the append-only file",
        )
        assert nodes.do("HGET", keys.STORE, "unclean") is None
        assert await parts.read_all(log, pen.stream) == wanted


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "LOOK_SECONDS", 0.02)


async def test_who_may_not_rewrite_the_file_seals_all_the_same(
    server: redis_servers.Server, quick: None
) -> None:
    async with logs.nodes(server) as nodes:
        pen = await parts.begin(await nodes.start())
        await pen.write(parts.chunk(PLANTED), parts.COMPLETE)
        server.do("ACL", "SETUSER", "default", "-bgrewriteaof")
        log = await nodes.start(by=sealing.by(sealing.OLD))
        assert (await stores.reseal_all(log)).done == 1
        assert nodes.do("HGET", keys.STORE, "unclean") is not None
        server.do("ACL", "SETUSER", "default", "+bgrewriteaof")
        assert (await stores.reseal_all(log)).done == 0
        assert nodes.do("HGET", keys.STORE, "unclean") is None
        assert on_disk(server, PLANTED.encode()) == []


async def test_a_secret_that_was_plain_goes_from_the_file(
    server: redis_servers.Server, quick: None
) -> None:
    async with logs.nodes(server) as nodes:
        await nodes.start()
        log = await nodes.start(by=sealing.by(sealing.OLD))
        assert on_disk(server, log.secret) != []
        await stores.reseal_all(log)
        assert on_disk(server, log.secret) == []


async def test_a_file_that_is_written_anew_just_then_is_written_once_more(
    server: redis_servers.Server, quick: None
) -> None:
    """Such a writing is of what was there when it began. When a pass is over, so is the writing."""
    async with logs.nodes(server) as nodes:
        pen = await parts.begin(await nodes.start(), request=ASKED)
        await pen.write(parts.chunk(PLANTED), parts.COMPLETE)
        server.do("CONFIG", "SET", "rdb-key-save-delay", 20_000)
        server.do("BGREWRITEAOF")
        log = await nodes.start(by=sealing.by(sealing.OLD))
        assert (await stores.reseal_all(log)).done == 1
        assert on_disk(server, PLANTED.encode(), ASKED) == []
        assert nodes.do("HGET", keys.STORE, "unclean") is None


@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_a_node_replaces_is_cleaned_up_whatever_another_one_does_just_then(
    server: redis_servers.Server, quick: None, when: str
) -> None:
    async with logs.nodes(server) as nodes:
        pen = await parts.begin(await nodes.start(), request=ASKED)
        await pen.write(parts.chunk(PLANTED), parts.COMPLETE)
        other, log = [await nodes.start(by=sealing.by(sealing.OLD)) for _ in range(2)]
        await log._session.resealing._tidy.clean()  # of the secret
        ask = log._session.lines.ask

        async def meanwhile(commands: Sequence[lines.Keyed], lane: str = lines.WRITE) -> list[Any]:
            """Another one's pass ends; or this node dies."""
            seals = any(scripts.SEAL.sha in command.words for command in commands)
            if seals and when == "before":
                await other._session.resealing._tidy.clean()
                assert on_disk(server, PLANTED.encode()) != []
                assert nodes.do("HGET", keys.STORE, "unclean") is None
            found = await ask(commands, lane)
            if seals and when == "after":
                log._session.lines.ask = gone  # type: ignore[method-assign]
            return found

        async def gone(commands: Sequence[lines.Keyed], lane: str = lines.WRITE) -> list[Any]:
            raise errors.LogUnavailable

        log._session.lines.ask = meanwhile  # type: ignore[method-assign]
        if when == "after":
            with pytest.raises(errors.LogUnavailable):
                await log.reseal("", 1)
        else:
            assert (await log.reseal("", 1)).done == 1
        log._session.lines.ask = ask  # type: ignore[method-assign]
        assert on_disk(server, PLANTED.encode()) != []
        assert (await stores.reseal_all(other)).done == 0
        assert on_disk(server, PLANTED.encode(), ASKED) == []


async def test_a_node_that_is_stopped_while_it_seals_is_stopped(
    server: redis_servers.Server,
) -> None:
    async with logs.nodes(server) as nodes:
        await sealing.ended(await nodes.start())
        log = await nodes.start(by=sealing.by(sealing.OLD))
        begun = asyncio.Event()

        async def slow(*what: object, **how: object) -> None:
            begun.set()
            await asyncio.get_running_loop().create_future()

        log._session.resealing._one = slow  # type: ignore[method-assign]
        task = asyncio.create_task(log.reseal("", 1))
        await begun.wait()
        await log.close()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("at", [1, 2])
async def test_a_note_that_came_while_a_file_was_written_stays(
    server: redis_servers.Server, quick: None, at: int
) -> None:
    """And the file is written once more; by the next pass, if it came at the very end."""
    async with logs.nodes(server) as nodes:
        pen = await parts.begin(await nodes.start(), request=ASKED)
        await pen.write(parts.chunk(PLANTED), parts.COMPLETE)
        log = await nodes.start(by=sealing.by(sealing.OLD))
        each, asked, after = log._session.lines.each, 0, 0

        async def meanwhile(words: tuple[str, ...]) -> list[Any]:
            nonlocal asked, after
            found = await each(words)
            asked += words == ("BGREWRITEAOF",)
            over = asked > 0 and b"aof_rewrite_in_progress:1" not in found[0]
            after += over
            if over and after == at:
                nodes.do("HSET", keys.STORE, "unclean", "another")
            return found

        log._session.lines.each = meanwhile  # type: ignore[assignment, method-assign]
        await stores.reseal_all(log)
        left = nodes.do("HGET", keys.STORE, "unclean")
        assert (asked, left) == ((2, None) if at == 1 else (1, b"another"))
        await stores.reseal_all(log)
        assert (asked, nodes.do("HGET", keys.STORE, "unclean")) == (2, None)


async def test_a_file_that_could_not_be_written_anew_is_tried_again_by_the_next_pass(
    server: redis_servers.Server, quick: None
) -> None:
    async with logs.nodes(server) as nodes:
        await sealing.ended(await nodes.start())
        log = await nodes.start(by=sealing.by(sealing.OLD))
        each, asked = log._session.lines.each, 0

        async def failing(words: tuple[str, ...]) -> list[Any]:
            nonlocal asked
            asked += words == ("BGREWRITEAOF",)
            ok = b"aof_last_bgrewrite_status:"
            return [one.replace(ok + b"ok", ok + b"err") for one in await each(words)]

        log._session.lines.each = failing  # type: ignore[assignment, method-assign]
        assert (await stores.reseal_all(log)).done == 1
        assert (asked, nodes.do("HGET", keys.STORE, "unclean") is None) == (1, False)
        await stores.reseal_all(log)
        assert asked == 2
        log._session.lines.each = each  # type: ignore[method-assign]
        await stores.reseal_all(log)
        assert nodes.do("HGET", keys.STORE, "unclean") is None


async def test_a_plain_stream_that_is_destroyed_goes_from_the_file_with_the_next_pass(
    server: redis_servers.Server, quick: None
) -> None:
    async with logs.nodes(server) as nodes:
        pen = await parts.begin(await nodes.start(), request=ASKED)
        await pen.write(parts.chunk(PLANTED), parts.COMPLETE)
        log = await nodes.start(by=sealing.by(sealing.OLD))
        await log._session.resealing._tidy.clean()  # of the secret
        assert await log.shred(pen.stream)
        assert on_disk(server, PLANTED.encode(), ASKED) != []
        await stores.reseal_all(log)
        assert on_disk(server, PLANTED.encode(), ASKED) == []
        sealed = await sealing.ended(log)
        assert await log.shred(sealed.stream)
        assert nodes.do("HGET", keys.STORE, "unclean") is None


async def test_a_server_without_room_changes_all_of_a_stream_or_nothing(
    server: redis_servers.Server,
) -> None:
    async with logs.nodes(server) as nodes:
        pen = await sealing.ended(await nodes.start())
        log = await nodes.start(by=sealing.by(sealing.OLD))
        wanted, known = await parts.read_all(log, pen.stream), await log.stat(pen.stream)
        asked = log._session.resealing._lines.ask

        async def full(commands: Sequence[lines.Keyed], lane: str = lines.WRITE) -> list[Any]:
            """As if others had taken all room just before the last step."""
            last = any(scripts.SEAL.sha in command.words for command in commands)
            server.do("CONFIG", "SET", "maxmemory", int(last))
            return await asked(commands, lane)

        server.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
        log._session.lines.ask = full  # type: ignore[method-assign]
        with pytest.raises(errors.LogUnavailable, match="maxmemory"):
            await log.reseal("", 1)
        server.do("CONFIG", "SET", "maxmemory", 0)
        assert await parts.read_all(log, pen.stream) == wanted
        assert await log.stat(pen.stream) == known
        log._session.lines.ask = asked  # type: ignore[method-assign]
        assert (await log.reseal("", 1)).done == 1
        assert await parts.read_all(log, pen.stream) == wanted

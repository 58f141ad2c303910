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
from holdfast.eventlog.redis import keys, lines, resealing, scripts
from holdfast.sealing import stores
from holdfast.testing.eventlog import parts, sealing

PLANTED = "canary-7f3a-of-the-answer"
ASKED = b'{"q":"canary-91bc-of-the-prompt"}'


@pytest.fixture
def server(valkey_program: Path, tmp_path: Path) -> Iterator[redis_servers.Server]:
    kept = ("--appendonly", "yes", "--appendfsync", "always")
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


async def test_who_may_not_rewrite_the_file_seals_all_the_same(
    server: redis_servers.Server,
) -> None:
    async with logs.nodes(server) as nodes:
        await sealing.ended(await nodes.start())
        server.do("ACL", "SETUSER", "default", "-bgrewriteaof")
        log = await nodes.start(by=sealing.by(sealing.OLD))
        assert (await stores.reseal_all(log)).done == 1
        assert nodes.do("HGET", keys.STORE, "unclean") == b"1"
        server.do("ACL", "SETUSER", "default", "+bgrewriteaof")
        assert (await stores.reseal_all(log)).done == 0
        assert nodes.do("HGET", keys.STORE, "unclean") is None


async def test_a_file_that_is_written_anew_just_then_is_written_once_more(
    server: redis_servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a writing is of what was there when it began."""
    monkeypatch.setattr(resealing, "REWRITTEN_SECONDS", 0.02)
    async with logs.nodes(server) as nodes:
        pen = await parts.begin(await nodes.start(), request=ASKED)
        await pen.write(parts.chunk(PLANTED), parts.COMPLETE)
        server.do("CONFIG", "SET", "rdb-key-save-delay", 20_000)
        server.do("BGREWRITEAOF")
        log = await nodes.start(by=sealing.by(sealing.OLD))
        assert (await stores.reseal_all(log)).done == 1
        server.do("CONFIG", "SET", "rdb-key-save-delay", 0)
        await asyncio.to_thread(
            redis_servers.wait_for,
            lambda: on_disk(server, PLANTED.encode(), ASKED) == [],
            "the rewriting of the append-only file",
        )
        assert nodes.do("HGET", keys.STORE, "unclean") is None


async def test_what_a_node_sealed_is_cleaned_up_after_whatever_another_one_has_noted(
    server: redis_servers.Server,
) -> None:
    async with logs.nodes(server) as nodes:
        pen = await parts.begin(await nodes.start(), request=ASKED)
        await pen.write(parts.chunk(PLANTED), parts.COMPLETE)
        log = await nodes.start(by=sealing.by(sealing.OLD))
        step = await log.reseal("", 1)
        assert (step.done, step.after is None) == (1, False)
        nodes.do("HDEL", keys.STORE, "unclean")  # whose pass ended meanwhile
        await stores.reseal_all(log)
        await asyncio.to_thread(
            redis_servers.wait_for,
            lambda: on_disk(server, PLANTED.encode(), ASKED) == [],
            "the rewriting of the append-only file",
        )


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

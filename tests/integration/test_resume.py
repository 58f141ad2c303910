"""Resuming after every event of every recorded answer: exactly the rest, byte for byte.

Strategy: what is compared are the raw frames off the socket. The provider is held after each of
its events, and at each new id readers join, in the three ways that PROTOCOL 3.5 and 5 give;
when the stream has ended all of it is done again. Positions are PROTOCOL 5.1, 5.2 and 5.5.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration import conftest, harness, replaying
from tests.integration.stepped_answer import SteppedAnswer

from holdfast.testing import recordings

LIMIT = 120.0
"""Seconds for all recordings of a folder; it takes some ten."""

AT_ONCE = 32
"""Requests that are under way together."""


def playable(folder: Path) -> list[recordings.Recording]:
    found = recordings.load_recordings(folder)
    return [each for each in found if replaying.why_not(each) is None]


def log_url(log: str, tmp_path: Path) -> str:
    return "memory://" if log == "memory" else f"sqlite:///{tmp_path}/log.db"


async def generate(server: harness.Running, part: replaying.Part) -> harness.Response:
    """The whole answer, as it was generated."""
    whole = await replaying.play(server, part, flush_interval_ms=0)
    assert whole.status == 200
    assert whole.clean
    assert whole.body == harness.durable(whole.body)
    return whole


async def comes_back(port: int, id: str, way: str) -> harness.Response:
    reader = await harness.resume(port, id, way)
    return await reader.rest()


def check_rest(rest: harness.Response, whole: list[bytes], index: int, way: str) -> None:
    """`rest` is what follows the block number `index` of `whole`, and no more."""
    following = b"".join(whole[index + 1 :])
    if not following:
        assert rest.status == (200 if way == "post" else 204)
    else:
        assert rest.status == 200
    assert rest.clean
    assert rest.body == following


# After the end


async def resume_everywhere(server: harness.Running, whole: harness.Response) -> int:
    """Comes back after each event in each way; how often."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def check(index: int, id: str, way: str) -> None:
        async with slots:
            check_rest(await comes_back(server.port, id, way), whole.blocks, index, way)

    ids = [harness.position(block) for block in whole.blocks]
    async with asyncio.TaskGroup() as group:
        for index, id in enumerate(ids):
            assert id is not None
            for way in harness.WAYS:
                group.create_task(check(index, id, way))
    return len(ids)


async def resume_all_after_the_end(folder: Path, url: str) -> int:
    found = [
        replaying.Part(each, "per event", recordings.per_event(each.wire))
        for each in playable(folder)
    ]
    total = 0
    async with asyncio.timeout(LIMIT), replaying.stage(found, url) as on:
        for part in found:
            total += await resume_everywhere(on.server, await generate(on.server, part))
    return total


@pytest.mark.case("1.24")
@pytest.mark.parametrize("log", ["memory", "sqlite"])
async def test_after_the_end_every_id_gives_exactly_the_rest(log: str, tmp_path: Path) -> None:
    total = await resume_all_after_the_end(conftest.FIXTURES, log_url(log, tmp_path))
    assert total > 200


async def test_after_the_end_every_id_of_the_shared_recordings_gives_exactly_the_rest(
    shared: Path, tmp_path: Path
) -> None:
    folder = shared / "recordings"
    assert await resume_all_after_the_end(folder, log_url("sqlite", tmp_path)) > 200


# While it is generated


@contextlib.asynccontextmanager
async def closing(readers: list[tuple[int, str, harness.Reader]]) -> AsyncIterator[None]:
    """A failure must not leave sockets behind."""
    try:
        yield
    finally:
        for _, _, reader in readers:
            await reader.close()


async def join(
    server: harness.Running,
    blocks: list[bytes],
    indexes: list[int],
    way: str,
    readers: list[tuple[int, str, harness.Reader]],
) -> None:
    """Readers at these blocks; each has its status by now, so it has joined."""

    async def one(index: int) -> None:
        id = harness.position(blocks[index])
        assert id is not None
        readers.append((index, way, await harness.resume(server.port, id, way)))

    async with asyncio.TaskGroup() as group:
        for index in indexes:
            group.create_task(one(index))


async def resume_while_generated(server: harness.Running, held: SteppedAnswer, shift: int) -> int:
    """One reader joins at each id while the provider is held behind it, its way by turns; at
    half of the events one more joins at each third id that there is. `shift` moves the turns:
    three runs are all ways at all ids. In one run they would be more than a process may open."""
    lead = await harness.begin(server.port, held.part.request(flush_interval_ms=0))
    readers: list[tuple[int, str, harness.Reader]] = [(-1, "", lead)]
    half, seen = held.left // 2, 0
    async with closing(readers):
        await lead.until(lambda reader: bool(reader.blocks))
        while held.left:
            blocks = lead.blocks
            for index in range(seen, len(blocks)):
                way = harness.WAYS[(index + shift) % 3]
                await join(server, blocks, [index], way, readers)
            if held.left <= half:
                half = -1
                way = harness.WAYS[shift]
                await join(server, blocks, list(range(shift, len(blocks), 3)), way, readers)
            seen = len(blocks)
            await held.step(lead)
        whole = (await lead.rest()).blocks
        for index, way, reader in readers[1:]:
            check_rest(await reader.rest(), whole, index, way)
    assert lead.clean
    return len(readers) - 1


async def resume_all_while_generated(folder: Path, url: str, shift: int) -> int:
    found = [SteppedAnswer(each) for each in playable(folder)]
    total = 0
    parts = [held.part for held in found]
    async with asyncio.timeout(LIMIT), replaying.stage(parts, url) as on:
        for held in found:
            total += await resume_while_generated(on.server, held, shift)
    return total


@pytest.mark.case("1.24")
@pytest.mark.parametrize(("log", "shift"), [("memory", 0), ("sqlite", 1), ("sqlite", 2)])
async def test_while_it_is_generated_every_id_gives_exactly_the_rest(
    log: str, shift: int, tmp_path: Path
) -> None:
    url = log_url(log, tmp_path)
    assert await resume_all_while_generated(conftest.FIXTURES, url, shift) > 500


async def test_while_they_are_generated_every_id_of_the_shared_recordings_gives_the_rest(
    shared: Path, tmp_path: Path
) -> None:
    """Each in one of the ways: our own are resumed in all of them."""
    url = log_url("sqlite", tmp_path)
    assert await resume_all_while_generated(shared / "recordings", url, 0) > 500


# Many readers


def content(body: bytes) -> bytes:
    """The text of choice 0 in a body."""
    pieces = [
        block.data["delta"]
        for block in harness.said(body)
        if block.event == "chunk" and block.data["type"] == "content"
        if "choice" not in block.data
    ]
    return "".join(pieces).encode()


async def wander(
    port: int, stream: str, dice: random.Random, moves: int
) -> tuple[list[bytes], harness.Response]:
    """A reader that reads from the start, loses its connection `moves` times, mostly in the midst
    of an event, and comes back each time; all its frames, and its last answer."""
    path, frames = f"/v1/streams/{stream}/events", list[bytes]()
    reader = await harness.Reader.open(port, "GET", path)
    for _ in range(moves):
        enough = dice.randint(0, 12)
        while len(reader.blocks) < enough and await reader.more():
            pass
        await reader.close()
        arrived = bytes(reader.body[: dice.randint(0, len(reader.body))])
        frames += harness.blocks(arrived)
        last = harness.position(frames[-1]) if frames else None
        if last is None:
            reader = await harness.Reader.open(port, "GET", path)
        else:
            reader = await harness.resume(port, last, dice.choice(harness.WAYS))
    end = await reader.rest()
    return [*frames, *end.blocks], end


async def fifty_readers(recording: recordings.Recording, url: str, seed: int) -> None:
    held, dice = SteppedAnswer(recording), random.Random(seed)
    starts = sorted(dice.randrange(held.left) for _ in range(50))
    async with asyncio.timeout(LIMIT), replaying.stage([held.part], url) as on:
        port = on.server.port
        lead = await harness.begin(port, held.part.request(flush_interval_ms=0))
        stream = harness.stream_of(lead)
        async with asyncio.TaskGroup() as group:
            tasks = []
            while held.left:
                while starts and starts[0] <= held.given:
                    own = random.Random(dice.random())
                    moves = dice.randint(0, 5)
                    tasks.append(group.create_task(wander(port, stream, own, moves)))
                    starts.pop(0)
                await held.step(lead)
            whole = await lead.rest()
    assert len(tasks) == 50
    complete = harness.said(whole.body)[-1]
    assert complete.event == "complete"
    for frames, end in (task.result() for task in tasks):
        assert b"".join(frames) == whole.body
        assert end.clean
        assert len(content(b"".join(frames))) == complete.data["length"]
        assert hashlib.sha256(content(b"".join(frames))).hexdigest() == complete.data["sha256"]


@pytest.mark.case("1.32")
@pytest.mark.parametrize(("log", "seed"), [("memory", 1), ("sqlite", 2)])
async def test_fifty_readers_that_come_and_go_end_with_the_same_bytes(
    log: str, seed: int, tmp_path: Path
) -> None:
    (longest,) = recordings.load_recordings(conftest.FIXTURES / "compatible")[1:2]
    assert longest.name == "azure-long"
    await fifty_readers(longest, log_url(log, tmp_path), seed)


async def test_fifty_readers_of_a_shared_recording_end_with_the_same_bytes(
    shared: Path, tmp_path: Path
) -> None:
    found = recordings.load_recordings(shared / "recordings" / "openai-chat")
    longest = max(found, key=lambda each: len(each.wire))
    await fifty_readers(longest, log_url("sqlite", tmp_path), 4)

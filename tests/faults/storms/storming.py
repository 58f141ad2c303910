"""Storms on readers: cuts, readers that stop reading, and a server that is told to stop.

Strategy: each storm starts a real server, lets readers of `reading` loose on it and returns its
figures; what no reader may see raises. A storm's size is a value, so that the same storm runs
for seconds in the tests and for minutes by `make storm`. What a server holds is compared with
what it held after a smaller storm of the same kind: a first one fills the caches and lists that
are meant to be filled.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from tests.faults import served
from tests.faults.storms import reading
from tests.integration import harness

from holdfast.testing import provider

Figures = dict[str, float]

CUT_AFTER = (0.2, 2.0)
RATE = 20
"""Pieces a second of a stream that is written meanwhile."""

AGAIN_AT_ONCE = 50
"""Slow readers that come back together; each is given 10 MB."""

ASK = {"Content-Type": "application/json"}


class Recovery(msgspec.Struct, frozen=True):
    """`warm` and `seconds` are how long readers are cut, the first time and then. `kept_mb` is
    what memory may grow from the one to the other, `filled_mb` what from the start: the newest
    10,000 connections are remembered and finished streams are cached, up to 32 MB."""

    readers: int = 1000
    streams: int = 100
    warm: float = 60
    seconds: float = 60
    kept_mb: float = 24
    filled_mb: float = 110
    limit: float = 600


class Slow(msgspec.Struct, frozen=True):
    slow: int = 1000
    fast: int = 100
    megabytes: int = 10
    write_timeout: float = 2
    limit: float = 900


class Drain(msgspec.Struct, frozen=True):
    """`timeout`: the server's `drain_timeout`; the answers take `tokens / rate` seconds. `stays`:
    whether that is less, so that readers get everything before the server ends."""

    readers: int = 1000
    streams: int = 20
    tokens: int = 400
    rate: int = 20
    timeout: float = 60
    stays: bool = True
    limit: float = 300


async def create(port: int, prompt: str, model: str = "demo") -> reading.Stream:
    """A new stream, read by nobody yet."""
    messages = [{"role": "user", "content": prompt}]
    body = harness.wanted(model, messages=messages)
    made = await harness.ask(port, "POST", "/v1/streams", ASK, body)
    assert made.status == 201, made
    return reading.Stream(made.json()["id"])


def spread(streams: Sequence[reading.Stream], count: int) -> list[reading.Reader]:
    """So many readers, each stream's turn after the other's."""
    return [reading.Reader(stream) for stream in itertools.islice(itertools.cycle(streams), count)]


async def recover(size: Recovery, folder: Path, seed: int = 1) -> Figures:
    """Readers are cut off at random while their streams are written."""
    dice = random.Random(seed)
    async with asyncio.timeout(size.limit), served.serving(folder) as server:
        before, figures = await server.held(), Figures({"MB at start": server.memory_mb()})
        await _cut_off(server, size, size.warm, dice)
        figures["MB after the first"] = warm = await _memory_at_rest(server)
        figures |= await _cut_off(server, size, size.seconds, dice)
        figures["MB at most"] = server.memory_mb("VmHWM")
        figures["MB afterwards"] = after = await _memory_at_rest(server)
        figures |= told(before, await server.back_at(before))
        assert after - warm < size.kept_mb, figures
        assert after - figures["MB at start"] < size.filled_mb, figures
        assert await server.end() == 0
    return figures


def told(before: served.Held, after: served.Held) -> Figures:
    return {
        "tasks before": before.tasks,
        "tasks afterwards": after.tasks,
        "descriptors before": before.files,
        "descriptors afterwards": after.files,
    }


async def _memory_at_rest(server: served.Server) -> float:
    await server.until_idle()
    await server.tasks()  # garbage is collected before it tells
    return server.memory_mb()


async def _cut_off(
    server: served.Server, size: Recovery, seconds: float, dice: random.Random
) -> Figures:
    """One storm, until all have read everything."""
    tokens = int(RATE * (seconds + 1))
    prompts = [f"{n}\n/demo tokens={tokens} rate={RATE} unicode=1" for n in range(size.streams)]
    streams = [await create(server.port, prompt) for prompt in prompts]
    readers = spread(streams, size.readers)
    where = reading.Where(server.port)
    where.cut_after = CUT_AFTER
    begun, cpu = time.monotonic(), server.cpu_seconds()
    async with asyncio.TaskGroup() as group:
        for reader in readers:
            group.create_task(reading.follow(reader, where, dice))
        await asyncio.sleep(seconds)
        where.cut_after = None
    assert all(reader.ended and reader.seq == len(reader.stream.blocks) for reader in readers)
    assert all(stream.ended for stream in streams)
    return {
        "readers": len(readers),
        "streams": len(streams),
        "cuts": sum(reader.cuts for reader in readers),
        "events delivered": sum(reader.seq for reader in readers),
        "seconds": time.monotonic() - begun,
        "server's CPU seconds": server.cpu_seconds() - cpu,
    }


def _answer(megabytes: int, gate: asyncio.Event) -> provider.Answer:
    """A long chat completion that says a word, and the rest once the gate is open."""

    def frame(delta: dict[str, str], reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return b"data: %b\n\n" % msgspec.json.encode({"model": "sim", "choices": [choice]})

    pieces = [f"{number:08d} " + "kelp " * 1_000 for number in range(megabytes * 200)]
    body = [frame({"content": piece}, None) for piece in pieces]
    end = frame({}, "stop") + b"data: [DONE]\n\n"
    return provider.Answer(body=(body[0], gate, *body[1:], end))


async def slow_down(size: Slow, folder: Path, seed: int = 1) -> Figures:
    """Most readers stop reading a long answer; the others must not notice, and they come back."""
    dice, gate = random.Random(seed), asyncio.Event()
    answer = _answer(size.megabytes, gate)
    async with asyncio.timeout(size.limit), provider.ReplayServer([answer]) as asked:
        config = (
            f'[server]\nwrite_timeout = "{size.write_timeout:g}s"\n'
            f'[providers.sim]\nkind = "openai_chat"\nbase_url = "{asked.url}"\n'
            'api_key = "x"\nmodels = ["sim"]\n'
        )
        (folder / "holdfast.toml").write_text(config)
        async with served.serving(folder) as server:
            figures: Figures = {"MB at start": server.memory_mb()}
            stream = await create(server.port, "go", "sim")
            stuck = [
                await reading.respond(reading.Reader(stream), server.port, True, 4096)
                for _ in range(size.slow)
            ]
            fast = spread([stream], size.fast)
            where = reading.Where(server.port)
            begun = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for reader in fast:
                    group.create_task(reading.follow(reader, where, dice))
                await until_all_have(1, fast)
                gate.set()
            figures["seconds of the fast ones"] = time.monotonic() - begun
            assert sum(reader.responses for reader in fast) == len(fast), "a fast one was cut"
            figures["MB with the slow ones"] = server.memory_mb()
            figures["MB in the kernel's sockets"] = server.sockets_mb()
            await server.until_idle()  # all of the slow ones are cut
            figures["seconds to the last cut"] = time.monotonic() - begun
            figures["MB at most"] = server.memory_mb("VmHWM")
            figures |= await _come_back(stuck, where, dice)
            figures["MB afterwards"] = await _memory_at_rest(server)
            figures["MB of the answer"] = sum(map(len, stream.blocks)) / 2**20
            assert await server.end() == 0
    return figures


async def until_all_have(count: int, readers: Sequence[reading.Reader]) -> None:
    async def have() -> bool:
        return all(reader.seq >= count or reader.ended for reader in readers)

    await served.until(have)


async def _come_back(
    stuck: Sequence[reading.Response], where: reading.Where, dice: random.Random
) -> Figures:
    """Each slow reader takes what its machine still holds, sees the cut, and reads the rest."""
    had = 0
    for response in stuck:
        response.go_on()
    for response in stuck:
        await response.over
        assert not response.clean
        assert response.reader.wrong is None, response.reader.wrong
        had = max(had, response.reader.seq)
    assert not any(response.reader.ended for response in stuck)
    for first in range(0, len(stuck), AGAIN_AT_ONCE):
        async with asyncio.TaskGroup() as group:
            for response in stuck[first : first + AGAIN_AT_ONCE]:
                group.create_task(reading.follow(response.reader, where, dice))
    readers = [response.reader for response in stuck]
    assert all(reader.seq == len(reader.stream.blocks) for reader in readers)
    return {"slow ones cut": len(stuck), "events that one had at most": had}


async def drain(size: Drain, folder: Path, seed: int = 1) -> Figures:
    """The server is told to stop while answers are under way."""
    dice = random.Random(seed)
    env = {"HOLDFAST_SERVER__DRAIN_TIMEOUT": f"{size.timeout:g}s"}
    prompts = [f"{n}\n/demo tokens={size.tokens} rate={size.rate}" for n in range(size.streams)]
    async with asyncio.timeout(size.limit), contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(served.serving(folder, env=env))
        streams = [await create(server.port, prompt) for prompt in prompts]
        readers = spread(streams, size.readers)
        where = reading.Where(server.port)
        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reading.follow(reader, where, dice))
            await until_all_have(5, readers)
            under_way = sum(not stream.ended for stream in streams)
            assert under_way == len(streams), "an answer has ended too early for this test"
            begun = time.monotonic()
            code = await server.end(signal.SIGTERM)
            took = time.monotonic() - begun
            assert code == 0, "".join(server.said)
            left = [reader for reader in readers if not reader.ended]
            if size.stays:
                assert not left, f"{len(left)} readers did not get everything"
            else:
                assert all(reader.sent_away == 1 for reader in readers)
                server = await stack.enter_async_context(served.serving(folder, env=env))
                where.port = server.port
        assert all(reader.seq == len(reader.stream.blocks) for reader in readers)
        assert sum(reader.sent_away for reader in readers) == (0 if size.stays else len(readers))
        return {"readers": len(readers), "seconds to exit": took, "had to come back": len(left)}

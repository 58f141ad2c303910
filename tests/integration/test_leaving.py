"""Readers that leave: generation never notices, and nothing of the answer is lost.

Strategy: the provider is held by the test while readers come, close and reset, at every stage of
the answer; then it goes on, and what is shown afterwards must be the whole answer, its usage
too. A stream is ended by a cancel alone (test_cancelling.py), or by `abandon_after` where that
is set (test_abandoning.py).
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from tests.integration import asking, harness, raw_provider, raw_sockets

from holdfast import supervisor
from holdfast.testing import provider as replay

ASKED = harness.wanted("vendor/m", flush_interval_ms=0)
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}\n\n'
)
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


async def rest(reader: harness.Reader) -> harness.Response:
    """To its end; heartbeats do not prolong the wait."""
    async with asyncio.timeout(harness.PATIENCE):
        return await reader.rest()


async def shown(server: harness.Running, stream: str) -> Any:
    return (await harness.ask(server.port, "GET", f"/v1/streams/{stream}")).json()


async def only(server: harness.Running) -> str:
    """The id of the one stream that there is."""
    (entry,) = (await harness.ask(server.port, "GET", "/v1/streams")).json()["streams"]
    return str(entry["id"])


async def nobody(server: harness.Running) -> None:
    await asking.until(lambda: len(server.service.connections) == 0)


@pytest.mark.case("2.12")
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("head", [False, True], ids=["no head", "a head"])
async def test_who_leaves_before_the_first_token_is_noticed_and_cancels_nothing(
    reset: bool, head: bool
) -> None:
    """The slot is free while the provider still thinks; the answer comes all the same."""
    gate = asyncio.Event()
    held = replay.Answer(body=(gate, asking.chunk("one"), asking.STOP))
    limited = {"max_connections": 1}
    async with asking.vendor(held, server=limited) as on:
        server = on.server
        if reset:
            seen = b"\nid: " if head else b""
            await raw_sockets.reset(server.port, raw_sockets.posting(ASKED), seen)
        else:
            reader = await harness.begin(server.port, ASKED)
            if head:
                await reader.until(asking.has(1))
            await reader.close()
        await asking.until(lambda: len(on.provider.requests) == 1)
        await nobody(server)
        assert not on.provider.records[0].ended.is_set()
        stream = await only(server)
        back = await harness.Reader.open(server.port, "GET", f"/v1/streams/{stream}/events")
        await back.until(asking.has(1))  # the only slot
        gate.set()
        assert asking.content((await rest(back)).body) == "one"
        assert (await shown(server, stream))["status"] == "completed"


@pytest.mark.case("2.12")
async def test_who_leaves_while_the_head_is_awaited_frees_the_slot() -> None:
    """Not a byte of the provider's answer is there yet."""
    async with raw_provider.vendor(lambda: [b""]) as on:
        reader = await harness.begin(on.server.port, ASKED)
        await asking.until(lambda: len(on.provider.accounts) == 1)
        await reader.close()
        await nobody(on.server)
        assert not on.provider.accounts[0].gone.is_set()
        await harness.ask(on.server.port, "POST", f"/v1/streams/{harness.stream_of(reader)}/cancel")
        await asking.idle(on.server)


@pytest.mark.case("2.11")
@pytest.mark.case("2.13")
async def test_readers_that_leave_at_every_stage_cancel_nothing() -> None:
    """After each piece everybody leaves, half of them without a word; it is whole at the end."""
    words = [f"{number} " for number in range(12)]
    gates = [asyncio.Event() for _ in words]
    pairs = [(gate, asking.chunk(word)) for gate, word in zip(gates, words, strict=True)]
    body = tuple(piece for pair in pairs for piece in pair)
    async with asking.vendor(replay.Answer(body=(*body, asking.STOP))) as on:
        server = on.server
        made = (await harness.ask(server.port, "POST", "/v1/streams", None, ASKED)).json()
        request = f"GET {made['events_url']} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        for number, gate in enumerate(gates):
            gate.set()
            reader = await harness.Reader.open(server.port, "GET", made["events_url"])
            await reader.until(asking.has(2 + number))
            await reader.close()
            await raw_sockets.reset(server.port, request, f'"{words[number]}"'.encode())
            await nobody(server)
        await asking.idle(server)
        told = await shown(server, made["id"])
        assert (told["status"], told["content"]) == ("completed", "".join(words))
        assert on.provider.records[0].written == sum(
            len(piece) for piece in (*map(asking.chunk, words), asking.STOP)
        )


@pytest.mark.case("2.13")
async def test_an_answer_that_was_ordered_and_left_alone_is_made() -> None:
    """The caller wants no events, and goes on purpose before the first."""
    gate = asyncio.Event()
    body = (gate, asking.chunk("one"), asking.STOP)
    async with asking.vendor(replay.Answer(body=body)) as on:
        head = f"POST /v1/streams HTTP/1.1\r\nHost: x\r\nContent-Length: {len(ASKED)}\r\n\r\n"
        await raw_sockets.reset(on.server.port, head.encode() + ASKED, b"events_url")
        await nobody(on.server)
        gate.set()
        await asking.idle(on.server)
        told = await shown(on.server, await only(on.server))
        assert (told["status"], told["content"]) == ("completed", "one")


@pytest.mark.case("2.14")
@pytest.mark.parametrize("stage", ["before the answer", "in the answer", "before the usage"])
async def test_the_usage_is_there_though_everybody_left(stage: str) -> None:
    begin, middle, end = (asyncio.Event() for _ in range(3))
    body = (begin, asking.chunk("one"), middle, FINISH, end, USAGE, DONE)
    blocks = {"before the answer": 1, "in the answer": 2, "before the usage": 3}[stage]
    async with asking.vendor(replay.Answer(body=body)) as on:
        reader = await harness.begin(on.server.port, ASKED)
        for gate in (begin, middle)[: blocks - 1]:
            gate.set()
        await reader.until(asking.has(blocks))
        await reader.close()
        await nobody(on.server)
        for gate in (begin, middle, end):
            gate.set()
        await asking.idle(on.server)
        told = await shown(on.server, harness.stream_of(reader))
        assert told["status"] == "completed"
        assert told["usage"]["input_tokens"] == 7
        assert told["usage"]["output_tokens"] == told["tokens"] == 5


# No task is collected as garbage


@pytest.mark.case("1.28")
@pytest.mark.case("2.27")
async def test_a_storm_of_collections_ends_no_stream() -> None:
    """Between any two steps of the loop everything that nobody holds is collected: streams
    with a reader, streams without one, and readers that wait."""
    words = [f"{number} " for number in range(20)]
    gates = [asyncio.Event() for _ in words]
    pairs = [(gate, asking.chunk(word)) for gate, word in zip(gates, words, strict=True)]
    body = tuple(piece for pair in pairs for piece in pair)
    gc.collect()
    gc.freeze()  # what was there before is not looked at again each time
    try:
        async with asking.vendor(replay.Answer(body=(*body, asking.STOP))) as on:
            readers = [await harness.begin(on.server.port, ASKED) for _ in range(8)]
            for _ in range(8):
                await harness.ask(on.server.port, "POST", "/v1/streams", None, ASKED)
            await asking.until(lambda: len(on.provider.records) == 16)
            for number, gate in enumerate(gates):
                gate.set()
                for reader in readers:
                    gc.collect()
                    await reader.until(asking.has(2 + number))
            for reader in readers:
                gc.collect()
                whole = await rest(reader)
                assert whole.clean
                assert asking.content(whole.body) == "".join(words)
            await asking.idle(on.server)
            listed = (await harness.ask(on.server.port, "GET", "/v1/streams")).json()["streams"]
            assert [entry["status"] for entry in listed] == ["completed"] * 16
    finally:
        gc.unfreeze()


@pytest.mark.case("1.28")
async def test_a_stream_that_nothing_moves_is_held() -> None:
    """The demo stands still: there is no socket, no timer and no reader that could hold it."""
    async with harness.running(harness.configured()) as server:
        body = asking.demo("tokens=3 stall_at=2")
        made = (await harness.ask(server.port, "POST", "/v1/streams", None, body)).json()
        name = f"produce {made['id']}"
        await asking.until(lambda: name in server.service.supervisor.names)
        for _ in range(10):
            gc.collect()
            await asyncio.sleep(0)
        assert name in server.service.supervisor.names
        await harness.ask(server.port, "POST", f"{made['url']}/cancel")
        await asking.idle(server)
        assert (await shown(server, made["id"]))["status"] == "cancelled"


@pytest.mark.case("1.28")
async def test_a_task_that_only_waits_for_itself_is_held() -> None:
    """The loop has weak references alone, so whoever starts a task has to keep it."""
    watched: list[weakref.ref[asyncio.Task[None]]] = []
    owner = supervisor.Supervisor(lambda why: None)

    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    watched.append(weakref.ref(owner.job(wait(), "wait")))
    await asyncio.sleep(0)
    gc.collect()
    assert watched[0]() is not None
    await owner.close()

"""The stock `openai` client reads on: what it has never comes again, and what follows is the same.

Strategy: what is compared are the raw bytes off the socket, and what the client makes of them. The
connection is cut by a proxy in the middle of the answer, or the server is killed; the client comes
back with the number of the last event that it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests import redis_servers
from tests.integration import asking, cutting_proxy, harness, processes
from tests.integration.dialects import answers, failing, responding
from tests.integration.dialects.responding import ASKED
from tests.integration.dialects.stock_openai import CUT, client

from holdfast.eventlog import watch
from holdfast.eventlog.redis import address, engine
from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def raw(port: int, id: str, after: int | str | None, **headers: str) -> harness.Response:
    """The frames of a response, as they are on the wire."""
    place = "" if after is None else f"&starting_after={after}"
    return await harness.ask(port, "GET", f"/v1/responses/{id}?stream=true{place}", headers)


def frames(body: bytes) -> list[bytes]:
    """The frames of a body; heartbeats are no part of it."""
    return harness.blocks(body.replace(b": ping\n", b""))


def number(frame: bytes) -> int:
    return int(json.loads(frame.partition(b"data: ")[2])["sequence_number"])


@pytest.mark.parametrize("model", ["vendor/text", "vendor/tools", "vendor/error", "own/items"])
async def test_behind_each_event_comes_exactly_the_rest(
    stage: answers.Stage, stock: openai.AsyncOpenAI, model: str
) -> None:
    made = await stock.responses.create(model=model, input=ASKED, background=True)
    await asking.idle(stage.server)
    whole = await raw(stage.server.port, made.id, None)
    said = frames(whole.body)
    assert whole.clean
    assert [number(one) for one in said] == list(range(len(said)))
    for at, frame in enumerate(said):
        rest = await raw(stage.server.port, made.id, number(frame))
        assert (rest.status, rest.clean) == (200, True)
        assert rest.headers["content-type"].startswith("text/event-stream")
        assert frames(rest.body) == said[at + 1 :]


async def test_an_event_that_there_is_not_is_never_guessed(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    made = await stock.responses.create(model="vendor/text", input=ASKED)
    last = number(frames((await raw(stage.server.port, made.id, None)).body)[-1])
    for after in (last + 1, 2 << 32):
        refused = await raw(stage.server.port, made.id, after)
        assert (refused.status, refused.json()["error"]["code"]) == (409, "unknown_position")
        assert refused.headers["x-should-retry"] == "false"
        with pytest.raises(openai.ConflictError):
            await stock.responses.retrieve(made.id, stream=True, starting_after=after)
    for wrong in ("", "x", "-1", "1.5", "9" * 30):
        refused = await raw(stage.server.port, made.id, wrong)
        assert (refused.status, refused.json()["error"]["code"]) == (400, "malformed_position")
    for query in ("stream=maybe", "starting_after=1"):
        refused = await harness.ask(stage.server.port, "GET", f"/v1/responses/{made.id}?{query}")
        assert (refused.status, refused.json()["error"]["code"]) == (400, "invalid_field")


async def test_an_event_id_plays_no_part_and_a_head_reads_nothing(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    made = await stock.responses.create(model="vendor/text", input=ASKED)
    whole = await raw(stage.server.port, made.id, None)
    named = {"Last-Event-ID": f"{made.id.removeprefix('resp_')}:1-1"}
    assert (await raw(stage.server.port, made.id, None, **named)).body == whole.body
    path = f"/v1/responses/{made.id}?stream=true"
    head = await harness.ask(stage.server.port, "HEAD", path)
    assert (head.status, head.body) == (200, b"")


class Follower:
    """A program that reads a response to its end, and comes back as often as it is cut off."""

    def __init__(self, stock: openai.AsyncOpenAI) -> None:
        self._stock = stock
        self.said: list[Any] = []
        self.cuts = 0

    async def follow(self, **request: Any) -> Any:
        """Returns the response that the last event tells."""
        source = await self._stock.responses.create(stream=True, **request)
        while not await self._read(source):
            self.cuts += 1
            source = await self.again()
        return self.said[-1].response

    async def again(self) -> Any:
        """Comes back."""
        id, last = self.said[0].response.id, self.said[-1].sequence_number
        return await self._stock.responses.retrieve(id, stream=True, starting_after=last)

    async def _read(self, source: Any) -> bool:
        try:
            async for event in source:
                self.said.append(event)
        except CUT:
            return False
        return True

    @property
    def numbers(self) -> list[int]:
        return [event.sequence_number for event in self.said]


def cuts(*sizes: int) -> Any:
    """Plans that cut the first connections behind so many bytes of the answer."""
    left: Iterator[int] = iter(sizes)
    return lambda: (
        cutting_proxy.Plan(answered=size) if (size := next(left, 0)) else (cutting_proxy.WHOLE)
    )


async def test_five_cuts_and_one_call_of_the_provider(stage: answers.Stage) -> None:
    before = len(stage.provider.requests)
    plan = cuts(2600, 1100, 1300, 1000, 1400)
    async with (
        cutting_proxy.cutting(stage.server.port, plan) as proxy,
        client(f"{proxy.url}/v1") as stock,
    ):
        follower = Follower(stock)
        response = await follower.follow(model="vendor/tools", input=ASKED)
    assert proxy.cut == follower.cuts == 5
    assert follower.numbers == list(range(len(follower.said)))
    assert responding.told(response) == responding.expected("tools")
    assert len(stage.provider.requests) == before + 1


async def test_who_comes_back_while_it_is_written(
    stage: answers.Stage, stock: openai.AsyncOpenAI
) -> None:
    """What is left of an event comes at once, and what is written later when it is."""
    stage.gate.clear()
    made = await stock.responses.create(model="vendor/paused", input=ASKED, background=True)
    path = f"/v1/responses/{made.id}?stream=true&starting_after="
    whole = await harness.Reader.open(stage.server.port, "GET", path[:-16])
    await whole.until(lambda reader: b"output_text.delta" in reader.body)
    held = frames(bytes(whole.body))
    readers = [
        await harness.Reader.open(stage.server.port, "GET", f"{path}{number(one)}") for one in held
    ]
    for at, reader in enumerate(readers):
        await reader.until(lambda reader, at=at: frames(bytes(reader.body)) == held[at + 1 :])  # type: ignore[misc]
    stage.gate.set()
    said = frames((await whole.rest()).body)
    for at, reader in enumerate(readers):
        assert frames((await reader.rest()).body) == said[at + 1 :]
    await asking.idle(stage.server)


async def test_any_node_reads_on(valkey: redis_servers.Server) -> None:
    """The answer is written by one, read on and cancelled at the other."""
    where = address.Address((("127.0.0.1", valkey.port),), database=redis_servers.next_database())
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                harness.running_on(
                    engine.RedisLog(where), harness.configured(), watch.POLL_INTERVAL
                )
            )
            for _ in range(2)
        ]
        one, other = [await stack.enter_async_context(client(f"{node.url}/v1")) for node in nodes]
        follower = Follower(one)
        source = await one.responses.create(model="demo", input=failing.STALLS, stream=True)
        async for event in source:
            follower.said.append(event)
            if event.type == "response.output_text.delta":
                break
        await source.close()
        id = follower.said[0].response.id
        gone = asyncio.create_task(other.responses.cancel(id))
        again = Follower(other)
        again.said = follower.said
        with pytest.raises(openai.APIError) as caught:
            await again._read(await again.again())
        assert caught.value.code == "cancelled"
        assert (await gone).status == "cancelled"
        whole = [await raw(node.port, id, None) for node in nodes]
    assert whole[0].body == whole[1].body
    assert again.numbers == [number(one) for one in frames(whole[0].body)][:-2]


# A server that is killed


def chat(*pieces: str, gate: asyncio.Event | None = None) -> replay.Answer:
    held = () if gate is None else (gate,)
    said = tuple(answers.said(content=piece) for piece in pieces)
    return replay.Answer(body=(*said, *held, answers.said(reason="stop"), answers.DONE))


CONFIG = """
[log]
url = "sqlite:///log.db"
[providers.vendor]
kind = "openai"
base_url = "{url}/v1"
api_key = "k"
[fallback]
delay = 0.01
"""


async def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    """The answer is gone on with in another life, and the client reads on in it; what the first
    life said keeps its numbers."""
    never = asyncio.Event()
    first, then = chat("Neap ", "tides ", gate=never), chat("are small.")
    async with replay.ReplayServer([first, then]) as provider:
        (tmp_path / "holdfast.toml").write_text(CONFIG.format(url=provider.url))
        async with processes.serving(folder=tmp_path) as server, client(f"{server.url}/v1") as one:
            follower = Follower(one)
            source = await one.responses.create(model="vendor/m", input=ASKED, stream=True)
            async for event in source:
                follower.said.append(event)
                if event.type == "response.output_text.delta" and "tides" in event.delta:
                    server.process.send_signal(signal.SIGKILL)
                    break
            await source.close()
            await server.process.wait()
        lived = follower.said
        async with processes.serving(folder=tmp_path) as server, client(f"{server.url}/v1") as two:
            again = Follower(two)
            again.said = list(lived)
            while not await again._read(await again.again()):
                pass
            whole = await raw(server.port, lived[0].response.id, None)
    assert again.said[-1].response.output_text == "Neap tides are small."
    assert [number(frame) for frame in frames(whole.body)] == again.numbers
    assert again.numbers[: len(lived)] == list(range(len(lived)))
    assert again.numbers[len(lived) :] == [
        (2 << 32) + n for n in range(len(again.numbers) - len(lived))
    ]
    assert len(provider.requests) == 2

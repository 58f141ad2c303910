"""How long the status of a foreign call waits, and for what: in simulated time, so to the moment.

Strategy: the application is called as a server calls it, on a node whose log is in memory and whose
provider is the demo. Each message of the answer is noted with the seconds since the call began.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.types import ASGIApp
from tests.integration import harness, plain_dialect

from holdfast import app, events, service, storage
from holdfast.eventlog import memory
from holdfast.testing import simulated

HOLD = 2.0
"""Seconds that a status waits at most."""


class Said(msgspec.Struct, frozen=True):
    """A message of the answer, and when it came."""

    at: float
    message: dict[str, Any]


class Client:
    """One call. `said` fills while it is answered; `leave` is the client's going."""

    def __init__(self, application: ASGIApp, body: bytes) -> None:
        self._application, self._body = application, body
        self._begun = simulated.now()
        self._gone = asyncio.Event()
        self._asked = False
        self.said: list[Said] = []
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": plain_dialect.PATH,
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
        }
        await self._application(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.said.append(Said(round(simulated.now() - self._begun, 3), message))

    def leave(self) -> None:
        self._gone.set()

    @property
    def status(self) -> tuple[float, int]:
        """When the head came, and what it says."""
        first = self.said[0]
        assert first.message["type"] == "http.response.start"
        return first.at, first.message["status"]

    @property
    def body(self) -> bytes:
        return b"".join(one.message.get("body", b"") for one in self.said)


class Node(msgspec.Struct, frozen=True):
    service: service.Service
    application: ASGIApp

    def call(self, options: str = "", **fields: Any) -> Client:
        """Asks the demo, whose pieces come at the rate that is said."""
        return Client(self.application, plain_dialect.wanted(f"Why?\n/demo {options}", **fields))

    async def newest(self) -> events.StreamId:
        """The stream that was made, as soon as there is one."""
        while True:
            for name in self.service.supervisor.names:
                if name.startswith("produce "):
                    return events.stream_id(name.removeprefix("produce "))
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def running(**tables: Any) -> AsyncIterator[Node]:
    config = harness.configured(**tables)
    async with service.Service(memory.MemoryLog(), app.providers(config), config) as made:
        yield Node(made, plain_dialect.surface(made))


@simulated.timed
async def test_the_status_comes_with_the_first_word() -> None:
    async with running() as node:
        client = node.call("tokens=2 rate=1", stream=True)
        await client.task
        at, status = client.status
        assert status == 200
        assert 1.0 <= at < 1.1
        assert [frame.split()[0] for frame in plain_dialect.frames(client.body)][-1] == "complete"


@simulated.timed
async def test_a_word_of_reasoning_or_of_a_tool_call_is_a_first_word_too() -> None:
    async with running() as node:
        for options in ("reasoning=1", "tool=1", "refuse=1"):
            client = node.call(f"{options} rate=1", stream=True)
            await client.task
            assert 1.0 <= client.status[0] < 1.1


@simulated.timed
async def test_a_provider_that_is_silent_is_waited_for_two_seconds() -> None:
    async with running() as node:
        client = node.call("stall_at=0", stream=True)
        await asyncio.sleep(HOLD - 0.1)
        assert client.said == []
        await asyncio.sleep(0.2)
        assert client.status == (HOLD, 200)
        stream = await node.newest()
        await node.service.cancel(stream)
        await client.task
        assert plain_dialect.frames(client.body) == ["start", "error"]


@simulated.timed
async def test_an_error_before_the_first_word_is_the_status() -> None:
    async with running(fallback={"attempts": 1}) as node:
        for status, options in ((429, "status=429"), (502, "error_at=0"), (400, "status=400")):
            client = node.call(f"tokens=1 {options}", stream=True)
            await client.task
            at, found = client.status
            assert (found, at < 0.1) == (status, True)
            assert msgspec.json.decode(client.body)["plain"].startswith("provider_")


@simulated.timed
async def test_what_another_try_may_mend_is_not_the_status_yet() -> None:
    """The provider is asked again; the first word of all tries is waited for."""
    async with running(fallback={"attempts": 5}) as node:
        client = node.call("tokens=1 status=503", stream=True)
        await client.task
        at, status = client.status
        assert (at, status) == (HOLD, 200)
        assert plain_dialect.frames(client.body)[-1] == "error"


@simulated.timed
async def test_an_error_that_comes_later_than_that_is_a_frame() -> None:
    async with running() as node:
        client = node.call("stall_at=0", stream=True)
        stream = await node.newest()
        await asyncio.sleep(HOLD - 0.1)
        await node.service.cancel(stream)
        await client.task
        assert client.status[1] == 499
        late = node.call("tokens=1 stall_at=0", stream=True)
        stream = await node.newest()
        await asyncio.sleep(HOLD + 0.1)
        await node.service.cancel(stream)
        await late.task
        assert late.status == (HOLD, 200)
        assert plain_dialect.frames(late.body)[-1] == "error"


@simulated.timed
async def test_who_wants_the_answer_whole_waits_for_its_end() -> None:
    async with running() as node:
        client = node.call("tokens=5 rate=1")
        await client.task
        at, status = client.status
        assert status == 200
        assert 5.0 <= at < 5.2
        told = msgspec.json.decode(client.body)
        assert (told["last"], len(told["text"].split())) == ("complete", 5)


@simulated.timed
async def test_an_error_in_the_middle_is_the_status_of_a_whole_answer() -> None:
    async with running(fallback={"attempts": 1}) as node:
        client = node.call("tokens=5 rate=1 error_at=4 error=overloaded")
        await client.task
        at, status = client.status
        assert status == 503
        assert 4.0 <= at < 4.2
        assert msgspec.json.decode(client.body)["plain"] == "provider_overloaded"
        assert node.service.connections.counted().connections_opened == 1


@simulated.timed
async def test_who_only_wants_to_be_told_that_it_is_under_way_waits_for_nothing() -> None:
    async with running() as node:
        client = node.call("stall_at=0", detached=True)
        await client.task
        assert client.status[1] == 200
        assert client.status[0] < 0.1
        assert msgspec.json.decode(client.body) == {"text": "", "last": "start"}
        assert len(node.service.connections) == 0


@simulated.timed
async def test_who_waits_for_the_whole_and_goes_gives_the_place_back() -> None:
    """On any server; the answer is written to its end all the same."""
    async with running() as node:
        client = node.call("tokens=9 rate=1")
        await asyncio.sleep(3.0)
        assert len(node.service.connections) == 1
        client.leave()
        left_at = simulated.now()
        await client.task
        assert (client.said, simulated.now()) == ([], left_at)
        assert len(node.service.connections) == 0
        assert node.service.connections.counted().connections_dropped == 1
        await asyncio.sleep(10.0)
        (stream,) = await node.service.find(storage.Query())
        assert stream.status == "completed"


@simulated.timed
async def test_silence_ends_no_wait_for_the_whole() -> None:
    """It is nobody who reads too slowly."""
    server = {"connection_timeout": "10s", "write_timeout": "10s", "heartbeat_interval": "1s"}
    async with running(server=server, deadlines={"between_contents": "100s"}) as node:
        client = node.call("tokens=2 stall_at=1")
        stream = await node.newest()
        await asyncio.sleep(60.0)
        assert client.said == []
        assert len(node.service.connections) == 1
        await node.service.cancel(stream)
        await client.task
        assert client.status[1] == 499
        assert msgspec.json.decode(client.body)["plain"] == "cancelled"


@simulated.timed
async def test_why_a_wait_ends_is_told() -> None:
    reasons = {
        "draining": (503, "draining"),
        "log_unavailable": (503, "log_unavailable"),
        "access_ended": (401, "unauthorized"),
        "max_connection_age": (503, "draining"),
    }
    async with running() as node:
        for reason, (status, code) in reasons.items():
            client = node.call("tokens=2 stall_at=1")
            await asyncio.sleep(HOLD + 1.0)
            node.service.connections.dismiss(reason)
            await client.task
            told = msgspec.json.decode(client.body)
            assert (client.status[1], told["plain"]) == (status, code)
        assert told["message"] == "The connection ends before the answer: max_connection_age."

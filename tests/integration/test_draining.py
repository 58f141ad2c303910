"""A node that is told to stop: what is under way ends first, for a while; then all are sent away.

Strategy: in this process the drain is held open by an answer that a scripted vendor holds, so each
promise is looked at while it drains; real processes show what a signal does. PROTOCOL 6.2.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest
from tests.integration import asking, harness, processes

from holdfast import app, errors
from holdfast.testing import provider as replay

NO_TIMEOUT = 1000.0


def held(gate: asyncio.Event) -> replay.Answer:
    """Says one piece, and the rest once the gate is open."""
    return replay.Answer(body=(asking.chunk("Kelp "), gate, asking.chunk("holds."), asking.STOP))


async def draining(vendor: asking.Vendor) -> asyncio.Task[None]:
    """A drain under way."""
    service = vendor.server.service
    task = asyncio.create_task(service.drain(NO_TIMEOUT), name="drain under test")
    await asking.until(lambda: service.draining)
    return task


async def test_readers_stay_until_their_stream_has_ended() -> None:
    gate = asyncio.Event()
    async with asking.vendor(held(gate)) as vendor:
        readers = [await harness.begin(vendor.server.port, harness.wanted("vendor/m"))]
        await readers[0].until(asking.has(2))
        id = asking.last_id(bytes(readers[0].body))
        readers.append(await harness.resume(vendor.server.port, id, "header"))
        drain = await draining(vendor)
        answer = await harness.ask(vendor.server.port, "GET", "/readyz")
        assert (answer.status, answer.json()["code"]) == (503, "draining")
        created = await harness.ask(
            vendor.server.port, "POST", "/v1/streams", {}, harness.wanted("vendor/m")
        )
        assert (created.status, created.json()["code"]) == (503, "draining")
        late = await (await harness.resume(vendor.server.port, id, "header")).rest()
        assert asking.sent_away(late).data["reason"] == "draining"
        assert not drain.done()
        gate.set()
        for whole in [await reader.rest() for reader in readers]:
            assert whole.clean
            assert asking.kinds(whole.body)[-1] == "complete"
        await drain
        await asking.idle(vendor.server)


async def test_a_stream_that_nobody_reads_ends_too() -> None:
    gate = asyncio.Event()
    async with asking.vendor(held(gate)) as vendor:
        made = await harness.ask(
            vendor.server.port, "POST", "/v1/streams", {}, harness.wanted("vendor/m")
        )
        await asking.until(lambda: bool(vendor.provider.records))
        drain = await draining(vendor)
        await asyncio.sleep(0)
        assert not drain.done()
        gate.set()
        await drain
        info = await harness.ask(vendor.server.port, "GET", made.json()["url"])
        assert info.json()["status"] == "completed"


async def test_when_the_time_is_over_readers_are_asked_to_come_back() -> None:
    async with asking.vendor(held(asyncio.Event())) as vendor:
        reader = await harness.begin(vendor.server.port, harness.wanted("vendor/m"))
        await reader.until(asking.has(2))
        await vendor.server.service.drain(0.01)
        whole = await reader.rest()
        assert not whole.clean
        assert asking.retry(whole.blocks[-1]) >= 500
        assert harness.said(asking.without_retry(whole.blocks[-1]))[0].data["reason"] == "draining"


async def test_a_second_signal_ends_the_wait() -> None:
    async with asking.vendor(held(asyncio.Event())) as vendor:
        reader = await harness.begin(vendor.server.port, harness.wanted("vendor/m"))
        await reader.until(asking.has(2))
        drain = await draining(vendor)
        vendor.server.service.hurry()
        await drain
        assert not (await reader.rest()).clean
        await vendor.server.service.drain(NO_TIMEOUT)  # idempotent, and waits for nothing


async def test_a_mounted_application_drains_by_its_own_call() -> None:
    node = app.asgi(harness.configured(server={"drain_timeout": 0}))
    async with harness.serving(node) as server:
        reader = await asking.stalled(server.port)
        await node.drain()
        assert not (await reader.rest()).clean
        with pytest.raises(errors.Draining):
            node.service.check_ready()


# Real processes


async def draining_line(server: processes.Server) -> None:
    """Returns once the process has said that it drains."""
    while "draining" not in await server.more(1):
        pass


async def refused(port: int) -> bool:
    """Whether nobody listens there any more."""
    with contextlib.suppress(ConnectionError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            await reader.read(1)
        writer.close()
        return False
    return True


@pytest.mark.case("1.29")
async def test_a_signal_lets_the_answer_end_and_nobody_new_in(tmp_path: Path) -> None:
    log = ("--log-url", f"sqlite:///{tmp_path}/log.db")
    async with processes.serving(*log, folder=tmp_path) as server:
        body = asking.demo("tokens=40 rate=20")
        readers = [await harness.begin(server.port, body) for _ in range(5)]
        for reader in readers:
            await reader.until(asking.has(2))
        server.process.send_signal(signal.SIGTERM)
        await draining_line(server)
        assert await refused(server.port)
        for whole in [await reader.rest() for reader in readers]:
            assert whole.clean
            assert asking.kinds(whole.body)[-1] == "complete"
        async with asyncio.timeout(processes.PATIENCE):
            assert await server.process.wait() == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_to_a_process_ends_its_wait(
    how: signal.Signals, tmp_path: Path
) -> None:
    async with processes.serving("--log-url", "memory://", folder=tmp_path) as server:
        reader = await asking.stalled(server.port)
        server.process.send_signal(how)
        await draining_line(server)
        done = await server.end(how)
        whole = await reader.rest()
    assert not whole.clean
    assert b'"reason":"draining"' in whole.blocks[-1]
    assert done.code == 0
    assert "Traceback" not in done.err

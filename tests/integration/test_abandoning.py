"""Streams that nobody reads end after `streaming.abandon_after`, where that is set."""

from __future__ import annotations

import asyncio

from tests.integration import asking, harness

from holdfast import errors, events
from holdfast.testing import provider as replay

SOON = {"abandon_after": "200ms"}
STALLED = replay.Answer(body=(asking.chunk("Kelp "),), ending="stall")


async def ended(server: harness.Running, stream: events.StreamId) -> dict[str, object]:
    """What is shown of a stream once it has ended."""
    service = server.service
    async with asyncio.timeout(harness.PATIENCE):
        async for _ in service.events(stream):
            pass
    shown = await harness.ask(server.port, "GET", f"/v1/streams/{stream}")
    found: dict[str, object] = shown.json()
    return found


async def test_what_nobody_reads_is_cancelled_and_its_provider_let_go() -> None:
    async with asking.vendor(STALLED, streaming=SOON) as vendor:
        reader = await harness.begin(vendor.server.port, harness.wanted("vendor/m"))
        await reader.until(asking.has(2))
        stream = harness.stream_of(reader)
        await reader.close()
        async with asyncio.timeout(harness.PATIENCE):
            await vendor.provider.records[0].ended.wait()
        assert vendor.provider.records[0].gone
        shown = await ended(vendor.server, stream)
        assert shown["status"] == "cancelled"
        said = events.failure(errors.Cancelled("Nobody read this stream for 0.2 s."))
        assert shown["error"] == {"code": said.code, "message": said.message, "retryable": False}


async def test_what_never_had_a_reader_is_cancelled_too() -> None:
    async with asking.vendor(STALLED, streaming=SOON) as vendor:
        await harness.ask(vendor.server.port, "POST", "/v1/streams", {}, harness.wanted("vendor/m"))
        await asking.until(lambda: bool(vendor.provider.records))
        async with asyncio.timeout(harness.PATIENCE):
            await vendor.provider.records[0].ended.wait()
        await asking.idle(vendor.server)


async def test_one_reader_is_enough() -> None:
    """An answer that takes five times as long as it may be unread."""
    config = harness.configured(streaming=SOON)
    async with harness.running(config) as server:
        reader = await harness.begin(server.port, asking.demo("tokens=20 rate=20"))
        whole = await reader.rest()
        assert asking.kinds(whole.body)[-1] == "complete"


async def test_a_reader_without_http_is_one() -> None:
    config = harness.configured(streaming=SOON)
    async with harness.running(config) as server:
        made = await harness.ask(
            server.port, "POST", "/v1/streams", {}, asking.demo("tokens=20 rate=20")
        )
        shown = await ended(server, events.stream_id(made.json()["id"]))
        assert shown["status"] == "completed"

"""What is written by now, handed on: event by event, and to few at a time.

Strategy: the service is asked without HTTP. Its log holds each page until the test lets it go, so
that who reads is seen. A whole answer in another API's form is told this way too (`answering`), by
HTTP for once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.integration import asking, failing_log, harness, plain_dialect

from holdfast import errors, events, service
from holdfast.eventlog import base
from holdfast.metering import turns


class Held(failing_log.FailingLog):
    """A log that counts who waits for a page of `stream`, which comes once `pages` is set."""

    stream: events.StreamId | None = None
    waiting = most = 0

    def __init__(self) -> None:
        super().__init__()
        self.pages = asyncio.Event()

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        if stream == self.stream:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            await self.pages.wait()
            self.waiting -= 1
        return await super().read(stream, after, limit)


@contextlib.asynccontextmanager
async def told(log: Held) -> AsyncIterator[tuple[service.Service, events.StreamId, int]]:
    """A node, a stream of it that has ended, and the node's port."""
    async with harness.running_on(log, harness.configured(), 1.0) as server:
        stream = harness.stream_of(await asking.finished(server.port))
        await asking.idle(server)
        log.stream = stream
        yield server.service, stream, server.port


async def test_every_event_is_handed_on_in_its_order() -> None:
    log = Held()
    log.pages.set()
    async with told(log) as (node, stream, port):
        found: list[events.Event] = []
        await node.tell(stream, found.append, "acme")
        assert [event.seq for event in found] == list(range(1, len(found) + 1))
        assert (found[0].kind, found[-1].kind) == ("start", "complete")
        path = f"/v1/streams/{stream}/events"
        read = (await harness.ask(port, "GET", path)).body
        again: list[events.Event] = []
        await node.tell(stream, again.append)
        assert again == found
        assert (await node.get(stream, "acme")).choice().content == asking.content(read)
        with pytest.raises(errors.StreamNotFound):
            await node.tell(events.new_stream_id(), found.append, "acme")


async def test_few_have_their_turn_at_a_time_and_the_embedder_always() -> None:
    log = Held()
    async with told(log) as (node, stream, _):
        got: list[events.Event] = []
        tenants = [f"tenant {number}" for number in range(2 * service.GATHERED)]
        waiting = [asyncio.create_task(node.tell(stream, got.append, tenant)) for tenant in tenants]
        await asking.until(lambda: log.waiting == service.GATHERED)
        for _ in range(10):
            await asyncio.sleep(0)
        assert log.waiting == service.GATHERED
        own = asyncio.create_task(node.tell(stream, got.append))
        await asking.until(lambda: log.waiting == service.GATHERED + 1)
        log.pages.set()
        await asyncio.gather(own, *waiting)
        assert log.most == service.GATHERED + 1
        assert len(got) % (len(tenants) + 1) == 0


async def test_who_gives_up_or_fails_leaves_the_turn_to_others() -> None:
    log = Held()
    async with told(log) as (node, stream, _):
        some = [
            asyncio.create_task(node.tell(stream, lambda event: None, f"{number}"))
            for number in range(service.GATHERED)
        ]
        await asking.until(lambda: log.waiting == service.GATHERED)
        for task in some:
            task.cancel()
        await asyncio.gather(*some, return_exceptions=True)
        log.pages.set()

        def fail(event: events.Event) -> None:
            raise KeyError(event.kind)

        for _ in range(service.GATHERED + 1):
            with pytest.raises(KeyError):
                await node.tell(stream, fail, "acme")
        assert (await node.get(stream, "acme")).choice().content


async def test_a_tenant_with_too_many_wishes_is_refused() -> None:
    log = Held()
    async with told(log) as (node, stream, _):
        wishes = [
            asyncio.create_task(node.tell(stream, lambda event: None, "acme"))
            for _ in range(turns.MAX_WAITING)
        ]
        await asking.until(lambda: log.waiting > 0)
        with pytest.raises(errors.Overloaded):
            await node.tell(stream, lambda event: None, "acme")
        log.pages.set()
        await node.tell(stream, lambda event: None, "globex")
        await asyncio.gather(*wishes)


async def test_who_has_made_a_stream_is_not_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client would ask for a second one."""
    monkeypatch.setattr(turns, "MAX_WAITING", 0)
    async with plain_dialect.serving() as server:
        for detached in (False, True):
            body = plain_dialect.demo("tokens=3", detached=detached)
            told = await plain_dialect.ask(server.port, body)
            assert told.status == 200
        path = f"/v1/streams/{told.headers['x-stream-id']}"
        assert (await harness.ask(server.port, "GET", path)).status == 503
        await asking.idle(server)

"""Orphans: each is claimed once, goes on where its answer can be told again, and has one end.

Strategy: a memory log with streams that nobody writes, and what the service does with them: the
work that `adopt` gives is a producer's. The demo provider can tell its answers again; the
scripted one, which no registry knows, cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.unit.producing import scripted
from tests.unit.producing.answering import LIMITS

from holdfast import errors, events, request, transport
from holdfast.eventlog import base
from holdfast.producing import adoption, fallback, producer, routing, ticker
from holdfast.providers import base as provider_base
from holdfast.providers import playback, registry
from holdfast.testing import simulated

INTERRUPTED = events.Error(
    "interrupted", "The process that wrote this stream ended before the answer did.", True
)
ASKED = "Say it.\n/demo tokens=20 rate=10 unicode=1 reasoning=3"


def demo(prompt: str = ASKED, **more: object) -> request.Request:
    wanted = request.Request("demo", [request.Message("user", prompt)])
    return msgspec.structs.replace(wanted, **more)


async def unmetered(work: producer.Work, header: base.Header) -> producer.Work:
    return work


class Node:
    """A log, a ticker that runs on it, and the configured providers."""

    def __init__(self, busy: float) -> None:
        self.log = scripted.Log()
        self.routes = routing.Routing(registry.Registry(), fallback.Policy(attempts=1), "…")
        load = ticker.Load(lambda: 0.0, lambda: 0.0)
        load.busy = busy
        self.ticker = ticker.Ticker(
            self.log, flush_interval=0.1, patience=30.0, load=load, clock=lambda: 9.0
        )

    async def adopt(
        self, stream: events.StreamId, cause: errors.HoldfastError | None = None
    ) -> producer.Work | None:
        if cause is not None:
            return await adoption.end(self.log, stream, cause, 7000)
        return await adoption.adopt(self.log, self.routes, stream, 7000, unmetered)

    async def work(
        self, stream: events.StreamId, cause: errors.HoldfastError | None = None
    ) -> events.Complete | events.Error | None:
        """Adopts the stream and does what is to be done; its terminal event."""
        work = await self.adopt(stream, cause)
        assert work is not None
        return await self.produce(work)

    async def produce(self, work: producer.Work) -> events.Complete | events.Error | None:
        written = scripted.producing(work, LIMITS, self.ticker, self.log)
        return await written.run()

    async def begin(self, wanted: request.Request, provider: str = "demo") -> events.StreamId:
        """A stream of this request, with its `start`."""
        stream = events.new_stream_id()
        header = base.Header("", 1000, provider, "demo", request=request.pack(wanted))
        start = events.Start(stream, "r", provider, "demo", events.rfc3339(0))
        life = await self.log.create(stream, header, (events.draft(start),), 1000)
        assert isinstance(life, base.Life)
        return stream

    async def write(self, stream: events.StreamId, *bodies: events.Body) -> None:
        [head] = await self.log.heads([stream])
        assert head is not None
        drafts = tuple(events.draft(body) for body in bodies)
        batch = base.Batch(stream, head.epoch, head.seq + len(drafts), 2000, drafts)
        assert isinstance((await self.log.append((batch,)))[0], base.Ok)

    async def whole(self, wanted: request.Request) -> list[events.Body]:
        """The bodies of this answer, told without a break."""
        stream = await self.begin(wanted)
        await self.work(stream)
        of_calls = (events.Adopted, events.Attempt, events.Complete)
        return [body for body in await self.log.bodies(stream) if not isinstance(body, of_calls)]


@contextlib.asynccontextmanager
async def running(busy: float = 0.0) -> AsyncGenerator[Node, None]:
    node = Node(busy)
    task = asyncio.create_task(node.ticker.run())
    try:
        yield node
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def kinds(log: scripted.Log, stream: events.StreamId) -> list[str]:
    return [event.kind for event in await log.events(stream)]


# What nobody can tell again


@simulated.timed
async def test_an_open_orphan_ends_as_interrupted() -> None:
    async with running() as node:
        stream, life = await node.log.begin()
        assert await node.work(stream) == INTERRUPTED
        start, adopted, error = await node.log.events(stream)
        assert (start.epoch, start.ts) == (life.epoch, 0)
        assert adopted.body == events.Adopted(adopted.epoch)
        assert (adopted.epoch >> 16, adopted.ts) == ((life.epoch >> 16) + 1, 7000)
        assert error.body == INTERRUPTED
        assert (error.epoch, error.seq, error.ts) == (adopted.epoch, 3, 9000)


@simulated.timed
async def test_an_orphan_ends_for_the_cause_that_is_given() -> None:
    async with running() as node:
        stream = await node.begin(demo())
        assert await node.work(stream, errors.Draining()) == events.failure(errors.Draining())


@simulated.timed
async def test_the_size_of_what_was_asked_counts_again() -> None:
    async with running() as node:
        work = await node.adopt(await node.begin(demo()))
        assert work is not None
        assert work.size == len(request.pack(demo())) > 0


@simulated.timed
async def test_an_orphan_is_adopted_once() -> None:
    async with running() as node:
        stream, _ = await node.log.begin()
        assert await node.work(stream) == INTERRUPTED
        assert await node.adopt(stream) is None
        assert await kinds(node.log, stream) == ["start", "metadata", "error"]


@simulated.timed
async def test_two_who_adopt_at_once_write_one_end() -> None:
    async with running() as node:
        stream, _ = await node.log.begin()
        both = await asyncio.gather(node.work(stream), node.work(stream))
        assert sorted(both, key=repr) == [INTERRUPTED, None]
        found = await node.log.events(stream)
        assert [event.kind for event in found] == ["start", "metadata", "metadata", "error"]
        assert found[3].epoch == found[2].epoch


@simulated.timed
async def test_many_orphans_end_in_one_tick_without_waiting() -> None:
    async with running(busy=1.0) as node:
        streams = [(await node.log.begin())[0] for _ in range(20)]
        works = await asyncio.gather(*[node.adopt(stream) for stream in streams])
        await asyncio.gather(*[node.produce(work) for work in works if work is not None])
        assert [len(batches) for batches in node.log.ticks] == [20]
        assert node.log.times == [0.0]


@simulated.timed
async def test_a_stream_that_is_not_there_needs_nobody() -> None:
    async with running() as node:
        assert await node.adopt(events.new_stream_id()) is None


@simulated.timed
async def test_the_end_waits_for_the_log() -> None:
    async with running() as node:
        stream, _ = await node.log.begin()
        node.log.script.extend([scripted.AWAY] * 60)
        working = asyncio.create_task(node.work(stream))
        await asyncio.sleep(50.0)
        assert not working.done()
        await asyncio.sleep(50.0)
        assert await working == INTERRUPTED
        assert await kinds(node.log, stream) == ["start", "metadata", "error"]


@pytest.mark.parametrize("cause", [None, errors.Draining()])
@simulated.timed
async def test_a_claim_waits_for_the_log(cause: errors.HoldfastError | None) -> None:
    async with running() as node:
        stream, _ = await node.log.begin()
        claim, away = node.log.claim, 3

        async def failing(stream: events.StreamId, ts: int) -> base.Life | None:
            nonlocal away
            away -= 1
            if away >= 0:
                raise errors.LogUnavailable
            return await claim(stream, ts)

        node.log.claim = failing  # type: ignore[method-assign]
        terminal = await node.work(stream, cause)
        assert terminal == (INTERRUPTED if cause is None else events.failure(cause))
        assert simulated.now() == simulated.BEGIN + 3 * adoption.AGAIN


@simulated.timed
async def test_a_stream_that_this_version_cannot_read_has_an_end() -> None:
    async with running() as node:
        stream = await node.begin(demo())
        [head] = await node.log.heads([stream])
        assert head is not None
        strange = events.Draft("metadata", b'{"type":"of tomorrow"}')
        await node.log.append((base.Batch(stream, head.epoch, 2, 2000, (strange,)),))
        with capture_logs() as logs:
            terminal = await node.work(stream)
        assert isinstance(terminal, events.Error)
        assert terminal.code == "internal"
        assert [line["event"] for line in logs] == ["adoption_failed"]


@simulated.timed
async def test_what_is_claimed_is_not_let_go_while_the_log_cannot_be_read() -> None:
    async with running() as node:
        stream, _ = await node.log.begin()
        stat, away = node.log.stat, 5

        async def failing(stream: events.StreamId) -> base.Info | base.Tombstone | None:
            nonlocal away
            away -= 1
            if away >= 0:
                raise errors.LogUnavailable
            return await stat(stream)

        node.log.stat = failing  # type: ignore[method-assign]
        assert await node.work(stream) == INTERRUPTED
        assert simulated.now() == simulated.BEGIN + 5 * adoption.AGAIN
        assert (await kinds(node.log, stream)).count("metadata") == 1


@pytest.mark.parametrize("kept", [b"", b"{}", b"not JSON", b'{"model":"demo","messages":7}'])
@simulated.timed
async def test_a_request_that_cannot_be_read_is_an_interrupted_one(kept: bytes) -> None:
    async with running() as node:
        stream = events.new_stream_id()
        header = base.Header("", 1000, "demo", "demo", request=kept)
        start = events.draft(events.Start(stream, "r", "demo", "demo", events.rfc3339(0)))
        await node.log.create(stream, header, (start,), 1000)
        assert await node.work(stream) == INTERRUPTED


# What can be told again


@simulated.timed
async def test_an_answer_goes_on_from_wherever_it_was_left() -> None:
    async with running() as node:
        wanted = demo()
        answer = await node.whole(wanted)
        assert len(answer) > 20
        for place in range(len(answer) + 1):
            stream = await node.begin(wanted)
            if place:
                await node.write(stream, *answer[:place])
            terminal = await node.work(stream)
            assert isinstance(terminal, events.Complete)
            bodies = await node.log.bodies(stream)
            [adopted] = [body for body in bodies if isinstance(body, events.Adopted)]
            assert bodies.index(adopted) == place
            assert _text(bodies) == _text(answer)
            finished = any(isinstance(body, events.Finish) for body in answer[:place])
            assert terminal.attempts == (1 if finished else 2)
            assert terminal.length == len(_text(answer).encode())


@simulated.timed
async def test_what_is_written_comes_at_once_and_the_rest_in_its_time() -> None:
    async with running() as node:
        answer = await node.whole(demo())
        stream = await node.begin(demo())
        await node.write(stream, *answer[:13])
        begun = simulated.now()
        terminal = await node.work(stream)
        assert simulated.now() - begun == pytest.approx((23 - 13) / 10, abs=0.2)
        assert isinstance(terminal, events.Complete)
        # From its creation on: 6 s by the log's times, and what it took in this life.
        assert terminal.duration_ms == pytest.approx(6000 + 1000, abs=200)


@simulated.timed
async def test_another_answer_is_not_written_behind_this_one() -> None:
    async with running() as node:
        stream = await node.begin(demo())
        await node.write(stream, events.Chunk("content", "Something else entirely."))
        terminal = await node.work(stream)
        assert terminal == events.failure(errors.ContinuationDiverged())
        assert await kinds(node.log, stream) == [
            "start",
            "chunk",
            *("metadata", "metadata", "metadata"),  # taken over, asked again, and failed
            "error",
        ]


@simulated.timed
async def test_a_shorter_answer_is_not_taken_for_this_one() -> None:
    async with running() as node:
        answer = await node.whole(demo(ASKED.replace("tokens=20", "tokens=30")))
        texts = [body for body in answer if isinstance(body, events.Chunk)]
        stream = await node.begin(demo())
        await node.write(stream, *texts)
        assert await node.work(stream) == events.failure(errors.ContinuationDiverged())


@pytest.mark.parametrize(
    ("option", "code", "calls"),
    [
        ("status=401", "interrupted", 1),
        ("status=503", "interrupted", fallback.REPLAYS),
        ("cut_at=3", "interrupted", fallback.REPLAYS),
        ("cut_at=15", "provider_interrupted", 1),
    ],
)
@simulated.timed
async def test_a_call_that_fails_before_it_catches_up_is_made_again(
    option: str, code: str, calls: int
) -> None:
    async with running() as node:
        answer = await node.whole(demo())
        stream = await node.begin(demo(f"{ASKED} {option}"))
        await node.write(stream, *answer[:10])
        terminal = await node.work(stream)
        assert isinstance(terminal, events.Error)
        assert terminal.code == code
        bodies = await node.log.bodies(stream)
        attempts = [body for body in bodies if isinstance(body, events.Attempt)]
        assert [body.number for body in attempts if body.error] == [*range(2, 2 + calls)]
        assert [(body.number, body.how) for body in attempts if not body.error] == [
            (number, "replay") for number in range(2, 2 + calls)
        ]


@pytest.mark.parametrize("written", [0, 10])
@simulated.timed
async def test_a_refusal_that_passes_costs_nothing_but_time(written: int) -> None:
    async with running() as node:
        answer = await node.whole(demo())
        stream = await node.begin(demo())
        if written:
            await node.write(stream, *answer[:written])
        work = await node.adopt(stream)
        assert work is not None
        assert isinstance(work.first, fallback.Ask)
        provider = Refusing(3)
        route = msgspec.structs.replace(work.route, targets=(registry.Target(provider, "demo"),))
        terminal = await node.produce(msgspec.structs.replace(work, route=route))
        assert isinstance(terminal, events.Complete)
        assert terminal.attempts == 1 + 3 + 1
        assert _text(await node.log.bodies(stream)) == _text(answer)


@simulated.timed
async def test_a_stream_that_is_stopped_is_not_asked_for_again() -> None:
    async with running() as node:
        stream = await node.begin(demo(f"{ASKED} status=503"))
        await node.write(stream, events.Chunk("content", "x"))
        work = await node.adopt(stream)
        assert work is not None
        written = scripted.producing(work, LIMITS, node.ticker, node.log)
        working = asyncio.create_task(written.run())
        await asyncio.sleep(0.5)  # it waits for its second call
        written.stop(errors.Cancelled())
        await simulated.idle()
        assert await working == events.failure(errors.Cancelled())


@simulated.timed
async def test_a_stream_that_takes_down_its_nodes_ends() -> None:
    async with running() as node:
        stream = await node.begin(demo())
        for _ in range(fallback.MAX_BARREN):
            work = await node.adopt(stream)
            assert work is not None
            assert isinstance(work.first, fallback.Ask)
        assert await node.work(stream) == INTERRUPTED


@simulated.timed
async def test_one_that_gets_on_may_have_any_number_of_nodes() -> None:
    async with running() as node:
        answer = await node.whole(demo())
        stream = await node.begin(demo())
        for body in answer[: 2 * fallback.MAX_BARREN]:
            work = await node.adopt(stream)
            assert work is not None
            assert isinstance(work.first, fallback.Ask)
            await node.write(stream, body)
        assert isinstance(await node.work(stream), events.Complete)


# What needs no telling


@pytest.mark.parametrize("cancelled", [False, True])
@simulated.timed
async def test_an_answer_that_has_finished_is_whole(cancelled: bool) -> None:
    async with running() as node:
        stream = await node.begin(demo(), provider="gone")
        said = (scripted.content("Kelp"), scripted.stop(), events.Usage(3, 4, 7))
        await node.write(stream, *said)
        if cancelled:
            await node.log.request_cancel(stream)
        terminal = await node.work(stream)
        assert isinstance(terminal, events.Complete)
        assert (terminal.length, terminal.finish_reason, terminal.usage) == (
            4,
            "stop",
            events.Tokens(3, 4, 7),
        )


@simulated.timed
async def test_a_cancelled_orphan_is_not_asked_for_again() -> None:
    async with running() as node:
        stream = await node.begin(demo())
        await node.log.request_cancel(stream)
        assert await node.work(stream) == events.failure(errors.Cancelled())


class Refusing(playback.Demo):
    """The demo, whose first calls are refused for a passing reason."""

    def __init__(self, refusals: int) -> None:
        super().__init__("demo")
        self.refusals = refusals

    async def open(self, call: transport.Request, sink: transport.Sink) -> provider_base.Exchange:
        self.refusals -= 1
        if self.refusals >= 0:
            raise errors.Unreachable("nobody there yet")
        return await super().open(call, sink)


def _text(bodies: list[events.Body]) -> str:
    return "".join(
        body.delta for body in bodies if isinstance(body, events.Chunk) and body.type == "content"
    )

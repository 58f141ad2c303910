"""Our client against the real server, over a network that breaks off anywhere.

Strategy: the proxy cuts by a seed, in the head of an answer as in the middle of an event; the
client does not wait between its tries, so a hundred cuts take a moment. What it has in the end is
compared, event by event and byte for byte, with what a reader of the raw bytes got.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration import asking, cutting_proxy, harness

from holdfast import client, errors, events

OPTIONS = "/demo rate=10000 tokens=200 unicode=1"


class Reader:
    """A client whose waits are noted and not waited for."""

    def __init__(self, url: str) -> None:
        self.delays: list[float] = []
        self.client = client.AsyncClient(url, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def reading(url: str) -> AsyncIterator[Reader]:
    reader = Reader(url)
    async with asyncio.timeout(harness.PATIENCE), reader.client:
        yield reader


def frame(stream: str, event: events.Event) -> bytes:
    """The block that this event came in."""
    id = events.event_id(events.StreamId(stream), event.position)
    return b"event: %b\ndata: %b\nid: %b\n\n" % (event.kind.encode(), event.data, id.encode())


async def written(server: harness.Running, stream: str) -> bytes:
    return (await harness.ask(server.port, "GET", f"/v1/streams/{stream}/events")).body


async def read_through_cuts(server: harness.Running, seed: int, longest: int) -> int:
    """One answer over a bad network; how often it was cut."""
    key = f"seed-{seed}-{longest}"
    plan = cutting_proxy.dice(seed, longest, cuts=40)
    async with cutting_proxy.cutting(server.port, plan) as proxy, reading(proxy.url) as reader:
        ask = reader.client.stream(
            model="demo", prompt=f"Seed {seed}\n{OPTIONS}", flush_interval_ms=0, idempotency_key=key
        )
        async with ask as answer:
            seen = [event async for event in answer]
            final = await answer.final()
        whole = await written(server, answer.stream_id)
        assert b"".join(frame(answer.stream_id, event) for event in seen) == whole
        assert final.choice().content == asking.content(whole)
        assert final.complete is not None
        assert proxy.cut <= proxy.taken
        return proxy.cut


@pytest.mark.parametrize("longest", [400, 3000], ids=["mostly in the head", "anywhere"])
async def test_over_a_network_that_cuts_the_answer_is_exact(longest: int) -> None:
    async with harness.running(harness.configured()) as server:
        cuts = [await read_through_cuts(server, seed, longest) for seed in range(8)]
        assert sum(cuts) > 60
        listed = await harness.ask(server.port, "GET", "/v1/streams")
        assert len(listed.json()["streams"]) == 8  # asked again, and never bought twice
        await asking.idle(server)


async def test_twenty_at_once_over_one_bad_network() -> None:
    async with harness.running(harness.configured()) as server:
        plan = cutting_proxy.dice(99, 2000, cuts=200)
        async with cutting_proxy.cutting(server.port, plan) as proxy, reading(proxy.url) as reader:

            async def ask(number: int) -> tuple[str, str]:
                prompt = f"Number {number}\n{OPTIONS}"
                async with reader.client.stream(model="demo", prompt=prompt) as answer:
                    text = "".join([piece async for piece in answer.text_stream])
                    assert (await answer.final()).choice().content == text
                    return answer.stream_id, text

            for stream, text in await asyncio.gather(*(ask(number) for number in range(20))):
                assert text == asking.content(await written(server, stream))
            assert proxy.cut > 20
        await asking.idle(server)


async def test_a_reader_that_is_sent_away_comes_back_when_it_was_told_to() -> None:
    """Over the limit for two tries, and not refused by the status."""
    config = harness.configured(server={"max_connections": 1})
    async with harness.running(config) as server:
        held = await asking.stalled(server.port)
        stream = harness.stream_of(held)
        async with reading(f"http://127.0.0.1:{server.port}") as reader:
            async with reader.client.resume(stream) as answer:
                waiting = asyncio.create_task(anext(answer))
                await asking.until(lambda: len(reader.delays) >= 2)
                await held.close()
                assert (await waiting).kind == "start"
            assert all(delay >= 0.5 for delay in reader.delays[:2])
        await asking.end(server, held)


async def test_a_restart_in_mid_answer_is_not_noticed(tmp_path: Path) -> None:
    """The client is attached all the while: it is sent away, finds nobody, then the rest."""
    config = harness.configured(f"sqlite:///{tmp_path}/log.db")
    async with (
        cutting_proxy.cutting(None, lambda: cutting_proxy.WHOLE) as proxy,
        reading(proxy.url) as reader,
    ):
        async with harness.running(config) as server:
            proxy.target = server.port
            prompt = "/demo rate=10 tokens=9"
            answer = await reader.client.stream(model="demo", prompt=prompt).__aenter__()
            seen = [await anext(answer), await anext(answer)]
            proxy.target = None
        rest = asyncio.create_task(collect(answer))
        await asking.until(lambda: len(reader.delays) >= 3)
        async with harness.running(config) as server:
            proxy.target = server.port
            seen += await rest
            whole = await written(server, answer.stream_id)
        assert b"".join(frame(answer.stream_id, event) for event in seen) == whole
        assert reader.delays[0] >= 0.5  # as it was told
        assert [event.kind for event in seen].count("complete") == 1
        assert sum(isinstance(event.body, events.Adopted) for event in seen) == 1
        assert (await answer.final()).choice().content  # and it is proved
        await answer.__aexit__(None, None, None)


async def collect(answer: client.AnswerStream) -> list[events.Event]:
    return [event async for event in answer]


async def test_a_restart_that_forgot_the_answer_is_told_as_such() -> None:
    """With a log in memory nothing is there any more, and nobody waits for it."""
    config = harness.configured()
    async with (
        cutting_proxy.cutting(None, lambda: cutting_proxy.WHOLE) as proxy,
        reading(proxy.url) as reader,
    ):
        async with harness.running(config) as server:
            proxy.target = server.port
            prompt = "/demo rate=10 tokens=9"
            answer = await reader.client.stream(model="demo", prompt=prompt).__aenter__()
            await anext(answer)
            proxy.target = None
        async with harness.running(config) as server:
            proxy.target = server.port
            with pytest.raises(errors.RequestRefused) as refused:
                await collect(answer)
        assert (refused.value.status, refused.value.code) == (404, "stream_not_found")
        await answer.__aexit__(None, None, None)


async def test_cancel_and_get_over_a_bad_network() -> None:
    async with harness.running(harness.configured()) as server:
        plan = cutting_proxy.dice(7, 300, cuts=12)
        async with cutting_proxy.cutting(server.port, plan) as proxy, reading(proxy.url) as reader:
            prompt = "/demo rate=1000 tokens=5 stall_at=4"
            async with reader.client.stream(model="demo", prompt=prompt) as answer:
                await anext(answer)
                assert (await reader.client.cancel(answer.stream_id))["id"] == answer.stream_id
                with pytest.raises(errors.AnswerFailed) as failed:
                    await answer.final()
            assert failed.value.code == "cancelled"
            shown = await reader.client.get(answer.stream_id)
            assert shown["status"] == "cancelled"
            assert proxy.cut == 12
        await asking.idle(server)


@pytest.mark.parametrize(
    ("options", "code"), [("error_at=2", "provider_failed"), ("status=401", "provider_auth")]
)
async def test_an_answer_that_failed_is_an_error_of_its_code(options: str, code: str) -> None:
    async with harness.running(harness.configured()) as server, reading(server.url) as reader:
        prompt = f"/demo rate=1000 tokens=5 {options}"
        async with reader.client.stream(model="demo", prompt=prompt) as answer:
            with pytest.raises(errors.AnswerFailed) as failed:
                await answer.final()
        assert failed.value.code == code


async def test_a_wrong_request_is_refused_at_once() -> None:
    async with harness.running(harness.configured()) as server, reading(server.url) as reader:
        with pytest.raises(errors.RequestRefused) as refused:
            async with reader.client.stream(model="nothing", prompt="x"):
                pass
        assert (refused.value.status, refused.value.code) == (400, "unknown_model")
        assert reader.delays == []

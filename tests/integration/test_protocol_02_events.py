"""PROTOCOL 2, events: what they are, how they are numbered, and how a stream ends.

Strategy: the demo says everything that a stream can hold; where the provider's own bytes matter,
a replayed one says them. Field names are written here a second time, from the table.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.integration import asking, harness

from holdfast import client
from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

START = {"stream_id", "request_id", "provider", "model", "created_at"}
CHUNK = {"type", "delta", "choice", "call", "id", "name", "block", "extra"}
COMPLETE = {
    *("finish_reason", "provider_finish_reason", "usage", "chunks", "bytes", "length"),
    *("sha256", "duration_ms", "attempts", "exact"),
}
TERMINAL = ("error", "complete")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with harness.running(harness.configured()) as running:
        yield running
        await asking.idle(running)


async def said(server: harness.Running, options: str, **fields: object) -> list[harness.Said]:
    return harness.said((await asking.finished(server.port, options, **fields)).body)


async def play(*pieces: bytes | asyncio.Event) -> list[harness.Said]:
    """The events of an answer that a provider gives in these pieces."""
    async with asking.vendor(replay.Answer(body=pieces)) as on:
        reader = await harness.begin(on.server.port, harness.wanted("vendor/m"))
        return harness.said((await reader.rest()).body)


async def shown(server: harness.Running, of: harness.Reader | harness.Response) -> Any:
    stream = harness.stream_of(of)
    return (await harness.ask(server.port, "GET", f"/v1/streams/{stream}")).json()


async def test_2_1_the_events_are_numbered_without_a_gap(server: harness.Running) -> None:
    events = await said(server, "tokens=30")
    numbers = [int((event.id or "").rpartition("-")[2]) for event in events]
    assert numbers == list(range(1, len(events) + 1))


async def test_2_1_the_fields_are_those_of_the_table(server: harness.Running) -> None:
    events = await said(server, "tokens=3 reasoning=2 tool=1", n=2, flush_interval_ms=0)
    assert events[0].event == "start"
    assert set(events[0].data) == START
    for event in events[1:]:
        if event.event == "chunk":
            assert "type" in event.data
            assert set(event.data) <= CHUNK
            assert event.data.get("choice") != 0
            assert event.data.get("delta") != ""
    assert set(events[-1].data) == {*COMPLETE, "choices"}
    by_type = {event.data["type"]: set(event.data) for event in events if event.event == "metadata"}
    assert by_type["finish"] == {"type", "choice", "finish_reason", "provider_finish_reason"}
    assert {"type", "input_tokens", "output_tokens", "total_tokens"} <= by_type["usage"]


async def test_2_1_an_attempt_and_an_error_have_the_fields_of_the_table(
    server: harness.Running,
) -> None:
    *_, attempt, error = await said(server, "error_at=1 error=overloaded")
    assert attempt.data["type"] == "attempt"
    assert {"number", "provider", "model", "error", "message"} <= set(attempt.data)
    assert error.event == "error"
    assert error.data["code"] == "provider_overloaded"
    assert set(error.data) == {"code", "message", "retryable"}


async def test_2_2_heartbeat_reconnect_and_rewind_have_their_fields() -> None:
    config = harness.configured(server={"heartbeat_interval": "50ms"})
    async with harness.running(config) as server:
        lead = await asking.stalled(server.port)
        path = f"/v1/streams/{harness.stream_of(lead)}/events"
        reader = await harness.Reader.open(server.port, "GET", f"{path}?after=1-99")
        await reader.until(lambda reader: b"event: heartbeat" in reader.body)
        await server.service.drain(0)
        answer = await reader.rest()
        await lead.close()
    transient = [block for block in answer.blocks if harness.position(block) is None]
    data = [msgspec.json.decode(block.split(b"data: ")[1]) for block in transient]
    assert data[0] == {"reason": "unknown_position"}
    assert set(data[1]) == {"timestamp"}
    assert set(data[-1]) == {"retry_ms", "reason"}
    assert asking.retry(transient[-1]) == data[-1]["retry_ms"]


ENDS = (
    *("tokens=5", "tokens=0", "refuse=1", "tool=1", "finish=length"),
    *("error_at=0", "error_at=2", "cut_at=0", "cut_at=2", "status=429", "status=500"),
)


@pytest.mark.parametrize("options", ENDS)
async def test_2_3_there_is_one_terminal_event_and_it_is_the_last(
    server: harness.Running, options: str
) -> None:
    events = [event.event for event in await said(server, options)]
    assert [event for event in events if event in TERMINAL] == events[-1:]


@pytest.mark.parametrize("pieces", [0, 2], ids=["before its first chunk", "in the middle"])
async def test_2_3_also_after_the_server_was_stopped(pieces: int, tmp_path: Path) -> None:
    """The demo's answers can be told again, so the stream goes on where it was."""
    config = harness.configured(f"sqlite:///{tmp_path}/log.db")
    async with harness.running(config) as server:
        body = asking.demo("tokens=9 rate=10", flush_interval_ms=0)
        reader = await harness.begin(server.port, body)
        stream = harness.stream_of(reader)
        await reader.until(lambda reader: len(reader.blocks) > pieces)
    before = await reader.rest()
    async with harness.running(config) as server:
        after = await harness.ask(server.port, "GET", f"/v1/streams/{stream}/events")
        untouched = await asking.finished(server.port, "tokens=9")
    assert after.clean
    assert after.body.startswith(harness.durable(before.body))
    events = asking.kinds(after.body)
    assert [event for event in events if event in TERMINAL] == ["complete"]
    adopted = [said for said in harness.said(after.body) if said.data.get("type") == "adopted"]
    assert len(adopted) == 1
    assert asking.content(after.body) == asking.content(untouched.body)


async def test_2_4_length_and_sha256_are_those_of_the_text(server: harness.Running) -> None:
    whole = await asking.finished(server.port, "tokens=200 unicode=1 reasoning=3")
    text = asking.content(whole.body).encode()
    end = harness.said(whole.body)[-1].data
    assert end["length"] == len(text) > 1000
    assert end["sha256"] == hashlib.sha256(text).hexdigest()
    assert text.decode() != text.decode("latin-1")


async def test_2_4_each_choice_has_its_own(server: harness.Running) -> None:
    events = await said(server, "tokens=9 unicode=1", n=3)
    ends = events[-1].data["choices"]
    assert [end["choice"] for end in ends] == [0, 1, 2]
    for end in ends:
        deltas = [
            event.data["delta"]
            for event in events
            if event.event == "chunk" and event.data.get("choice", 0) == end["choice"]
        ]
        text = "".join(deltas).encode()
        assert (end["length"], end["sha256"]) == (len(text), hashlib.sha256(text).hexdigest())
    assert len({end["sha256"] for end in ends}) == 3


@pytest.mark.parametrize(
    "reason", ["stop", "length", "tool_calls", "content_filter", "refusal", "other"]
)
async def test_2_5_the_finish_reasons(server: harness.Running, reason: str) -> None:
    end = (await said(server, f"tokens=2 finish={reason}"))[-1].data
    assert end["finish_reason"] == end["provider_finish_reason"] == reason


async def test_2_5_the_provider_s_own_word_stands_beside_it() -> None:
    stop = asking.STOP.replace(b'"stop"', b'"grown_tired"')
    end = (await play(asking.chunk("Well"), stop))[-1].data
    assert (end["finish_reason"], end["provider_finish_reason"]) == ("other", "grown_tired")


def half(escape: str) -> bytes:
    """A piece with half a character, as a provider writes it."""
    return asking.chunk("HALF").replace(b"HALF", escape.encode())


async def test_2_6_a_character_that_was_split_arrives_whole() -> None:
    gate = asyncio.Event()
    async with asking.vendor(
        replay.Answer(body=(half(r"a\ud83c"), gate, half(r"\udf0ab"), asking.STOP))
    ) as on:
        reader = await harness.begin(on.server.port, harness.wanted("vendor/m"))
        await reader.until(lambda reader: b'"a"' in reader.body)
        gate.set()
        whole = await reader.rest()
    assert asking.content(whole.body) == "a🌊b"
    assert harness.said(whole.body)[-1].data["length"] == len("a🌊b".encode())


async def test_2_6_half_a_character_becomes_a_replacement() -> None:
    events = await play(half(r"a\ud83c"), asking.chunk("b"), half(r"\udf0a"), asking.STOP)
    text = "".join(event.data["delta"] for event in events if event.event == "chunk")
    assert text == "a\ufffdb\ufffd"


async def test_2_7_a_tool_call_is_counted_within_its_choice(server: harness.Running) -> None:
    events = await said(server, "tool=2", n=2, flush_interval_ms=0)
    calls: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in events:
        if event.event == "chunk" and event.data["type"] == "tool_call":
            place = (event.data.get("choice", 0), event.data["call"])
            calls.setdefault(place, []).append(event.data)
    assert sorted(calls) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for first, *more in calls.values():
        assert first["id"]
        assert first["name"] == "look_up"
        assert not any({"id", "name"} & set(chunk) for chunk in more)
        arguments = msgspec.json.decode("".join(chunk.get("delta", "") for chunk in (first, *more)))
        assert set(arguments) == {"place", "depth_m"}


async def test_2_8_an_event_keeps_its_bytes_for_ever(tmp_path: Path) -> None:
    config = harness.configured(f"sqlite:///{tmp_path}/log.db")
    async with harness.running(config) as server:
        lead = await harness.begin(server.port, asking.demo("tokens=300 rate=3000 unicode=1"))
        path = f"/v1/streams/{harness.stream_of(lead)}/events"
        await lead.until(lambda reader: len(reader.blocks) > 3)
        late = await harness.ask(server.port, "GET", path)
        whole = await lead.rest()
        assert late.body == whole.body
        assert (await harness.ask(server.port, "GET", path)).body == whole.body
    async with harness.running(config) as server:
        assert (await harness.ask(server.port, "GET", path)).body == whole.body


async def test_2_9_the_status_is_a_function_of_the_events() -> None:
    gate, held = asyncio.Event(), asyncio.Event()
    body = (gate, asking.chunk("Well"), held, asking.STOP)
    async with asking.vendor(replay.Answer(body=body)) as on:
        reader = await harness.begin(on.server.port, harness.wanted("vendor/m"))
        await reader.until(lambda reader: bool(reader.blocks))
        assert (await shown(on.server, reader))["status"] == "pending"
        gate.set()
        await reader.until(lambda reader: len(reader.blocks) > 1)
        assert (await shown(on.server, reader))["status"] == "streaming"
        held.set()
        await reader.rest()
        assert (await shown(on.server, reader))["status"] == "completed"


async def test_2_9_an_error_and_a_cancel_have_their_own(server: harness.Running) -> None:
    failed = await asking.finished(server.port, "error_at=1")
    assert (await shown(server, failed))["status"] == "error"
    cancelled = await asking.stalled(server.port)
    await asking.end(server, cancelled)
    assert (await shown(server, cancelled))["status"] == "cancelled"


async def test_2_10_our_client_passes_over_what_it_does_not_know(server: harness.Running) -> None:
    whole = await asking.finished(server.port, "tokens=5", flush_interval_ms=0)
    first, *rest = whole.blocks
    transient = b'event: weather\ndata: {"wind": 7}\n\n'
    body = b"".join([first, transient, *rest]).replace(b'"delta"', b'"tide":"high","delta"')
    headers = (("Content-Type", "text/event-stream"),)
    async with (
        replay.ReplayServer([replay.Answer(headers=headers, body=(body,))]) as other,
        client.AsyncClient(other.url) as reader,
        reader.stream(model="m", prompt="x") as answer,
    ):
        final = await answer.final()
    assert final.choice().content == asking.content(whole.body)


async def test_2_13_letters_fill_an_event_up_and_are_no_part_of_it() -> None:
    async with harness.running(harness.configured(streaming={"padding": True})) as server:
        options = "tokens=40 reasoning=3 tool=1 unicode=1"
        whole = await asking.finished(server.port, options, flush_interval_ms=0)
        path = f"/v1/streams/{harness.stream_of(whole)}?include=events"
        kept = (await harness.ask(server.port, "GET", path)).json()["events"]
        await asking.idle(server)
    events = harness.said(whole.body)
    padded = [event for event in events if "obfuscation" in event.data]
    assert padded == [event for event in events if event.event in ("chunk", "metadata")]
    for event in padded:
        name, letters = event.data.popitem()
        assert name == "obfuscation"
        assert re.fullmatch(r"[A-Za-z0-9+/]{0,31}", letters)
    assert [event["data"] for event in kept] == [event.data for event in events]
    data = [line for line in whole.body.split(b"\n") if b"obfuscation" in line]
    assert len({len(line) % 32 for line in data}) == 1

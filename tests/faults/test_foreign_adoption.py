"""A node is killed in mid-answer, and its readers are stock clients of other APIs.

Strategy: all of them read at one node at once, which is killed when each has the same begin of the
same answer. None may take what it has for an answer, and what it reads on at another node, which
has the log, is compared with the stream as that is natively.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from tests import redis_servers
from tests.faults import foreign_nodes
from tests.faults.foreign_nodes import Answer, Behind, Reader, Stage
from tests.integration import asking, harness, peers, processes
from tests.integration.dialects.ai_sdk import chat_pages

BROKEN = (httpx2.TransportError, openai.APIError, anthropic.APIError)
"""What clients raise where an answer breaks off."""

DEMO = "tokens=160 seed=7"
RATE = 40
"""Pieces a second: the demo's answer lasts until all its readers have begun, and some more."""


@pytest.fixture(scope="module")
def pages(pytestconfig: pytest.Config) -> Iterator[peers.Peer]:
    peers.installed(pytestconfig)
    with chat_pages.browser() as peer:
        yield peer


@pytest.fixture
async def stage(
    request: pytest.FixtureRequest, pages: peers.Peer, tmp_path: Path
) -> AsyncIterator[Stage]:
    where = None
    if request.param == "valkey":
        port = request.getfixturevalue("valkey").port
        where = f"redis://127.0.0.1:{port}/{redis_servers.next_database()}"
    async with foreign_nodes.staged(pages, tmp_path, where) as found:
        yield found


async def wanted(stage: Stage, provider: str) -> Answer:
    """The demo is asked for its answer beforehand."""
    if provider == "scripted":
        return foreign_nodes.SCRIPTED
    untouched = await asking.finished(stage.here.port, DEMO, prompt="Say it.")
    whole = asking.content(untouched.body)
    return Answer("demo", f"Say it.\n/demo rate={RATE} {DEMO}", whole, whole[:60])


async def broken_off(answer: Answer, readers: Iterable[Reader]) -> None:
    for reader in readers:
        with pytest.raises(BROKEN):
            await reader.rest()
        check_begin(answer, reader.had)


async def broken_page(answer: Answer, page: chat_pages.Page) -> chat_pages.Data:
    seen = await page.until(answer.half, "error")
    [step, (_, text, _)] = chat_pages.parts(seen)
    assert step == "step"
    check_begin(answer, text)
    return seen


def check_begin(answer: Answer, text: str) -> None:
    assert text.startswith(answer.half)
    assert answer.whole.startswith(text)
    assert text != answer.whole


async def native(node: processes.Server, stream: str, whole: str) -> int:
    """The stream natively: whole, told once, and after two calls. Gives the number of the claim."""
    read = await harness.ask(node.port, "GET", f"/v1/streams/{stream}/events")
    assert (read.status, read.clean) == (200, True)
    assert asking.content(read.body) == whole
    said = harness.said(read.body)
    assert (said[-1].event, said[-1].data["attempts"]) == ("complete", 2)
    assert said[-1].data["sha256"] == hashlib.sha256(whole.encode()).hexdigest()
    shown = (await harness.ask(node.port, "GET", f"/v1/streams/{stream}")).json()
    assert (shown["content"], shown["status"]) == (whole, "completed")
    [adopted] = [one.id for one in said if one.data.get("type") == "adopted"]
    assert adopted is not None
    return int(adopted.partition(":")[2].partition("-")[0]) >> 16  # beside it are random bits


async def whole_page(answer: Answer, page: chat_pages.Page, stream: str) -> None:
    found = await page.until(answer.whole, "ready")
    assert chat_pages.parts(found) == ["step", ("text", answer.whole, "done")]
    assert chat_pages.answer(found)["id"] == f"msg_{stream}"
    assert (found.get("error"), found["failed"]) == (None, [])


async def check_chat(node: processes.Server, live: harness.Reader, text: str) -> None:
    """The bytes of a chat that was come back to: from the first chunk to the clean end."""
    read = await live.rest()
    assert read.clean
    *chunks, end = harness.blocks(read.body.replace(b": ping\n", b""))
    assert end == b"data: [DONE]\n\n"
    said = [foreign_nodes.data(one) for one in chunks]
    assert [said[0]["type"], said[-1]["type"]] == ["start", "finish"]
    assert "".join(one["delta"] for one in said if one["type"] == "text-delta") == text
    late = await foreign_nodes.framed(node, "/api/chat/chat-7/stream?finished=true")
    assert late == [*chunks, end]


@pytest.mark.parametrize(
    ("stage", "provider"),
    [("valkey", "demo"), ("valkey", "scripted"), ("sqlite", "scripted")],
    indirect=["stage"],
)
async def test_an_answer_that_its_readers_lost_is_whole_at_another_node(
    stage: Stage, provider: str
) -> None:
    answer = await wanted(stage, provider)
    tabs = [await stage.page(stage.here, version, answer) for version in chat_pages.VERSIONS]
    said: list[Any] = []
    readers = await asyncio.gather(
        foreign_nodes.by_chat(stage, answer),
        foreign_nodes.by_messages(stage, answer),
        foreign_nodes.by_responses(stage, answer, said),
    )
    await asyncio.gather(*(tab.ask(answer.question) for tab in tabs))
    await asyncio.gather(*(reader.until(answer.half) for reader in readers))
    await asyncio.gather(*(tab.until(answer.half) for tab in tabs))
    there = await stage.kill()
    await broken_off(answer, readers)
    lost = [await broken_page(answer, tab) for tab in tabs]
    streams = [one.stream for one in readers] + [one["headers"]["x-stream-id"] for one in lost]

    behind = Behind(there, said)
    await behind.begin(stage)
    # The demo may have said all of it by then.
    late = {"finished": True} if provider == "demo" else {}
    tabs = [
        await stage.page(there, version, answer, messages=seen["messages"][:1], **late)
        for version, seen in zip(chat_pages.VERSIONS, lost, strict=True)
    ]
    target = f"/api/chat/chat-7/stream{'?finished=true' if late else ''}"
    live = await harness.Reader.open(there.port, "GET", target)
    await asyncio.gather(*(tab.resume() for tab in tabs))
    await asyncio.gather(*(tab.until(answer.half) for tab in tabs))
    stage.vendor.go_on()

    for tab, stream in zip(tabs, streams[3:], strict=True):
        await whole_page(answer, tab, stream)
    await check_chat(there, live, answer.whole)
    claims = [await native(there, stream, answer.whole) for stream in streams]
    await behind.check(answer.whole, claims[2])
    if provider == "scripted":
        sizes = [len(one.json()["messages"]) for one in stage.vendor.server.requests]
        assert sorted(sizes) == [1] * len(streams) + [3] * len(streams)


@pytest.mark.parametrize("stage", ["valkey"], indirect=True)
async def test_who_reads_at_another_node_loses_nothing(stage: Stage) -> None:
    answer, there, said = foreign_nodes.SCRIPTED, stage.there, list[Any]()
    assert there is not None
    asker = await foreign_nodes.by_responses(stage, answer, said)
    page = await (await stage.page(stage.here, 7, answer)).ask()
    await asyncio.gather(asker.until(answer.half), page.until(answer.half))
    behind = Behind(there, said[:1])
    reader = await behind.begin(stage)
    other = await (await stage.page(there, 7, answer)).resume()
    await asyncio.gather(reader.until(answer.half), other.until(answer.half))
    await stage.kill()
    await broken_off(answer, [asker])
    seen = await broken_page(answer, page)
    stage.vendor.go_on()
    await behind.check(answer.whole, await native(there, asker.stream, answer.whole))
    await whole_page(answer, other, seen["headers"]["x-stream-id"])
    await native(there, seen["headers"]["x-stream-id"], answer.whole)

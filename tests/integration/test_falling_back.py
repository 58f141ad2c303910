"""A route of several vendors over real sockets: what fails at one goes on at the other.

Strategy: the vendors are scripted servers that know one text. Asked for the first time they begin
it and break off; asked to go on they look at what was sent and say what comes next. Readers come
and go meanwhile, and all of them end with the same bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.integration import asking, harness

from holdfast import events
from holdfast.testing import checker, history
from holdfast.testing import provider as replay

WORDS = [f"{word}{number} " for number in range(40) for word in ("kelp", "wrack", "dulse")]
TEXT = "".join(WORDS)
KEYS = {"a": "sk-for-a-alone", "b": "sk-for-b-alone", "c": "sk-for-c-alone"}


class Vendor:
    """Says `TEXT` from where what it is sent ends, `words` of it in a call, then breaks off."""

    def __init__(self, words: int) -> None:
        self.words = words
        self.asked: list[replay.Request] = []

    def answer(self, asked: replay.Request) -> replay.Answer:
        self.asked.append(asked)
        said = [one["content"] for one in asked.json()["messages"] if one["role"] == "assistant"]
        begin = len("".join(said))
        left = TEXT[begin:].split(" ")[:-1]
        pieces = tuple(asking.chunk(f"{word} ") for word in left[: self.words])
        if len(left) <= self.words:
            return replay.Answer(body=(*pieces, asking.STOP))
        return replay.Answer(body=pieces, ending="rst")


class Stage(msgspec.Struct, frozen=True):
    """`vendors` in the order of the route."""

    server: harness.Running
    vendors: dict[str, Vendor]


@contextlib.asynccontextmanager
async def route(*words: int, **fallback: Any) -> AsyncIterator[Stage]:
    """A route `long` with a vendor for each number, which says so many words in a call."""
    vendors = {name: Vendor(number) for name, number in zip(KEYS, words, strict=False)}
    async with contextlib.AsyncExitStack() as stack:
        rows: dict[str, dict[str, Any]] = {}
        for name, vendor in vendors.items():
            server = await stack.enter_async_context(replay.ReplayServer(vendor.answer))
            url = f"{server.url}/v1"
            rows[name] = {"kind": "openai_chat", "base_url": url, "api_key": KEYS[name]}
        config = harness.configured(
            providers=rows,
            routes={"long": {"targets": [f"{name}/m" for name in vendors]}},
            fallback={"attempts": 1, "delay": "10ms", **fallback},
            # A busy machine waits no longer: of what is read late some has not left a provider's
            # kernel at its reset, and few pieces are few readers.
            streaming={"flush_interval": 0},
        )
        running = await stack.enter_async_context(harness.running(config))
        yield Stage(running, vendors)


class Seen:
    """The history of one stream, as its readers tell it."""

    def __init__(self) -> None:
        self.entries: list[history.Entry] = []
        self._names = itertools.count()
        self._time = asyncio.get_running_loop().time

    def connected(self, reader: str, stream: str, cursor: str) -> str:
        conn = f"conn-{next(self._names)}"
        self.entries += [
            history.Connected(self._time(), reader, conn, stream, cursor),
            history.Answered(self._time(), conn, 200),
        ]
        return conn

    def delivered(self, conn: str, body: bytes) -> None:
        for block in harness.blocks(body):
            stream, position = events.parse_event_id(harness.position(block) or "")
            kind, data = (line.partition(b": ")[2] for line in block.split(b"\n")[:2])
            said = history.digest(kind.decode(), data)
            place = (position.epoch, position.seq, said, kind.decode(), str(stream))
            self.entries.append(history.Delivered(self._time(), conn, *place))

    def over(self, conn: str, *, clean: bool, ours: bool) -> None:
        self.entries.append(history.Disconnected(self._time(), conn, clean, ours))


async def read(port: int, stream: str, seen: Seen, name: str, dice: random.Random) -> bytes:
    """What a reader has at the end that drops off again and again."""
    body, after = b"", ""
    while not body.rstrip().rpartition(b"event: ")[2].startswith((b"complete", b"error")):
        fields = {"Last-Event-ID": after} if after else {}
        path = f"/v1/streams/{stream}/events"
        conn = seen.connected(name, stream, after)
        reader = await harness.Reader.open(port, "GET", path, fields)
        enough = dice.randrange(1, 12)
        while len(reader.blocks) < enough and await reader.more():
            pass
        new = harness.durable(bytes(reader.body))
        seen.delivered(conn, new)
        seen.over(conn, clean=reader.clean, ours=not reader.ended)
        await reader.close()
        body += new
        after = asking.last_id(body) if body else ""
    return body


@pytest.mark.case("1.7")
@pytest.mark.parametrize("seed", range(4))
async def test_readers_that_come_and_go_while_it_fails_over_twice(seed: int) -> None:
    dice, seen = random.Random(seed), Seen()
    async with route(50, 40, 200) as on:
        begun = await harness.begin(on.server.port, harness.wanted("long", flush_interval_ms=0))
        stream = harness.stream_of(begun)
        readers = [
            read(on.server.port, stream, seen, f"reader-{number}", random.Random(dice.random()))
            for number in range(8)
        ]
        others = asyncio.gather(*readers)
        first = await begun.rest()
        assert first.clean
        whole = harness.durable(first.body)
        assert set(await others) == {whole}
        assert asking.content(whole) == TEXT
        last = harness.said(whole)[-1]
        sha256 = hashlib.sha256(TEXT.encode()).hexdigest()
        assert (last.data["sha256"], last.data["attempts"]) == (sha256, 3)
        path = f"/v1/streams/{stream}"
        shown = (await harness.ask(on.server.port, "GET", path)).json()["attempts"]
        assert [(one["number"], one["provider"], one["status"], one["error"]) for one in shown] == [
            (1, "a", "failed", "provider_interrupted"),
            (2, "b", "failed", "provider_interrupted"),
            (3, "c", "completed", None),
        ]
        assert [len(vendor.asked) for vendor in on.vendors.values()] == [1, 1, 1]
        moved = [
            block.data for block in harness.said(whole) if block.data.get("type") == "fallback"
        ]
        assert [(one["from"], one["to"]) for one in moved] == [("a/m", "b/m"), ("b/m", "c/m")]
    seen.entries.append(history.Expected(0.0, stream, sha256, calls=3, observed=False))
    assert checker.check(sorted(seen.entries, key=lambda entry: entry.at)) == []
    assert sum(isinstance(entry, history.Connected) for entry in seen.entries) > 50


async def test_the_timeline_tells_all_of_it() -> None:
    """Who was asked, who went on and who read, in the order in which it was."""
    async with route(50, 200) as on:
        port = on.server.port
        first = await harness.begin(port, harness.wanted("long"), [("X-Client-Id", "me")])
        whole = await first.rest()
        await asking.idle(on.server)
        middle = harness.position(whole.blocks[len(whole.blocks) // 2])
        assert middle is not None
        again = await (await harness.resume(port, middle, "header")).rest()
        await asking.idle(on.server)
        path = f"/v1/streams/{harness.stream_of(whole)}/timeline"
        told = (await harness.ask(port, "GET", path)).json()
    entries = told.pop("entries")
    nodes = [{"id": "this", "answered": True}]
    assert told == {
        "stream_id": harness.stream_of(whole),
        "status": "completed",
        "truncated": False,
        "nodes": nodes,
        "archive_answered": True,
    }
    own = [one for one in entries if not one["what"].startswith("connection_")]
    said = [(one["what"], {**one["detail"], "duration_ms": 0}) for one in own]
    failed = {"number": 1, "provider": "a", "model": "m", "error": "provider_interrupted"}
    going_on = {"number": 2, "provider": "b", "model": "m", "how": "continue"}
    at = len("".join(WORDS[:50]))
    moved = {"from": "a/m", "to": "b/m", "reason": failed["error"], "trimmed": 0, "at": at}
    end = harness.said(whole.body)[-1].data
    counted = ("finish_reason", "chunks", "bytes", "attempts", "exact")
    expected: list[tuple[str, dict[str, Any]]] = [
        ("start", {"provider": "a", "model": "m"}),
        ("first_chunk", {"type": "content"}),
        ("attempt", failed),
        ("attempt", going_on),
        ("fallback", {**moved, "exact": end["exact"]}),
        ("finish", {"choice": 0, "finish_reason": "stop"}),
        ("complete", {name: end[name] for name in counted}),
    ]
    assert said == [(what, {**detail, "duration_ms": 0}) for what, detail in expected]
    times = [one["at"] for one in entries]
    assert times == sorted(times)
    assert [one["after_ms"] for one in entries] == sorted(one["after_ms"] for one in entries)
    readers = [one for one in entries if one["what"].startswith("connection_")]
    first_id, second_id = (one.headers["x-connection-id"] for one in (whole, again))
    assert [(one["what"][11:], one["detail"]["connection_id"]) for one in readers] == [
        *(("opened", first_id), ("closed", first_id)),
        *(("resumed", second_id), ("closed", second_id)),
    ]
    assert readers[0]["detail"]["client_id"] == "me"
    assert [one["detail"].get("reason") for one in readers] == [None, "completed"] * 2


async def test_a_key_goes_to_its_own_provider_alone() -> None:
    async with route(20, 200) as on:
        whole = await (await harness.begin(on.server.port, harness.wanted("long"))).rest()
        assert asking.content(whole.body) == TEXT
        for name, vendor in on.vendors.items():
            [asked] = vendor.asked
            assert asked.headers["authorization"] == f"Bearer {KEYS[name]}"
            sent = str(asked.headers) + asked.body.decode()
            assert not [key for other, key in KEYS.items() if other != name and key in sent]


async def test_a_request_may_name_who_is_next_or_nobody() -> None:
    async with route(20, 200) as on:
        for fallback, code in (({"providers": []}, "provider_interrupted"), ({}, None)):
            body = harness.wanted("long", fallback=fallback)
            whole = await (await harness.begin(on.server.port, body)).rest()
            assert harness.said(whole.body)[-1].data.get("code") == code
        assert [len(vendor.asked) for vendor in on.vendors.values()] == [2, 1]

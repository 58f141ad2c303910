"""A route of two vendors over real sockets: what fails at one goes on at the other.

Strategy: the vendors are scripted servers that know one text. Asked for the first time they begin
it and break off; asked to go on they look at what was sent and say what comes next. Readers come
and go meanwhile, and all of them end with the same bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
from tests.integration import asking, harness

from holdfast.testing import provider as replay

WORDS = [f"{word}{number} " for number in range(40) for word in ("kelp", "wrack", "dulse")]
TEXT = "".join(WORDS)
KEYS = {"a": "sk-for-a-alone", "b": "sk-for-b-alone"}


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
    server: harness.Running
    a: Vendor
    b: Vendor


@contextlib.asynccontextmanager
async def route(a: int, b: int, **fallback: Any) -> AsyncIterator[Stage]:
    """A route `long` with two vendors, which say so many words in a call."""
    first, second = Vendor(a), Vendor(b)
    async with (
        replay.ReplayServer(first.answer) as one,
        replay.ReplayServer(second.answer) as other,
    ):
        rows: Mapping[str, Mapping[str, Any]] = {
            name: {"kind": "openai_chat", "base_url": f"{vendor.url}/v1", "api_key": KEYS[name]}
            for name, vendor in (("a", one), ("b", other))
        }
        config = harness.configured(
            providers=rows,
            routes={"long": {"targets": ["a/m", "b/n"]}},
            fallback={"attempts": 1, "delay": "10ms", **fallback},
        )
        async with harness.running(config) as server:
            yield Stage(server, first, second)


async def read(port: int, stream: str, dice: random.Random) -> bytes:
    """What a reader has at the end that drops off again and again."""
    body, after = b"", ""
    while not body.rstrip().rpartition(b"event: ")[2].startswith((b"complete", b"error")):
        fields = {"Last-Event-ID": after} if after else {}
        path = f"/v1/streams/{stream}/events"
        reader = await harness.Reader.open(port, "GET", path, fields)
        enough = dice.randrange(1, 12)
        while len(reader.blocks) < enough and await reader.more():
            pass
        await reader.close()
        body += harness.durable(bytes(reader.body))
        after = asking.last_id(body) if body else ""
    return body


@pytest.mark.parametrize("seed", range(4))
async def test_readers_that_come_and_go_while_it_fails_over_twice(seed: int) -> None:
    dice = random.Random(seed)
    async with route(50, 40, attempts=3) as on:
        begun = await harness.begin(on.server.port, harness.wanted("long", flush_interval_ms=0))
        stream = harness.stream_of(begun)
        readers = [read(on.server.port, stream, random.Random(dice.random())) for _ in range(8)]
        others = asyncio.gather(*readers)
        first = await begun.rest()
        assert first.clean
        whole = harness.durable(first.body)
        assert set(await others) == {whole}
        assert asking.content(whole) == TEXT
        last = harness.said(whole)[-1]
        assert last.data["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
        assert last.data["attempts"] == 3
        path = f"/v1/streams/{stream}"
        shown = (await harness.ask(on.server.port, "GET", path)).json()["attempts"]
        assert [(one["provider"], one["status"]) for one in shown] == [
            (shown[0]["provider"], "failed"),
            (shown[1]["provider"], "failed"),
            (shown[2]["provider"], "completed"),
        ]
        assert len(on.a.asked) + len(on.b.asked) == 3


async def test_a_key_goes_to_its_own_provider_alone() -> None:
    async with route(20, 200) as on:
        whole = await (await harness.begin(on.server.port, harness.wanted("long"))).rest()
        assert asking.content(whole.body) == TEXT
        for name, vendor in (("a", on.a), ("b", on.b)):
            [asked] = vendor.asked
            other = KEYS["b" if name == "a" else "a"]
            assert asked.headers["authorization"] == f"Bearer {KEYS[name]}"
            assert other not in str(asked.headers) + asked.body.decode()


async def test_a_request_may_name_who_is_next_or_nobody() -> None:
    async with route(20, 200) as on:
        for fallback, code in (({"providers": []}, "provider_interrupted"), ({}, None)):
            body = harness.wanted("long", fallback=fallback)
            whole = await (await harness.begin(on.server.port, body)).rest()
            assert harness.said(whole.body)[-1].data.get("code") == code
        assert (len(on.a.asked), len(on.b.asked)) == (2, 1)

"""No word of a provider's becomes an event of ours, in whatever API the answer is read.

Strategy: one answer is told twice, once in tame words and once in words that want to be frames of
an event stream. Read by the standard's own rules, both must be the same frames with the same names
in the same order, and each but for the words the same value.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.integration import asking, harness
from tests.integration.dialects import answers

from holdfast import sse
from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

ATTACKS = {
    "a block of ours": '\n\nevent: admin\ndata: {"terminal":true}\nid: x:9-9\n\n',
    "a carriage return": "\rdata: x\r\revent: admin\r",
    "both": "\r\n\r\nevent: complete\r\ndata: {}\r\n\r\n",
    "the end of a chat": "\n\ndata: [DONE]\n\n",
    "lines of Unicode": "\u2028event: admin\u2029data: x\x85\x0b\x0c\x1c",
    "a NUL, an escape, a BOM": "\x00\x1b[2J\ufeffdata: x",
    "the end of a text": '"}}\n\ndata: {"delta":"',
}
TAME = "tame"

MESSAGES = [{"role": "user", "content": "Say it."}]
PARTS = [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "Say it."}]}]
READERS: dict[str, tuple[str, dict[str, Any]]] = {
    "native": ("/v1/streams", {"messages": MESSAGES}),
    "openai_chat": ("/v1/chat/completions", {"messages": MESSAGES, "stream": True}),
    "openai_responses": ("/v1/responses", {"input": "Say it.", "stream": True}),
    "anthropic": ("/v1/messages", {"messages": MESSAGES, "max_tokens": 999, "stream": True}),
    "ai_sdk": ("/api/chat", {"id": "c", "messages": PARTS}),
}
"""By dialect: where it is asked, and with what."""


def script(text: str) -> tuple[bytes, ...]:
    """An answer of thoughts, text and a tool's call, all of these words."""
    said = [
        answers.said(role="assistant", content=""),
        answers.said(reasoning_content=text),
        answers.said(content=text),
        answers.call(0, "", id="call_a", name="get_weather"),
        answers.call(0, json.dumps({"city": text})),
        answers.said(reason="tool_calls"),
        answers.END,
    ]
    return tuple(said)


def failing(text: str) -> tuple[bytes, ...]:
    """An answer that ends with an error of these words."""
    error = {"error": {"message": f"no: {text}", "type": text, "code": 500}}
    return (answers.said(content="so far"), b"data: %b\n\n" % msgspec.json.encode(error))


class World:
    """A node whose provider says next what is in `answer`."""

    def __init__(self) -> None:
        self.answer = replay.Answer()
        self.provider = replay.ReplayServer(lambda asked: self.answer)
        self.server: harness.Running

    async def read(self, dialect: str, body: tuple[bytes, ...]) -> list[sse.Frame]:
        # One write is one read, so that every answer is cut into the same events.
        self.answer = replay.Answer(body=(b"".join(body),))
        path, fields = READERS[dialect]
        asked = msgspec.json.encode({"model": "vendor/m", **fields})
        got = await harness.ask(self.server.port, "POST", path, asking.SSE, asked)
        assert (got.status, got.clean) == (200, True)
        parser = sse.Parser()
        return [*parser.feed(got.body), *parser.finish()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    made = World()
    async with made.provider:
        row = {"kind": "openai", "base_url": f"{made.provider.url}/v1", "api_key": asking.KEY}
        config = harness.configured(
            providers={"vendor": row},
            fallback={"attempts": 1, "breaker_failures": 1000},
        )
        async with harness.running(config) as made.server:
            yield made


def shape(value: Any, words: list[str]) -> Any:
    """A value without its texts, which are collected: what an attack may change. How long it took
    is left out where it took no time."""
    if isinstance(value, dict):
        named = {name: part for name, part in value.items() if name != "duration_ms"}
        return {name: shape(part, words) for name, part in named.items()}
    if isinstance(value, list):
        return [shape(part, words) for part in value]
    if isinstance(value, str):
        words.append(value)
        return str
    return type(value)


def shapes(frames: list[sse.Frame]) -> tuple[list[Any], str]:
    words: list[str] = []
    found = []
    for frame in frames:
        is_end = frame.text == "[DONE]"
        value = "[DONE]" if is_end else shape(msgspec.json.decode(frame.data), words)
        found.append((frame.event, bool(frame.id), value))
    return found, "\0\0".join(words)


@pytest.mark.case("4.1")
@pytest.mark.case("4.16")
@pytest.mark.parametrize("dialect", READERS)
@pytest.mark.parametrize("told", [script, failing])
async def test_an_answer_s_words_are_no_events(world: World, dialect: str, told: Any) -> None:
    tame, _ = shapes(await world.read(dialect, told(TAME)))
    assert len(tame) > 2
    for name, attack in ATTACKS.items():
        found, words = shapes(await world.read(dialect, told(attack)))
        assert found == tame, name
        assert told is failing or attack in words, name

"""Compressed answers on their way: a proxy, other servers, middleware of others, vendors' clients.

Strategy: the provider waits before each word until the client at the other end has the one before.
So a word that anybody keeps back, or would give out only with the next, stops the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.integration import asking, expanding, harness, mounting, nginx, other_servers
from tests.integration.dialects import messages, stock_openai

from holdfast import app
from holdfast.testing import provider as replay

WORDS = [f"word-{number} " for number in range(6)]
GZIP = {"Accept-Encoding": "gzip", "Accept": "text/event-stream"}
PROXY = """
        gzip on;
        location / {{
            proxy_pass http://127.0.0.1:{target};
            proxy_buffering off;
            {more}
        }}
"""

Require = Callable[[str], Path]


class Gated:
    """An answer of `WORDS`, each let out by itself; the end too."""

    def __init__(self) -> None:
        self._gates = [asyncio.Event() for _ in [*WORDS, ""]]
        pieces = [*(asking.chunk(word) for word in WORDS), asking.STOP]
        pairs = zip(self._gates, pieces, strict=True)
        self.answer = replay.Answer(body=tuple(part for pair in pairs for part in pair))

    def let(self, number: int) -> None:
        self._gates[number].set()


async def read_stepwise(reader: expanding.Reader, gated: Gated) -> harness.Response:
    """Each word before the next one is made."""
    for number, text in enumerate([*_texts(), None]):
        gated.let(number)
        if text is not None:
            await reader.until(lambda plain, seen=text: _content(plain) == seen)  # type: ignore[misc]
            assert reader.plain.endswith(b"\n\n")
    return await reader.rest()


def _texts() -> list[str]:
    return ["".join(WORDS[: number + 1]) for number in range(len(WORDS))]


def _content(plain: bytes) -> str:
    return asking.content(b"".join(harness.blocks(plain)))


def check_whole(whole: harness.Response, reader: expanding.Reader) -> None:
    assert reader.encoding == "gzip"
    assert _content(whole.body) == "".join(WORDS)
    assert asking.kinds(whole.body)[-1] == "complete"
    assert (whole.clean, reader.ended) == (True, True)


@pytest.mark.case("2.30")
@pytest.mark.parametrize("more", ["", "proxy_http_version 1.1;"], ids=["HTTP/1.0", "HTTP/1.1"])
async def test_a_proxy_passes_each_event_on_as_it_is(
    require: Require, tmp_path: Path, more: str
) -> None:
    program, gated = require("nginx"), Gated()
    async with asking.vendor(gated.answer) as vendor:
        server = PROXY.format(target=vendor.server.port, more=more)
        async with nginx.running(program, tmp_path, server) as port:
            wire = await harness.begin(port, harness.wanted("vendor/m"), GZIP.items())
            reader = expanding.Reader(wire)
            check_whole(await read_stepwise(reader, gated), reader)
            await asking.idle(vendor.server)


WAYS = [
    (way, server)
    for way in (mounting.alone, mounting.rewritten)
    for server in other_servers.SERVERS
]


@pytest.mark.case("2.30")
@pytest.mark.parametrize(
    ("way", "server"), WAYS, ids=[f"{way.__name__}-{server}" for way, server in WAYS]
)
async def test_so_do_servers_of_others_and_their_middleware(way: mounting.Way, server: str) -> None:
    gated = Gated()
    async with replay.ReplayServer([gated.answer]) as provider:
        row = {"kind": "openai", "base_url": f"{provider.url}/v1", "api_key": asking.KEY}
        host = way(app.asgi(harness.configured(providers={"vendor": row})))
        async with mounting.serving(host, server) as served:
            target, body = f"{served.at}/v1/streams", harness.wanted("vendor/m")
            wire = await harness.Reader.open(served.port, "POST", target, GZIP, body)
            reader = expanding.Reader(wire)
            check_whole(await read_stepwise(reader, gated), reader)


@pytest.mark.parametrize("server", other_servers.SERVERS)
async def test_an_unclean_end_is_one_there_too(server: str) -> None:
    async with mounting.serving(mounting.alone(app.asgi(harness.configured())), server) as served:
        target = f"{served.at}/v1/streams"
        wire = await harness.Reader.open(served.port, "POST", target, GZIP, asking.STALLED)
        reader = await expanding.Reader(wire).until(lambda plain: bool(_content(plain)))
        served.server.service.connections.dismiss("draining")
        left = await reader.rest()
        assert (reader.encoding, left.clean, reader.ended) == ("gzip", False, False)
        assert left.blocks[-1].startswith(b"event: reconnect\n")
        cancel = f"{target}/{harness.stream_of(wire)}/cancel"
        await harness.ask(served.port, "POST", cancel)


# Vendors' clients ask for gzip by themselves


async def stepwise(said: AsyncIterator[str], gated: Gated) -> None:
    """What a client says: each word before the next one is made."""
    for number, word in enumerate(WORDS):
        gated.let(number)
        async with asyncio.timeout(harness.PATIENCE):
            assert await anext(said) == word
    gated.let(len(WORDS))
    assert [rest async for rest in said] == []


async def of_openai(stream: Any) -> AsyncIterator[str]:
    async for chunk in stream:
        for choice in chunk.choices:
            if choice.delta.content:
                yield choice.delta.content


async def of_anthropic(stream: Any) -> AsyncIterator[str]:
    async for event in stream:
        if event.type == "content_block_delta" and event.delta.text:
            yield event.delta.text


@pytest.mark.case("2.30")
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "compressed"])
async def test_openai_s_client_has_each_word_at_once(padded: bool) -> None:
    gated = Gated()
    async with (
        asking.vendor(gated.answer) as vendor,
        stock_openai.client(f"{vendor.server.url}/v1") as client,
    ):
        stream = await client.chat.completions.create(
            model="vendor/m",
            messages=stock_openai.MESSAGES,
            stream=True,
            stream_options={"include_obfuscation": padded},
        )
        encoding = stream.response.headers.get("content-encoding", "identity")
        assert encoding == ("identity" if padded else "gzip")
        await stepwise(of_openai(stream), gated)
        await asking.idle(vendor.server)


@pytest.mark.case("2.30")
@pytest.mark.parametrize("enabled", [True, False], ids=["compressed", "plain"])
async def test_anthropic_s_client_has_each_word_at_once(enabled: bool) -> None:
    gated = Gated()
    async with (
        asking.vendor(gated.answer, compression={"enabled": enabled}) as vendor,
        messages.client(vendor.server.url) as client,
    ):
        stream = await client.messages.create(
            model="vendor/m", max_tokens=99, messages=messages.MESSAGES, stream=True
        )
        encoding = stream.response.headers.get("content-encoding", "identity")
        assert encoding == ("gzip" if enabled else "identity")
        await stepwise(of_anthropic(stream), gated)
        await asking.idle(vendor.server)


@pytest.mark.case("2.30")
@pytest.mark.parametrize("accepted", [None, "deflate", "br", "identity"])
async def test_httpx_has_each_event_at_once(accepted: str | None) -> None:
    """It asks for what it can undo, if nobody says something else."""
    gated = Gated()
    headers = {} if accepted is None else {"Accept-Encoding": accepted}
    async with (
        asking.vendor(gated.answer) as vendor,
        stock_openai.http() as client,
        client.stream(
            "POST",
            f"{vendor.server.url}/v1/streams",
            content=harness.wanted("vendor/m"),
            headers={"Accept": "text/event-stream", **headers},
        ) as response,
    ):
        assert response.headers.get("content-encoding", "identity") == (accepted or "gzip")
        await stepwise(_words(response.aiter_lines()), gated)
    await asking.idle(vendor.server)


async def _words(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    async for line in lines:
        if line.startswith("data: "):
            data = msgspec.json.decode(line.removeprefix("data: "))
            if data.get("delta"):
                yield data["delta"]

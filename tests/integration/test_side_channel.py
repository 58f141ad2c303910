"""Lengths and times that say nothing: `streaming.padding` and `streaming.cadence` on a node.

Strategy: one node pads, and everybody who can read an answer reads it there: raw, late, back again,
our client and a stock one. What they make of it is held to what the log holds: no letters.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import anthropic as stock_anthropic
import msgspec
import pytest
import pytest_asyncio
from tests.integration import asking, harness
from tests.integration.dialects import messages

from holdfast import app, client, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPTIONS = "tokens=40 reasoning=3 tool=1 unicode=1"
PADDED = {"padding": True}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with harness.running(harness.configured(streaming=PADDED)) as running:
        yield running
        await asking.idle(running)


@pytest.mark.case("4.24")
async def test_every_reader_gets_the_same_bytes(server: harness.Running) -> None:
    gate = f"{OPTIONS} stall_at=20"
    begun = await harness.begin(server.port, asking.demo(gate, flush_interval_ms=0))
    await begun.until(lambda reader: len(reader.blocks) >= 20)
    path = f"/v1/streams/{harness.stream_of(begun)}/events"
    late = await harness.Reader.open(server.port, "GET", path)
    await late.until(lambda reader: len(reader.body) >= len(begun.body))
    await harness.ask(server.port, "POST", path.replace("/events", "/cancel"), {}, b"")
    first, second = await begun.rest(), await late.rest()
    again = await harness.ask(server.port, "GET", path)
    assert first.body == second.body == again.body
    id = harness.position(first.blocks[9]) or ""
    for way in harness.WAYS:
        rest = await (await harness.resume(server.port, id, way)).rest()
        assert rest.body == b"".join(first.blocks[10:])


async def test_our_client_proves_the_text(server: harness.Running) -> None:
    async with client.AsyncClient(server.url) as own:
        prompt = f"Why?\n/demo rate=10000 {OPTIONS}"
        async with own.stream(model="demo", prompt=prompt, flush_interval_ms=0) as got:
            final = await got.final()
    path = f"/v1/streams/{got.stream_id}"
    shown = (await harness.ask(server.port, "GET", path)).json()
    said = final.choice()
    assert (said.content, said.reasoning) == (shown["content"], shown["reasoning"])
    assert said.content


@pytest.mark.case("4.23")
@pytest.mark.case("4.24")
async def test_nothing_is_compressed(server: harness.Running) -> None:
    """How well a token can be compressed tells which one it is."""
    asks = {"Accept-Encoding": "gzip, deflate, br, zstd", **asking.SSE}
    reader = await harness.begin(server.port, asking.demo(OPTIONS), asks.items())
    whole = await reader.rest()
    assert "content-encoding" not in whole.headers
    assert "no-transform" in whole.headers["cache-control"]
    assert whole.blocks[0].startswith(b"event: start\n")


@pytest.mark.parametrize("betas", [{}, {"anthropic-beta": "some-beta-2026"}])
async def test_anthropic_s_client_passes_over_the_letters(betas: dict[str, str]) -> None:
    async with messages.staged(streaming=PADDED) as stage, messages.staged() as plain:
        for model in ("vendor/text", "vendor/thinking", "chat/tools"):
            found = []
            for on in (stage, plain):
                async with messages.client(on.server.url) as stock:
                    found.append(await read(stock, model, betas))
            assert found[0] == found[1]
        body = b'{"model":"vendor/text","max_tokens":9,"stream":true,"messages":[]}'
        body = body.replace(b"[]", b'[{"role":"user","content":"Why?"}]')
        raw = await harness.ask(stage.server.port, "POST", "/v1/messages", betas, body)
        told = [block for block in raw.blocks if b"_delta" in block and b"message" not in block]
        assert told
        assert all(re.search(rb"}\n: [A-Za-z0-9+/]*\n\n$", block) for block in told)


async def read(stock: stock_anthropic.AsyncAnthropic, model: str, betas: dict[str, str]) -> object:
    asked = messages.asked(model)
    async with stock.messages.stream(**asked, extra_headers=betas) as got:
        return messages.told(await got.get_final_message())


@pytest.mark.case("4.24")
async def test_a_cadence_holds_for_every_answer() -> None:
    """Whatever the request wishes, an answer that takes no time is one event a kind of text."""
    streaming = {"cadence": 0.05}
    async with harness.running(harness.configured(streaming=streaming)) as server:
        whole = await asking.finished(server.port, "tokens=50", flush_interval_ms=0)
        assert sum(one.event == "chunk" for one in harness.said(whole.body)) <= 2
        begun = await harness.begin(server.port, asking.STALLED)
        path = f"/v1/streams/{harness.stream_of(begun)}"
        shown = (await harness.ask(server.port, "GET", f"{path}/connections")).json()
        (one,) = shown["connections"]
        assert one["options"]["flush_interval_ms"] == 50
        await harness.ask(server.port, "POST", f"{path}/cancel", {}, b"")
        async with asyncio.timeout(harness.PATIENCE):
            await begun.rest()


@pytest.mark.parametrize("padding", [False, True])
async def test_a_provider_is_told_not_to_pad_only_where_nothing_is_hidden(padding: bool) -> None:
    rows = {"p": {"kind": "openai", "api_key": asking.KEY}}
    found = app.providers(harness.configured(providers=rows, streaming={"padding": padding}))
    wanted = request.Request(model="m", messages=[request.Message("user", "Hi")])
    sent = msgspec.json.decode(found.get("p").prepare(wanted, "m").body)
    assert ("include_obfuscation" in sent["stream_options"]) != padding

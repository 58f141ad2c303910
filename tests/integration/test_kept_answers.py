"""An answer that the provider keeps: how it is asked for, told again and stopped, on the wire.

Strategy: the settings make the provider as a node has it; a server on loopback plays OpenAI. The
answer is broken off in the middle, and told again from its first byte to a fresh translator, as
after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from tests.integration import harness

from holdfast import app, errors, events, request, transport
from holdfast.providers import base
from holdfast.testing import provider as replay

ID = "resp_0850765c843cca5300699cc47d93c0819089a181f5feeff8eb"
KEY = "k-canary-123456"
WANTED = request.Request(model="m", messages=[request.Message("user", "Hi")])
DEADLINE = 10.0  # seconds


def event(type: str, **fields: Any) -> bytes:
    data = msgspec.json.encode({"type": f"response.{type}", **fields})
    return b"event: response.%b\ndata: %b\n\n" % (type.encode(), data)


def state(type: str) -> bytes:
    return event(type, response={"id": ID, "status": type, "background": True})


WIRE = (
    state("created"),
    state("queued"),
    state("in_progress"),
    *(event("output_text.delta", output_index=0, content_index=0, delta=f"{n} ") for n in range(9)),
    state("completed"),
)


class Sink:
    """Keeps what comes."""

    def __init__(self) -> None:
        self.status = 0
        self.read = b""
        self.ended: asyncio.Future[errors.TransportError | None]
        self.ended = asyncio.get_running_loop().create_future()

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status

    def body(self, data: bytes) -> None:
        self.read += data

    def end(self, error: errors.TransportError | None) -> None:
        self.ended.set_result(error)


async def call(
    provider: base.Provider, asked: transport.Request | None
) -> tuple[Sink, errors.TransportError | None]:
    """The whole response, and how it ended."""
    assert asked is not None
    sink = Sink()
    async with asyncio.timeout(DEADLINE):
        await provider.open(asked, sink)
        return sink, await sink.ended


def said(provider: base.Provider, sink: Sink) -> list[events.Body]:
    translator = provider.translator(WANTED)
    return translator.feed(sink.read)


def answers(asked: replay.Request) -> replay.Answer:
    """Cuts the first telling, tells it whole when it is asked again, and knows no other id."""
    if (asked.method, asked.target) == ("POST", "/v1/responses"):
        return replay.Answer(body=WIRE[:7], ending="rst")
    if (asked.method, asked.target) == ("GET", f"/v1/responses/{ID}?stream=true"):
        return replay.Answer(body=WIRE)
    if (asked.method, asked.target) == ("POST", f"/v1/responses/{ID}/cancel"):
        body = msgspec.json.encode({"id": ID, "status": "cancelled"})
        return replay.Answer(headers=(("Content-Type", "application/json"),), body=(body,))
    return replay.Answer(status=404)


def row(url: str, **more: Any) -> dict[str, Any]:
    return {"kind": "open_responses", "base_url": f"{url}/v1", "api_key": KEY, **more}


async def test_an_answer_is_kept_told_again_and_stopped() -> None:
    async with replay.ReplayServer(answers) as server:
        config = harness.configured(providers={"far": row(server.url, background=True)})
        registry = app.providers(config)
        provider = registry.get("far")

        first, cut = await call(provider, provider.prepare(WANTED, "m"))
        begun = said(provider, first)
        assert isinstance(cut, errors.TransportError)
        kept = begun[0]
        assert kept == events.Kept(ID)

        again, end = await call(provider, provider.replay(WANTED, "m", ID, 8))
        whole = said(provider, again)
        assert end is None
        assert whole[: len(begun)] == begun
        texts = [body.delta for body in whole if isinstance(body, events.Chunk)]
        assert "".join(texts) == "0 1 2 3 4 5 6 7 8 "
        assert whole[-1] == events.Finish(0, "stop", "completed")

        stopped, _ = await call(provider, provider.discard(ID))
        assert stopped.status == 200
        await registry.close()

    create, get, cancel = server.requests
    assert create.json() == {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": "Hi"}],
        "stream": True,
        "store": True,
        "background": True,
    }
    assert (get.body, cancel.body) == (b"", b"")
    assert {each.headers["authorization"] for each in server.requests} == {f"Bearer {KEY}"}
    assert "content-length" not in get.headers
    assert cancel.headers["content-length"] == "0"


async def test_without_the_setting_nothing_is_kept() -> None:
    async with replay.ReplayServer([replay.Answer(body=WIRE)]) as server:
        registry = app.providers(harness.configured(providers={"far": row(server.url)}))
        provider = registry.get("far")
        sink, _ = await call(provider, provider.prepare(WANTED, "m"))
        assert not [body for body in said(provider, sink) if isinstance(body, events.Kept)]
        await registry.close()
    (create,) = server.requests
    assert create.json()["store"] is False
    assert "background" not in create.json()


def test_a_node_whose_provider_keeps_nothing_does_not_start() -> None:
    config = harness.configured(providers={"far": {"kind": "groq", "background": True}})
    with pytest.raises(errors.SettingsError, match=r"^providers\.far\.background: .* groq "):
        app.asgi(config)

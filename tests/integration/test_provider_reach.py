"""How a node reaches its providers: TLS with a private authority, a proxy, kept connections.

Strategy: the provider is a small server of ours that keeps its connections and counts them; the
node is the whole product, configured as an operator would. The transport's own tests try every
way in which this can go wrong; here it is shown that the settings lead there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration import harness
from tests.unit.transport import certificates

from holdfast import errors

ANSWERS = 30
KEY = "k-canary-123456"

_SAID: tuple[dict[str, str], ...] = ({"content": "Ke"}, {"content": "lp"}, {})
BODY = b"".join(
    b"data: %b\n\n"
    % json.dumps(
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]}
    ).encode()
    for delta in _SAID
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Provider:
    """Answers every request on every connection, and counts both. `last` gates the last chunk
    of each answer; `idle` is set when that is written."""

    def __init__(self) -> None:
        self.port = self.connections = self.requests = 0
        self.last, self.idle = asyncio.Event(), asyncio.Event()
        self.last.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.requests += 1
                body = BODY + b"data: [DONE]\n\n"
                writer.write(HEAD + b"%x\r\n%b\r\n" % (len(body), body))
                await self.last.wait()
                writer.write(b"0\r\n\r\n")
                self.idle.set()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def provider(tls: ssl.SSLContext | None) -> AsyncIterator[Provider]:
    made = Provider()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def configured(base_url: str, **network: Any) -> Any:
    rows = {"far": {"kind": "openai_chat", "base_url": base_url, "api_key": KEY}}
    return harness.configured(providers=rows, network=network)


async def ask(server: harness.Running) -> harness.Said:
    """The last event of one answer."""
    reader = await harness.begin(server.port, harness.wanted("m", provider="far"))
    try:
        answer = await reader.rest()
    finally:
        await reader.close()
    assert KEY.encode() not in answer.body
    return harness.said(answer.body)[-1]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> certificates.Authority:
    return certificates.Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("apart", [False, True], ids=["with its end", "its end apart"])
async def test_answers_over_tls_share_a_connection(
    authority: certificates.Authority, apart: bool
) -> None:
    tls = authority.server("127.0.0.1")
    async with provider(tls) as far:
        config = configured(f"https://127.0.0.1:{far.port}/v1", ca_file=str(authority.file))
        async with harness.running(config) as server:
            for _ in range(ANSWERS):
                if apart:
                    far.last.clear()
                far.idle.clear()
                assert (await ask(server)).event == "complete"
                far.last.set()
                await far.idle.wait()
                for _ in range(10):  # turns of the loop, in which the last chunk is read
                    await asyncio.sleep(0)
        assert far.requests == ANSWERS
        assert far.connections <= ANSWERS // 10


async def test_no_connection_is_kept_where_none_shall_be() -> None:
    async with provider(None) as far:
        config = configured(f"http://127.0.0.1:{far.port}/v1", keep_alive="0")
        async with harness.running(config) as server:
            for _ in range(3):
                assert (await ask(server)).event == "complete"
        assert far.connections == 3


@pytest.mark.parametrize("known", [True, False], ids=["another host", "another authority"])
async def test_who_cannot_prove_to_be_the_provider_gets_nothing(
    authority: certificates.Authority, known: bool
) -> None:
    tls = authority.server("other.test" if known else "127.0.0.1")
    network = {"ca_file": str(authority.file)} if known else {}
    async with provider(tls) as far:
        config = configured(f"https://127.0.0.1:{far.port}/v1", **network)
        async with harness.running(config) as server:
            last = await ask(server)
        assert (last.event, last.data["code"]) == ("error", "provider_unreachable")
        assert "certificate" in last.data["message"]
        assert far.requests == 0


async def test_a_proxy_leads_to_the_provider_and_reads_nothing(
    authority: certificates.Authority,
) -> None:
    heads: list[bytes] = []
    async with provider(authority.server("llm.test")) as far:

        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            there, out = await asyncio.open_connection("127.0.0.1", far.port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(copy(reader, out), copy(there, writer))

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(4096):
                    assert KEY.encode() not in data
                    sink.write(data)
            sink.close()

        proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
        port = proxy.sockets[0].getsockname()[1]
        config = configured(
            "https://llm.test/v1",
            ca_file=str(authority.file),
            https_proxy=f"http://me:pass-word@127.0.0.1:{port}",
        )
        async with harness.running(config) as server:
            assert [(await ask(server)).event for _ in range(3)] == ["complete"] * 3
        proxy.close()
    assert len(heads) == 1
    assert heads[0].startswith(b"CONNECT llm.test:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6cGFzcy13b3Jk\r\n" in heads[0]


async def test_a_file_of_certificates_that_is_none_keeps_the_node_from_starting(
    tmp_path: Path,
) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    config = configured("https://127.0.0.1:9/v1", ca_file=str(file))
    with pytest.raises(errors.SettingsError, match="PEM"):
        async with harness.running(config):
            pass

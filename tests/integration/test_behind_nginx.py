"""Behind a real nginx: nothing is held back, and its patience is never at an end.

Strategy: nginx passes everything on to the server under test. The provider is held at each event
until the client has the one before, so an event that anybody keeps back stops the test. What is
silent is silent for a number of heartbeats, never for a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration import asking, harness, nginx, raw_sockets

from holdfast.testing import fault_proxy, faults
from holdfast.testing import provider as replay

SERVER = """
        gzip on;
        location / {{
            proxy_pass http://127.0.0.1:{target};
            {more}
        }}
"""
"""All defaults, but gzip, as Debian has it."""

WORDS = [f"word-{number} " for number in range(6)]

IMPATIENT = "proxy_read_timeout 1s;"
BEATING = {"heartbeat_interval": "100ms"}
BEATS = 30
"""Heartbeats of a silence: three times as long as nginx waits."""

Require = Callable[[str], Path]


def before(
    program: Path, folder: Path, target: int, more: str = ""
) -> contextlib.AbstractAsyncContextManager[int]:
    """nginx before a port, with small buffers of the kernel's; where it listens."""
    server = SERVER.format(target=target, more=more)
    return nginx.running(program, folder, server, listen="rcvbuf=16k sndbuf=16k")


def gated(words: list[str]) -> tuple[replay.Answer, list[asyncio.Event]]:
    """An answer of these words that waits for its event before each one, and before the end."""
    gates = [asyncio.Event() for _ in [*words, ""]]
    pieces = [*(asking.chunk(word) for word in words), asking.STOP]
    body = tuple(part for pair in zip(gates, pieces, strict=True) for part in pair)
    return replay.Answer(body=body), gates


def heard(word: str) -> Callable[[harness.Reader], bool]:
    return lambda reader: word in asking.content(bytes(reader.body))


def heartbeats(reader: harness.Reader) -> int:
    return reader.body.count(b"event: heartbeat\n")


def check_whole(answer: harness.Response) -> None:
    assert asking.content(answer.body) == "".join(WORDS)
    assert asking.kinds(answer.body)[-1] == "complete"
    assert answer.clean
    ids = [said.id for said in harness.said(answer.body) if said.id is not None]
    numbers = [int(re.sub(r".*-", "", id)) for id in ids]
    assert numbers == list(range(1, len(ids) + 1))


@pytest.mark.case("1.8")
@pytest.mark.parametrize("more", ["", "proxy_http_version 1.1;"], ids=["HTTP/1.0", "HTTP/1.1"])
async def test_every_event_reaches_the_client_before_the_next_one_is_made(
    require: Require, tmp_path: Path, more: str
) -> None:
    program = require("nginx")
    answer, gates = gated(WORDS)
    async with (
        asking.vendor(answer) as vendor,
        before(program, tmp_path, vendor.server.port, more) as port,
    ):
        maker = await harness.begin(port, harness.wanted("vendor/m"))
        await maker.until(asking.has(1))  # `start`, before the provider has said a word
        path = f"/v1/streams/{harness.stream_of(maker)}/events"
        readers = [maker, await harness.Reader.open(port, "GET", path)]
        for word, gate in zip(["", *WORDS], gates, strict=True):
            for reader in readers:
                await reader.until(heard(word))
            gate.set()
        for reader in readers:
            check_whole(await reader.rest())
        await asking.idle(vendor.server)


@pytest.mark.case("1.8")
async def test_a_client_that_does_not_read_is_seen_through_the_proxy(
    require: Require, tmp_path: Path
) -> None:
    """A proxy that buffered would take the whole answer, and nobody would be slow."""
    program = require("nginx")
    pieces = [asking.chunk(f"{number} " * 20_000) for number in range(100, 200)]
    answer = replay.Answer(body=(*pieces, asking.STOP))
    hasty = {"heartbeat_interval": "4m", "write_timeout": "500ms"}
    async with (
        asking.vendor(answer, server=hasty) as vendor,
        before(program, tmp_path, vendor.server.port) as port,
    ):
        server = vendor.server
        whole = await (await harness.begin(port, harness.wanted("vendor/m"))).rest()
        assert whole.clean
        path = f"/v1/streams/{harness.stream_of(whole)}/events"
        sock = raw_sockets.deaf(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await asking.until(lambda: len(server.service.connections) == 1)
        (slow, *_) = server.service.connections.all()
        await asking.until(lambda: len(server.service.connections) == 0)
        assert slow.status == "disconnected"
        sock.close()
        id = harness.position(whole.blocks[50])
        assert id is not None
        rest = await (await harness.resume(port, id, "header")).rest()
        assert (rest.blocks, rest.clean) == (whole.blocks[51:], True)
        await asking.idle(server)


@pytest.mark.case("1.9")
async def test_a_silence_longer_than_the_proxy_waits_is_survived(
    require: Require, tmp_path: Path
) -> None:
    program = require("nginx")
    answer, gates = gated(WORDS)
    async with (
        asking.vendor(answer, server=BEATING) as vendor,
        before(program, tmp_path, vendor.server.port, IMPATIENT) as port,
    ):
        reader = await harness.begin(port, harness.wanted("vendor/m"))
        for gate in gates[:2]:
            gate.set()
        await reader.until(heard(WORDS[1]))
        await reader.until(lambda reader: heartbeats(reader) >= BEATS)
        for gate in gates:
            gate.set()
        check_whole(await reader.rest())
        await asking.idle(vendor.server)


@pytest.mark.case("1.9")
async def test_head_and_heartbeats_come_before_the_provider_says_a_byte(
    require: Require, tmp_path: Path
) -> None:
    program = require("nginx")
    answer = replay.Answer(body=(*(asking.chunk(word) for word in WORDS), asking.STOP))
    async with (
        replay.ReplayServer([answer]) as provider,
        fault_proxy.FaultProxy(
            int(provider.url.rpartition(":")[2]), faults.Faults(down=(faults.Stall(),))
        ) as silent,
    ):
        row = {"kind": "openai", "base_url": f"{silent.url}/v1", "api_key": asking.KEY}
        config = harness.configured(providers={"vendor": row}, server=BEATING)
        async with (
            harness.running(config) as server,
            before(program, tmp_path, server.port, IMPATIENT) as port,
        ):
            reader = await harness.begin(port, harness.wanted("vendor/m"))
            assert reader.status == 200
            await reader.until(lambda reader: heartbeats(reader) >= BEATS)
            assert asking.kinds(bytes(reader.body))[0] == "start"
            assert (silent.accepted, silent.bytes_down) == (1, 0)
            silent.set(faults.NONE)
            check_whole(await reader.rest())
            await asking.idle(server)


@pytest.mark.case("1.9")
async def test_without_heartbeats_the_proxy_would_have_cut(
    require: Require, tmp_path: Path
) -> None:
    program = require("nginx")
    answer, gates = gated(WORDS)
    quiet = {"heartbeat_interval": "4m"}
    async with (
        asking.vendor(answer, server=quiet) as vendor,
        before(program, tmp_path, vendor.server.port, IMPATIENT) as port,
    ):
        reader = await harness.begin(port, harness.wanted("vendor/m"))
        cut = await reader.rest()
        assert (asking.kinds(cut.body), cut.clean) == (["start"], False)
        for gate in gates:
            gate.set()
        id = harness.position(cut.blocks[-1])
        assert id is not None
        rest = await (await harness.resume(port, id, "header")).rest()
        check_whole(harness.Response(200, {}, cut.body + rest.body, rest.clean))
        await asking.idle(vendor.server)

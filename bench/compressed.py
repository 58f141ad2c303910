"""Compressed: what gzip saves of an answer in English, and what it costs beside plain bytes.

Strategy: two questions, two loads. What it costs a token, and a stream in memory, is asked with
the load of `relay`, whose stamps are read from the unpacked bytes. What it saves is asked with
words: the text of this repository's documents, a word a token, read once as they come and once
where a request lets them gather (`flush_interval_ms`). Plain bytes are what our client unpacked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import latency, relay, report, servers
from bench.scenario import Bench, Figure, Result, Scenario, Size

ACCEPT = "Accept-Encoding: gzip"
TIMES = 1.3
"""Told of gzip: at most so many times the CPU of plain bytes."""

ANSWERS, TOKENS, PAUSE = 20, 300, 0.04
"""Of the words: answers at once, tokens of each, seconds from one to the next."""

GATHERED = 5
"""Tokens that gather where they do."""

PATIENCE = 30.0
DOCUMENTS = Path(__file__).resolve().parents[1] / "docs"


class Saved(NamedTuple):
    """Of words: bytes on the wire and before, and tokens by reads."""

    mode: str
    wire: int
    plain: int
    tokens_per_read: float

    @property
    def share(self) -> float:
        """What was saved."""
        return 1 - self.wire / self.plain


def run(bench: Bench) -> Result | None:
    """The load with and without, in turn; then words, both ways."""

    def make(name: str, folder: Path, kept: contextlib.ExitStack) -> servers.Server:
        server = servers.holdfast(folder)._replace(name=name)
        return server._replace(headers=(ACCEPT,)) if name == "gzip" else server

    runs = relay.in_turn(bench, ("plain", "gzip"), make, ours=True)
    if not runs:
        return None
    words = []
    for mode, flush in (("token by token", 0), ("coalesced", int(GATHERED * PAUSE * 1000))):
        with bench.folder() as folder:
            words.append(saved(folder, mode, flush, bench.cores[0]))
        bench.say(f"words, {mode}: {words[-1].share:.1%} saved")
    figures = report.ratios(runs, {"gzip": "plain"})
    mine = report.of(report.good(runs), "gzip")
    if mine:
        weight = median(one.kb_per_stream for one in mine)
        figures["KB a stream"] = Figure(weight, report.beside(mine))
    for one, name in zip(words, ("saved %", "saved % coalesced"), strict=True):
        beside = f"{one.tokens_per_read:.1f} tokens a read"
        figures[name] = Figure(one.share * 100, beside, higher=True)
    rows = [one._asdict() for one in runs] + [one._asdict() for one in words]
    return Result(rows, table(runs, words), figures, not any(one.gaps for one in runs))


def table(runs: Sequence[relay.Run], words: Sequence[Saved]) -> str:
    """The load, then the words."""
    rows = [
        (
            one.mode,
            f"{one.plain / (ANSWERS * TOKENS):.0f}",
            f"{one.wire / (ANSWERS * TOKENS):.0f}",
            f"{one.share:.1%}",
            f"{one.tokens_per_read:.1f}",
        )
        for one in words
    ]
    head = ("words", "plain bytes/token", "on the wire", "saved", "tokens a read")
    return f"{report.sides(runs, {'gzip': 'plain'}, TIMES)}\n\n{report.table(head, rows)}"


def texts() -> list[list[str]]:
    """The tokens of each answer: words of the documents, without what JSON would escape."""
    said = " ".join(one.read_text() for one in sorted(DOCUMENTS.glob("*.md")))
    words = [f" {word}" for word in re.findall(r"[A-Za-z0-9,.;:'()-]+", said)]
    return [words[at : at + TOKENS] for at in range(0, ANSWERS * TOKENS, TOKENS)]


def saved(folder: Path, mode: str, flush: int, core: int) -> Saved:
    """What is saved where tokens gather for so many milliseconds. Raises `servers.Failed`."""
    server = servers.holdfast(folder, "memory")
    with servers.running(server.command, server.port, folder / "holdfast.log", core):
        found = asyncio.run(_answers(server, flush))
    wire, plain, reads = (sum(column) for column in zip(*found, strict=True))
    return Saved(mode, wire, plain, ANSWERS * TOKENS / reads)


async def _answers(server: servers.Server, flush: int) -> list[tuple[int, int, int]]:
    waiting = texts()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b'"go"')
        writer.write(latency.HEAD)
        for token in waiting.pop():
            writer.write(latency.piece(token))
            await asyncio.sleep(PAUSE)
        writer.write(latency.end())
        await writer.drain()
        writer.close()

    provider = await asyncio.start_server(speak, "127.0.0.1", server.provider)
    async with provider, asyncio.timeout(PATIENCE + 2 * PAUSE * TOKENS):
        return await asyncio.gather(*(_read(server, flush) for _ in range(ANSWERS)))


async def _read(server: servers.Server, flush: int) -> tuple[int, int, int]:
    """Bytes of an answer's body on the wire and unpacked, and its chunks with content."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    body = json.dumps(json.loads(server.body) | {"flush_interval_ms": flush}).encode()
    writer.write(latency.question(server._replace(body=body, headers=(ACCEPT,))))
    head = await reader.readuntil(b"\r\n\r\n")
    if b"gzip" not in head.lower():
        raise servers.Failed("the node does not compress")
    unpack = zlib.decompressobj(31)
    wire = plain = reads = 0
    while size := int(await reader.readline(), 16):
        data = (await reader.readexactly(size + 2))[:-2]
        said = unpack.decompress(data)
        wire, plain = wire + len(data), plain + len(said)
        reads += b'"delta"' in said
    writer.close()
    return wire, plain, reads


SCENARIO = Scenario("compressed", "gzip for every reader, beside none", run, Size(1000, 3))

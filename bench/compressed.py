"""Compressed: what gzip saves of an answer in English, and what it costs beside plain bytes.

Strategy: two questions, two loads. What it costs a token, and a stream in memory, is asked with
the load of `relay`, whose stamps are read from the unpacked bytes. What it saves is asked with
words: the text of this repository's documents, a word a token. They are read once as they come,
and once where a request lets them gather (`flush_interval_ms`), which makes one event of
several. What is saved where several events go in one write, as for a reader that is behind, is
calculated: the node's own coder takes the same events, five at a time. Plain bytes are what our
client unpacked.
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
from holdfast.http import coding

ACCEPT = "Accept-Encoding: gzip"
TIMES = 1.3
"""Told of gzip: at most so many times the CPU of plain bytes."""

ANSWERS, TOKENS, PAUSE = 20, 300, 0.04
"""Of the words: answers at once, tokens of each, seconds from one to the next."""

TOGETHER = 5
"""Tokens that gather, or events in a write."""

LEVEL = 6
"""The default of `compression.level`."""

GATHERED = int(TOGETHER * PAUSE * 1000)
EVENT = re.compile(rb"(?:[^\n]+\n)+\n")

PATIENCE = 30.0
DOCUMENTS = Path(__file__).resolve().parents[1] / "docs"


class Saved(NamedTuple):
    """Of words: bytes on the wire and before, and tokens by writes."""

    mode: str
    wire: int
    plain: int
    tokens_per_write: float

    @property
    def share(self) -> float:
        """What was saved."""
        return 1 - self.wire / self.plain


def run(bench: Bench) -> Result | None:
    """The load with and without, in turn; then words, both ways."""

    def make(name: str, folder: Path, kept: contextlib.ExitStack) -> servers.Server | None:
        if name == "nginx":
            return servers.nginx(folder)
        server = servers.holdfast(folder)._replace(name=name)
        return server._replace(headers=(ACCEPT,)) if name == "gzip" else server

    runs = relay.in_turn(bench, ("nginx", "plain", "gzip"), make, ours=True)
    if not runs:
        return None
    words = said(bench)
    figures = report.ratios(runs, {"gzip": "plain"})
    mine = report.of(report.good(runs), "gzip")
    if mine:
        weight = median(one.kb_per_stream for one in mine)
        figures["KB a stream"] = Figure(weight, report.beside(mine))
    for one, name in zip(words, ("saved %", "saved % coalesced"), strict=False):
        beside = f"{one.tokens_per_write:.1f} tokens a write"
        figures[name] = Figure(one.share * 100, beside, higher=True)
    rows = [one._asdict() for one in runs] + [one._asdict() for one in words]
    return Result(rows, table(runs, words), figures, not any(one.gaps for one in runs))


def said(bench: Bench) -> list[Saved]:
    """The words, in all ways."""
    found = []
    for mode, flush in (("token by token", 0), ("gathered into events", GATHERED)):
        with bench.folder() as folder:
            answers = read(folder, flush, bench.cores[0])
        found.append(saved(mode, answers))
        if not flush:
            found.append(together(answers))
    for one in found:
        bench.say(f"words, {one.mode}: {one.share:.1%} saved")
    return found


def table(runs: Sequence[relay.Run], words: Sequence[Saved]) -> str:
    """The load, then the words."""
    rows = [
        (
            one.mode,
            f"{one.plain / (ANSWERS * TOKENS):.0f}",
            f"{one.wire / (ANSWERS * TOKENS):.0f}",
            f"{one.share:.1%}",
            f"{one.tokens_per_write:.1f}",
        )
        for one in words
    ]
    head = ("words", "plain bytes/token", "on the wire", "saved", "tokens a write")
    return f"{report.sides(runs, {'gzip': 'plain'}, TIMES)}\n\n{report.table(head, rows)}"


def texts() -> list[list[str]]:
    """The tokens of each answer: words of the documents, without what JSON would escape."""
    said = " ".join(one.read_text() for one in sorted(DOCUMENTS.glob("*.md")))
    words = [f" {word}" for word in re.findall(r"[A-Za-z0-9,.;:'()-]+", said)]
    return [words[at : at + TOKENS] for at in range(0, ANSWERS * TOKENS, TOKENS)]


class Answer(NamedTuple):
    """Bytes on the wire, writes with content, and what was unpacked."""

    wire: int
    writes: int
    plain: bytes


def read(folder: Path, flush: int, core: int) -> list[Answer]:
    """All answers, where tokens gather for so many milliseconds. Raises `servers.Failed`."""
    server = servers.holdfast(folder, "memory")
    with servers.running(server.command, server.port, folder / "holdfast.log", core):
        return asyncio.run(_answers(server, flush))


def saved(mode: str, answers: Sequence[Answer]) -> Saved:
    """What the wire had of them."""
    wire, plain = sum(one.wire for one in answers), sum(len(one.plain) for one in answers)
    return Saved(mode, wire, plain, ANSWERS * TOKENS / sum(one.writes for one in answers))


def together(answers: Sequence[Answer]) -> Saved:
    """What it would have had, if several events had gone in each write."""
    wire = 0
    for one in answers:
        coder = coding.coder("gzip", LEVEL)
        assert coder is not None
        events = EVENT.findall(one.plain)
        groups = (events[at : at + TOGETHER] for at in range(0, len(events), TOGETHER))
        wire += sum(len(coder.code(b"".join(some))) for some in groups) + len(coder.end())
    plain = sum(len(one.plain) for one in answers)
    return Saved(f"{TOGETHER} events a write (calculated)", wire, plain, TOGETHER)


async def _answers(server: servers.Server, flush: int) -> list[Answer]:
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


async def _read(server: servers.Server, flush: int) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    body = json.dumps(json.loads(server.body) | {"flush_interval_ms": flush}).encode()
    writer.write(latency.question(server._replace(body=body, headers=(ACCEPT,))))
    head = await reader.readuntil(b"\r\n\r\n")
    if b"gzip" not in head.lower():
        raise servers.Failed("the node does not compress")
    unpack = zlib.decompressobj(31)
    wire, writes, plain = 0, 0, b""
    while size := int(await reader.readline(), 16):
        data = (await reader.readexactly(size + 2))[:-2]
        said = unpack.decompress(data)
        wire, plain = wire + len(data), plain + said
        writes += b'"delta"' in said
    writer.close()
    return Answer(wire, writes, plain)


SCENARIO = Scenario("compressed", "gzip for every reader, beside none", run, Size(1000, 3))

"""What the sizes and times of encrypted packets tell of an answer, and what it costs to hide them.

Strategy: a node relays many answers of common words at once, and each write to a reader is taken
for a packet, as TLS makes one of it. Every answer is heard twice, with other pauses between the
tokens, and `listeners` guess the second time which one it is. Half of the answers have equally many
tokens, so that sizes alone can tell them apart; the others are of many lengths. Wire compression,
which the node does not have, is calculated from the same bytes.
"""

from __future__ import annotations

import asyncio
import random
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import latency, listeners, report, servers
from bench.scenario import Bench, Result, Scenario

ANSWERS, TOKENS, SPREAD = 100, 120, 40
"""Answers of each half; tokens of each in the one half, and how many more or less in the other."""

PAUSE, CADENCE = 0.04, 0.2
"""Seconds between two tokens, as a mean; the cadence that is measured."""

LETTERS = (10, 9, 13, 17, 14, 11, 9, 7, 5, 3, 2)
"""How many of a hundred words have so many letters, from one on: about as in English."""

WORDS, PATIENCE = 2000, 30.0
"""Words that there are; seconds that an answer may take beyond its tokens."""

HEAD = (
    b"POST %b HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)

MODES = {
    "off": "",
    "padding": "padding = true\n",
    "cadence": f"cadence = {CADENCE}\n",
    "both": f"padding = true\ncadence = {CADENCE}\n",
}
COMPRESSED = ("off", "padding")
"""Of which it is calculated what gzip would make."""

_DELTA = re.compile(rb'"type":"content","delta":"([^"]*)"')
_NUMBERS = re.compile(rb"^id: .*:(\d+-\d+)$", re.MULTILINE)


class Channel(NamedTuple):
    """One way to send. `sizes` that packets have, `bits` of a packet's size; the share of guesses
    that are right of answers that are equally long, and of others, each with what tells it."""

    mode: str
    sizes: int
    bits: float
    equal: float
    equal_by: str
    other: float
    other_by: str
    bytes_per_token: float
    packets_per_token: float
    cpu_us: float | None = None
    wait_ms: float | None = None


class Hearing(NamedTuple):
    """All answers, heard once: their packets, the bytes of these, and what tokens waited in ms."""

    heard: list[list[listeners.Packet]]
    bodies: list[list[bytes]]
    waits: list[float]


def answers() -> list[list[str]]:
    """The tokens of each answer, always the same: a word and the space before it."""
    chance = random.Random(1)
    lengths = chance.choices(range(1, len(LETTERS) + 1), LETTERS, k=WORDS)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=n)) for n in lengths]
    common = [1 / (rank + 3) for rank in range(WORDS)]  # Zipf's law, more or less
    counts = [TOKENS] * ANSWERS
    counts += [chance.randint(TOKENS - SPREAD, TOKENS + SPREAD) for _ in range(ANSWERS)]
    return [[f" {word}" for word in chance.choices(words, common, k=n)] for n in counts]


class Stage:
    """The provider and the readers of one hearing; `seed` draws the pauses."""

    def __init__(self, texts: Sequence[Sequence[str]], seed: int) -> None:
        self._texts, self._seed = texts, seed
        self._said: list[list[tuple[int, float]]] = [[] for _ in texts]

    async def hear(self, server: servers.Server) -> Hearing:
        """Asks for all answers at once. Raises `servers.Failed`."""
        provider = await asyncio.start_server(self._provide, "127.0.0.1", server.provider)
        async with provider:
            asks = (self._read(server, number) for number in range(len(self._texts)))
            found = await asyncio.gather(*asks)
        waits = [wait for _, _, mine in found for wait in mine]
        return Hearing([one for one, _, _ in found], [one for _, one, _ in found], waits)

    async def _provide(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            number = int((re.search(rb'"go (\d+)"', body) or [b"", b"0"])[1])
            await self._speak(number, writer)
        finally:
            writer.close()

    async def _speak(self, number: int, writer: asyncio.StreamWriter) -> None:
        loop, chance = asyncio.get_running_loop(), random.Random(f"{self._seed} {number}")
        writer.write(latency.HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        length, due = 0, loop.time()
        for token in self._texts[number]:
            due += chance.expovariate(2 / PAUSE) + PAUSE / 2
            await asyncio.sleep(due - loop.time())
            length += len(token)
            self._said[number].append((length, loop.time()))
            writer.write(latency.piece(token))
        writer.write(latency.end())
        await writer.drain()

    async def _read(
        self, server: servers.Server, number: int
    ) -> tuple[list[listeners.Packet], list[bytes], list[float]]:
        """The packets of an answer, their bytes, and what each token waited, in ms."""
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = server.body.replace(b'"go"', b'"go %d"' % number)
        writer.write(HEAD % (server.path.encode(), len(body)) + body)
        packets: list[listeners.Packet] = []
        bodies: list[bytes] = []
        waits: list[float] = []
        said, begun, length = self._said[number], loop.time(), 0
        async with asyncio.timeout(PATIENCE + 2 * PAUSE * (TOKENS + SPREAD)):
            await reader.readuntil(b"\r\n\r\n")
            while size := int(await reader.readline(), 16):
                data, now = (await reader.readexactly(size + 2))[:-2], loop.time()
                pieces = _DELTA.findall(data)
                numbers = sum(map(len, _NUMBERS.findall(data)))
                packets.append(listeners.Packet(now - begun, size, numbers))
                bodies.append(data)
                length += sum(map(len, pieces))
                while len(waits) < len(said) and said[len(waits)][0] <= length:
                    waits.append((now - said[len(waits)][1]) * 1000)
        writer.close()
        if length != sum(map(len, self._texts[number])):
            raise servers.Failed(f"{server.name}: answer {number} did not come whole")
        return packets, bodies, waits


def measure(folder: Path, mode: str, core: int) -> list[Channel]:
    """What one mode tells and costs, about 15 seconds; with what compression would make of it.
    Raises `servers.Failed`."""
    more = f"[streaming]\n{MODES[mode]}" if MODES[mode] else ""
    server, texts = servers.holdfast(folder, "memory", more=more), answers()
    with servers.running(server.command, server.port, folder / "holdfast.log", core) as pid:
        before = servers.cpu_seconds(pid)
        hearings = [asyncio.run(Stage(texts, seed).hear(server)) for seed in (1, 2)]
        used = servers.cpu_seconds(pid) - before
    tokens = sum(map(len, texts))
    plain = _channel(mode, hearings[0].heard, hearings[1].heard, tokens)
    waits = statistics.median(hearings[0].waits + hearings[1].waits)
    found = [plain._replace(cpu_us=used * 1e6 / (2 * tokens), wait_ms=waits)]
    if mode in COMPRESSED:
        first, second = map(_compressed, hearings)
        found.append(_channel(f"{mode}, gzip", first, second, tokens))
    return found


def _compressed(hearing: Hearing) -> list[listeners.Heard]:
    both = zip(hearing.bodies, hearing.heard, strict=True)
    return [listeners.compressed(bodies, heard) for bodies, heard in both]


def _channel(
    mode: str, known: Sequence[listeners.Heard], heard: Sequence[listeners.Heard], tokens: int
) -> Channel:
    equal, equal_by = listeners.guessed(known[:ANSWERS], heard[:ANSWERS])
    other, other_by = listeners.guessed(known[ANSWERS:], heard[ANSWERS:])
    sizes, bits = listeners.bits(heard)
    packets = [packet for one in heard for packet in one]
    size = sum(packet.size for packet in packets)
    wire = (size / tokens, len(packets) / tokens)
    return Channel(mode, sizes, bits, equal, equal_by, other, other_by, *wire)


def run(bench: Bench) -> Result:
    """All modes, one after the other."""
    found: list[Channel] = []
    for mode in MODES:
        bench.say(f"{2 * ANSWERS} answers, heard twice, {mode} ...")
        with bench.folder() as folder:
            found += measure(folder, mode, bench.cores[0])
    return Result([one._asdict() for one in found], table(found))


def table(found: Sequence[Channel]) -> str:
    """What packets tell."""
    head = [
        "streaming",
        "sizes",
        "bits a packet",
        "of equal length",
        "by",
        "of other lengths",
        "by",
    ]
    head += ["bytes/token", "packets/token", "CPU µs/token", "median wait ms"]
    rows = []
    for one in found:
        measured = ("" if n is None else f"{n:.0f}" for n in (one.cpu_us, one.wait_ms))
        rows.append(
            [
                one.mode,
                f"{one.sizes}",
                f"{one.bits:.1f}",
                f"{one.equal:.0%}",
                one.equal_by,
                f"{one.other:.0%}",
                one.other_by,
                f"{one.bytes_per_token:.0f}",
                f"{one.packets_per_token:.2f}",
                *measured,
            ]
        )
    return report.table(head, rows)


SCENARIO = Scenario(
    "sidechannel", f"what encrypted packets tell: one of {ANSWERS} answers is guessed", run
)

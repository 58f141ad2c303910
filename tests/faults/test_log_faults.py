"""A running server whose log fails: creating is refused, readers are asked to come back, nothing
that was acknowledged is gone, and the server serves again when the disk does, without a restart.

Strategy: a server in this process on a SQLite log in a place that the test can take away: a file
system of a few megabytes that is filled, a file that another program holds, a connection that
SQLite itself makes read-only, a page that is overwritten. While the fault lasts all that the
promise says is looked at; then it is healed, and the same streams must end as if nothing had
been. CASES part 1, row 20.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.integration import asking, harness

from holdfast.eventlog import base
from holdfast.eventlog.sqlite import file
from holdfast.testing import provider as replay

PROMPT = harness.wanted("vendor/m", flush_interval_ms=0)


class Held:
    """A vendor's answer: it says one piece each time `more` is awaited."""

    def __init__(self, pieces: int) -> None:
        self.gates = [asyncio.Event() for _ in range(pieces)]
        body: list[bytes | asyncio.Event] = []
        for number, gate in enumerate(self.gates):
            body += [gate, asking.chunk(f"piece {number} " + "x" * 2000)]
        self.answer = replay.Answer(body=(*body, asking.STOP))
        self.text = "".join(f"piece {number} " + "x" * 2000 for number in range(pieces))
        self._next = 0

    def more(self) -> None:
        self.gates[self._next].set()
        self._next += 1

    def all(self) -> None:
        while self._next < len(self.gates):
            self.more()


async def lasting(server: harness.Running, reader: harness.Reader, held: Held) -> str:
    """While the fault lasts: what a running stream's reader, a new reader and a creator see.
    Returns the id of the last event that the first one had."""
    await reader.until(asking.has(2))
    last = asking.last_id(bytes(reader.body))
    held.more()
    answer = await reader.rest()
    assert not answer.clean
    assert b'"reason":"log_unavailable"' in answer.blocks[-1]
    ready = await harness.ask(server.port, "GET", "/readyz")
    assert (ready.status, ready.json()["code"]) == (503, "log_unavailable")
    alive = await harness.ask(server.port, "GET", "/healthz")
    assert alive.status == 200
    made = await harness.ask(server.port, "POST", "/v1/streams", {}, PROMPT)
    assert (made.status, made.json()["code"]) == (503, "log_unavailable")
    assert int(made.headers["retry-after"]) > 0
    back = await (await harness.resume(server.port, last, "header")).rest()
    assert asking.sent_away(back).data["reason"] == "log_unavailable"
    return last


async def healed(server: harness.Running, stream: str, last: str, had: bytes, held: Held) -> None:
    """Afterwards: the stream goes on to its end, and new ones are taken."""
    await asking.until(lambda: not server.service.log_failing)
    held.all()
    rest = await (await harness.resume(server.port, last, "header")).rest()
    whole = await harness.ask(server.port, "GET", f"/v1/streams/{stream}/events")
    assert rest.clean
    assert harness.durable(had) + rest.body == whole.body
    assert asking.kinds(whole.body)[-1] == "complete"
    assert asking.content(whole.body) == held.text
    fresh = await asking.finished(server.port)
    assert asking.kinds(fresh.body)[-1] == "complete"


@contextlib.asynccontextmanager
async def serving(folder: Path, *answers: replay.Answer) -> AsyncIterator[harness.Running]:
    url = f"sqlite:///{folder}/log.db"
    async with asking.vendor(*answers, log={"url": url}) as vendor:
        yield vendor.server


async def through(folder: Path, fault: contextlib.AbstractContextManager[None]) -> None:
    """A stream under way, the fault, and what follows."""
    held = Held(6)
    # The creator that is refused asks the vendor for nothing.
    async with serving(folder, held.answer) as server:
        reader = await harness.begin(server.port, PROMPT)
        held.more()
        await reader.until(asking.has(2))
        with capture_logs() as logs:
            with fault:
                last = await lasting(server, reader, held)
            await healed(server, harness.stream_of(reader), last, bytes(reader.body), held)
        told = {line["event"] for line in logs}
        assert {"log_failing", "log_recovered"} <= told
        assert "service_ended" not in told


@pytest.fixture
def small(mounted: Callable[[str], Path]) -> Path:
    """A file system of 4 MB."""
    return mounted("4m")


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """Not a byte is left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as written, contextlib.suppress(OSError):
        for size in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    written.write(bytes(size))
    try:
        yield
    finally:
        filler.unlink()


@pytest.mark.case("1.20")
async def test_a_full_disk(small: Path) -> None:
    await through(small, full(small))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another program holds the file, as one that makes a backup badly."""
    with contextlib.closing(sqlite3.connect(folder / "log.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_a_locked_database(tmp_path: Path) -> None:
    await through(tmp_path, locked(tmp_path))


class _Switch:
    on = False


@contextlib.contextmanager
def switched(switch: _Switch) -> Iterator[None]:
    switch.on = True
    yield
    switch.on = False


async def test_a_file_that_became_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a remount: SQLite says so itself, on the connection that writes."""
    switch, commit = _Switch(), file.File.commit

    def on_a_connection_that_reads(self: file.File, *said: Any) -> tuple[int, int]:
        self._db.execute(f"PRAGMA query_only = {int(switch.on)}")
        return commit(self, *said)

    monkeypatch.setattr(file.File, "commit", on_a_connection_that_reads)
    await through(tmp_path, switched(switch))


async def test_a_provider_call_is_not_paid_for_while_nothing_can_be_written(
    small: Path,
) -> None:
    """After `log_patience` the call is stopped; the terminal event comes when the log does."""
    held = Held(2)
    *pieces, _ = held.answer.body
    url = f"sqlite:///{small}/log.db"
    streaming = {"log_patience": "300ms"}
    answer = replay.Answer(body=tuple(pieces), ending="stall")
    async with asking.vendor(answer, log={"url": url}, streaming=streaming) as vendor:
        server = vendor.server
        reader = await harness.begin(server.port, PROMPT)
        held.more()
        await reader.until(asking.has(2))
        last = asking.last_id(bytes(reader.body))
        with capture_logs(), full(small):
            held.more()
            await reader.rest()
            async with asyncio.timeout(harness.PATIENCE):
                await vendor.provider.records[0].ended.wait()
            assert vendor.provider.records[0].gone
        await asking.until(lambda: not server.service.log_failing)
        rest = await (await harness.resume(server.port, last, "header")).rest()
        assert rest.clean
        *_, end = harness.said(rest.body)
        assert (end.event, end.data["code"]) == ("error", "log_lost")
        assert "piece 1 " in asking.content(rest.body)  # what had gathered is there


def spoil(path: Path, stream: str) -> tuple[int, bytes]:
    """Overwrites a page of this stream's record alone; where, and what was there."""
    with contextlib.closing(sqlite3.connect(path)) as opened:
        (record,) = opened.execute(
            "SELECT events FROM record WHERE stream = ?", (stream,)
        ).fetchone()
    data = path.read_bytes()
    page = int.from_bytes(data[16:18], "big")
    parts = [record[at : at + 64] for at in range(page, len(record) - page, 64)]
    place = next(data.index(part) for part in parts if data.count(part) == 1) // page * page
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\xff" * page)
    return place, data[place : place + page]


async def test_a_page_that_cannot_be_read(tmp_path: Path) -> None:
    """What is on it is refused and named; all else is served; and it is back when the page is."""
    path = tmp_path / "log.db"
    config = harness.configured(f"sqlite:///{path}")
    async with harness.running(config) as server:
        # Compressed, the one that is spoiled has several pages still.
        sizes = (900, 12_000, 900, 900)
        long = [await asking.finished(server.port, f"tokens={size}") for size in sizes]
    streams = [harness.stream_of(answer) for answer in long]
    place, page = spoil(path, streams[1])
    async with harness.running(config) as server:
        with capture_logs() as logs:
            answer = await harness.ask(server.port, "GET", f"/v1/streams/{streams[1]}")
            assert (answer.status, answer.json()["code"]) == (503, "log_corrupt")
            with path.open("r+b") as opened:
                opened.seek(place)
                opened.write(page)
            fresh = await asking.finished(server.port)
            assert asking.kinds(fresh.body)[-1] == "complete"
            whole = await harness.ask(server.port, "GET", f"/v1/streams/{streams[1]}/events")
            assert harness.durable(whole.body) == harness.durable(long[1].body)
        assert "service_ended" not in {line["event"] for line in logs}
        info = await server.service.stat(streams[1])
        assert isinstance(info, base.Info)

"""The JavaScript client across reloads: nothing that a page holds is sent again.

Strategy: a page is a process that is killed, as a tab may be, and its storage is a file. What came
over the wire is looked at, and the provider waits for the test, so that every reload is one in
mid-answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.integration import asking, peers
from tests.integration.javascript import js_reader
from tests.integration.javascript.js_reader import asked, came, frames, ids, wanted, written

from holdfast.testing import provider as replay

RELOADS = 5


class Held(msgspec.Struct, frozen=True):
    """What is kept of an answer for the next page."""

    id: str = ""
    at: str = ""
    parts: dict[str, dict[str, Any]] = {}

    @property
    def seq(self) -> int:
        return int(self.at.partition("-")[2] or 0)

    @property
    def event_id(self) -> str:
        return f"{self.id}:{self.at}"

    @property
    def content(self) -> str:
        return str(self.parts["0"]["content"])


async def kept(folder: Path, beyond: int) -> Held:
    """What is kept, once it has an event behind this one that says something."""
    found = Held()

    def there() -> bool:
        nonlocal found
        # It may be half written.
        with contextlib.suppress(OSError, msgspec.DecodeError):
            found = msgspec.json.decode((folder / "holdfast:chat").read_bytes(), type=Held)
        return found.seq > max(beyond, 1)

    await asking.until(there)
    return found


async def test_five_reloads_are_sent_nothing_twice(
    pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    """Each time the process is killed, as a tab may be: what it had kept by then is in a file."""
    peers.installed(pytestconfig)
    gates = [asyncio.Event() for _ in range(RELOADS)]
    body: list[bytes | asyncio.Event] = [asking.chunk("Kelp ")]
    for number, gate in enumerate(gates):
        body += [gate, asking.chunk(f"and {number} ")]
    async with asking.vendor(replay.Answer(body=(*body, asking.STOP))) as vendor:
        async with js_reader.running() as reader:
            client(reader, vendor, tmp_path)
            request = wanted("Hello", "vendor/m")
            reader.do("stream", "a", request=request, use={"key": "chat"})
            held = await kept(tmp_path, beyond=0)
            await js_reader.killed(reader)
        for gate in gates:
            async with js_reader.running() as reader:
                client(reader, vendor, tmp_path)
                held = await read_on(reader, held, gate, tmp_path)
                if gate is gates[-1]:
                    final = (await reader.end("a"))["final"]
                await js_reader.killed(reader)
        text = asking.content(await written(vendor.server, held.id))
        assert (final["content"], final["verified"]) == (text, "sha256")
        assert text.startswith("Kelp and 0 and 1 ")
        assert len(vendor.provider.requests) == 1
        await asking.idle(vendor.server)


def client(reader: js_reader.Reader, vendor: asking.Vendor, folder: Path) -> None:
    reader.do("client", "a", options={"url": vendor.server.url}, storage=str(folder))


async def read_on(reader: js_reader.Reader, held: Held, gate: asyncio.Event, folder: Path) -> Held:
    """What is kept after the next page had a piece more."""
    reader.do("resume", "a", key="chat")
    begins = await reader.first("a", "begins")
    assert (begins["id"], begins["position"]) == (held.id, held.at)
    assert begins["content"] == held.content
    gate.set()
    more = await kept(folder, beyond=held.seq)
    told = await reader.until("a", lambda told: more.event_id in ids(told))
    assert asked(told) == [("GET", held.event_id)]
    # The raw bytes begin with the very next event.
    assert frames(came(told))[0].id.endswith(f"-{held.seq + 1}")
    return more

"""Two nodes on one Redis in mid-answer, and all who read there.

Strategy: both nodes write, and each stream is read at both of them from its first event to its end.
Whatever is lost meanwhile, in the end each reader has every word once, each stream ends once, no
call was made twice, and the nodes have the tasks and descriptors that they had before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec
from tests.faults import served
from tests.faults.storms import losing

Figures: TypeAlias = dict[str, float]


class Size(msgspec.Struct, frozen=True):
    """The loss lasts until each answer has `words` more. `patience` is `log_patience`, in
    seconds; `readers` are those of each stream, half of them at each node."""

    words: int = 600
    rate: float = 20
    streams: int = 40
    readers: int = 4
    patience: float = 60
    limit: float = 240


class Service:
    """Two nodes, and what is read of them. `streams` has the label of each, `readers` all who
    read; `headers` let callers in."""

    def __init__(
        self, nodes: list[served.Server], vendor: losing.Vendor, headers: Mapping[str, str]
    ) -> None:
        self.nodes, self.vendor, self.headers = nodes, vendor, headers
        self.streams: dict[str, str] = {}
        self.readers: dict[losing.Reader, asyncio.Task[None]] = {}

    async def begin(self, size: Size, group: asyncio.TaskGroup) -> None:
        """Streams under way, each read at both nodes from its first event."""
        for number in range(size.streams):
            label = f"answer {number}"
            stream = await losing.create(self.nodes[number % 2], label, self.headers)
            self.streams[stream] = label
            for at in range(size.readers):
                reader, node = losing.Reader(stream, self.headers), self.nodes[at % 2]
                work = reader.read(lambda node=node: node.port)  # type: ignore[misc]
                self.readers[reader] = group.create_task(work)
        await losing.until(lambda: all(reader.seq >= 3 for reader in self.readers))

    async def end(self) -> None:
        """The answers may end; all readers have all, each stream ends once, no call was made
        twice."""
        await self.vendor.have_said(3)
        self.vendor.finish()
        async with asyncio.timeout(losing.PATIENCE):
            await asyncio.gather(*self.readers.values())
        assert self.vendor.calls == len(self.streams)
        for stream, label in self.streams.items():
            its = [reader for reader in self.readers if reader.stream == stream]
            for node in self.nodes:
                text = self.vendor.text(label)
                await losing.check_stream(node, stream, text, its, self.headers)

    def figures(self) -> Figures:
        away = [len(reader.away) for reader in self.readers]
        return {
            "words of an answer": min(len(words) for words in self.vendor.said.values()),
            "readers": len(self.readers),
            "sent away at least": min(away),
            "sent away at most": max(away),
            "rewinds": sum(reader.rewinds for reader in self.readers),
        }


@contextlib.asynccontextmanager
async def serving(
    folder: Path,
    url: str,
    size: Size,
    *,
    headers: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    spare: int = 0,
) -> AsyncIterator[Service]:
    """Two nodes on this log, at rest before and afterwards with the same tasks and descriptors;
    `spare` of these may be opened meanwhile to be kept."""
    async with contextlib.AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(losing.Vendor(size.rate))
        losing.configure(folder, vendor, patience=size.patience)
        nodes = []
        for _ in range(2):
            node = await stack.enter_async_context(served.serving(folder, log=url, env=env))
            node.headers |= headers or {}
            nodes.append(node)
        before = [await node.held() for node in nodes]
        yield Service(nodes, vendor, headers or {})
        for node, held in zip(nodes, before, strict=True):
            await node.until_idle()
            await node.back_at(served.Held(held.tasks, held.files + spare))
            code = await node.end()
            assert (code, list(node.bugs)) == (0, []), f"{code}: {''.join(node.said)}"

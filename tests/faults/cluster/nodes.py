"""The nodes of a run: processes of `holdfast serve` with the same settings, each on its machine.

Strategy: who asks is sent to any of those that are up, as a proxy in front would that has not heard
yet of a death. Callers have a key: without one a node serves its own machine alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.faults.chaos import book as books
from tests.faults.chaos import keys, server, wire
from tests.faults.cluster import machines, stores, texts
from tests.integration import processes

SETTINGS = """
[server]
heartbeat_interval = 1
write_timeout = 5
drain_timeout = 0.5

[log]
url = "{log}"
lease = {lease}

[archive]
url = "{archive}"

[fallback]
delay = 0.1

[deadlines]
connect = 2
first_byte = 4
first_content = 5
between_contents = 4
total = {total}

[providers.ours]
kind = "openai_chat"
base_url = "http://{host}:{provider}/v1"
api_key = "sk-chaos"
"""


class Node(server.Server):
    """A server and its machine; `busy` is held by whoever does something to it."""

    def __init__(self, book: books.Book, folder: Path, number: int, here: str) -> None:
        self.machine = machines.Machine(number, here)
        self.busy = asyncio.Lock()
        super().__init__(
            book,
            folder,
            lambda port: None,
            name=f"node{number}",
            host=self.machine.host,
            enter=self.machine.enter,
        )

    def door(self, key: str) -> wire.Door:
        headers = {"Authorization": f"Bearer {key}"}
        return wire.Door(self.port, self.machine.host, headers, self.name)


class Nodes:
    """All of them. `pick` is a door to any; `operate` the same for operators, by their own key."""

    def __init__(
        self, all: Sequence[Node], key: str, seed: int, config: Path, operators: str
    ) -> None:
        self.all, self.key, self.config, self.operators = all, key, config, operators
        self._dice = random.Random(f"{seed} doors")
        self._theirs = random.Random(f"{seed} operators")

    def pick(self) -> wire.Door:
        return self._dice.choice(self.all).door(self.key)

    def operate(self) -> wire.Door:
        return self._theirs.choice(self.all).door(self.operators)


@contextlib.asynccontextmanager
async def running(
    book: books.Book,
    folder: Path,
    count: int,
    here: str,
    shared: stores.Stores,
    provider: int,
    seed: int,
    lease: float,
    sealed: bool,
) -> AsyncIterator[Nodes]:
    """So many nodes that serve, with leases of so many seconds; none is left behind."""
    config = folder / "holdfast.toml"
    config.write_text(
        SETTINGS.format(
            log=shared.log_url,
            lease=lease,
            archive=shared.archive_url,
            host=here,
            provider=provider,
            total=texts.TOTAL,
        )
        + keys.settings(folder, sealed)
    )
    key = await _key("chaos", config)
    operators = await _key("operators", config, "--scope", "admin") if sealed else ""
    all = [Node(book, folder, number, here) for number in range(1, count + 1)]
    try:
        for one in all:
            await one.start()
        yield Nodes(all, key, seed, config, operators)
    finally:
        for one in all:
            await one.close()
            one.machine.close()


async def _key(name: str, config: Path, *more: str) -> str:
    words = ("keys", "create", name, *more, "--config", str(config))
    made = await processes.run(*words, folder=config.parent)
    if made.code:
        raise RuntimeError(f"no key could be made: {made.err}")
    return made.out.strip()

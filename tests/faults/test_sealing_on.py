"""Sealing is turned on for stores that are full, killed in between; rotated, rewrapped, destroyed.

The short form; `make storm ARGS=turning` has the long one, of 50 kills on each pair of stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import postgres_server, redis_servers
from tests.faults import plain_kits, plain_stores
from tests.faults.storms import turning

SMALL = plain_stores.Size(ended=16, long=1, open=4, archived=8, long_words=300)
FILES = turning.Size(kills=3, commands=1, steps=(250, 100, 120), stores=SMALL)
SERVERS = turning.Size(kills=2, commands=0, steps=(250, 0, 0), stores=SMALL)


@pytest.fixture
def keeping(valkey_program: Path, tmp_path: Path) -> Iterator[redis_servers.Server]:
    """A Valkey that keeps what it has in an append-only file."""
    found = redis_servers.alone(valkey_program, tmp_path / "valkey", *plain_kits.KEPT)
    yield found
    found.stop()


async def test_plain_files_are_turned_on_and_killed_and_lose_nothing(tmp_path: Path) -> None:
    figures = await turning.turn(FILES, tmp_path, plain_kits.files())
    assert figures["kills while turned on"] == FILES.kills


async def test_plain_servers_are_turned_on_and_nodes_killed_and_lose_nothing(
    keeping: redis_servers.Server, postgres: postgres_server.Server, tmp_path: Path
) -> None:
    figures = await turning.turn(SERVERS, tmp_path, plain_kits.servers(keeping, postgres))
    assert figures["kills while turned on"] == SERVERS.kills

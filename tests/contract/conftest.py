"""Archives of each engine for the contract's suites; see `archives`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests import postgres_server
from tests.contract import archives


@pytest.fixture
def clock() -> archives.Clock:
    return archives.Clock()


@pytest.fixture(params=archives.ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def archive_makers(
    engine: str, tmp_path: Path, clock: archives.Clock, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[archives.NewArchive, archives.NewArchive]]:
    if engine.startswith("postgres"):
        request.getfixturevalue("postgres")

    def server() -> postgres_server.Server:
        found: postgres_server.Server = request.getfixturevalue("postgres")
        return found

    async with archives.makers(engine, tmp_path, server, clock) as made:
        yield made


@pytest.fixture
def new(
    archive_makers: tuple[archives.NewArchive, archives.NewArchive],
) -> archives.NewArchive:
    return archive_makers[0]


@pytest.fixture
def join(
    archive_makers: tuple[archives.NewArchive, archives.NewArchive],
) -> archives.NewArchive:
    return archive_makers[1]

"""PostgreSQL is lost under a running service, in short; `make storm ARGS=postgres` has the long
form."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import postgres_server
from tests.faults.storms import losing_postgres, losing_service

SHORT = losing_service.Size(words=30, streams=4, readers=4)


@pytest.mark.case("1.18")
@pytest.mark.case("1.19")
@pytest.mark.parametrize("name", losing_postgres.LOSSES)
async def test_answers_are_written_and_read_while_the_archive_is_away(
    name: str, valkey_program: Path, postgres: postgres_server.Server, tmp_path: Path
) -> None:
    load = losing_postgres.Load(streams=20, tokens=20, rate=40, rounds=2, most_mb=40)
    figures = await losing_postgres.lose(SHORT, name, valkey_program, postgres, tmp_path, load)
    assert figures["streams compared"] == SHORT.streams + 2 + 2 * load.streams

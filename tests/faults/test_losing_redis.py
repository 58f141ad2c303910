"""Redis is lost under a running service, in short; `make storm ARGS=redis` has the long form."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.storms import losing_redis, losing_service

SHORT = losing_service.Size(words=30, streams=4, readers=4)


@pytest.mark.case("1.17")
@pytest.mark.parametrize("name", losing_redis.LOSSES)
async def test_a_service_without_its_redis_says_so_and_goes_on_by_itself(
    name: str, valkey_program: Path, tmp_path: Path
) -> None:
    figures = await losing_redis.lose(SHORT, name, valkey_program, tmp_path)
    assert figures["rewinds"] == 0


@pytest.mark.case("1.17")
async def test_nodes_that_write_nothing_know_that_their_redis_is_gone(
    valkey_program: Path, tmp_path: Path
) -> None:
    await losing_redis.idle(valkey_program, tmp_path)


@pytest.mark.case("1.17")
async def test_calls_are_stopped_where_redis_is_gone_for_too_long(
    valkey_program: Path, tmp_path: Path
) -> None:
    size = losing_service.Size(streams=4, patience=1)
    await losing_redis.give_up(size, valkey_program, tmp_path)


@pytest.mark.case("1.16")
async def test_readers_of_a_service_whose_redis_fails_over_have_every_word(
    valkey_program: Path, tmp_path: Path
) -> None:
    size = losing_service.Size(words=5, streams=4, readers=4)
    figures = await losing_redis.fail_over(size, valkey_program, tmp_path)
    assert figures["rewinds"] >= figures["readers"]

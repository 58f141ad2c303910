"""The storm on a node that is asked for too much, in its short form."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.storms import overloading, pouring

LIMIT = 60.0


@pytest.mark.case("1.13")
async def test_who_is_let_in_gets_everything_once_and_who_is_not_comes_later(
    tmp_path: Path,
) -> None:
    load = pouring.Load(rate=300, seconds=2, writes=10, interval=0.1, tokens=2)
    size = overloading.Overload(load, max_lag=0.001, alone=True, limit=LIMIT)
    figures = await overloading.overload(size, tmp_path)
    assert figures["refused"] > 0
    assert figures["streams"] > 0

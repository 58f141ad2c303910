"""Who takes the files of a sealed service reads nothing: a short storm of `tests/faults/stolen`.

Here is one node on SQLite, without spans and retention; `make storm ARGS=sealed` has the others.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.stolen import run


@pytest.mark.case("4.25")
async def test_nothing_is_readable_on_a_sealed_disk_and_everything_on_another(
    tmp_path: Path,
) -> None:
    plain, sealed = await run.stolen(run.Size(long=False, turned=False), tmp_path)
    assert plain.storm.streams == sealed.storm.streams
    assert plain.search.frames

"""A million units of one stream have a million nonces, whoever sealed them.

Strategy: real processes, as it is about what they share: `sealing_processes` says which. Were a
nonce repeated under one key, both texts and the key that authenticates would be lost (NIST SP
800-38D, 8): nothing else about sealing fails so badly, or so silently.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.sealing import codec

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
UNITS = 1_000_000


def nonces(folder: Path, count: int, *how: str) -> list[bytes]:
    """By all processes, of so many units."""
    command = [sys.executable, str(HERE / "sealing_processes.py"), str(folder), str(count), *how]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run(command, check=True, timeout=60, env=env)
    size = codec.NONCE_BYTES
    files = [(folder / str(number)).read_bytes() for number in range(3)]
    assert all(files)
    return [file[at : at + size] for file in files for at in range(0, len(file), size)]


@pytest.mark.case("4.25")
def test_a_million_units_of_two_processes_and_a_takeover_have_a_million_nonces(
    tmp_path: Path,
) -> None:
    found = nonces(tmp_path, UNITS)
    assert len(found) == len(set(found)) == UNITS


@pytest.mark.case("4.25")
def test_nonces_that_are_counted_would_be_seen(tmp_path: Path) -> None:
    found = nonces(tmp_path, 1000, "counting")
    assert len(found) == 1000
    assert len(set(found)) == 400

"""What a process tells of itself, beside what the system says."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from holdfast.telemetry import vitals


def test_memory_is_what_the_kernel_says() -> None:
    found = vitals.memory()
    assert found is not None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert most / 4 < found <= most * 1.01


def test_a_file_more_is_counted() -> None:
    before = vitals.open_files()
    with Path("/dev/null").open():
        assert vitals.open_files() == (None if before is None else before + 1)


def test_a_system_that_only_lists_files_does_not_tell_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before Linux 6.2 the folder has no size, as here a file without text."""
    monkeypatch.setattr(vitals, "_FILES", Path("/dev/null"))
    assert vitals.open_files() is None


def test_computing_is_counted_in_microseconds() -> None:
    before, used = vitals.cpu_us(), resource.getrusage(resource.RUSAGE_SELF)
    assert abs(before / 1e6 - (used.ru_utime + used.ru_stime)) < 1
    sum(range(100_000))
    assert vitals.cpu_us() > before


def test_what_a_system_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "_STATM", Path("/nowhere/statm"))
    monkeypatch.setattr(vitals, "_FILES", Path("/nowhere/fd"))
    assert vitals.memory() is None
    assert vitals.open_files() is None

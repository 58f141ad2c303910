"""Tables that fit, and servers that say something else."""

from __future__ import annotations

import pytest

from holdfast import errors
from holdfast.cli import listing, output

HEAD = ("ID", "MODEL", "AT")


def test_columns_are_as_wide_as_they_must_be() -> None:
    rows = [("a", "some/model", "1"), ("abc", "x", "22")]
    assert output.table(HEAD, rows, shrinks=1) == (
        "ID   MODEL       AT\na    some/model  1\nabc  x           22\n"
    )
    assert output.table(HEAD, [], shrinks=1) == "ID  MODEL  AT\n"


@pytest.mark.parametrize("length", [51, 52, 53, 500])
def test_a_long_cell_is_cut_to_fit(length: int) -> None:
    rows = [("i" * 26, "m" * length, "2026")]
    first, line = output.table(HEAD, rows, shrinks=1).splitlines()
    assert len(line) == min(80, 34 + length)
    assert ("…" in line) == (length > 46)
    assert len(first) <= 80


def test_a_cell_stays_in_its_line() -> None:
    rows = [("a\nb", "\x1b[31m\r", "\u2028")]
    lines = output.table(HEAD, rows, shrinks=1).splitlines()
    assert lines[1] == "a b   [31m"


def test_another_server_is_told() -> None:
    with pytest.raises(errors.ClientError, match="no answer of a Holdfast server"):
        listing.read({"streams": None}, listing.Page)
    assert listing.read({"streams": [], "next": None, "more": 1}, listing.Page).streams == []

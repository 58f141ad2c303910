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


def entry(after_ms: int, what: str, **detail: str | int | bool | None) -> listing.Entry:
    return listing.Entry(after_ms, what, detail)


def test_a_story_is_a_table_in_which_nothing_is_cut() -> None:
    long = {"from": "openai/gpt-5", "to": "anthropic/claude", "reason": "provider_interrupted"}
    table = listing.story(
        [
            entry(0, "start", provider="a", model="m"),
            entry(12_345, "fallback", **long, exact=True, at=90),
            entry(12_346, "cancelled"),
            entry(12_347, "connection_closed", client_id=None, user_agent="a\x1b[31m\nb"),
        ]
    )
    assert table == (
        "AFTER     WHAT               DETAIL\n"
        " 0.000 s  start              provider a, model m\n"
        "12.345 s  fallback           from openai/gpt-5, to anthropic/claude, reason\n"
        "                             provider_interrupted, exact true, at 90\n"
        "12.346 s  cancelled\n"
        "12.347 s  connection_closed  user_agent a [31m b\n"
    )


def test_a_name_that_leaves_no_room_is_shown_all_the_same() -> None:
    [_, line, *_] = listing.story([entry(0, "w" * 500, said="x " * 100)]).splitlines()
    assert "w" * 500 in line


def test_no_story_is_a_head_alone() -> None:
    assert listing.story([]) == "AFTER  WHAT  DETAIL\n"

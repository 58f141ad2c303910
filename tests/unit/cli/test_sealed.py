"""What of a state is shown, and which keys it says are not needed."""

from __future__ import annotations

import pytest

from holdfast import errors, events
from holdfast.cli import sealed

NOW = events.now_ms()
A, B, C, OWN = (
    sealed.Key(letter * 16, since, tenant)
    for letter, since, tenant in (
        ("a", 1000, ""),
        ("b", 5000, ""),
        ("c", 9000, ""),
        ("d", 2000, "acme"),
    )
)


def state(log: dict[str, int] | None, archive: sealed.Store | None = None) -> sealed.State:
    guards = tuple(sorted(key_id for key_id in log or {} if key_id))
    return sealed.State(True, [C, A, OWN, B], sealed.Store(log, guards), archive)


def test_what_lies_under_a_key_needs_it() -> None:
    assert sealed.unneeded(state({}), 0) == [A.id, B.id]
    assert sealed.unneeded(state({A.id: 1}), 0) == [B.id]
    both = state({A.id: 1}, sealed.Store({B.id: 1}, (B.id,)))
    assert sealed.unneeded(both, 0) == []


def test_a_state_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    lost = "e" * 16
    found = state({A.id: 3, "": 2, lost: 1})
    sealed.show(found, "holdfast.keys")
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert [line.split() for line in lines] == [
        ["KEY", "SINCE", "TENANT", "STATE", "LOG", "ARCHIVE"],
        [C.id, "1970-01-01T00:00:09Z", "(all)", "used", "0", "-"],
        [A.id, "1970-01-01T00:00:01Z", "(all)", "old", "3", "-"],
        [OWN.id, "1970-01-01T00:00:02Z", "acme", "used", "0", "-"],
        [B.id, "1970-01-01T00:00:05Z", "(all)", "old", "0", "-"],
        [lost, "missing", "1", "-"],
        ["(plain)", "2", "-"],
    ]
    assert "Sealing is on; the key ring is holdfast.keys." in said.err
    assert f"A node does not start without the key {lost}." in said.err
    assert f"`holdfast seal shred --key {lost} --forced`" in said.err


def test_a_node_starts_without_a_key_that_is_no_guard(capsys: pytest.CaptureFixture[str]) -> None:
    lost = "e" * 16
    sealed.show(sealed.State(True, [C], sealed.Store({lost: 1}, (C.id,)), None), "")
    said = capsys.readouterr().err
    assert said.startswith("Sealing is on.\n")
    assert "does not start" not in said
    assert f"What lies under the missing key {lost} cannot be read" in said


def test_a_pass_of_a_node_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {
        "on": False,
        "keys": [],
        "log": {"by_key": {"": 1}, "guards": []},
        "archive": {"by_key": {}, "guards": []},
        "pass": {
            "kind": "rewrap",
            "done": 1,
            "left": 2,
            "unreadable": 3,
            "running": False,
            "error": "log_unavailable",
        },
    }
    sealed.show(sealed.of_node(answer), "there")
    said = capsys.readouterr().err
    assert "There is no key ring" in said
    assert "The pass (rewrap) failed: log_unavailable: 1 done, 2 left, 3 unreadable." in said
    with pytest.raises(errors.ClientError, match="no answer of a Holdfast server"):
        sealed.of_node({"on": 1})

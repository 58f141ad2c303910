"""Ids told once: the provider's where there is one, a made one for whoever comes second."""

from __future__ import annotations

from holdfast.dialects import ids


def test_an_id_that_was_given_is_told_once() -> None:
    told: set[str] = set()
    assert ids.once(told, "a", "made_0") == "a"
    assert ids.once(told, "b", "made_1") == "b"
    assert ids.once(told, "a", "made_2") == "made_2"


def test_without_one_it_is_made() -> None:
    told: set[str] = set()
    assert ids.once(told, None, "made_0") == "made_0"
    assert ids.once(told, "", "made_1") == "made_1"


def test_a_made_one_is_told_too() -> None:
    told: set[str] = set()
    assert ids.once(told, None, "made_0") == "made_0"
    assert ids.once(told, "made_0", "made_1") == "made_1"

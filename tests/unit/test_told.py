"""What is told once, and how much of that is remembered."""

from __future__ import annotations

from holdfast import told


def test_each_name_is_told_once_and_the_oldest_is_forgotten() -> None:
    known = told.Told(2)
    assert [known.first(name) for name in "aabba"] == [True, False, True, False, False]
    assert known.first("c")  # forgets a, which was the first one to come
    assert [known.first(name) for name in "cb"] == [False, False]
    assert known.first("a")
    assert known.first("b")
    assert len(known._names) == 2

"""A hint reaches those whom it is for, and nonsense reaches nobody."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast import events
from holdfast.eventlog import memory
from holdfast.eventlog.redis import hints

ME, OTHER = b"0123456789abcdef", b"fedcba9876543210"
ONE, TWO = events.StreamId("1" * 32), events.StreamId("2" * 32)


def noting(told: list[str], word: str) -> Callable[[object], None]:
    return lambda what: told.append(f"{word} {what}")


def told_of(message: bytes) -> list[str]:
    """What those who wait for ONE and for TWO, and for cancels, learn from a message."""
    told: list[str] = []
    local = memory.Hints()
    for stream in (ONE, TWO):
        local.watch(stream, lambda stream=stream: told.append(f"wake {stream}"))  # type: ignore[misc]
    local.watch_cancels(noting(told, "cancel"))

    def other(who: bytes, what: bytes, text: bytes) -> None:
        told.append(f"other {who.decode()} {what.decode()} {text.decode()}")

    hints._pass_on(message, ME, local, noting(told, "written"), other)
    return told


def test_a_tail_is_dropped_before_its_readers_wake() -> None:
    message = hints.message(OTHER, hints.MORE, [ONE, TWO])
    assert told_of(message) == [f"{word} {id}" for id in (ONE, TWO) for word in ("written", "wake")]


def test_cancels_are_told() -> None:
    message = hints.message(OTHER, hints.CANCEL, [TWO, ONE])
    assert told_of(message) == [f"cancel {TWO}", f"cancel {ONE}"]


def test_other_words_are_passed_on_whole() -> None:
    assert told_of(hints.framed(OTHER, b"q", b"12 some, words")) == [
        f"other {OTHER.decode()} q 12 some, words"
    ]


@pytest.mark.parametrize("what", [hints.MORE, hints.CANCEL, b"q"])
def test_ones_own_messages_are_known_already(what: bytes) -> None:
    assert told_of(hints.message(ME, what, [ONE])) == []


@pytest.mark.parametrize("said", [b"m", b"m ", b"m unknown", b"m \xff,,", b"m " + ONE.encode()[:9]])
def test_what_nobody_waits_for_wakes_nobody(said: bytes) -> None:
    assert [word for word in told_of(OTHER + b" " + said) if word.startswith("wake")] == []

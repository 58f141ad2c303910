"""What failed: how it adds up, on one node and on several, and that it stays small."""

from __future__ import annotations

import msgspec
import pytest

from holdfast.telemetry import failures


def example(at: int, stream: str = "s", message: str = "m") -> failures.Example:
    return failures.Example(stream, at, message)


def noted(*kinds: tuple[str, str | None, int]) -> failures.Failures:
    found = failures.Failures()
    for code, provider, at in kinds:
        found.note(code, provider, example(at))
    return found


def test_failures_add_up_by_code_and_provider() -> None:
    found = noted(("a", "x", 5), ("a", None, 6), ("b", "x", 7), ("a", "x", 3), ("a", "x", 9)).told()
    assert [(one.code, one.provider, one.count, one.first_at, one.last_at) for one in found] == [
        ("a", "x", 3, 3, 9),
        ("a", None, 1, 6, 6),
        ("b", "x", 1, 7, 7),
    ]


@pytest.mark.parametrize("more", [-1, 0, 1, 50])
def test_the_newest_examples_are_kept(more: int) -> None:
    count = failures.EXAMPLES + more
    (one,) = noted(*(("a", "x", at) for at in range(count))).told()
    newest = list(range(count))[::-1][: failures.EXAMPLES]
    assert (one.count, [told.at for told in one.examples]) == (count, newest)


@pytest.mark.parametrize("more", [0, 1, 300])
def test_further_kinds_count_together(more: int) -> None:
    count = failures.MAX_KINDS + more
    kinds = [(f"code{number}", "x", number) for number in range(count)]
    found = noted(*kinds, ("code0", "x", count)).told()
    assert len(found) == failures.MAX_KINDS + bool(more)
    assert found[0].count == 2
    if more:
        assert (found[-1].code, found[-1].provider, found[-1].count) == ("other", None, more)
    assert sum(one.count for one in found) == count + 1


def test_nodes_add_up_and_the_latest_is_first() -> None:
    here = noted(("a", "x", 10), ("b", None, 30), *(("a", "x", at) for at in (11, 12, 13)))
    there = noted(("a", "x", 12), ("a", "x", 40), ("c", "y", 20))
    found = failures.merged([here.told(), there.told(), []])
    assert [(one.code, one.count, one.first_at, one.last_at) for one in found] == [
        ("a", 6, 10, 40),
        ("b", 1, 30, 30),
        ("c", 1, 20, 20),
    ]
    assert [told.at for told in found[0].examples] == [40, 13, 12, 12, 11]
    assert failures.merged([]) == []


def test_they_are_told_over_a_wire() -> None:
    told = noted(("a", None, 1), ("b", "x", 2)).told()
    packed = msgspec.msgpack.encode(told)
    assert msgspec.msgpack.decode(packed, type=list[failures.Failure]) == told


@pytest.mark.parametrize(
    ("code", "said", "told"),
    [
        ("log_lost", "Gone for 30 s.", "Gone for 30 s."),
        ("log_lost", "", "The event log could not be written for too long."),
        ("provider_quota", "SECRET", "The provider account's quota or credit is used up."),
        ("provider_of_a_newer_version", "SECRET", "Something went wrong in Holdfast."),
        ("internal", "x" * 1000, "x" * failures.MAX_MESSAGE),
    ],
)
def test_a_message_is_ours(code: str, said: str, told: str) -> None:
    assert failures.message(code, said) == told

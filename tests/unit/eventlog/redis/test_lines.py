"""What servers say of themselves and of each other is understood, and never guessed."""

from __future__ import annotations

from typing import Any

import pytest
from redis import exceptions
from redis.asyncio import connection as driver

from holdfast import errors
from holdfast.eventlog.redis import lines

Place = tuple[str, int]
A, B, C = ("10.0.0.1", 7001), ("10.0.0.1", 7002), ("b.example", 7003)


def range_of(first: int, last: int, host: bytes | None, port: int) -> list[Any]:
    """A row of CLUSTER SLOTS, with a replica behind the primary."""
    return [first, last, [host, port, b"id"], [b"replica", 1, b"id"]]


def test_a_map_has_the_primary_of_each_slot() -> None:
    found = [
        range_of(5462, 10922, b"10.0.0.1", 7002),
        range_of(0, 5461, b"10.0.0.1", 7001),
        range_of(10923, 16383, b"b.example", 7003),
    ]
    slots = lines._map(found, "x")
    assert [slots[slot] for slot in (0, 5461, 5462, 10922, 10923, 16383)] == [A, A, B, B, C, C]
    assert len(slots) == lines.SLOTS


@pytest.mark.parametrize("host", [b"", None])
def test_who_has_no_name_is_where_the_answer_came_from(host: bytes | None) -> None:
    assert set(lines._map([range_of(0, 16383, host, 7)], "asked")) == {("asked", 7)}


@pytest.mark.parametrize(
    "found", [[], [range_of(0, 16382, b"h", 7)], [range_of(1, 16383, b"h", 7)]]
)
def test_a_map_with_a_hole_is_none(found: list[Any]) -> None:
    with pytest.raises(errors.LogUnavailable):
        lines._map(found, "x")


@pytest.mark.parametrize(
    ("said", "again", "asked", "moved"),
    [
        ("MOVED 7 10.0.0.1:7001", True, None, A),
        ("MOVED 7 :7001", True, None, ("x", 7001)),
        ("MOVED 7 ::1:7001", True, None, ("::1", 7001)),
        ("ASK 7 b.example:7003", True, C, None),
        ("ASK 7 :7003", True, ("x", 7003), None),
        ("TRYAGAIN Multiple keys request during rehashing of slot", True, None, None),
        ("CLUSTERDOWN The cluster is down", True, None, None),
        ("OOM command not allowed when used memory > 'maxmemory'.", False, None, None),
        ("ERR MOVED 7 10.0.0.1:7001", False, None, None),
        ("NOREPLICAS Not enough good replicas to write.", False, None, None),
    ],
)
def test_where_a_refusal_sends_us(
    said: str, again: bool, asked: Place | None, moved: Place | None
) -> None:
    """As the driver gives it, without its first word."""
    reply = driver.DefaultParser(socket_read_size=1).parse_error(said)  # type: ignore[no-untyped-call]
    assert lines._moved(reply) is again
    assert lines._sent(exceptions.AskError, reply, "x") == asked
    assert lines._sent(exceptions.MovedError, reply, "x") == moved
    assert lines._reason(reply) == said


@pytest.mark.parametrize("reply", [b"MOVED 7 10.0.0.1:7001", None, [1], 0])
def test_an_answer_sends_us_nowhere(reply: object) -> None:
    assert not lines._moved(reply)
    assert lines._sent(exceptions.AskError, reply, "x") is None
    assert lines._sent(exceptions.MovedError, reply, "x") is None


@pytest.mark.parametrize(
    "said",
    [
        {"redis_version": "7.0.15"},
        {"redis_version": "7.0"},
        {"redis_version": "8.2.1"},
        {"redis_version": "10.0.0"},
        {"redis_version": "6.2.0", "valkey_version": "9.1.0"},
    ],
)
def test_a_version_that_is_new_enough(said: dict[str, str]) -> None:
    lines._check_version(said)


@pytest.mark.parametrize("version", ["6.2.14", "6.9", "5.0.3", "", "x.y"])
def test_a_version_that_is_too_old(version: str) -> None:
    with pytest.raises(errors.SettingsError, match=r"needs Redis 7\.0"):
        lines._check_version({"redis_version": version} if version else {})


def test_info_is_read_line_by_line() -> None:
    said = lines.said(b"# Server\r\nredis_version:7.0.15\r\nempty:\r\npath:/a:b\r\n\r\n\xff:1\r\n")
    assert said == {"redis_version": "7.0.15", "empty": "", "path": "/a:b", "\ufffd": "1"}

"""What every store says of a stream: codes that are for ever, whose a stream is, and lists."""

from __future__ import annotations

import pytest

from holdfast import events, storage

A, B, C = (events.StreamId(letter * 26) for letter in "abc")


def info(
    stream: events.StreamId = A, created_at: int = 5, status: events.Status = "pending"
) -> storage.Info:
    header = storage.Header("acme/zoe", created_at, "demo", "m", client_id="c", session_id="s")
    return storage.Info(stream, header, storage.Head(1, 1, False), status)


def test_the_codes_of_the_kinds_are_for_ever() -> None:
    """They are in stores, and in the views of both SQL engines: never renumber."""
    assert list(storage.CODES.items()) == [
        ("start", 1),
        ("chunk", 2),
        ("metadata", 3),
        ("rewind", 4),
        ("error", 5),
        ("complete", 6),
    ]
    assert {storage.KINDS[code]: code for code in storage.CODES.values()} == storage.CODES
    assert storage.KINDS[0] not in storage.CODES


@pytest.mark.parametrize(
    ("owner", "tenant"),
    [("acme/zoe", "acme"), ("acme/", "acme"), ("a/b/c", "a"), ("acme", ""), ("/x", ""), ("", "")],
)
def test_a_tenant_is_what_stands_before_the_first_stroke(owner: str, tenant: str) -> None:
    assert storage.tenant_of(owner) == tenant


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (storage.Query(), True),
        (storage.Query("acme/zoe", "pending", "c", "s", tenant="acme"), True),
        (storage.Query("acme/"), False),
        (storage.Query(status="completed"), False),
        (storage.Query(client_id="d"), False),
        (storage.Query(session_id="d"), False),
        (storage.Query(tenant="acm"), False),
    ],
)
def test_a_stream_is_asked_for_by_all_that_is_said(query: storage.Query, wanted: bool) -> None:
    assert storage.matches(info(), query) is wanted


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (storage.Query(), True),
        (storage.Query(created_from=5), True),
        (storage.Query(created_from=6), False),
        (storage.Query(created_to=6), True),
        (storage.Query(created_to=5), False),
        (storage.Query(before=(6, "")), True),
        (storage.Query(before=(5, B)), True),
        (storage.Query(before=(5, A)), False),
        (storage.Query(before=(4, C)), False),
    ],
)
def test_a_list_begins_and_ends_in_time(query: storage.Query, wanted: bool) -> None:
    assert storage.in_time(info(), query) is wanted


def test_the_newest_come_first_each_once_as_it_was_told_last() -> None:
    found = [info(A, 1), info(B, 3), info(C, 3), info(A, 1, "completed")]
    assert storage.newest(found, 10) == [found[2], found[1], found[3]]
    assert storage.newest(found, 2) == [found[2], found[1]]
    for limit in (0, -1):
        assert storage.newest(found, limit) == []

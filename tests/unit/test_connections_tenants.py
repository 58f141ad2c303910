"""The book by tenant and by user: what each is told of, and that it costs nothing of what others
have."""

from __future__ import annotations

import pytest

from holdfast import connections, events

OPTIONS = connections.Options(8192, 100, False, False, 15.0)
STREAM, OTHER = events.new_stream_id(), events.new_stream_id()


def connect(owner: str) -> connections.Connection:
    return connections.Connection(
        STREAM, "demo", "m", connections.Peer(), OPTIONS, lambda: None, 100.0, owner=owner
    )


def test_a_tenant_is_told_of_its_own_and_others_are_not_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "KEPT_CLOSED", 3)
    book = connections.Book(10)
    owners = ("acme/", "globex/a", "acme/a", "", "acme/b", "globex/b", "acme", "acme/c")
    made = [connect(owner) for owner in owners]
    for connection in made:
        book.enter(connection)

    def told(tenant: str, stream: events.StreamId | None = None) -> list[int]:
        return [made.index(found) for found in book.all(stream, tenant)]

    assert told("acme") == [7, 6, 4, 2, 0]
    assert told("acme", STREAM) == [7, 6, 4, 2, 0]
    assert told("acme", OTHER) == []
    assert told("globex") == [5, 1]
    assert told("") == [3]
    assert told("nobody") == told("acme/") == []
    for number in (4, 0, 1):
        book.leave(made[number], "disconnected")
    assert told("acme") == [7, 6, 2, 0, 4]
    assert told("globex") == [5, 1]
    for number in (7, 5):  # of the closed ones 4 and 0 are forgotten
        book.leave(made[number], "disconnected")
    assert told("acme") == [6, 2, 7]
    del made[1].owner, made[5].owner  # to look at them would fail
    assert [made.index(found) for found in book.all(tenant="acme") if found.owner] == [6, 2, 7]


def test_a_user_is_told_of_their_own_and_the_tenant_s_others_are_not_passed_over() -> None:
    book = connections.Book(10)
    owners = ("acme/", "acme/a", "acme/b", "globex/a", "acme/a", "acme/a/b", "acme/a")
    made = [connect(owner) for owner in owners]
    for connection in made:
        book.enter(connection)
    for number in (1, 2):
        book.leave(made[number], "disconnected")

    def told(tenant: str, user: str, stream: events.StreamId | None = None) -> list[int]:
        return [made.index(found) for found in book.all(stream, tenant, user)]

    assert told("acme", "a") == told("acme", "a", STREAM) == [6, 4, 1]
    assert told("acme", "a", OTHER) == []
    assert told("acme", "b") == [2]
    assert told("acme", "a/b") == [5]
    assert told("acme", "") == [0]
    assert told("globex", "a") == [3]
    assert told("globex", "b") == told("", "a") == told("", "") == []
    assert [made.index(found) for found in book.all(tenant="acme")] == [6, 5, 4, 0, 2, 1]
    for number in (0, 2, 3, 5):
        del made[number].owner  # to look at them would fail
    own = book.all(tenant="acme", user="a")
    assert [made.index(found) for found in own if found.owner] == [6, 4, 1]


def test_nothing_is_kept_of_tenants_whose_connections_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "KEPT_CLOSED", 1)
    book = connections.Book(1)
    for tenant in ("a", "b", "c"):
        connection = connect(f"{tenant}/")
        book.enter(connection)
        book.leave(connection, "disconnected")
    assert list(book._open._of) == []
    assert list(book._closed._of) == [("c", None), ("c", "")]

"""Timelines: events and connections in one order, and what says that there may be more."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from holdfast import connections, endings, events, timeline
from holdfast.eventlog import base
from holdfast.http import neighbours, views
from holdfast.http import timeline as route

CREATED = 1_790_000_000_000
STREAM = events.stream_id("s" * 26)
OPTIONS = connections.Options(8192, 30, False, False, 15.0)
NODES = [views.NodeView("this", True)]
INFO = base.Info(STREAM, base.Header("", CREATED, "a", "m"), base.Head(1, 1, False), "pending")


def connected(
    begin: int, end: int | None = None, *, resumed: bool = False, id: str = "c"
) -> views.ConnectionView:
    """A connection that opened and closed so many ms after the stream's creation."""
    peer = connections.Peer("browser", user_agent="a test")
    made = connections.Connection(
        STREAM, "a", "m", peer, OPTIONS, lambda: None, 0.0, id=id, resumed=resumed
    )
    made.created_at, made.bytes_sent, made.chunks_sent = CREATED + begin, 90, 3
    if end is not None:
        made.reason = endings.CLIENT_GONE
        made.to("disconnected")
        made.updated_at = CREATED + end
    return views.connection(made)


def told(*events_at: tuple[int, events.Body]) -> timeline.Timeline:
    found = timeline.Timeline()
    for seq, (after, body) in enumerate(events_at, 1):
        said = events.draft(body)
        found.add(events.Event(said.kind, said.data, 1, seq, CREATED + after))
    return found


def view(
    story: timeline.Timeline, *readers: views.ConnectionView, answered: bool | None = True
) -> route.TimelineView:
    return route.view(INFO, story, views.ConnectionPage(list(readers), NODES, answered))


START = events.Start(STREAM, "r", "a", "m", "2026-01-01T00:00:00.000Z")
REWIND = events.Rewind("provider_failed")


def test_connections_stand_among_the_events_by_their_times() -> None:
    story = told((0, START), (20, events.Adopted(7)), (30, REWIND))
    found = view(story, connected(25, id="second"), connected(0, 20, id="first"))
    assert [(one.after_ms, one.what, one.detail.get("connection_id")) for one in found.entries] == [
        (0, "start", None),
        (0, "connection_opened", "first"),
        (20, "adopted", None),
        (20, "connection_closed", "first"),
        (25, "connection_opened", "second"),
        (30, "rewind", None),
    ]
    assert found.entries[4].at == events.rfc3339(CREATED + 25)
    assert (found.stream_id, found.status) == (STREAM, "pending")
    assert (found.nodes, found.archive_answered, found.truncated) == (NODES, True, False)


def test_a_connection_tells_who_it_was_and_what_it_had() -> None:
    opened, closed = view(told(), connected(1, 5)).entries
    who = {"client_id": "browser", "user_agent": "a test", "connection_id": "c"}
    assert (opened.what, opened.detail) == ("connection_opened", who)
    assert closed.what == "connection_closed"
    assert closed.detail == {
        "status": "disconnected",
        "reason": endings.CLIENT_GONE,
        "duration_ms": 4,
        "chunks_sent": 3,
        "bytes_sent": 90,
        "connection_id": "c",
    }


def test_who_comes_as_another_goes_stands_behind_it() -> None:
    found = view(told(), connected(5, 9, id="second"), connected(1, 5, id="first"))
    ids = [one.detail["connection_id"] for one in found.entries]
    assert ids == ["first", "first", "second", "second"]


def test_one_that_goes_on_behind_an_event_is_told_as_such() -> None:
    whats = [one.what for one in view(told(), connected(1, 5, resumed=True)).entries]
    assert whats == ["connection_resumed", "connection_closed"]


def test_a_connection_of_an_older_version_s_node_is_told_as_far_as_it_goes() -> None:
    old = msgspec.structs.replace(
        connected(1, 5), closed_at=None, reason=None, resumed=None, duration_ms=None
    )
    opened, closed = view(told(), old).entries
    assert (opened.what, closed.after_ms, closed.detail["reason"]) == ("connection_opened", 5, None)


def test_what_a_clock_puts_before_the_stream_s_creation_is_at_its_begin() -> None:
    found = view(told((-5, START)), connected(-9))
    assert [one.after_ms for one in found.entries] == [0, 0]


@pytest.mark.parametrize("over", [0, 1])
def test_a_list_that_is_full_may_lack_some(over: int) -> None:
    many = [connected(number) for number in range(neighbours.LIST_LIMIT - 1 + over)]
    found = view(told(), *many)
    assert found.truncated is bool(over)
    times = [one.after_ms for one in found.entries]
    assert all(one <= other for one, other in itertools.pairwise(times))


@pytest.mark.parametrize("over", [0, 1])
def test_a_long_story_says_that_there_is_more(over: int) -> None:
    story = told(*((number, REWIND) for number in range(2 * timeline.KEPT + over)))
    found = view(story)
    assert (found.truncated, len(found.entries)) == (bool(over), 2 * timeline.KEPT)


@pytest.mark.parametrize(("said", "answered"), [(True, True), (False, False), (None, False)])
def test_an_archive_that_said_nothing_is_told(said: bool | None, answered: bool) -> None:
    assert view(told(), answered=said).archive_answered is answered

"""What a reader of the bench is behind by: events are found, and what is due to it is known.

Strategy: a stream as the native wire has it, as bytes.
"""

from __future__ import annotations

import pytest
from bench import servers, spoken, storm, wires

SAID = b"HTTP\r\n\r\n" + b"".join(
    [
        b'event: start\ndata: {"stream_id":"S"}\nid: S:9-1\n\n',
        *(
            b'event: chunk\ndata: {"delta":"%b%b"}\nid: S:9-%d\n\n'
            % (wires.stamp(2 * n, 5).encode(), wires.stamp(2 * n + 1, 6).encode(), n + 2)
            for n in range(6)
        ),
        b"event: heartbeat\ndata: {}\n\n",
    ]
)


def test_events_are_known_by_their_tokens() -> None:
    told = spoken.events(SAID)
    assert [one.id for one in told] == [f"S:9-{seq}" for seq in range(2, 8)]
    assert told[2].tokens == [4, 5]


def test_who_is_behind_asks_after_the_last_event_that_it_has() -> None:
    wish = storm.resumed("S", spoken.events(SAID), 4)
    assert b"Last-Event-ID: S:9-3\r\n" in wish.request
    assert (wish.first, wish.last) == (4, 11)
    with pytest.raises(servers.Failed):
        storm.resumed("S", spoken.events(SAID), 6)


def test_who_has_nothing_names_no_event() -> None:
    assert b"Last-Event-ID" not in spoken.request("S")

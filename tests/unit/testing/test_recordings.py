"""The reading of a folder of recordings, and the ways of cutting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.testing import recordings

EVENTS = b"data: a\n\nevent: x\r\ndata: b\r\n\r\n: ping\n\ndata: c\r\rdata: rest"


def test_per_event_cuts_after_each_blank_line() -> None:
    assert recordings.per_event(EVENTS) == (
        b"data: a\n\n",
        b"event: x\r\ndata: b\r\n\r\n",
        b": ping\n\n",
        b"data: c\r\r",
        b"data: rest",
    )


def test_whole_and_per_byte() -> None:
    assert recordings.whole(EVENTS) == (EVENTS,)
    assert recordings.per_byte(b"abc") == (b"a", b"b", b"c")


def test_at_random_is_the_same_for_the_same_seed() -> None:
    cuts = [recordings.at_random(EVENTS, seed, 5) for seed in (1, 1, 2)]
    assert cuts[0] == cuts[1] != cuts[2]
    assert max(len(piece) for piece in cuts[0]) <= 5


@given(st.binary(max_size=200), st.sampled_from(sorted(recordings.FRAGMENTATIONS)))
def test_nothing_is_lost_and_nothing_is_empty(body: bytes, way: str) -> None:
    pieces = recordings.FRAGMENTATIONS[way](body)
    assert b"".join(pieces) == body
    assert all(pieces)


@pytest.mark.parametrize(
    ("protocol", "wire"),
    [
        ("chat", b'data: {"type":"a"}\n\ndata: {"type":"b"}\n\ndata: [DONE]\n\n'),
        ("google", b'data: {"type":"a"}\r\n\r\ndata: {"type":"b"}\r\n\r\n'),
        ("anthropic", b'event: a\ndata: {"type":"a"}\n\nevent: b\ndata: {"type":"b"}\n\n'),
        ("openai-responses", b'event: a\ndata: {"type":"a"}\n\nevent: b\ndata: {"type":"b"}\n\n'),
    ],
)
def test_payloads_are_framed_as_their_protocol_has_it(protocol: str, wire: bytes) -> None:
    assert recordings.frame(b'{"type":"a"}\n\n{"type":"b"}\n', protocol) == wire


def test_an_unknown_protocol_is_told() -> None:
    with pytest.raises(ValueError, match="smoke"):
        recordings.frame(b"{}", "smoke")


def write(folder: Path, name: str, data: bytes, expected: object = None) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    if expected is not None:
        stem = name.rpartition(".")[0]
        (folder / f"{stem}.expected.json").write_text(json.dumps(expected))


def test_a_folder_is_read(tmp_path: Path) -> None:
    write(tmp_path / "chat", "b.jsonl", b'{"x":1}\n', {"protocol": "chat"})
    write(tmp_path / "chat", "a.sse", b"data: 1\n\n", {"status": 200, "content_type": "text/x"})
    write(tmp_path / "chat", "c.sse", b"data: 2\n\n")
    write(tmp_path / "chat", "notes.json", b"{}")
    write(tmp_path / "chat", "README.md", b"")
    expected = {"status": 429, "content_type": "application/json", "retry_after": 2}
    write(tmp_path / "errors", "d.json", b'{"error":1}', expected)
    found = recordings.load_recordings(tmp_path)
    assert [(each.kind, each.name, each.wire, each.status) for each in found] == [
        ("chat", "a", b"data: 1\n\n", 200),
        ("chat", "b", b'data: {"x":1}\n\ndata: [DONE]\n\n', 200),
        ("chat", "c", b"data: 2\n\n", 200),
        ("errors", "d", b'{"error":1}', 429),
    ]
    assert [dict(each.headers) for each in found] == [
        {"Content-Type": "text/x"},
        {"Content-Type": "text/event-stream"},
        {"Content-Type": "text/event-stream"},
        {"Content-Type": "application/json", "Retry-After": "2"},
    ]
    assert [each.name for each in recordings.load_recordings(tmp_path / "errors")] == ["d"]


def test_every_shared_recording_is_read(shared: Path) -> None:
    found = recordings.load_recordings(shared / "recordings")
    assert len(found) == 77
    assert all(each.wire and each.expected for each in found)

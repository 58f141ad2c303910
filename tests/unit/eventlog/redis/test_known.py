"""What is known of a stream by its hash, and of one whose header cannot be read."""

from __future__ import annotations

import pytest

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.redis import blocks, known, lines, seals
from holdfast.sealing import codec, sealer
from holdfast.testing.eventlog.parts import header

STREAM = events.new_stream_id()


def unused() -> lines.Lines:
    """What is known of plain streams is known without a server."""
    return None  # type: ignore[return-value]


SEALS = seals.Seals(unused(), sealer.OFF, "nowhere")


def test_what_is_known_of_a_stream() -> None:
    bare, request = blocks.pack_header(codec.PLAIN, STREAM, header())
    fields = {b"header": bare, b"request": request, b"epoch": b"65536", b"seq": b"1"}
    info = base.Info(STREAM, header(), base.Head(65536, 1, False), "pending")
    assert known.info(SEALS, STREAM, fields) == info
    ended = {b"ended": b"9", b"status": b"error", b"said": b"1", b"cancelled": b"1"}
    assert known.info(SEALS, STREAM, {**fields, **ended}) == base.Info(
        STREAM, header(), base.Head(65536, 1, True), "error", cancelled=True, ended_at=9
    )
    running = known.info(SEALS, STREAM, {**fields, b"said": b"1"})
    assert isinstance(running, base.Info)
    assert running.status == "streaming"
    assert known.info(SEALS, STREAM, {b"expired": b"5", b"owner": b"me"}) == base.Tombstone("me", 5)
    assert known.info(SEALS, STREAM, {}) is None


def test_what_is_no_sense_is_refused() -> None:
    bare, _ = blocks.pack_header(codec.PLAIN, STREAM, header())
    for rest in (
        {},
        {b"epoch": b"x", b"seq": b"1"},
        {b"epoch": b"1", b"seq": b"1", b"ended": b"x"},
    ):
        with pytest.raises(errors.LogCorrupt, match=STREAM):
            known.info(SEALS, STREAM, {b"header": bare, **rest})

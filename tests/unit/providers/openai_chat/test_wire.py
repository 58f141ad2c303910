"""The two ways of reading a frame."""

from __future__ import annotations

from tests.unit.providers import said as told

from holdfast.providers import values
from holdfast.providers.openai_chat import wire


def test_both_ways_read_the_same() -> None:
    for recording in told.FIXTURES:
        for line in recording.wire.splitlines():
            payload = line.removeprefix(b"data: ")
            try:
                fast = wire.decode(payload)
            except (ValueError, RecursionError):
                continue
            assert wire.convert(values.load(payload.decode())) == fast

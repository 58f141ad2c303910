"""The fixtures of this format, and events of it to put together."""

from __future__ import annotations

from tests.unit.providers import said as told

from holdfast.testing import recordings

KIND = "anthropic"
FIXTURES = recordings.load_recordings(told.FOLDER / KIND)


def event(kind: str, fields: bytes = b"") -> bytes:
    """An event of this type; `fields` begins with a comma."""
    return b'event: %b\ndata: {"type":"%b"%b}\n\n' % (kind.encode(), kind.encode(), fields)


def begin(index: int, block: bytes) -> bytes:
    """The begin of this block."""
    return event("content_block_start", b',"index":%d,"content_block":%b' % (index, block))

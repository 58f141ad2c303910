"""Streams of any events, drawn by hypothesis: what providers say, and what they never should."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from tests.unit.dialects.ai_sdk import reading

from holdfast import errors, events

TEXTS = st.one_of(
    st.text(max_size=6), st.sampled_from(['","', '\\","name":"x', '"}', "\\", "\n", "\u2028", '",'])
)
BLOCKS = st.sampled_from([None, None, None, 0, 1])
EXTRAS = st.sampled_from(
    [msgspec.UNSET, msgspec.UNSET, msgspec.Raw(b'{"a":"b"}'), msgspec.Raw(b'"x"')]
)
TYPES: Any = st.sampled_from(["content", "content", "content", "reasoning", "refusal", "opaque"])
CHUNKS = st.builds(
    events.Chunk,
    TYPES,
    TEXTS,
    choice=st.sampled_from([0, 0, 0, 1]),
    name=st.sampled_from([None, None, "n"]),
    block=BLOCKS,
    extra=EXTRAS,
)
CALLS = st.builds(
    events.Chunk,
    st.just("tool_call"),
    st.sampled_from(["", "{", "}", '"a":', "1", '{"a":"b"}', "]"]),
    call=st.sampled_from([None, 0, 1, 2]),
    id=st.sampled_from([None, "", "c", "d"]),
    name=st.sampled_from([None, "f", ""]),
    extra=st.sampled_from(
        [msgspec.UNSET, msgspec.Raw(b'"x"'), msgspec.Raw(b'{"thoughtSignature":"s"}')]
    ),
)
NOTES = st.sampled_from(
    [
        events.Finish(0, "stop", None),
        events.Usage(input_tokens=1),
        events.Citation("https://a.example"),
        events.Attempt(2, "p", "m", error="e"),
        events.Fallback("a/b", "c/d", "why", True, 0, 0),
        events.Adopted(1),
        events.Kept("k"),
    ]
)
ENDS = st.sampled_from(
    [
        reading.complete(),
        reading.complete("tool_calls", usage=events.Tokens(1, 2, 3)),
        events.Error("provider_failed", "It broke.", True),
        events.Error(errors.Cancelled.code, "Stopped.", False),
        events.Rewind("restart"),
    ]
)
STREAMS = st.tuples(st.lists(CHUNKS | CALLS | NOTES, max_size=20), ENDS)
"""Events behind the start, and the last one."""

"""The native dialect: bodies in, frames out.

Strategy: every limit is tried at its edge and beyond it; frames are compared byte for byte, and
read again with our own parser. What is refused names the field.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import errors, events, request, sse
from holdfast.dialects import bodies, native

USER = {"role": "user", "content": "Why is the sea salt?"}
LEAST = {"model": "openai/gpt", "messages": [USER]}
NATIVE = native.Native()


def parse(**fields: Any) -> request.Request:
    """The request of the least body with these fields changed; `...` leaves one out."""
    body = {name: value for name, value in (LEAST | fields).items() if value is not ...}
    return NATIVE.parse(json.dumps(body).encode())


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


# Bodies that are taken


def test_the_least_body() -> None:
    assert parse() == request.Request(
        "openai/gpt", [request.Message("user", "Why is the sea salt?")]
    )


def test_every_field_is_taken() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    wanted = parse(
        model="gpt",
        provider="openai",
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "7"},
        ],
        context={"system": "x"},
        temperature=0.5,
        top_p=0.9,
        max_tokens=100,
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        response_format={"type": "json_object"},
        stop=["\n", "END"],
        n=2,
        buffer_size=1024,
        flush_interval_ms=50,
        fallback={"mode": "none", "otherwise": "error", "providers": ["groq/llama", "a/b/c"]},
        metadata={"purpose": "test", "priority": "low", "session_id": "s", "user_id": "u"},
    )
    assert wanted == request.Request(
        model="gpt",
        provider="openai",
        messages=[
            request.Message("developer", "Be brief."),
            request.Message("user", [{"type": "text", "text": "Hi"}], name="ann"),
            request.Message("assistant", tool_calls=[call]),
            request.Message("tool", "7", tool_call_id="c"),
        ],
        context={"system": "x"},
        temperature=0.5,
        top_p=0.9,
        max_tokens=100,
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        response_format={"type": "json_object"},
        stop=["\n", "END"],
        n=2,
        buffer_size=1024,
        flush_interval_ms=50,
        fallback=request.Fallback("none", "error", ["groq/llama", "a/b/c"]),
        metadata=request.Metadata("test", "low", "s", "u"),
    )
    assert request.unpack(request.pack(wanted)) == wanted


@pytest.mark.parametrize(
    ("stop", "taken"), [("END", ["END"]), (["a", "b"], ["a", "b"]), ([], []), (None, None)]
)
def test_stop_is_one_text_or_several(stop: Any, taken: list[str] | None) -> None:
    assert parse(stop=stop).stop == taken


@pytest.mark.parametrize(
    ("field", "edges"),
    [
        ("model", ["m", "m" * 256]),
        ("provider", ["p", "p" * 64, None]),
        ("temperature", [0, 2, 0.0, 2.0, None]),
        ("top_p", [0, 1, 0.0, 1.0, None]),
        ("tool_choice", ["auto", {}, None]),
        ("parallel_tool_calls", [True, False, None]),
        ("max_tokens", [1, native.MAX_TOKENS, None]),
        ("n", [1, native.MAX_CHOICES]),
        ("buffer_size", [1, 64 * 1024, None]),
        ("flush_interval_ms", [0, 60_000, None]),
        ("tools", [[], [{}], None]),
        ("response_format", [{}, None]),
    ],
)
def test_every_limit_is_within(field: str, edges: list[Any]) -> None:
    for value in edges:
        assert getattr(parse(**{field: value}), field) == value


def test_the_longest_labels_are_within() -> None:
    long = "x" * 256
    labels = parse(metadata={"purpose": long, "session_id": long, "user_id": long}).metadata
    assert labels == request.Metadata(long, "normal", long, long)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (None, None),
        ({}, request.Fallback()),
        ({"mode": None, "otherwise": None, "providers": None}, request.Fallback()),
        ({"mode": "continue"}, request.Fallback(mode="continue")),
        ({"mode": "restart", "otherwise": "restart"}, request.Fallback("restart", "restart")),
        ({"providers": []}, request.Fallback(providers=[])),
        ({"providers": ["a/" + "m" * 319] * 8}, request.Fallback(providers=["a/" + "m" * 319] * 8)),
    ],
)
def test_what_follows_a_failure_may_be_said_in_part(
    given: Any, taken: request.Fallback | None
) -> None:
    assert parse(fallback=given).fallback == taken


def test_the_largest_number_of_messages_is_within() -> None:
    assert len(parse(messages=[USER] * native.MAX_MESSAGES).messages) == native.MAX_MESSAGES


def test_a_context_may_stand_for_messages() -> None:
    wanted = parse(messages=..., context={"prompt": "p7"})
    assert (wanted.messages, wanted.context) == ([], {"prompt": "p7"})


@pytest.mark.parametrize("levels", [1, bodies.MAX_DEPTH - 1])
def test_bodies_may_nest(levels: int) -> None:
    wanted = parse(response_format={"a": nested(levels - 1)})
    assert request.unpack(request.pack(wanted)) == wanted


# Bodies that are refused


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"model": ...}, "`model`"),
        ({"model": None}, "`model`"),
        ({"model": ""}, "$.model"),
        ({"model": "m" * 257}, "$.model"),
        ({"model": 7}, "$.model"),
        ({"messages": ...}, "`messages`"),
        ({"messages": []}, "`messages`"),
        ({"messages": "Hi"}, "$.messages"),
        ({"messages": [USER] * (native.MAX_MESSAGES + 1)}, "$.messages"),
        ({"messages": ["Hi"]}, "$.messages[0]"),
        ({"messages": [USER, {"content": "x"}]}, "`role` - at `$.messages[1]"),
        ({"messages": [{"role": "robot"}]}, "$.messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "$.messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "$.messages[0].content[0]"),
        ({"messages": [{"role": "tool", "tool_call_id": 7}]}, "$.messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "tool_calls": {}}]}, "$.messages[0].tool_calls"),
        ({"messages": [{"role": "user", "name": 7}]}, "$.messages[0].name"),
        ({"provider": ""}, "$.provider"),
        ({"provider": "p" * 65}, "$.provider"),
        ({"temperature": -0.1}, "$.temperature"),
        ({"temperature": 2.1}, "$.temperature"),
        ({"temperature": "hot"}, "$.temperature"),
        ({"top_p": -0.1}, "$.top_p"),
        ({"top_p": 1.1}, "$.top_p"),
        ({"tool_choice": 7}, "$.tool_choice"),
        ({"parallel_tool_calls": "no"}, "$.parallel_tool_calls"),
        ({"max_tokens": 0}, "$.max_tokens"),
        ({"max_tokens": native.MAX_TOKENS + 1}, "$.max_tokens"),
        ({"max_tokens": 1.5}, "$.max_tokens"),
        ({"tools": {}}, "$.tools"),
        ({"tools": ["f"]}, "$.tools[0]"),
        ({"response_format": "json"}, "$.response_format"),
        ({"stop": 7}, "$.stop"),
        ({"stop": [7]}, "$.stop[0]"),
        ({"n": 0}, "$.n"),
        ({"n": native.MAX_CHOICES + 1}, "$.n"),
        ({"n": None}, "$.n"),
        ({"buffer_size": 0}, "$.buffer_size"),
        ({"buffer_size": 64 * 1024 + 1}, "$.buffer_size"),
        ({"flush_interval_ms": -1}, "$.flush_interval_ms"),
        ({"flush_interval_ms": 60_001}, "$.flush_interval_ms"),
        ({"context": "x"}, "$.context"),
        ({"fallback": []}, "$.fallback"),
        ({"fallback": {"mode": "never"}}, "$.fallback.mode"),
        ({"fallback": {"mode": 7}}, "$.fallback.mode"),
        ({"fallback": {"otherwise": "none"}}, "$.fallback.otherwise"),
        ({"fallback": {"providers": "a/m"}}, "$.fallback.providers"),
        ({"fallback": {"providers": [7]}}, "$.fallback.providers[0]"),
        ({"fallback": {"providers": ["a/m"] * 9}}, "$.fallback.providers"),
        ({"fallback": {"providers": ["a/" + "m" * 320]}}, "$.fallback.providers[0]"),
        ({"fallback": {"enabled": True}}, "`enabled` - at `$.fallback"),
        ({"metadata": None}, "$.metadata"),
        ({"metadata": {"priority": "urgent"}}, "$.metadata.priority"),
        ({"metadata": {"colour": "red"}}, "`colour` - at `$.metadata"),
        ({"metadata": {"purpose": "p" * 257}}, "$.metadata.purpose"),
        ({"metadata": {"session_id": "s" * 257}}, "$.metadata.session_id"),
        ({"metadata": {"user_id": "u" * 257}}, "$.metadata.user_id"),
        ({"temprature": 1}, "`temprature`"),
    ],
)
def test_a_field_that_is_wrong_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(errors.InvalidField) as refused:
        parse(**fields)
    assert named in refused.value.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b'{"model":',
        b"{'model': 'm'}",
        b'{"model": "m"} x',
        b'{"model": NaN}',
        b'\xef\xbb\xbf{"model": "m"}',
        b'{"model": "\xff", "messages": []}',
        b'{"model": "\xed\xa0\xbd", "messages": []}',
        b'{"model": "\\ud83d", "messages": []}',
        b"[]",
        b" [1]",
        b"null",
        b"7",
        b'"model"',
    ],
)
def test_a_body_that_is_no_object_of_json_is_refused(body: bytes) -> None:
    with pytest.raises(errors.MalformedBody):
        NATIVE.parse(body)


@pytest.mark.parametrize("field", ["response_format", "context", "tools", "messages"])
@pytest.mark.parametrize(
    "levels", [bodies.MAX_DEPTH, sys.getrecursionlimit() - 20, sys.getrecursionlimit(), 10**5]
)
def test_a_body_that_nests_too_deep_is_refused(levels: int, field: str) -> None:
    deep = '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"
    value = {
        "tools": f"[{deep}]",
        "messages": f'[{{"role":"user","content":[{deep}]}}]',
    }.get(field, deep)
    body = json.dumps(LEAST | {field: "@"}).replace('"@"', value)
    with pytest.raises(errors.MalformedBody):
        NATIVE.parse(body.encode())


@settings(max_examples=150)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_body_brings_another_failure(body: bytes) -> None:
    with pytest.raises(errors.RequestError):
        NATIVE.parse(body)


@settings(max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from([*native.Body.__struct_fields__, "other"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: (
                st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)
            ),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_a_body_is_a_request_or_a_refusal(fields: dict[str, Any]) -> None:
    try:
        wanted = NATIVE.parse(json.dumps(LEAST | fields).encode())
    except errors.RequestError:
        return
    assert request.unpack(request.pack(wanted)) == wanted


# Frames

STREAM = events.StreamId("0123456789abcdefghijABCDEF")
FOLD = NATIVE.fold(STREAM)

BODIES: list[tuple[events.Body, bytes]] = [
    (
        events.Start(STREAM, "r", "openai", "gpt", "2026-01-01T00:00:00.000Z"),
        b'event: start\ndata: {"stream_id":"0123456789abcdefghijABCDEF","request_id":"r",'
        b'"provider":"openai","model":"gpt","created_at":"2026-01-01T00:00:00.000Z"}\n',
    ),
    (
        events.Chunk("content", 'a"\n\r\u2028🌊'),
        'event: chunk\ndata: {"type":"content","delta":"a\\"\\n\\r\u2028🌊"}\n'.encode(),
    ),
    (
        events.Chunk("opaque", extra=msgspec.Raw(b'{"x":1}')),
        b'event: chunk\ndata: {"type":"opaque","extra":{"x":1}}\n',
    ),
    (
        events.Finish(0, "stop", "end"),
        b'event: metadata\ndata: {"type":"finish","choice":0,"finish_reason":"stop",'
        b'"provider_finish_reason":"end"}\n',
    ),
    (events.Rewind("restart"), b'event: rewind\ndata: {"reason":"restart"}\n'),
    (
        events.Error("cancelled", "The stream was cancelled.", False),
        b'event: error\ndata: {"code":"cancelled","message":"The stream was cancelled.",'
        b'"retryable":false}\n',
    ),
]


@pytest.mark.parametrize(("body", "frame"), BODIES)
def test_a_durable_event_is_a_block_with_its_id_last(body: events.Body, frame: bytes) -> None:
    said = events.draft(body)
    event = events.Event(said.kind, said.data, 65543, 12, 5)
    rendered = FOLD.render(event)
    assert rendered == frame + b"id: 0123456789abcdefghijABCDEF:65543-12\n\n"
    [read] = sse.Parser().feed(rendered)
    assert (read.event, read.data) == (said.kind, said.data)
    assert events.parse_event_id(read.id) == (STREAM, event.position)


@settings(max_examples=100)
@given(
    st.text(st.characters(codec="utf-8"), max_size=50),
    st.integers(1, 2**63 - 1),
    st.integers(1, 2**63 - 1),
)
def test_what_is_rendered_is_read_again(delta: str, epoch: int, seq: int) -> None:
    said = events.draft(events.Chunk("content", delta))
    rendered = FOLD.render(events.Event(said.kind, said.data, epoch, seq, 5))
    assert rendered == sse.encode(
        said.data, event="chunk", id=events.event_id(STREAM, events.Position(epoch, seq))
    )
    [read] = sse.Parser().feed(rendered)
    assert events.decode(read.event, read.data) == events.Chunk("content", delta)


def test_every_reader_gets_the_same_bytes() -> None:
    said = events.draft(events.Chunk("content", "a"))
    event = events.Event(said.kind, said.data, 65543, 2, 5)
    fold = NATIVE.fold(STREAM)
    fold.render(event)
    assert fold.render(event) == NATIVE.fold(STREAM).render(event)


@pytest.mark.parametrize(
    ("frame", "bytes_"),
    [
        (
            FOLD.rewind("unknown_position"),
            b'event: rewind\ndata: {"reason":"unknown_position"}\n\n',
        ),
        (
            NATIVE.heartbeat("2026-01-01T00:00:00.000Z"),
            b'event: heartbeat\ndata: {"timestamp":"2026-01-01T00:00:00.000Z"}\n\n',
        ),
        (
            NATIVE.reconnect(1500, "draining"),
            b'event: reconnect\nretry: 1500\ndata: {"retry_ms":1500,"reason":"draining"}\n\n',
        ),
    ],
)
def test_transient_events_have_no_id(frame: bytes, bytes_: bytes) -> None:
    assert frame == bytes_
    parser = sse.Parser()
    parser.feed(b"id: kept\n\n")
    [read] = parser.feed(frame)
    assert read.id == "kept"


def test_a_reconnect_sets_the_retry_of_the_parser() -> None:
    parser = sse.Parser()
    parser.feed(NATIVE.reconnect(1500, "draining"))
    assert parser.retry_ms == 1500


def test_the_dialect_has_its_name() -> None:
    assert NATIVE.name == "native"

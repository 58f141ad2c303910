"""The values of a stream: what cannot be wrong, what it looks like as JSON, what status is."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors, events

STREAM = events.StreamId("0123456789ABCDEFGHIJabcdef")
NUMBERS = st.integers(0, 2**63 - 1)

# One body of each class, with the JSON that a client reads.
BODIES: list[tuple[events.Body, str]] = [
    (
        events.Start(STREAM, "r", "demo", "m", "2026-01-02T03:04:05.678Z"),
        '{"stream_id":"0123456789ABCDEFGHIJabcdef","request_id":"r","provider":"demo",'
        '"model":"m","created_at":"2026-01-02T03:04:05.678Z"}',
    ),
    (events.Chunk("content", "é\n"), '{"type":"content","delta":"é\\n"}'),
    (events.Chunk("opaque", extra=msgspec.Raw(b'{"a": 1}')), '{"type":"opaque","extra":{"a": 1}}'),
    (
        events.Chunk("tool_call", "{", choice=1, call=0, id="c1", name="f", block=2),
        '{"type":"tool_call","delta":"{","choice":1,"call":0,"id":"c1","name":"f","block":2}',
    ),
    (
        events.Finish(0, "length", "max_tokens"),
        '{"type":"finish","choice":0,"finish_reason":"length",'
        '"provider_finish_reason":"max_tokens"}',
    ),
    (
        events.Usage(3, 4, 7, reasoning_tokens=0),
        '{"type":"usage","input_tokens":3,"output_tokens":4,"total_tokens":7,"reasoning_tokens":0}',
    ),
    (
        events.Citation("https://a.example", "A"),
        '{"type":"citation","url":"https://a.example","title":"A"}',
    ),
    (
        events.Attempt(1, "demo", "m", "provider_timeout", duration_ms=9),
        '{"type":"attempt","number":1,"provider":"demo","model":"m",'
        '"error":"provider_timeout","duration_ms":9}',
    ),
    (
        events.Fallback("a/m", "b/m", "provider_timeout", True, 0, 12),
        '{"type":"fallback","from":"a/m","to":"b/m","reason":"provider_timeout",'
        '"exact":true,"trimmed":0,"at":12}',
    ),
    (events.Adopted(65537), '{"type":"adopted","epoch":65537}'),
    (events.Kept("resp_1"), '{"type":"kept","id":"resp_1"}'),
    (events.Rewind("restart"), '{"reason":"restart"}'),
    (
        events.Error("cancelled", "Why.", False),
        '{"code":"cancelled","message":"Why.","retryable":false}',
    ),
    (
        events.Complete("stop", None, events.Tokens(total_tokens=1), 2, 3, 4, "ab", 5, 1, True),
        '{"finish_reason":"stop","provider_finish_reason":null,'
        '"usage":{"total_tokens":1},"chunks":2,"bytes":3,"length":4,'
        '"sha256":"ab","duration_ms":5,"attempts":1,"exact":true}',
    ),
    (
        events.Complete(
            "other", "x", None, 0, 0, 0, "", 0, 1, False, (events.ChoiceEnd(1, "stop", 2, "cd"),)
        ),
        '{"finish_reason":"other","provider_finish_reason":"x","usage":null,"chunks":0,"bytes":0,'
        '"length":0,"sha256":"","duration_ms":0,"attempts":1,"exact":false,'
        '"choices":[{"choice":1,"finish_reason":"stop","length":2,"sha256":"cd"}]}',
    ),
    (events.Heartbeat("2026-01-02T03:04:05.678Z"), '{"timestamp":"2026-01-02T03:04:05.678Z"}'),
    (events.Reconnect(250, "draining"), '{"retry_ms":250,"reason":"draining"}'),
]


def test_a_new_stream_id_is_one_and_no_two_are_the_same() -> None:
    made = [events.new_stream_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    for text in made:
        assert events.stream_id(text) == text
        assert len(text) == 26


def test_a_derived_stream_id_depends_on_the_digest_alone() -> None:
    one = events.derived_stream_id(b"\x01" * 20)
    assert one == events.derived_stream_id(b"\x01" * 20) == events.stream_id(one)
    assert one != events.derived_stream_id(b"\x01" * 19 + b"\x02")
    assert one != events.derived_stream_id(b"\x01" * 32)
    assert events.derived_stream_id(bytes(20)) == "0" * 26
    with pytest.raises(ValueError, match="20 bytes"):
        events.derived_stream_id(b"\x01" * 19)


@pytest.mark.parametrize("length", [26, 32])
def test_a_stream_id_has_26_or_32_characters(length: int) -> None:
    assert events.stream_id("a" * length) == "a" * length


@pytest.mark.parametrize("text", ["", *("a" * n for n in (25, 27, 28, 29, 30, 31, 33, 64))])
def test_other_lengths_are_no_stream(text: str) -> None:
    with pytest.raises(errors.StreamNotFound):
        events.stream_id(text)


@pytest.mark.parametrize(
    "bad", ["\n", "\r", "\0", "-", "_", ":", "/", " ", "é", "\u0663", "\u2028"]
)
def test_no_stream_id_has_another_character(bad: str) -> None:
    for text in (bad + "a" * 25, "a" * 25 + bad, "a" * 26 + bad, "a" * 12 + bad + "a" * 13):
        with pytest.raises(errors.StreamNotFound):
            events.stream_id(text)


@given(NUMBERS, NUMBERS)
def test_a_position_reads_as_it_was_written(epoch: int, seq: int) -> None:
    position = events.Position(epoch, seq)
    assert events.parse_event_id(str(position)) == (None, position)
    assert events.parse_event_id(events.event_id(STREAM, position)) == (STREAM, position)


@pytest.mark.parametrize(("epoch", "seq"), [(-1, 0), (0, -1), (2**63, 0), (0, 2**63)])
def test_a_position_beyond_the_numbers_cannot_exist(epoch: int, seq: int) -> None:
    with pytest.raises(ValueError, match="2\\^63-1"):
        events.Position(epoch, seq)


def test_an_event_id_is_spelled_as_the_protocol_says() -> None:
    assert events.event_id(STREAM, events.Position(65537, 3)) == f"{STREAM}:65537-3"
    assert events.event_id(STREAM, events.BEGIN) == f"{STREAM}:0-0"


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "1-", "-1", "-", "1-2-3", "-1-2", "1--2", "+1-2", " 1-2", "1-2 ", "1-2\n", "1.0-2",
        "0x1-2", "\u0661-\u0662", "a-b", ":1-2", "x:1-2", f"{STREAM}1-2", f"{STREAM}:",
        f"{STREAM}:1",
        f"{STREAM}:{STREAM}:1-2", f"{STREAM[:-1]}\n:1-2", f"{STREAM[:-1]}:1-2", f"{STREAM}a:1-2",
        f"{2**63}-1", f"1-{2**63}", f"{'9' * 20}-1", f"{'0' * 20}1-1",
    ],
)  # fmt: skip
def test_anything_else_is_a_malformed_position(text: str) -> None:
    with pytest.raises(errors.MalformedPosition, match="stream_id"):
        events.parse_event_id(text)


@given(st.text(max_size=70))
def test_parsing_a_position_raises_nothing_else(text: str) -> None:
    try:
        _, position = events.parse_event_id(text)
    except errors.MalformedPosition:
        return
    assert position.seq >= 0


def test_a_new_epoch_counts_lives_and_tells_lost_ones_apart() -> None:
    first = {events.new_epoch(0) for _ in range(200)}
    assert {epoch >> 16 for epoch in first} == {1}
    assert len(first) > 100
    assert {events.new_epoch(max(first)) >> 16 for _ in range(50)} == {2}
    assert events.new_epoch(0xFFFF) >> 16 == 1


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
        (1_767_323_045_999, "2026-01-02T03:04:05.999Z"),
    ],
)
def test_times_are_rfc_3339_in_utc_to_the_millisecond(ms: int, text: str) -> None:
    assert events.rfc3339(ms) == text


@pytest.mark.parametrize(("body", "text"), BODIES)
def test_a_body_is_this_json_and_comes_back(body: events.Body, text: str) -> None:
    draft = events.draft(body)
    assert draft == events.Draft(body.kind, text.encode())
    event = events.Event(draft.kind, draft.data, 65537, 3, 9)
    assert event.position == events.Position(65537, 3)
    assert type(event.body) is type(body)
    assert events.draft(event.body) == draft
    assert events.decode(draft.kind, draft.data) == event.body


@given(st.text())
def test_no_text_breaks_the_line_that_holds_it(text: str) -> None:
    try:
        data = events.draft(events.Chunk("content", text)).data
    except UnicodeEncodeError:  # a lone surrogate never comes so far
        return
    assert not set(data) & {0x0A, 0x0D, 0x00}
    body = events.decode("chunk", data)
    assert isinstance(body, events.Chunk)
    assert body.delta == text


def test_the_tokens_of_a_usage_are_the_same_counts() -> None:
    usage = events.Usage(3, 4, 7, cached_tokens=2)
    assert usage.tokens == events.Tokens(3, 4, 7, cached_tokens=2)
    assert type(usage.tokens) is events.Tokens


def test_every_kind_has_a_body_and_four_are_not_in_the_middle_of_a_stream() -> None:
    assert {body.kind for body, _ in BODIES} == set(events.KINDS)
    assert {"error", "complete"} == events.TERMINAL


def test_a_kind_that_is_not_ours_has_no_body() -> None:
    assert events.decode("ping", b"{}") is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"type":"content","delta":3}', b'{"x":1}'])
def test_data_of_another_shape_are_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        events.decode("chunk", data)


def test_a_field_of_a_newer_version_is_passed_over() -> None:
    known = events.decode("chunk", b'{"type":"content","delta":"a","new":1}')
    assert known == events.Chunk("content", "a")


@pytest.mark.parametrize(
    "value",
    [events.BEGIN, BODIES[0][0], events.draft(BODIES[1][0]), BODIES[3][0]],
)
def test_a_value_never_changes(value: object) -> None:
    name = next(iter(msgspec.structs.fields(type(value)))).name  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        setattr(value, name, 1)


def drafts(*bodies: events.Body) -> list[events.Draft]:
    return [events.draft(body) for body in bodies]


START, CHUNK, END = BODIES[0][0], BODIES[1][0], BODIES[-4][0]
FAILED = events.Error("interrupted", "Why.", True)
CANCELLED = events.failure(errors.Cancelled())


@pytest.mark.parametrize(
    ("bodies", "status"),
    [
        ([], "pending"),
        ([START], "pending"),
        ([START, events.Adopted(1), events.Usage(), events.Rewind("x")], "pending"),
        ([START, CHUNK], "streaming"),
        ([START, CHUNK, events.Rewind("x"), events.Adopted(1)], "streaming"),
        ([START, CHUNK, END], "completed"),
        ([START, END], "completed"),
        ([START, FAILED], "error"),
        ([START, CHUNK, FAILED], "error"),
        ([START, CANCELLED], "cancelled"),
        ([START, CHUNK, CANCELLED], "cancelled"),
    ],
)
def test_status_is_a_function_of_the_events(
    bodies: list[events.Body], status: events.Status
) -> None:
    assert events.status_of(drafts(*bodies)) == status
    placed = [events.Event(d.kind, d.data, 1, n, 0) for n, d in enumerate(drafts(*bodies), 1)]
    assert events.status_of(placed) == status


def test_nothing_leaves_a_final_status() -> None:
    final: tuple[events.Status, ...] = ("completed", "error", "cancelled")
    for status, body in itertools.product(final, [body for body, _ in BODIES]):
        assert events.advance(status, events.draft(body)) == status


def test_transient_events_change_no_status() -> None:
    every: tuple[events.Status, ...] = ("pending", "streaming")
    transient: list[events.Body] = [events.Heartbeat(""), events.Reconnect(1, "")]
    for status, body in itertools.product(every, transient):
        assert events.advance(status, events.draft(body)) == status


def test_a_failure_says_what_its_error_says() -> None:
    assert events.failure(errors.Interrupted()) == events.Error(
        "interrupted", "The process that wrote this stream ended before the answer did.", True
    )
    assert events.failure(errors.StreamTooLarge("Over 16 MiB.")) == events.Error(
        "stream_too_large", "Over 16 MiB.", False
    )
    limited = errors.ProviderRateLimited("slow down", retry_after=1.5)
    assert events.failure(limited) == events.Error(
        "provider_rate_limited", "slow down", True, retry_after_ms=1500
    )
    # Where asking again does not help, it does not matter when.
    assert events.failure(errors.ProviderQuota("gone", retry_after=1.5)).retry_after_ms is None

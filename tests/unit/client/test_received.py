"""What a reader has of a stream, frame by frame: gaps, repeats, rewinds and the proof."""

from __future__ import annotations

import pytest
from tests.unit.client import scripted

from holdfast import errors, events, sse
from holdfast.client import received


def frames(*blocks: bytes) -> list[sse.Frame]:
    return sse.Parser().feed(b"".join(blocks))


def reader(after: int = 0, **options: int) -> received.Received:
    """One that has just been told the id of the stream."""
    position = events.Position(scripted.EPOCH, after) if after else events.BEGIN
    has = received.Received("", position, **options)
    has.response_begins(scripted.STREAM)
    return has


def take(has: received.Received, *blocks: bytes) -> list[tuple[str, int]]:
    """(kind, seq) of every event given out by the next bytes of a response; they are parsed
    apart from the bytes before, so a block without an id goes with one that has its id."""
    got = [has.take(frame, 7) for frame in frames(*blocks)]
    assert {event.ts for event in got if event} <= {7}
    return [(event.kind, event.seq) for event in got if event]


def block(body: events.Body, id: str) -> bytes:
    draft = events.draft(body)
    return sse.encode(draft.data, event=draft.kind, id=id)


def test_a_whole_answer_is_proved() -> None:
    story, has = scripted.plain("a", "𝄞"), reader()
    kinds = [kind for kind, _ in take(has, *story.blocks())]
    assert kinds == ["start", "chunk", "chunk", "metadata", "complete"]
    assert has.ended
    assert has.whole
    assert has.answer.choice().content == "a𝄞"
    assert has.position == events.Position(scripted.EPOCH, 5)
    assert has.last_event_id == story.id(5)


def test_epochs_may_change_between_events() -> None:
    story = scripted.plain("a", "b")
    story.epochs = {3: scripted.EPOCH + 65536, 4: scripted.EPOCH + 65536, 5: scripted.EPOCH + 65536}
    has = reader()
    assert [seq for _, seq in take(has, *story.blocks())] == [1, 2, 3, 4, 5]
    assert has.ended


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_a_gap_is_seen_at_once(missing: int) -> None:
    blocks, has = scripted.plain("a", "b").blocks(), reader()
    take(has, *blocks[: missing - 1])
    at = f"{scripted.EPOCH if missing > 1 else 0}-{missing - 1}"
    there = f"{scripted.EPOCH}-{missing + 1}"
    with pytest.raises(errors.VerificationFailed, match=f"a gap between {at} and {there}"):
        take(has, blocks[missing])


def test_a_gap_is_seen_at_the_first_event_after_a_position() -> None:
    has = reader(after=2)
    with pytest.raises(errors.VerificationFailed, match="a gap"):
        take(has, scripted.plain("a", "b").block(4))


def test_a_repeat_is_seen() -> None:
    story, has = scripted.plain("a", "b"), reader()
    take(has, *story.blocks()[:3])
    with pytest.raises(errors.VerificationFailed, match="a repeat between"):
        take(has, story.block(2))


def test_the_same_event_twice_is_seen() -> None:
    story, has = scripted.plain("a"), reader()
    with pytest.raises(errors.VerificationFailed, match="a repeat"):
        take(has, story.block(1), story.block(2), story.block(2))


@pytest.mark.parametrize("body", scripted.plain("a").bodies)
def test_an_event_without_an_id_of_its_own_is_seen(body: events.Body) -> None:
    story = scripted.plain("a", "b")
    for before in range(3):
        with pytest.raises(errors.VerificationFailed):
            take(reader(), *story.blocks()[:before], scripted.transient(body))


def test_a_new_response_that_repeats_the_last_event_is_seen() -> None:
    story, has = scripted.plain("a"), reader()
    take(has, *story.blocks()[:2])
    with pytest.raises(errors.VerificationFailed, match="a repeat"):
        take(has, story.block(2))


def test_an_event_of_another_stream_is_seen() -> None:
    with pytest.raises(errors.VerificationFailed, match="another stream"):
        take(reader(), block(scripted.start(), f"{scripted.OTHER}:{scripted.EPOCH}-1"))


@pytest.mark.parametrize(
    "id", ["1", "", f"{scripted.EPOCH}-1", f"{scripted.STREAM}:1-9999999999999999999"]
)
def test_a_bad_id_is_seen(id: str) -> None:
    with pytest.raises(errors.VerificationFailed):
        take(reader(), block(scripted.start(), id))


def test_the_first_event_tells_the_id_where_no_header_did() -> None:
    for header in ("", "no id!"):
        has = received.Received("", events.BEGIN)
        has.response_begins(header)
        assert has.stream_id == ""
        take(has, scripted.plain("a").block(1))
        assert has.stream_id == scripted.STREAM


def test_heartbeat_and_reconnect_are_not_given_out_and_move_nothing() -> None:
    story, has = scripted.plain("a"), reader()
    away = scripted.transient(events.Reconnect(5, "drain"))
    taken = take(has, story.block(1), scripted.HEARTBEAT, away, story.block(2))
    assert taken == [("start", 1), ("chunk", 2)]


def test_an_unknown_kind_moves_the_position_only_with_an_id() -> None:
    story, has = scripted.plain("a"), reader()
    novel = sse.encode("not even JSON", event="novel", id=story.id(2))
    passing = sse.encode("{}", event="novel")
    assert take(has, story.block(1), passing, novel) == [("start", 1)]
    assert has.position.seq == 2


def test_metadata_of_an_unknown_type_moves_the_position() -> None:
    story, has = scripted.plain("a"), reader()
    novel = sse.encode('{"type": "novel"}', event="metadata", id=story.id(2))
    assert take(has, story.block(1), novel) == [("start", 1)]
    assert has.position.seq == 2


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"type":"novel"}', b'{"type":"content","delta":"\xff"}',
     b'{"type":"content","delta":"\\ud83d"}', b'{"x":' + b"[" * 100_000],
    ids=["empty", "cut", "list", "type", "utf8", "surrogate", "deep"],
)  # fmt: skip
def test_a_chunk_that_cannot_be_read_is_no_answer(data: bytes) -> None:
    story, has = scripted.plain("a"), reader()
    bad = sse.encode(data, event="chunk", id=story.id(2))
    with pytest.raises(errors.VerificationFailed, match="The chunk event at"):
        take(has, story.block(1), bad)


def test_a_transient_rewind_starts_from_the_first_event() -> None:
    story, has = scripted.plain("a", "b"), reader()
    assert take(has, *story.blocks()[:3], scripted.REWIND)[-1] == ("rewind", 0)
    assert has.position == events.BEGIN
    assert has.last_event_id == ""
    assert has.answer.choice().content == ""
    assert has.furthest == 3
    take(has, *story.blocks())
    assert has.ended
    assert has.answer.choice().content == "ab"


@pytest.mark.parametrize("had", range(6))
def test_rewinds_in_a_row_among_what_has_no_place(had: int) -> None:
    story, has = scripted.plain("a", "b"), reader()
    novel = sse.encode("{}", event="novel")
    noise = [scripted.HEARTBEAT, scripted.REWIND, novel, scripted.REWIND, scripted.HEARTBEAT, novel]
    taken = take(has, *story.blocks()[:had], *noise, *story.blocks())
    assert taken[had : had + 2] == [("rewind", 0)] * 2
    assert [seq for _, seq in taken[had + 2 :]] == [1, 2, 3, 4, 5]
    assert has.answer.choice().content == "ab"


def test_a_durable_rewind_behind_a_gap_is_seen() -> None:
    story, has = scripted.plain("a", "b", "c"), reader()
    rewind = block(events.Rewind("restart"), story.id(4))
    with pytest.raises(errors.VerificationFailed, match="a gap"):
        take(has, *story.blocks()[:2], rewind, story.block(5))


def test_a_transient_rewind_makes_a_part_whole() -> None:
    story, has = scripted.plain("a", "b"), reader(after=3)
    assert not has.whole
    take(has, scripted.REWIND, *story.blocks())
    assert has.whole
    assert has.answer.choice().content == "ab"


def test_a_durable_rewind_forgets_and_goes_on() -> None:
    story, has = (
        scripted.story(
            scripted.start(),
            scripted.text("wrong"),
            events.Rewind("restart"),
            scripted.text("right"),
            scripted.complete("right"),
        ),
        reader(),
    )
    taken = take(has, *story.blocks())
    assert taken[2] == ("rewind", 3)
    assert has.answer.choice().content == "right"
    assert has.position.seq == 5


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"length": 2}])
def test_a_wrong_end_is_not_given_out(wrong: dict[str, object]) -> None:
    end = scripted.complete("a", **wrong)
    story, has = scripted.story(scripted.start(), scripted.text("a"), end), reader()
    take(has, *story.blocks()[:2])
    with pytest.raises(errors.VerificationFailed, match="Choice 0 has 1 bytes"):
        take(has, story.block(3))
    assert not has.ended


def test_every_choice_is_proved() -> None:
    b = scripted.complete("bb")
    ends = (
        events.ChoiceEnd(0, "stop", 1, scripted.complete("a").sha256),
        events.ChoiceEnd(1, "stop", 2, b.sha256),
    )
    said: list[events.Body] = [scripted.start(), scripted.text("a"), scripted.text("bb", choice=1)]
    good = scripted.story(*said, scripted.complete("a", choices=ends))
    has = reader()
    take(has, *good.blocks())
    assert has.ended
    lost = scripted.story(*said[:2], scripted.complete("a", choices=ends))
    with pytest.raises(errors.VerificationFailed, match="Choice 1 has 0 bytes"):
        take(reader(), *lost.blocks())


def test_the_rest_alone_cannot_be_proved_and_is_not_refused() -> None:
    story, has = scripted.plain("a", "b"), reader(after=2)
    take(has, *story.blocks(2))
    assert has.ended
    assert not has.whole


def test_an_error_ends_the_stream() -> None:
    failed = events.Error("provider_failed", "It broke.", True)
    story, has = scripted.story(scripted.start(), failed), reader()
    assert take(has, *story.blocks()) == [("start", 1), ("error", 2)]
    assert has.ended
    assert has.answer.error == failed


@pytest.mark.parametrize("had", [0, 1, 3])
def test_an_error_that_stands_in_no_log_ends_the_reading_where_it_is(had: int) -> None:
    failed = events.Error("log_corrupt", "It cannot be read.", False)
    story, has = scripted.plain("a", "b"), reader()
    blocks = (*story.blocks()[:had], block(failed, ""))
    assert take(has, *blocks)[had:] == [("error", 0)]
    assert (has.ended, has.answer.error, has.position.seq) == (True, failed, had)


def test_an_error_with_the_place_of_another_is_not_believed() -> None:
    failed = events.Error("log_corrupt", "It cannot be read.", False)
    story, has = scripted.plain("a", "b"), reader()
    with pytest.raises(errors.VerificationFailed, match="a gap"):
        take(has, *story.blocks()[:2], block(failed, story.id(4)))
    with pytest.raises(errors.VerificationFailed, match="a repeat"):
        take(has, block(failed, story.id(1)))


def test_nothing_left_is_true_only_of_a_position_that_was_given() -> None:
    has = reader(after=4)
    has.nothing_left()
    assert has.ended

    for unread in (reader(), reader(after=3)):
        if unread.position.seq:
            take(unread, scripted.plain("a", "b").block(4))
        with pytest.raises(errors.VerificationFailed, match="but sent no end"):
            unread.nothing_left()
        assert not unread.ended


def test_seq_0_of_any_epoch_is_the_beginning() -> None:
    has = received.Received(scripted.STREAM, events.Position(9, 0))
    assert has.whole
    assert has.last_event_id == ""


def test_an_answer_has_a_limit_in_bytes() -> None:
    story = scripted.plain("a" * 50, "b" * 50)
    size = sum(len(frame.data) for frame in frames(*story.blocks()))
    fits = reader(max_answer=size)
    take(fits, *story.blocks())
    assert fits.ended
    with pytest.raises(errors.ClientError, match=f"over {size - 1} bytes"):
        take(reader(max_answer=size - 1), *story.blocks())


def test_a_rewound_answer_is_counted_anew() -> None:
    story = scripted.plain("a" * 50, "b" * 50)
    size = sum(len(frame.data) for frame in frames(scripted.REWIND, *story.blocks()))
    has = reader(max_answer=size)
    take(has, *story.blocks()[:4], scripted.REWIND, *story.blocks())
    assert has.ended

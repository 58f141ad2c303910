"""The checker can fail: each way to break a correct history is found by the right rule.

Strategy: a mutation takes a history apart at one place and says which rule has to see it, or
nothing where the result is a correct history again. Each is made at every place of many
histories, and has to have been made somewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest
from tests.unit.testing import histories

from holdfast import events
from holdfast.testing import checker, history

SEEDS = range(20)
Entries = list[history.Entry]
Change = tuple[str, Entries]
Mutation = Callable[[Entries], Iterator[Change]]

MUTATIONS: list[Mutation] = []


def mutation(made: Mutation) -> Mutation:
    MUTATIONS.append(made)
    return made


def at(entries: Entries, place: int, *new: history.Entry) -> Entries:
    """The history with other entries in the place of one."""
    return [*entries[:place], *new, *entries[place + 1 :]]


def replaced(entry: history.Entry, **fields: object) -> history.Entry:
    return msgspec.structs.replace(entry, **fields)


def deliveries(entries: Entries) -> Iterator[tuple[int, history.Delivered]]:
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Delivered):
            yield place, entry


def after(entries: Entries, place: int, conn: str) -> history.Entry | None:
    """What a connection tells next."""
    said = (entry for entry in entries[place + 1 :] if getattr(entry, "conn", None) == conn)
    return next(said, None)


def back(entries: Entries, place: int, conn: str) -> history.Connected | None:
    """The connection after this one, of the same reader."""
    mine = heads(entries)[conn]
    for entry in entries[place:]:
        if isinstance(entry, history.Connected) and entry.reader == mine.reader:
            return entry
    return None


def heads(entries: Entries) -> dict[str, history.Connected]:
    return {entry.conn: entry for entry in entries if isinstance(entry, history.Connected)}


def streams(entries: Entries) -> dict[str, history.Expected]:
    return {entry.stream: entry for entry in entries if isinstance(entry, history.Expected)}


@mutation
def a_delivery_is_dropped(entries: Entries) -> Iterator[Change]:
    for place, entry in deliveries(entries):
        following = after(entries, place, entry.conn)
        if isinstance(following, history.Delivered):
            yield "I1", at(entries, place)
        elif isinstance(following, history.Disconnected) and following.clean:
            yield "I5", at(entries, place)
        elif back(entries, place, entry.conn) is not None:
            yield "I3", at(entries, place)


@mutation
def a_delivery_is_repeated(entries: Entries) -> Iterator[Change]:
    for place, entry in deliveries(entries):
        yield "I1", at(entries, place, entry, entry)


@mutation
def two_deliveries_are_swapped(entries: Entries) -> Iterator[Change]:
    for place, entry in deliveries(entries):
        following = after(entries, place, entry.conn)
        if isinstance(following, history.Delivered):
            other = entries.index(following, place)
            yield "I1", at(at(entries, place, following), other, entry)


@mutation
def a_reader_gets_another_event(entries: Entries) -> Iterator[Change]:
    for place, entry in deliveries(entries):
        yield "I2", at(entries, place, replaced(entry, digest="another"))


@mutation
def a_store_holds_another_event(entries: Entries) -> Iterator[Change]:
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Kept):
            yield "I2", at(entries, place, replaced(entry, digest="another"))


@mutation
def the_log_acknowledged_another_event(entries: Entries) -> Iterator[Change]:
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Appended):
            yield "I2", at(entries, place, replaced(entry, digest="another"))


@mutation
def an_event_is_of_another_life(entries: Entries) -> Iterator[Change]:
    for place, entry in deliveries(entries):
        yield "I2", at(entries, place, replaced(entry, epoch=entry.epoch + 1))


@mutation
def a_cursor_moved(entries: Entries) -> Iterator[Change]:
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Connected) and not entry.bad:
            position = events.parse_event_id(entry.cursor)[1] if entry.cursor else events.BEGIN
            for seq in {max(0, position.seq - 1), position.seq + 1} - {position.seq}:
                moved = replaced(entry, cursor=f"{position.epoch}-{seq}")
                yield "I3", at(entries, place, moved)


@mutation
def an_event_is_not_kept(entries: Entries) -> Iterator[Change]:
    """All were acknowledged, so each is missed, whether a reader had it or not."""
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Kept):
            yield "I4", at(entries, place)


@mutation
def a_stream_is_not_kept(entries: Entries) -> Iterator[Change]:
    for stream in streams(entries):
        left = [
            entry
            for entry in entries
            if not (isinstance(entry, history.Kept) and entry.stream == stream)
        ]
        if any(isinstance(entry, history.Kept) for entry in left):
            yield "I4", left


@mutation
def a_delivery_was_in_no_log(entries: Entries) -> Iterator[Change]:
    """It comes where a connection ends before its stream does."""
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Disconnected) and not entry.clean:
            invented = history.Delivered(entry.at, entry.conn, 1, 99, "x", "chunk")
            yield "I4", at(entries, place, invented, entry)


@mutation
def an_event_in_the_middle_is_terminal(entries: Entries) -> Iterator[Change]:
    for place, entry in deliveries(entries):
        if entry.kind not in events.TERMINAL:
            for kind in ("complete", "error"):
                yield "I5", at(entries, place, replaced(entry, kind=kind))


@mutation
def an_event_follows_the_terminal_one(entries: Entries) -> Iterator[Change]:
    for place, entry in deliveries(entries):
        if entry.kind in events.TERMINAL:
            for kind in ("chunk", "error"):
                more = replaced(entry, seq=entry.seq + 1, kind=kind)
                yield "I5", at(entries, place, entry, more)


@mutation
def a_stream_is_complete_without_its_mark(entries: Entries) -> Iterator[Change]:
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Marked):
            yield "I5", at(entries, place)


@mutation
def a_response_ends_cleanly_before_the_end(entries: Entries) -> Iterator[Change]:
    last: dict[str, history.Delivered] = {entry.conn: entry for _, entry in deliveries(entries)}
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Disconnected) and not entry.clean:
            end = last.get(entry.conn)
            if end is None or end.kind not in events.TERMINAL:
                yield "I5", at(entries, place, replaced(entry, clean=True))


@mutation
def a_response_ends_uncleanly_after_the_end(entries: Entries) -> Iterator[Change]:
    ends = {entry.conn for _, entry in deliveries(entries) if entry.kind in events.TERMINAL}
    begins = {conn: head.at for conn, head in heads(entries).items()}
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Disconnected) and entry.clean and entry.conn in ends:
            quiet = entry.at < 20 or (begins[entry.conn] > 30 and not 48 < entry.at < 52)
            if quiet:
                yield "I5", at(entries, place, replaced(entry, clean=False))


@mutation
def nothing_ends_in_a_store(entries: Entries) -> Iterator[Change]:
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Kept) and entry.kind in events.TERMINAL:
            yield "I5", at(entries, place, replaced(entry, kind="chunk"))


@mutation
def a_stream_fails_by_a_bug(entries: Entries) -> Iterator[Change]:
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Kept) and entry.kind == "error":
            yield "I5", at(entries, place, replaced(entry, code="internal"))


@mutation
def a_whole_answer_fails(entries: Entries) -> Iterator[Change]:
    """Nobody read it, and there was no fault, so no other rule has anything to say."""
    quiet = [
        entry
        for entry in entries
        if isinstance(entry, history.Appended | history.Called | history.Marked | history.Kept)
    ]
    whole = {entry.stream for entry in quiet if isinstance(entry, history.Marked)}
    for stream in whole:
        yield (
            "I5",
            [
                replaced(entry, kind="error", digest="failed")
                if entry.stream == stream and getattr(entry, "kind", "") == "complete"
                else entry
                for entry in quiet
            ],
        )


@mutation
def a_life_is_followed_by_an_older_one(entries: Entries) -> Iterator[Change]:
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Kept | history.Delivered) and entry.seq > 1:
            yield "I6", at(entries, place, replaced(entry, epoch=1))


@mutation
def a_reader_goes_backwards(entries: Entries) -> Iterator[Change]:
    """All of a connection's events are lost, its cursor with them."""
    for conn, head in heads(entries).items():
        if not head.cursor or head.bad:
            continue
        left = [
            replaced(entry, cursor="") if entry == head else entry
            for entry in entries
            if not (isinstance(entry, history.Delivered) and entry.conn == conn)
        ]
        yield "I6", left


@mutation
def a_bad_cursor_is_taken_for_a_good_one(entries: Entries) -> Iterator[Change]:
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Reset):
            yield "I7", at(entries, place)


@mutation
def a_bad_cursor_waits(entries: Entries) -> Iterator[Change]:
    bad = {conn for conn, head in heads(entries).items() if head.bad}
    for place, entry in enumerate(entries):
        late = isinstance(entry, history.Answered) and entry.status == 400
        if (late or isinstance(entry, history.Reset)) and entry.conn in bad:  # type: ignore[union-attr]
            yield "I7", at(entries, place, replaced(entry, at=entry.at + 1.0))


@mutation
def a_good_cursor_is_refused(entries: Entries) -> Iterator[Change]:
    good = {conn for conn, head in heads(entries).items() if not head.bad}
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Answered) and entry.conn in good:
            for status in (400, 404, 500, 503):
                yield "I7", at(entries, place, replaced(entry, status=status))


@mutation
def a_good_cursor_is_reset(entries: Entries) -> Iterator[Change]:
    good = {conn for conn, head in heads(entries).items() if not head.bad}
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Answered) and entry.status == 200 and entry.conn in good:
            yield "I7", at(entries, place, entry, history.Reset(entry.at, entry.conn))


@mutation
def an_event_is_of_another_stream(entries: Entries) -> Iterator[Change]:
    for place, entry in deliveries(entries):
        yield "I8", at(entries, place, replaced(entry, tag="another"))


@mutation
def a_call_is_made_too_many(entries: Entries) -> Iterator[Change]:
    for stream, expected in streams(entries).items():
        calls = [history.Called(3.0, stream) for _ in range(expected.calls)]
        yield "I9", [*entries, *calls]


@mutation
def a_provider_is_read_after_a_cancel(entries: Entries) -> Iterator[Change]:
    for entry in entries:
        if isinstance(entry, history.Cancelled):
            yield "I9", [*entries, history.Sent(entry.at + 1.1, entry.stream, 1)]


@mutation
def a_key_gives_a_second_stream(entries: Entries) -> Iterator[Change]:
    for expected in streams(entries).values():
        yield "I9", [*entries, replaced(expected, stream="another")]


@mutation
def a_reader_never_ends(entries: Entries) -> Iterator[Change]:
    """Its last connection hangs without its last event."""
    for place, entry in enumerate(entries):
        if not isinstance(entry, history.Disconnected) or not entry.clean:
            continue
        status = next(
            said.status
            for said in entries
            if isinstance(said, history.Answered) and said.conn == entry.conn
        )
        left = [
            replaced(said, status=200) if isinstance(said, history.Answered) else said
            for said in at(entries, place)
            if getattr(said, "conn", None) == entry.conn
            and not (isinstance(said, history.Delivered) and said.kind in events.TERMINAL)
        ]
        others = [said for said in entries if getattr(said, "conn", None) != entry.conn]
        if status == 200:
            yield "I10", [*others, *left]


@mutation
def what_is_destroyed_is_kept(entries: Entries) -> Iterator[Change]:
    for stream in streams(entries):
        if any(isinstance(said, history.Kept) and said.stream == stream for said in entries):
            yield "I4", [history.Shredded(0.0, stream, True), *entries]


@mutation
def what_is_destroyed_is_read(entries: Entries) -> Iterator[Change]:
    left = [said for said in entries if not isinstance(said, history.Kept)]
    for conn, head in heads(entries).items():
        if any(isinstance(said, history.Delivered) and said.conn == conn for said in entries):
            yield "I4", [*left, history.Shredded(head.at - 0.001, head.stream, True)]


@mutation
def a_text_is_another(entries: Entries) -> Iterator[Change]:
    for place, entry in enumerate(entries):
        if isinstance(entry, history.Kept) and entry.kind == "complete":
            for sha256 in ("", "another"):
                yield "I11", at(entries, place, replaced(entry, sha256=sha256))


@pytest.mark.parametrize("made", MUTATIONS, ids=lambda made: made.__name__)
def test_it_is_found(made: Mutation) -> None:
    count = 0
    for seed in SEEDS:
        for rule, changed in made(histories.make(seed)):
            found = {violation.rule for violation in checker.check(changed, now=histories.END)}
            assert rule in found, f"seed {seed}: {sorted(found)}"
            count += 1
    assert count >= len(SEEDS) // 2


def test_there_is_a_mutation_for_each_rule() -> None:
    rules = {rule for made in MUTATIONS for seed in SEEDS for rule, _ in made(histories.make(seed))}
    assert rules == set(checker.RULES)

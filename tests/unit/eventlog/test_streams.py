"""The state machine: against a plain model, and at its edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors, events
from holdfast.eventlog import base, streams
from holdfast.testing.eventlog.parts import COMPLETE, FAILED, chunk, header

STREAM = events.new_stream_id()


def batch(epoch: int, last: int, *drafts: events.Draft, ts: int = 5) -> base.Batch:
    return base.Batch(STREAM, epoch, last, ts, drafts)


def created(*drafts: events.Draft) -> streams.Streams:
    """One stream in the life 65536."""
    made = streams.Streams()
    made.create(STREAM, header(), 65536, drafts or (chunk("first"),), 1)
    return made


class Model:
    """One stream as a list of events, and the rules as they are written."""

    def __init__(self) -> None:
        self.epoch, self.first_of_life = 65536, 1
        self.events = [events.Event("chunk", chunk("first").data, 65536, 1, 1)]

    @property
    def closed(self) -> bool:
        return self.events[-1].kind in events.TERMINAL

    def add(self, epoch: int, ts: int, drafts: tuple[events.Draft, ...]) -> None:
        for draft in drafts:
            seq = len(self.events) + 1
            self.events.append(events.Event(draft.kind, draft.data, epoch, seq, ts))

    def append(self, given: base.Batch) -> base.Result:
        head, first = len(self.events), given.last - len(given.drafts) + 1
        if given.epoch != self.epoch:
            return base.Fenced()
        if given.last <= head and not (given.last == head and first > head and not given.drafts):
            return base.Ok() if first >= self.first_of_life else base.Fenced()
        if self.closed:
            return base.Ok() if given.last == head else base.Fenced()
        if first != head + 1:
            return base.Lost(head)
        self.add(given.epoch, given.ts, given.drafts)
        return base.Ok()

    def claim(self, epoch: int) -> bool:
        if self.closed or epoch >> 16 <= self.epoch >> 16:
            return False
        self.epoch, self.first_of_life = epoch, len(self.events) + 1
        self.add(epoch, 7, (events.draft(events.Adopted(epoch)),))
        return True


LIVES = st.integers(1, 4).map(lambda counter: counter << 16)
BATCHES = st.tuples(
    LIVES,
    st.integers(0, 12),
    st.lists(st.sampled_from("abc"), max_size=3),
    st.booleans(),
)
CHANGES = st.lists(st.one_of(LIVES, BATCHES), max_size=25)


@given(CHANGES)
def test_any_changes_give_the_verdicts_and_events_of_the_model(
    changes: list[int | tuple[int, int, list[str], bool]],
) -> None:
    model, real = Model(), created()
    for change in changes:
        if isinstance(change, int):
            adopted = (events.draft(events.Adopted(change)),)
            assert (real.claim(STREAM, change, adopted, 7) is not None) == model.claim(change)
            continue
        epoch, last, texts, ends = change
        drafts = tuple(chunk(text) for text in texts) + ((FAILED,) if ends and texts else ())
        sent = batch(epoch, last, *drafts)
        assert real.append(sent) == model.append(sent)
    found = real.get(STREAM)
    assert found is not None
    assert found.page(events.BEGIN, 256).events == tuple(model.events)
    assert found.head == base.Head(model.epoch, len(model.events), model.closed)
    assert found.status == events.status_of(model.events)
    for seq in range(1, len(model.events) + 2):
        for epoch in {0, model.epoch, *(event.epoch for event in model.events)}:
            good = any((e.epoch, e.seq) == (epoch, seq) for e in model.events)
            if good:
                page = found.page(events.Position(epoch, seq), 2)
                assert page.events == tuple(model.events[seq : seq + 2])
                assert page.more == (seq + 2 < len(model.events))
                assert page.closed == (model.closed and not page.more)
            else:
                with pytest.raises(errors.UnknownPosition):
                    found.page(events.Position(epoch, seq), 2)


def test_a_batch_that_overlaps_the_head_is_lost() -> None:
    real = created()
    assert real.append(batch(65536, 3, chunk("a"), chunk("b"))) == base.Ok()
    assert real.append(batch(65536, 4, chunk("b"), chunk("c"))) == base.Lost(3)


def test_a_batch_that_reaches_back_into_another_life_is_fenced() -> None:
    real = created()
    real.claim(STREAM, 2 << 16, (chunk("adopted"),), 7)
    assert real.append(batch(2 << 16, 2, chunk("x"), chunk("y"))) == base.Fenced()
    assert real.append(batch(2 << 16, 2, chunk("adopted"))) == base.Ok()


def test_a_claim_that_is_not_newer_changes_nothing() -> None:
    real = created()
    for epoch in (0, 65536, 65536 + 65535):
        assert real.claim(STREAM, epoch, (chunk("x"),), 7) is None
    assert real.claim(STREAM, (2 << 16) + 9, (chunk("x"),), 7) == base.Life((2 << 16) + 9, 2)


def test_a_stream_may_be_created_with_its_end() -> None:
    real = created(chunk("a"), COMPLETE)
    assert [stream.id for stream in real.ended] == [STREAM]
    found = real.get(STREAM)
    assert found is not None
    assert found.info.ended_at == 1
    assert found.header.request == b""


def test_each_end_is_told_once() -> None:
    real = created()
    end = batch(65536, 2, COMPLETE)
    for _ in range(2):
        assert real.append(end) == base.Ok()
    assert [stream.id for stream in real.ended] == [STREAM]


def test_a_stream_takes_little_memory() -> None:
    """100,000 tokens: their data and 17 bytes each, give or take the growth of the arrays."""
    real = created()
    found = real.get(STREAM)
    assert found is not None
    for last in range(2, 100_001):
        real.append(batch(65536, last, chunk("word")))
    arrays = (found.data, found.ends, found.kinds, found.times)
    held = sum(array.__sizeof__() for array in arrays)
    needed = 100_000 * (len(chunk("word").data) + 17)
    assert needed <= held < 1.2 * needed
    assert abs(found.size - needed) < 10_000


def test_find_passes_over_the_order_of_creation_only() -> None:
    real = streams.Streams()
    ids = sorted(events.new_stream_id() for _ in range(4))
    for created_at, stream in ((5, ids[2]), (5, ids[0]), (3, ids[3]), (9, ids[1])):
        real.create(stream, header(created_at), 65536, (), 1)
    order = [ids[1], ids[2], ids[0], ids[3]]
    assert [info.stream for info in real.find(base.Query())] == order
    real.drop(ids[2])
    assert [info.stream for info in real.find(base.Query(limit=2))] == [ids[1], ids[0]]
    assert len(real) == 3
    kept = real.drop(ids[0])
    real.add(kept)
    assert [info.stream for info in real.find(base.Query())] == [ids[1], ids[0], ids[3]]


OWNERS = ("acme/", "acme/a", "acme/ab", "globex/a", "a", "acme", "", "/", "acme.b/")


@pytest.mark.parametrize(
    ("query", "whose"),
    [
        (base.Query("acme/a"), ("acme/a",)),
        (base.Query("acme/nobody"), ()),
        (base.Query(tenant="acme"), ("acme/", "acme/a", "acme/ab")),
        (base.Query(tenant="acme."), ()),
        (base.Query(tenant="acme.b"), ("acme.b/",)),
        (base.Query(tenant="acme/"), ()),
        (base.Query(tenant="acme/a"), ()),
        (base.Query(tenant="/"), ()),
        (base.Query(tenant="a"), ()),
        (base.Query(tenant="nobody"), ()),
        (base.Query("acme/a", tenant="acme"), ("acme/a",)),
        (base.Query("acme/a", tenant="globex"), ()),
        (base.Query("acme", tenant="acme"), ()),
        (base.Query(""), ("",)),
        (base.Query(), OWNERS),
    ],
)
def test_find_goes_by_whose_streams_they_are(query: base.Query, whose: tuple[str, ...]) -> None:
    real = streams.Streams()
    for number in range(2 * len(OWNERS)):
        owner = OWNERS[number % len(OWNERS)]
        real.create(events.new_stream_id(), header(number, owner=owner), 65536, (), 1)
    found = [info.header.owner for info in real.find(query)]
    assert found == 2 * [owner for owner in OWNERS[::-1] if owner in whose]


@pytest.mark.parametrize("query", [base.Query("acme/a"), base.Query(tenant="acme")])
def test_find_passes_over_nothing_of_others(query: base.Query) -> None:
    real = streams.Streams()
    for number in range(10):
        foreign = events.new_stream_id()
        real.create(foreign, header(number, owner="globex/a"), 65536, (), 1)
        del real._all[foreign]  # to look at it would fail
    assert real.find(query) == []
    real.create(STREAM, header(5, owner="acme/a"), 65536, (), 1)
    assert [info.stream for info in real.find(query)] == [STREAM]


def test_nothing_is_kept_of_owners_whose_streams_are_gone() -> None:
    real = streams.Streams()
    real.create(STREAM, header(5, owner="acme/a"), 65536, (), 1)
    real.drop(STREAM)
    orders = real._orders
    assert (orders._all, orders._owners, orders._tenants) == ([], {}, {})


def test_an_empty_stream_is_pending_and_has_a_page() -> None:
    real = streams.Streams()
    assert real.create(STREAM, header(), 65536, (), 1) == base.Life(65536, 0)
    found = real.get(STREAM)
    assert found is not None
    assert found.status == "pending"
    assert found.page(events.BEGIN, 9) == base.Page((), events.BEGIN, False, False)


@pytest.mark.parametrize("kind", ["heartbeat", "reconnect"])
def test_transient_events_are_refused_wherever_they_stand(kind: events.Kind) -> None:
    beat = events.Draft(kind, b"{}")
    for drafts in ((beat,), (beat, chunk("a")), (chunk("a"), beat)):
        with pytest.raises(ValueError, match=kind):
            streams.check(drafts, 1)


def test_what_may_stand_in_a_log_passes() -> None:
    streams.check((), 0)
    streams.check((chunk("a"), chunk("b"), COMPLETE), 1)

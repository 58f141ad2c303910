"""The tally: what the events of a stream come to, whoever counts them."""

from __future__ import annotations

import hashlib

from holdfast import events
from holdfast.producing import tally


def counted(*bodies: events.Body) -> tally.Tally:
    so_far = tally.Tally()
    for body in bodies:
        so_far.add(body)
    return so_far


def test_a_whole_answer() -> None:
    text = "The sea é🌊"
    so_far = counted(
        events.Start("s", "r", "p", "m", "t"),
        events.Kept("resp_1"),
        events.Chunk("reasoning", "Hm."),
        events.Chunk("content", text[:4]),
        events.Adopted(3 << 16),
        events.Chunk("content", text[4:]),
        events.Finish(0, "length", "max_tokens"),
        events.Usage(3, 4, 7),
    )
    assert so_far.complete(1, 2, 1500) == events.Complete(
        finish_reason="length",
        provider_finish_reason="max_tokens",
        usage=events.Tokens(3, 4, 7),
        chunks=3,
        bytes=3 + len(text.encode()),
        length=len(text.encode()),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        duration_ms=1500,
        attempts=2,
        exact=True,
    )
    assert (so_far.kept, so_far.calls, so_far.stored) == ("resp_1", 1, 0)


def test_it_is_finished_when_every_choice_is() -> None:
    so_far = counted(events.Chunk("content", "a"), events.Finish(1, "stop", "stop"))
    assert not so_far.finished(1)
    assert not so_far.finished(2)
    so_far.add(events.Finish(0, "tool_calls", None))
    assert so_far.finished(1)
    assert so_far.finished(2)
    assert not so_far.finished(3)


def test_each_choice_has_its_own_proof() -> None:
    so_far = counted(
        events.Chunk("content", "a"),
        events.Chunk("content", "bc", 1),
        events.Finish(1, "length", "length"),
    )
    ends = so_far.complete(3, 1, 0).choices
    assert ends is not None
    assert [(end.choice, end.finish_reason, end.length) for end in ends] == [
        (0, "other", 1),
        (1, "length", 2),
        (2, "other", 0),
    ]
    assert ends[1].sha256 == hashlib.sha256(b"bc").hexdigest()


def begun(number: int, how: str = "fresh") -> events.Attempt:
    return events.Attempt(number, "b", "n", how=how)  # type: ignore[arg-type]


def test_calls_are_counted_as_they_begin() -> None:
    failed = events.Attempt(1, "p", "m", "provider_failed")
    adopted = events.Adopted(1 << 16)
    content = events.Chunk("content", "a")
    assert counted().calls == 1
    assert counted(content, failed, adopted).calls == 1
    assert counted(content, failed, begun(2), adopted, begun(3)).calls == 3
    assert counted(failed).asked is None
    assert counted(failed, begun(2)).asked == "b/n"


def test_what_is_kept_is_of_the_latest_call() -> None:
    kept, failed = events.Kept("r"), events.Attempt(1, "p", "m", "provider_failed")
    assert counted(kept, failed).kept == "r"
    assert counted(kept, failed, begun(2, "replay")).kept == "r"
    for how in ("fresh", "continue", "restart"):
        assert counted(kept, failed, begun(2, how)).kept is None
        assert counted(kept, failed, begun(2, how), events.Kept("s"), CONTINUED).kept == "s"


def test_what_is_void_is_so_until_it_is_told_anew() -> None:
    text = events.Chunk("content", "a")
    so_far = counted(text, events.Attempt(1, "b", "n", "provider_rejected", void=True), begun(2))
    assert so_far.void
    so_far.add(events.Rewind("provider_rejected"))
    assert not so_far.void
    assert not counted(text, events.Attempt(1, "b", "n", "provider_rejected")).void


def test_whose_the_answer_is() -> None:
    text, failed = events.Chunk("content", "a"), events.Attempt(1, "p", "m", "provider_failed")
    assert counted(text, failed, begun(2, "replay"), text).own
    assert counted(failed, begun(2), text).own
    for how in ("continue", "restart"):
        so_far = counted(text, failed, begun(2, how))
        assert not so_far.own
        so_far.add(events.Rewind("provider_failed"))
        assert so_far.own


def test_lives_that_brought_nothing_are_counted() -> None:
    adopted, content = events.Adopted(1 << 16), events.Chunk("content", "a")
    failed = events.Attempt(1, "p", "m", "provider_failed")
    assert counted(content).barren == 0
    assert counted(content, adopted, adopted).barren == 2
    assert counted(content, adopted, failed, adopted).barren == 2
    assert counted(content, adopted, content, adopted).barren == 1
    assert counted(content, adopted, content, adopted).adoptions == 2


CONTINUED = events.Fallback("a/m", "b/n", "provider_failed", False, 0, 5)


def test_a_continuation_leaves_the_text_and_says_what_it_is() -> None:
    text = events.Chunk("content", "Kelp ")
    so_far = counted(text, begun(2, "continue"), CONTINUED, events.Chunk("content", "grows."))
    end = so_far.complete(1, 2, 0)
    assert (end.length, end.exact) == (11, False)
    assert (so_far.target, so_far.own, so_far.fallbacks) == ("b/n", False, 1)
    assert so_far.said == {"content"}


def test_a_rewind_forgets_the_text_and_not_what_it_took() -> None:
    said = (events.Chunk("content", "Kelp "), events.Chunk("reasoning", "Hm."), CONTINUED)
    so_far = counted(*said, events.Finish(0, "stop", "stop"), events.Rewind("provider_failed"))
    assert so_far.said == set()
    assert not so_far.finished(1)
    so_far.add(events.Chunk("content", "Wrack"))
    end = so_far.complete(1, 3, 0)
    assert (end.length, end.chunks, end.bytes, end.exact) == (5, 3, 13, True)
    assert (so_far.target, so_far.own) == ("b/n", True)


def test_usage_is_of_the_call_under_way() -> None:
    usage, failed = events.Usage(1, 2, 3), events.Attempt(1, "a", "m", "provider_failed")
    assert counted(usage).usage == events.Tokens(1, 2, 3)
    assert counted(usage, failed).usage is None
    assert counted(usage, events.Adopted(1 << 16)).usage is None
    # It may be all that is ever told of the cost of an answer that is whole.
    whole = (events.Finish(0, "stop", "stop"), usage, events.Adopted(1 << 16))
    assert counted(*whole).usage == events.Tokens(1, 2, 3)


def test_what_the_answer_has_used_up_is_what_its_calls_told() -> None:
    failed, text = events.Attempt(1, "a", "m", "provider_failed"), events.Chunk("content", "Kelp ")
    goes_on = begun(2, "continue")
    ended = (events.Usage(1, 20, 21), failed)
    assert counted(events.Usage(1, 20, 21)).spent == 0  # it goes on
    assert counted(*ended).spent == 0  # nobody read a word of it
    assert counted(text, *ended).spent == 20
    # Told again by the one who keeps it, it is the same answer; continued, it is more of it.
    again = (begun(2, "replay"), events.Usage(1, 25, 26), failed)
    assert counted(text, *ended, *again).spent == 25
    assert counted(text, *ended, goes_on, CONTINUED, text, *ended).spent == 40
    assert counted(text, *ended, goes_on, *ended).spent == 20  # the second one said nothing
    assert counted(text, *ended, events.Rewind("provider_failed"), begun(2), *ended).spent == 0
    assert counted(text, events.Usage(1, 20, 21), events.Adopted(1 << 16)).spent == 20


def test_a_life_that_only_told_of_its_call_brought_nothing() -> None:
    lives = [body for n in range(2, 6) for body in (events.Adopted(n << 16), begun(n))]
    told: list[events.Body] = [events.Kept("r"), events.Usage(1, 2, 3)]
    assert counted(*lives, *told).barren == 4
    assert counted(*lives, events.Chunk("content", "a")).barren == 0

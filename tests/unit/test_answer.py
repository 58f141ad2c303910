"""The fold of events to an answer, and the proof of a text."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import answer, errors, events

EPOCH = 1 << 16 | 7


def event(seq: int, body: events.Body, ts: int = 0) -> events.Event:
    said = events.draft(body)
    return events.Event(said.kind, said.data, EPOCH if seq else 0, seq, ts or 1000 + seq)


def fold(*bodies: events.Body) -> answer.Answer:
    """The answer of a stream with these events."""
    folded = answer.Answer()
    for seq, body in enumerate(bodies, 1):
        folded.add(event(seq, body))
    return folded


START = events.Start("s" * 26, "r", "openai", "gpt", "2026-01-01T00:00:00.000Z")
COMPLETE = events.Complete("stop", "stop", None, 2, 10, 10, "ab", 5, 1, True)
STOP = events.Finish(0, "stop", "end_turn")
ATTEMPT = events.Attempt(1, "openai", "gpt", "provider_failed", "no", 3)
FALLBACK = events.Fallback("openai", "groq", "provider_failed", True, 0, 4)
CITATION = events.Citation("https://example.org", "Salt")


def content(delta: str, choice: int = 0) -> events.Chunk:
    return events.Chunk("content", delta, choice)


def test_nothing_is_a_pending_answer() -> None:
    nothing = answer.Answer()
    assert (nothing.status, nothing.position) == ("pending", events.BEGIN)
    assert (nothing.start, nothing.usage, nothing.complete, nothing.error) == (None,) * 4
    assert (nothing.chunks, nothing.created_at) == (0, 0)
    assert (nothing.first_chunk_at, nothing.ended_at) == (None, None)
    assert nothing.choices == {}
    assert nothing.choice().content == ""


def test_start_is_kept_with_its_time() -> None:
    folded = fold(START)
    assert (folded.start, folded.created_at, folded.status) == (START, 1001, "pending")
    assert folded.position == events.Position(EPOCH, 1)


def test_chunks_are_gathered_by_type_and_choice() -> None:
    folded = fold(
        START,
        events.Chunk("reasoning", "Hm"),
        content("The "),
        content("Le ", 1),
        content("sea"),
        events.Chunk("refusal", "N"),
        events.Chunk("reasoning", "m."),
        events.Chunk("refusal", "o"),
        events.Chunk("opaque", "", extra=msgspec.Raw(b'{"signature":"x"}')),
    )
    first, second = folded.choice(), folded.choice(1)
    assert (first.content, first.reasoning, first.refusal) == ("The sea", "Hmm.", "No")
    assert (second.content, second.reasoning, second.refusal) == ("Le ", "", "")
    assert (folded.chunks, folded.status, folded.first_chunk_at) == (8, "streaming", 1002)
    assert set(folded.choices) == {0, 1}


def test_tool_calls_are_gathered_by_their_ordinal() -> None:
    folded = fold(
        events.Chunk("tool_call", "", call=0, id="c1", name="weather"),
        events.Chunk("tool_call", "", call=1, id="c2", name="time"),
        events.Chunk("tool_call", '{"city":', call=0),
        events.Chunk("tool_call", "{}", call=1),
        events.Chunk("tool_call", '"Rome"}', call=0),
        events.Chunk("tool_call", "[]", choice=1),
    )
    calls = folded.choice().tool_calls
    assert [(call.id, call.name, call.arguments) for call in calls.values()] == [
        ("c1", "weather", '{"city":"Rome"}'),
        ("c2", "time", "{}"),
    ]
    other = folded.choice(1).tool_calls[0]
    assert (other.id, other.name, other.arguments) == ("", "", "[]")
    assert folded.choice().content == ""


def test_a_finish_belongs_to_its_choice() -> None:
    folded = fold(events.Finish(1, "length", "max_tokens"), STOP)
    first, second = folded.choice(), folded.choice(1)
    assert (first.finish_reason, first.provider_finish_reason) == ("stop", "end_turn")
    assert (second.finish_reason, second.provider_finish_reason) == ("length", "max_tokens")


def test_metadata_is_kept_in_order() -> None:
    later = events.Citation("https://example.com")
    folded = fold(ATTEMPT, CITATION, FALLBACK, later, events.Adopted(EPOCH))
    assert folded.attempts == [ATTEMPT]
    assert folded.fallbacks == [FALLBACK]
    assert folded.citations == [CITATION, later]
    assert folded.status == "pending"


@pytest.mark.parametrize(
    ("in_complete", "kept"),
    [(None, events.Tokens(1, 2, 3)), (events.Tokens(4, 5, 9), events.Tokens(4, 5, 9))],
)
def test_the_latest_usage_counts(in_complete: events.Tokens | None, kept: events.Tokens) -> None:
    end = msgspec.structs.replace(COMPLETE, usage=in_complete)
    folded = fold(events.Usage(1, 1, 2), events.Usage(1, 2, 3), end)
    assert folded.usage == kept
    assert (folded.complete, folded.ended_at, folded.status) == (end, 1003, "completed")
    assert folded.error is None


@pytest.mark.parametrize(
    ("code", "status"), [("provider_failed", "error"), ("cancelled", "cancelled")]
)
def test_an_error_ends_it_and_leaves_what_was_said(code: str, status: str) -> None:
    end = events.Error(code, "no", False)
    folded = fold(START, content("The"), end)
    assert (folded.error, folded.ended_at, folded.status) == (end, 1003, status)
    assert (folded.complete, folded.choice().content) == (None, "The")


SAID: tuple[events.Body, ...] = (
    START,
    ATTEMPT,
    FALLBACK,
    content("The sea"),
    events.Chunk("reasoning", "Hm"),
    events.Chunk("refusal", "No"),
    events.Chunk("tool_call", "{}", call=0, id="c", name="n"),
    CITATION,
    STOP,
    events.Usage(1, 2, 3),
)


def test_a_durable_rewind_forgets_what_was_said_and_keeps_the_account() -> None:
    folded = fold(*SAID, events.Rewind("restart"))
    assert folded.choices == {}
    assert folded.citations == []
    assert (folded.attempts, folded.fallbacks) == ([ATTEMPT], [FALLBACK])
    assert (folded.start, folded.usage) == (START, events.Tokens(1, 2, 3))
    assert (folded.chunks, folded.status) == (4, "streaming")
    assert folded.position == events.Position(EPOCH, 11)
    assert folded.first_chunk_at == 1004


def facts(folded: answer.Answer) -> dict[str, object]:
    """Everything that an answer tells."""
    told = dict(vars(folded))
    told["calls"] = [vars(call) for call in folded.calls]
    told["_choices"] = {
        number: (
            choice.content,
            choice.reasoning,
            choice.refusal,
            choice.finish_reason,
            choice.provider_finish_reason,
            {n: (c.id, c.name, c.arguments) for n, c in choice.tool_calls.items()},
        )
        for number, choice in folded.choices.items()
    }
    return told


@pytest.mark.parametrize("before", range(len(SAID) + 1))
def test_after_a_transient_rewind_the_answer_is_as_if_read_once(before: int) -> None:
    whole = fold(*SAID, COMPLETE)
    folded = fold(*SAID[:before])
    folded.add(event(0, events.Rewind("unknown_position")))
    assert facts(folded) == facts(answer.Answer())
    for seq, body in enumerate((*SAID, COMPLETE), 1):
        folded.add(event(seq, body))
    assert facts(folded) == facts(whole)


def test_transient_events_move_nothing() -> None:
    folded = fold(START, content("The"))
    before = facts(folded)
    folded.add(event(0, events.Heartbeat("2026-01-01T00:00:00.000Z")))
    folded.add(event(0, events.Reconnect(100, "draining")))
    assert facts(folded) == before


@pytest.mark.parametrize(
    ("kind", "data"),
    [("chunk", b"{}"), ("metadata", b'{"type":"weather"}'), ("complete", b"["), ("start", b"1")],
)
def test_a_body_of_a_wrong_shape_is_told(kind: events.Kind, data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        answer.Answer().add(events.Event(kind, data, EPOCH, 1, 0))


@settings(max_examples=100)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=10))
def test_the_proof_is_that_of_the_joined_text(parts: list[str]) -> None:
    proof = answer.Proof()
    for part in parts:
        proof.add(part)
    data = "".join(parts).encode()
    assert (proof.length, proof.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    proof.reset()
    assert (proof.length, proof.sha256) == (0, hashlib.sha256(b"").hexdigest())


def test_the_proof_may_be_asked_on_the_way() -> None:
    proof = answer.Proof()
    proof.add("The ")
    assert proof.sha256 == hashlib.sha256(b"The ").hexdigest()
    proof.add("sea 🌊")
    assert proof.sha256 == hashlib.sha256("The sea 🌊".encode()).hexdigest()
    assert proof.length == 12


# Calls

GPT, LLAMA = ("openai", "gpt"), ("groq", "llama")
BEGUN = events.Attempt(2, *LLAMA, how="continue")
ADOPTED = events.Adopted(2 << 16)
CANCELLED = events.failure(errors.Cancelled())
LOST = events.failure(errors.LogLost())
INTERRUPTED = "interrupted"


@pytest.mark.parametrize(
    ("bodies", "calls"),
    [
        ([], [(1, *GPT, "running", None)]),
        ([content("a")], [(1, *GPT, "running", None)]),
        ([content("a"), COMPLETE], [(1, *GPT, "completed", None)]),
        ([CANCELLED], [(1, *GPT, "cancelled", None)]),
        ([content("a"), LOST], [(1, *GPT, "failed", "log_lost")]),
        ([ATTEMPT], [(1, *GPT, "failed", "provider_failed")]),
        ([ATTEMPT, CANCELLED], [(1, *GPT, "failed", "provider_failed")]),
        (
            [ATTEMPT, BEGUN],
            [(1, *GPT, "failed", "provider_failed"), (2, *LLAMA, "running", None)],
        ),
        (
            [ATTEMPT, BEGUN, CANCELLED],
            [(1, *GPT, "failed", "provider_failed"), (2, *LLAMA, "cancelled", None)],
        ),
        (
            [ATTEMPT, BEGUN, ADOPTED, events.Attempt(3, *LLAMA, how="continue"), COMPLETE],
            [
                (1, *GPT, "failed", "provider_failed"),
                (2, *LLAMA, "failed", INTERRUPTED),
                (3, *LLAMA, "completed", None),
            ],
        ),
        ([content("a"), ADOPTED], [(1, *GPT, "failed", INTERRUPTED)]),
        ([content("a"), STOP, ADOPTED, COMPLETE], [(1, *GPT, "completed", None)]),
        ([events.Attempt(1, *LLAMA, how="fresh")], [(1, *LLAMA, "running", None)]),
    ],
)
def test_every_call_is_told(bodies: list[events.Body], calls: list[tuple[object, ...]]) -> None:
    found = fold(START, *bodies).calls
    assert [(c.number, c.provider, c.model, c.status, c.error) for c in found] == calls


def test_each_call_has_its_own_cost_and_time() -> None:
    cost, other = events.Tokens(9, 1, 10), events.Tokens(1, 2, 3)
    failed = events.Attempt(1, *GPT, "provider_failed", duration_ms=3, usage=cost)
    folded = fold(START, events.Usage(9, 1, 10), failed, BEGUN)
    assert folded.usage is None
    assert [(c.usage, c.duration_ms) for c in folded.calls] == [(cost, 3), (None, 0)]
    folded = fold(START, failed, BEGUN, content("a"), events.Usage(1, 2, 3), STOP, COMPLETE)
    # It began with the third event and was whole with the seventh, a millisecond each.
    assert [(c.usage, c.duration_ms) for c in folded.calls] == [(cost, 3), (other, 4)]
    assert fold(START, events.Usage(9, 1, 10), ADOPTED).usage is None
    assert fold(START, STOP, events.Usage(9, 1, 10), ADOPTED).usage == cost

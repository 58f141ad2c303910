"""Our own provider of this format reads what our dialect says: a node may stand behind a node.

Strategy: any answer is told in frames, and these are translated as if a vendor had sent them. What
comes out is the answer that went in.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dialects.openai_responses import reading
from tests.unit.dialects.openai_responses.reading import content, raw

from holdfast import answer, errors, events, request
from holdfast.dialects import openai_responses
from holdfast.providers import failures, translator, vendors

FORMAT = vendors.VENDORS["openai_responses"].format
TEXTS = st.text(min_size=1, max_size=6)


def frames(*bodies: events.Body) -> bytes:
    dialect = openai_responses.Dialect()
    fold = dialect.fold(reading.STREAM, reading.header(padded=True))
    return b"".join(map(fold.render, reading.numbered([reading.START, *bodies])))


def translated(told: bytes) -> tuple[answer.Answer, errors.HoldfastError | None]:
    """What a node makes of these frames."""
    source = failures.Source("behind")
    wanted = request.Request("m", [request.Message("user", "Hi")])
    made = translator.Translator(FORMAT.fold(wanted, source), source)
    bodies = made.feed(told)
    found = answer.Answer()
    for event in reading.numbered([reading.START, *bodies]):
        found.add(event)
    return found, made.error


CALLS = st.integers(0, 2).flatmap(
    lambda n: st.builds(
        events.Chunk, st.just("tool_call"), TEXTS, call=st.just(n), id=st.just(f"c{n}"),
        name=st.just(f"f{n}"),
    )
)  # fmt: skip
CHUNKS: Any = st.one_of(
    st.builds(content, TEXTS),
    st.builds(events.Chunk, st.sampled_from(["refusal", "reasoning"]), TEXTS),
    CALLS,
)
REASONS: Any = st.sampled_from(["stop", "length", "content_filter"])
USAGE = st.none() | st.builds(
    lambda i, o, r, c: events.Tokens(i, o, i + o, r, c), *[st.integers(0, 99)] * 4
)


@given(st.lists(CHUNKS, max_size=12), REASONS, USAGE)
def test_an_answer_comes_out_as_it_went_in(
    chunks: list[events.Chunk], reason: Any, usage: events.Tokens | None
) -> None:
    found, error = translated(frames(*chunks, reading.complete(reason, usage=usage)))
    assert error is None
    mine = answer.Answer()
    for event in reading.numbered([reading.START, *chunks]):
        mine.add(event)
    ours, theirs = mine.choice(0), found.choice(0)
    assert (theirs.content, theirs.refusal) == (ours.content, ours.refusal)
    # A paragraph is made of each thought that something else came between.
    assert theirs.reasoning.replace("\n", "") == ours.reasoning.replace("\n", "")
    told = [
        [(c.id, c.name, c.arguments) for c in one.tool_calls.values()] for one in (ours, theirs)
    ]
    assert sorted(told[0]) == sorted(told[1])
    assert found.usage == usage
    if reason != "stop":
        assert theirs.finish_reason == reason


def test_an_answer_that_failed_has_failed_there_too() -> None:
    failed = events.Error("provider_rate_limited", "Too many.", True)
    found, error = translated(frames(content("Hm"), failed))
    assert found.choice(0).content == "Hm"
    assert isinstance(error, errors.ProviderRateLimited)
    assert "Too many." in error.message
    gone = events.failure(errors.Cancelled())
    assert isinstance(translated(frames(content("Hm"), gone))[1], errors.ProviderError)


def test_what_the_vendor_sealed_goes_through() -> None:
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "s"}
    told = frames(events.Chunk("opaque", extra=raw(item=sealed)), content("a"), reading.complete())
    source = failures.Source("behind")
    wanted = request.Request("m", [request.Message("user", "Hi")])
    bodies = translator.Translator(FORMAT.fold(wanted, source), source).feed(told)
    extras = [body.extra for body in bodies if isinstance(body, events.Chunk)]
    assert [msgspec.json.decode(one) for one in extras if one is not msgspec.UNSET] == [
        {"item": sealed}
    ]

"""What the producer takes for revocable, every dialect takes for revocable too.

Strategy: anything is told in a stream that was born in a dialect; where the producer would then
have another answer written in its place, the dialect's fold has to go on behind it, and says an end
that is good. Otherwise somebody would pay for an answer that nobody can read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import events, request, storage
from holdfast.dialects import ai_sdk, anthropic, base, openai_chat, openai_responses
from holdfast.producing import course, fallback, tally

STREAM = events.stream_id("5treamOfTheTestsABCDEFGHIJ")
DIALECTS: Mapping[str, base.Foreign] = {
    "chat": openai_chat.Dialect(),
    "responses": openai_responses.Dialect(),
    "messages": anthropic.Dialect(),
    "ai": ai_sdk.Dialect("v/m"),
}
SAID = {"role": "user", "content": "Why?"}
PART = {"type": "text", "text": "Why?"}
ASKED: Mapping[str, dict[str, Any]] = {
    "chat": {"messages": [SAID]},
    "responses": {"input": "Why?"},
    "messages": {"max_tokens": 9, "messages": [SAID]},
    "ai": {"id": "c", "messages": [{"id": "1", "role": "user", "parts": [PART]}]},
}
START = events.Start(STREAM, "r", "p", "m", "2026-11-01T00:00:00.000Z")
NEW = (
    events.Chunk("reasoning", "New."),
    events.Chunk("content", "Yes."),
    events.Finish(0, "stop", "stop"),
    events.Complete("stop", None, None, 2, 8, 4, "", 1, 2, True),
)


def opaque(**extra: Any) -> events.Chunk:
    return events.Chunk("opaque", extra=msgspec.Raw(msgspec.json.encode(extra)))


OPAQUE = [
    opaque(signature="s"),
    opaque(content_block={"type": "redacted_thinking", "data": "x"}),
    opaque(content_block={"type": "server_tool_use", "id": "s", "input": {}}),
    opaque(item={"type": "reasoning", "id": "rs", "encrypted_content": "x"}),
    opaque(item={"type": "web_search_call", "id": "w"}),
    opaque(reasoning_details=[{"data": "x"}]),
    opaque(thoughtSignature="s"),
]
THOUGHTS = st.sampled_from(["Hm", ""]).map(lambda text: events.Chunk("reasoning", text))
OTHERS = st.sampled_from(
    [
        *OPAQUE,
        events.Chunk("reasoning", "Hm", block=3),
        events.Chunk("content", "a"),
        events.Chunk("content", "a", 1),
        events.Chunk("refusal", "No"),
        events.Chunk("tool_call", "", call=0, id="c", name="f"),
        events.Citation(url="https://x.example"),
        events.Usage(9, 4, 13),
        events.Attempt(1, "p", "m", "provider_failed", "No."),
        events.Adopted(2),
    ]
)


def goes_on(dialect: base.Foreign, asked: base.Asked, bodies: list[events.Body]) -> bool:
    """Whether another answer is told behind these."""
    fold = dialect.fold(STREAM, storage.Header("", 0, "p", "m", terms=asked.terms))
    for body in [START, *bodies, events.Rewind("restart"), *NEW]:
        draft = events.draft(body)
        fold.render(events.Event(draft.kind, draft.data, 1 << 16, 1, 0))
    assert fold.ended
    return not fold.failed


@pytest.mark.parametrize("name", DIALECTS)
@given(bodies=st.lists(st.one_of(THOUGHTS, THOUGHTS, OTHERS), max_size=8))
def test_what_is_asked_for_anew_can_be_read(name: str, bodies: list[events.Body]) -> None:
    asked = DIALECTS[name].parse(
        msgspec.json.encode({"model": "v/m", "stream": True, **ASKED[name]})
    )
    so_far = tally.Tally()
    for body in bodies:
        so_far.add(body)
    written = course.written(asked.request, so_far, None, "p/m")
    if not written.binding:
        assert goes_on(DIALECTS[name], asked, bodies)


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("stream", [True, False])
def test_a_mere_thought_binds_nobody_and_an_answer_those_who_read_it(
    name: str, stream: bool
) -> None:
    asked = DIALECTS[name].parse(
        msgspec.json.encode({"model": "v/m", "stream": stream, **ASKED[name]})
    )
    so_far = tally.Tally()
    so_far.add(events.Chunk("reasoning", "Hm."))
    assert not course.written(asked.request, so_far, None, "p/m").binding
    for body in (events.Chunk("tool_call", "{", call=0, name="f"), events.Finish(0, "stop", "")):
        so_far.add(body)
        assert course.written(asked.request, so_far, None, "p/m").binding is stream


def test_natively_all_can_be_taken_back() -> None:
    so_far = tally.Tally()
    wanted = request.Request("m", [], n=2)
    for body in (events.Citation(url="https://x.example"), events.Finish(0, "stop", "stop")):
        so_far.add(body)
        written = course.written(wanted, so_far, None, "p/m")
        assert (written.thought, written.content, written.other) == (True, False, False)
        step = fallback.adopt(fallback.Orphan(written=written, askable=True), fallback.Policy())
        assert step == fallback.Ask(0, "restart")  # what was told is not told twice

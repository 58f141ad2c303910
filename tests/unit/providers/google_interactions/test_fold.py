"""The Interactions translator on small answers of our own, one for each shape of the wire.

Strategy: as for Gemini: tests/fixtures/recordings/google-interactions, with what each says
beside it, read whole, by event, by byte, at random and cut in two.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.unit.providers import said as told

from holdfast import events
from holdfast.providers import kept
from holdfast.providers.google_interactions import answer, steps
from holdfast.testing import recordings

KIND = "google_interactions"
FIXTURES = recordings.load_recordings(told.FOLDER / "google-interactions")
BY_NAME = {recording.name: recording for recording in FIXTURES}


def play(reads: Any) -> Any:
    return told.play(reads, 1, KIND)


def event(name: str, **body: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (
        name.encode(),
        json.dumps(body | {"event_type": name}).encode(),
    )


def start(index: int, type: str, **fields: Any) -> bytes:
    return event("step.start", index=index, step={"type": type, **fields})


def delta(index: int, type: str, **fields: Any) -> bytes:
    return event("step.delta", index=index, delta={"type": type, **fields})


@pytest.fixture(params=FIXTURES, ids=lambda recording: recording.name)
def fixture(request: pytest.FixtureRequest) -> recordings.Recording:
    recording = request.param
    assert isinstance(recording, recordings.Recording)
    return recording


def test_each_answer_says_what_is_in_it(fixture: recordings.Recording) -> None:
    expected = fixture.expected
    said, translator = play([fixture.wire])
    assert told.text(said, "content") == expected["final_text"]
    assert told.text(said, "reasoning") == expected["reasoning_text"]
    assert told.tool_calls(said) == expected["tool_calls"]
    finish = told.finish(said)
    assert (finish and finish.provider_finish_reason) == expected["finish"]
    assert (finish and finish.finish_reason) == expected["finish_reason"]
    assert translator.done == expected["done"]
    assert translator.finished == (finish is not None)
    assert told.verdict(translator) == expected["error"]
    usages = [body for body in said if isinstance(body, events.Usage)]
    assert usages == ([events.Usage(**expected["usage"])] if expected["usage"] else [])
    citations = [[body.url, body.title] for body in said if isinstance(body, events.Citation)]
    assert citations == expected.get("citations", [])
    assert told.extras(said, "opaque") == expected.get("opaque", [])


def test_a_block_is_a_step(fixture: recordings.Recording) -> None:
    said, _ = play([fixture.wire])
    blocks: list[list[Any]] = []
    for chunk in (body for body in said if isinstance(body, events.Chunk)):
        if chunk.block is not None:
            blocks.append([chunk.type, chunk.block, ""])
        blocks[-1][2] += chunk.delta
    ordinals = [block[1] for block in blocks]
    assert ordinals == sorted(set(ordinals))
    assert blocks == fixture.expected.get("blocks", blocks)


def test_the_cut_of_the_reads_makes_no_difference(fixture: recordings.Recording) -> None:
    wire = fixture.wire
    said, translator = play([wire])
    whole = told.drafts(said)
    ways = [cut(wire) for cut in recordings.FRAGMENTATIONS.values()]
    ways += [recordings.at_random(wire, seed) for seed in range(1, 6)]
    ways += [(wire[:n], wire[n:]) for n in range(1, len(wire), 5)]
    for reads in ways:
        again, other = play(reads)
        assert told.drafts(again) == whole
        assert (other.done, other.finished) == (translator.done, translator.finished)
        assert str(other.error) == str(translator.error)


def test_no_end_is_told_before_the_end(fixture: recordings.Recording) -> None:
    translator = told.translator(KIND)
    for read in recordings.per_event(fixture.wire):
        said = translator.feed(read)
        assert translator.done or not any(isinstance(body, events.Finish) for body in said)
        assert translator.done or not translator.finished


@pytest.mark.parametrize("status", [*answer.STATUSES, *sorted(answer.BROKEN_OFF)])
def test_every_status(status: str) -> None:
    said, translator = play([event("interaction.completed", interaction={"status": status})])
    finish = told.finish(said)
    if status in answer.BROKEN_OFF:
        assert finish is None
        assert told.verdict(translator) == "ProviderFailed"
    else:
        assert finish == events.Finish(0, answer.STATUSES[status], status)
        assert translator.done


def test_usage_may_come_with_any_event() -> None:
    """The newest counts, and it is told once."""
    reads = [
        start(0, "model_output"),
        delta(0, "text", text="a"),
        event(
            "step.delta",
            index=0,
            delta={"type": "text", "text": "b"},
            metadata={"total_usage": {"total_input_tokens": 1}},
        ),
        event("step.stop", index=0, usage={"total_output_tokens": 2}),
    ]
    translator = told.translator(KIND)
    said = [body for read in reads for body in translator.feed(read)]
    assert told.text(said, "content") == "ab"
    assert translator.cut() == [events.Usage(0, 2, 2)]
    assert translator.cut() == []


def test_an_answer_that_completed_with_calls_wants_them_made() -> None:
    end = event("interaction.completed", interaction={"status": "completed"})
    said, _ = play([start(0, "function_call", name="f"), end])
    assert told.finish(said) == events.Finish(0, "tool_calls", "completed")


def test_a_sign_cut_in_two_is_made_whole() -> None:
    pieces = [b'"a"', b'"\\ud83c"', b'"\\udf0ab"']
    wire = b'data: {"event_type":"step.delta","delta":{"type":"text","text":%b}}\n\n'
    assert told.text(play([wire % piece for piece in pieces])[0], "content") == "a\U0001f30ab"
    call = start(0, "function_call", name="f")
    wire = (
        b'data: {"event_type":"step.delta","delta":{"type":"arguments_delta","arguments":%b}}\n\n'
    )
    said, _ = play([call, *(wire % piece for piece in pieces)])
    assert told.tool_calls(said)[0]["arguments"] == "a\U0001f30ab"


def test_a_status_may_be_taken_back() -> None:
    reads = [event("interaction.status_update", status=s) for s in ("completed", "in_progress")]
    marker = b"data: [DONE]\n\n"
    assert play([reads[0], marker])[1].finished
    for given in (reads[:1], reads, [*reads, marker]):
        said, translator = play(given)
        assert told.finish(said) is None
        assert not translator.finished


def test_an_end_without_any_status_has_no_finish_reason() -> None:
    for about in ({}, {"status": 5}, "odd"):
        said, translator = play([event("interaction.completed", interaction=about)])
        assert translator.done
        assert told.finish(said) is None


def test_a_status_of_an_odd_kind_is_left_out() -> None:
    wire = b'data: {"event_type":"interaction.status_update","status":["completed"]}\n\n'
    assert told.verdict(play([wire])[1]) == "ProviderMalformed"
    assert play([event("interaction.status_update")])[1].error is None


def test_calls_are_bounded() -> None:
    translator = told.translator(KIND)
    for n in range(answer.MAX_CALLS):
        translator.feed(start(0, "function_call", id=f"c{n}", name="f"))
    assert translator.error is None
    translator.feed(start(0, "function_call", name="f"))
    assert told.verdict(translator) == "ProviderMalformed"


def test_a_call_without_an_id_is_named_by_its_ordinal() -> None:
    said, _ = play([start(0, "function_call", name="f"), start(0, "function_call", name="g")])
    assert [(call["id"], call["arguments"]) for call in told.tool_calls(said)] == [
        ("call_0", "{}"),
        ("call_1", "{}"),
    ]


def test_a_call_without_an_id_is_named_by_the_interaction_too() -> None:
    ids = []
    for id in ("v1_a", "v1_b", "v1_a"):
        begun = event("interaction.created", interaction={"id": id})
        said, _ = play([begun, start(0, "function_call", name="f")])
        ids.append(told.tool_calls(said)[0]["id"])
    assert ids[0] == ids[2] != ids[1]
    assert re.fullmatch("call_[0-9a-f]{16}_0", ids[0])


def test_what_is_told_at_the_end_of_a_step_is_gathered() -> None:
    made = told.translator(KIND)
    sizes = []
    for read in (
        start(0, "google_search_result"),
        delta(0, "google_search_result", result="x"),
        start(1, "thought") + delta(1, "thought_signature", signature="c2ln"),
    ):
        made.feed(read)
        sizes.append(made.gathered)
    assert sizes == sorted(set(sizes))
    assert sizes[0] > 0
    made.feed(start(2, "model_output") + delta(2, "text", text="a"))
    made.feed(event("interaction.status_update", status="in_progress"))
    assert made.gathered == sizes[-1]


@pytest.mark.parametrize(
    "fields",
    [{"name": "f" * 2000}, {"name": "f", "id": "i" * 2000}, {"type": "t" * 2000}],
)
def test_names_are_bounded(fields: dict[str, Any]) -> None:
    _, translator = play([start(0, **{"type": "function_call", **fields})])
    assert told.verdict(translator) == "ProviderMalformed"


def test_open_steps_are_bounded() -> None:
    translator = told.translator(KIND)
    for n in range(answer.MAX_OPEN):
        translator.feed(start(n, "thought"))
    assert translator.error is None
    translator.feed(start(0, "thought"))
    assert translator.error is None
    translator.feed(start(answer.MAX_OPEN, "thought"))
    assert told.verdict(translator) == "ProviderMalformed"


def test_what_is_kept_of_a_step_is_bounded() -> None:
    long = "x" * (kept.MAX_KEPT + 1)
    reads = [
        start(0, "google_search_result", result=long),
        delta(0, "google_search_result", more="y"),
        start(1, "thought"),
        delta(1, "thought_signature", signature="s" * (steps.MAX_SIGNATURE + 1)),
        start(2, "model_output"),
        delta(2, "image", data=long),
    ]
    said, _ = play(reads)
    assert told.extras(said, "opaque") == [
        {"type": "image", "data": None, "truncated": True},
        {"type": "google_search_result", "result": None, "truncated": True, "more": "y"},
    ]
    piece = delta(0, "arguments_delta", arguments="a" * 1000)
    said, _ = play([start(0, "mcp_server_tool_call"), *[piece] * 70])
    (extra,) = told.extras(said, "opaque")
    assert len(json.dumps(extra)) <= kept.MAX_KEPT + 100


def test_what_stays_after_a_long_answer_is_small() -> None:
    translator = told.translator(KIND)
    for n in range(1000):
        translator.feed(start(n, "model_output"))
        translator.feed(delta(n, "text", text="x" * 1000))
        translator.feed(event("step.stop", index=n))
    assert translator.error is None
    held: Any = translator._fold._answer  # type: ignore[attr-defined]
    assert held._open == {}
    assert held._halves.held == {}


def test_odd_frames_do_no_harm() -> None:
    """Nothing is raised but an error of ours, and what was said counts."""
    good = [start(0, "model_output"), delta(0, "text", text="a"), delta(0, "text", text="b")]
    for odd in (
        "null",
        "[]",
        "5",
        '{"event_type":"step.delta","index":0,"delta":{"type":"smell","type":"smell"}}',
        '{"event_type":"step.delta","index":0,"delta":{"type":"x"},"delta":{"type":"y"}}',
        '{"event_type":"step.delta","delta":{"type":"text","text":""}}',
        '{"event_type":"step.start","step":{"type":"model_output","content":[{"type":"text"}]}}',
        '{"event_type":"interaction.status_update","usage":"many","metadata":7}',
        '{"event_type":"step.delta","index":0,"delta":{"type":"arguments_delta"}}',
        '{"x":' * 3000 + "1" + "}" * 3000,
        '{"event_type":"step.delta","delta":{"type":"smell","a":%s}}' % ("9" * 5000),
        '{"event_type":"step.delta","delta":{"type":"thought_summary"}}',
    ):
        said, translator = play([*good, b"data: %b\n\n" % odd.encode()])
        assert told.text(said, "content") == "ab"
        assert translator.error is None or told.verdict(translator) == "ProviderMalformed"

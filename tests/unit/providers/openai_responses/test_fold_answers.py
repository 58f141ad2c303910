"""The Responses translator on small answers of our own, one for each shape of the wire.

Strategy: the answers are files in tests/fixtures/recordings, with what they say beside them.
Each is read whole, byte by byte, by event, at random and cut in two at many places: every way
must say the same, body by body. Random and damaged bytes: test_fold_fuzz.py; what real providers
sent: test_fold_recordings.py.
"""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.providers import said as told

from holdfast import events
from holdfast.testing import recordings

KIND = "openai_responses"
FIXTURES = recordings.load_recordings(told.FOLDER / "openai-responses")


@pytest.fixture(params=FIXTURES, ids=lambda recording: recording.name)
def fixture(request: pytest.FixtureRequest) -> recordings.Recording:
    recording = request.param
    assert isinstance(recording, recordings.Recording)
    return recording


def test_each_answer_says_what_is_in_it(fixture: recordings.Recording) -> None:
    expected = fixture.expected
    said, translator = told.play([fixture.wire], kind=KIND)
    assert told.text(said, "content") == expected["final_text"]
    assert told.text(said, "reasoning") == expected["reasoning_text"]
    assert told.text(said, "refusal") == expected["refusal_text"]
    assert told.tool_calls(said) == expected["tool_calls"]
    finish = told.finish(said)
    assert (finish and finish.provider_finish_reason) == expected["finish"]
    assert (finish and finish.finish_reason) == expected["finish_reason"]
    assert (translator.done, translator.finished) == (expected["done"], finish is not None)
    assert told.verdict(translator) == expected["error"]


def test_usage_citations_extras_and_blocks_are_told_once(fixture: recordings.Recording) -> None:
    expected = fixture.expected
    said, _ = told.play([fixture.wire], kind=KIND)
    usages = [body for body in said if isinstance(body, events.Usage)]
    wanted = expected["usage"]
    assert usages == ([events.Usage(**wanted)] if wanted else [])
    citations = [[body.url, body.title] for body in said if isinstance(body, events.Citation)]
    assert citations == expected.get("citations", [])
    assert told.extras(said, "opaque") == expected.get("opaque", [])
    assert told.extras(said, "content") == expected.get("extra", [])
    if "call_extra" in expected:
        assert told.extras(said, "tool_call") == expected["call_extra"]
    if "blocks" in expected:
        chunks = [body for body in said if isinstance(body, events.Chunk)]
        assert [chunk.block for chunk in chunks if chunk.block is not None] == expected["blocks"]


def test_the_cut_of_the_reads_makes_no_difference(fixture: recordings.Recording) -> None:
    wire = fixture.wire
    said, translator = told.play([wire], kind=KIND)
    whole = told.drafts(said)
    ways = [cut(wire) for cut in recordings.FRAGMENTATIONS.values()]
    ways += [recordings.at_random(wire, seed) for seed in range(1, 6)]
    ways += [(wire[:n], wire[n:]) for n in range(1, len(wire), 7)]
    for reads in ways:
        again, other = told.play(reads, kind=KIND)
        assert told.drafts(again) == whole
        assert (other.done, other.finished) == (translator.done, translator.finished)
        assert str(other.error) == str(translator.error)
        assert told.verdict(other) == told.verdict(translator)


def test_every_body_can_be_written_and_read_back(fixture: recordings.Recording) -> None:
    for body in told.play([fixture.wire], kind=KIND)[0]:
        draft = events.draft(body)
        assert b"\n" not in draft.data
        assert draft.data.decode()
        again = events.decode(draft.kind, draft.data)
        assert again is not None
        assert events.draft(again) == draft


def test_an_answer_that_was_cut_off_is_neither_done_nor_finished(
    fixture: recordings.Recording,
) -> None:
    reads = recordings.per_event(fixture.wire)
    last = next(n for n, read in enumerate(reads) if told.play(reads[: n + 1], kind=KIND)[0])
    for n in range(last, len(reads)):
        _, translator = told.play(reads[:n], kind=KIND)
        if translator.done or translator.error is not None:
            return
        assert not translator.finished
        assert translator.cut() == []  # usage comes with the end alone


def test_the_finish_is_the_last_thing_but_the_usage(fixture: recordings.Recording) -> None:
    said, _ = told.play([fixture.wire], kind=KIND)
    if told.finish(said) is not None:
        assert [type(body) for body in said[-2:]] == [events.Finish, events.Usage]


def test_nothing_is_said_after_the_end(fixture: recordings.Recording) -> None:
    said, translator = told.play([fixture.wire], kind=KIND)
    assert translator.feed(b'data: {"type":"response.output_text.delta","delta":"x"}\n\n') == []
    assert translator.end() == translator.cut() == []
    assert said


def test_deltas_alone_say_the_same_as_all_that_repeats_them() -> None:
    """Where a server leaves out the `done` events, nothing is lost."""
    for name in ("text", "tools-parallel", "refusal"):
        (recording,) = [each for each in FIXTURES if each.name == name]
        reads = recordings.per_event(recording.wire)
        fewer = [read for read in reads if b'done"' not in read]
        assert len(fewer) < len(reads)
        said, translator = told.play(fewer, kind=KIND)
        assert told.text(said, "content") == recording.expected["final_text"]
        assert told.tool_calls(said) == recording.expected["tool_calls"]
        assert translator.done


@pytest.mark.parametrize(
    "name", ["text", "refusal", "reasoning-summary", "tools-parallel", "custom-tool", "web-search"]
)
def test_what_repeats_the_deltas_says_the_same(name: str) -> None:
    """Where a server leaves out the deltas, or all but the final event, nothing is lost."""
    (recording,) = [each for each in FIXTURES if each.name == name]
    reads = recordings.per_event(recording.wire)
    for fewer in ([read for read in reads if b'.delta"' not in read], reads[-1:]):
        assert len(fewer) < len(reads)
        said, translator = told.play(fewer, kind=KIND)
        assert told.text(said, "content") == recording.expected["final_text"]
        assert told.text(said, "reasoning") == recording.expected["reasoning_text"]
        assert told.text(said, "refusal") == recording.expected["refusal_text"]
        assert told.tool_calls(said) == recording.expected["tool_calls"]
        citations = [[body.url, body.title] for body in said if isinstance(body, events.Citation)]
        assert citations == recording.expected.get("citations", [])
        assert translator.done


def test_chunks_without_a_block_are_of_the_one_before() -> None:
    (recording,) = [each for each in FIXTURES if each.name == "tools-parallel"]
    said, _ = told.play(recordings.per_event(recording.wire), kind=KIND)
    chunks = [body for body in said if isinstance(body, events.Chunk)]
    assert [(chunk.call, chunk.block) for chunk in chunks] == [
        (0, 0),
        (1, 1),
        (0, 0),
        (1, 1),
        (0, 0),
    ]
    assert all(chunk.extra is msgspec.UNSET for chunk in chunks[2:])

"""The Anthropic translator on small answers of our own, one for each shape of the wire.

Strategy: the answers are files in tests/fixtures/recordings, with what they say beside them.
Each is read whole, byte by byte, by event, at random and cut in two at every boundary: every
way must say the same, body by body.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.providers import said as told
from tests.unit.providers.anthropic import wires

from holdfast import events
from holdfast.providers.anthropic import answer
from holdfast.testing import recordings

KIND = wires.KIND
event, begin = wires.event, wires.begin
BY_NAME = {recording.name: recording for recording in wires.FIXTURES}


@pytest.fixture(params=wires.FIXTURES, ids=lambda recording: recording.name)
def fixture(request: pytest.FixtureRequest) -> recordings.Recording:
    recording = request.param
    assert isinstance(recording, recordings.Recording)
    return recording


def play(name: str) -> list[events.Body]:
    return told.play([BY_NAME[name].wire], kind=KIND)[0]


def test_each_answer_says_what_is_in_it(fixture: recordings.Recording) -> None:
    expected = fixture.expected
    said, translator = told.play([fixture.wire], kind=KIND)
    assert told.text(said, "content") == expected["final_text"]
    assert told.text(said, "reasoning") == expected["reasoning_text"]
    assert told.tool_calls(said) == expected["tool_calls"]
    finish = told.finish(said)
    assert (finish and finish.provider_finish_reason) == expected["finish"]
    assert (finish and finish.finish_reason) == expected["finish_reason"]
    assert translator.done == expected["done"]
    assert translator.finished == (finish is not None)
    assert told.verdict(translator) == expected["error"]


def test_usage_citations_and_extras_are_told_once(fixture: recordings.Recording) -> None:
    said, _ = told.play([fixture.wire], kind=KIND)
    usages = [body for body in said if isinstance(body, events.Usage)]
    wanted = fixture.expected["usage"]
    assert [(u.input_tokens, u.output_tokens, u.total_tokens) for u in usages] == (
        [] if wanted is None else [tuple(list(wanted.values())[:3])]
    )
    assert [u.reasoning_tokens for u in usages if u.reasoning_tokens] == (
        [wanted["reasoning_tokens"]] if wanted and "reasoning_tokens" in wanted else []
    )
    assert [u.cached_tokens for u in usages if u.cached_tokens] == (
        [wanted["cached_tokens"]] if wanted and "cached_tokens" in wanted else []
    )
    assert cited(said) == fixture.expected["citations"]
    assert told.extras(said, "opaque") == fixture.expected["opaque"]


def cited(said: list[events.Body]) -> list[list[Any]]:
    found = [body for body in said if isinstance(body, events.Citation)]
    assert all(isinstance(body.extra, msgspec.Raw) for body in found)
    return [[body.url, body.title, msgspec.json.decode(body.extra)] for body in found]  # type: ignore[arg-type]


def test_each_block_is_named_where_it_begins_to_speak(fixture: recordings.Recording) -> None:
    said, _ = told.play([fixture.wire], kind=KIND)
    chunks = [body for body in said if isinstance(body, events.Chunk)]
    assert [chunk.block for chunk in chunks if chunk.block is not None] == fixture.expected[
        "blocks"
    ]


def test_the_cut_of_the_reads_makes_no_difference(fixture: recordings.Recording) -> None:
    wire = fixture.wire
    said, translator = told.play([wire], kind=KIND)
    ways = [cut(wire) for cut in recordings.FRAGMENTATIONS.values()]
    ways += [recordings.at_random(wire, seed) for seed in range(1, 6)]
    ways += [(wire[:n], wire[n:]) for n in range(1, len(wire), 7)]
    for reads in ways:
        again, other = told.play(reads, kind=KIND)
        assert told.drafts(again) == told.drafts(said)
        assert (other.done, other.finished) == (translator.done, translator.finished)
        assert str(other.error) == str(translator.error)


def test_the_end_is_seen_at_the_last_events_and_not_before() -> None:
    reads = recordings.per_event(BY_NAME["text"].wire)
    translator = told.translator(KIND)
    seen = []
    for read in reads:
        translator.feed(read)
        seen.append((translator.finished, translator.done))
    assert seen[-3:] == [(False, False), (True, False), (True, True)]
    assert not any(map(any, seen[:-2]))


def test_the_reason_and_the_usage_come_with_the_last_delta() -> None:
    said = play("thinking")
    assert [type(body) for body in said[-2:]] == [events.Finish, events.Usage]


def test_what_is_known_of_the_usage_is_told_where_the_answer_breaks_off() -> None:
    translator = told.translator(KIND)
    reads = recordings.per_event(BY_NAME["text"].wire)
    for read in reads[:4]:
        translator.feed(read)
    assert translator.cut() == [
        events.Usage(input_tokens=10, output_tokens=1, total_tokens=11),
    ]


def test_the_caller_of_a_call_is_kept_unless_it_is_the_model() -> None:
    chunks = [body for body in play("tools") if isinstance(body, events.Chunk) and body.id]
    assert [isinstance(chunk.extra, msgspec.Raw) for chunk in chunks] == [False, False, True, False]
    assert told.extras(list(chunks), "tool_call") == [
        {"caller": {"type": "code_execution_20250825", "tool_id": "srvtoolu_9"}}
    ]


def test_a_signature_stands_in_its_block() -> None:
    chunks = [body for body in play("thinking-omitted") if isinstance(body, events.Chunk)]
    assert [(chunk.type, chunk.block) for chunk in chunks] == [
        ("opaque", 0),
        ("reasoning", 1),
        ("opaque", None),
        ("content", 2),
    ]


def test_a_block_that_takes_the_place_of_another_ends_it() -> None:
    call = b'{"type":"tool_use","id":"%b","name":"f","input":{}}'
    said, _ = told.play(
        [begin(0, call % b"a"), begin(0, call % b"a"), begin(0, call % b"b")], 1, KIND
    )
    assert told.tool_calls(said) == [
        {"name": "f", "arguments": "{}", "id": "a"},
        {"name": "f", "arguments": "", "id": "b"},
    ]


@pytest.mark.parametrize("block", [b"null", b"[]", b'"text"', b"{}", b'{"type":5}', b'{"type":[]}'])
def test_a_block_of_no_shape_is_kept_as_far_as_it_goes(block: bytes) -> None:
    said, translator = told.play(
        [begin(0, block), event("content_block_stop", b',"index":0')], 1, KIND
    )
    assert translator.error is None
    assert len(told.extras(said, "opaque")) == 1


@pytest.mark.parametrize("citation", [b"null", b"[]", b'"x"'])
def test_a_citation_of_no_shape_is_left_out(citation: bytes) -> None:
    delta = b',"index":0,"delta":{"type":"citations_delta","citation":%b}' % citation
    said, translator = told.play(
        [begin(0, b'{"type":"text","citations":"x"}'), event("content_block_delta", delta)], 1, KIND
    )
    assert said == []
    assert translator.error is None


def test_deltas_that_say_nothing_say_nothing() -> None:
    reads = [begin(0, b'{"type":"text"}')]
    for type in ("text_delta", "thinking_delta", "signature_delta", "input_json_delta"):
        reads.append(
            event("content_block_delta", b',"index":0,"delta":{"type":"%b"}' % type.encode())
        )
    said, translator = told.play([*reads, event("content_block_delta", b',"index":0')], 1, KIND)
    assert said == []
    assert translator.error is None


def test_text_goes_on_at_once_where_no_half_waits() -> None:
    """After a joined pair, the next delta is a chunk of its own, and whole."""
    half = b',"index":0,"delta":{"type":"text_delta","text":"%b"}'
    reads = [
        event("content_block_delta", half % text)
        for text in (b"\\ud83c", b"\\udf0a", b"ab", b"", b"cd")
    ]
    said, _ = told.play(reads, kind=KIND)
    assert said == [
        events.Chunk("content", "\U0001f30a", block=0),
        events.Chunk("content", "ab"),
        events.Chunk("content", "cd"),
    ]


def test_a_word_for_the_end_that_nobody_knows_is_other() -> None:
    delta = b',"delta":{"stop_reason":"%b"}' % (b"x" * 200)
    said, _ = told.play([event("message_delta", delta)], kind=KIND)
    assert said == [events.Finish(0, "other", "x" * 100)]
    assert "x" not in answer.REASONS


def test_an_error_is_told_also_where_its_json_cannot_be_read() -> None:
    """One field that no reader of JSON takes, beside those that say what is wrong."""
    wire = b'event: error\ndata: {"error":{"type":"x"},"cost":%b}\n\n' % (b"9" * 5000)
    said, translator = told.play([wire], kind=KIND)
    assert said == []
    assert told.verdict(translator) == "ProviderFailed"


def test_a_half_waits_in_its_own_block() -> None:
    high, low = b"\\ud83c", b"\\udf0a"
    piece = b',"index":%d,"delta":{"type":"text_delta","text":"%b"}'
    opened = begin(0, b'{"type":"text","text":""}') + begin(1, b'{"type":"text","text":""}')
    said, _ = told.play(
        [
            opened,
            event("content_block_delta", piece % (0, b"a" + high)),
            event("content_block_delta", piece % (1, b"b" + high)),
            event("content_block_stop", b',"index":1'),
            event("content_block_delta", piece % (0, low + b"c")),
            event("content_block_stop", b',"index":0'),
        ],
        kind=KIND,
    )
    chunks = [(body.delta, body.block) for body in said if isinstance(body, events.Chunk)]
    assert chunks == [("a", 0), ("b", 1), ("\ufffd", None), ("\U0001f30ac", 0)]


def test_a_half_is_given_up_where_the_message_ends() -> None:
    piece = b',"index":0,"delta":{"type":"text_delta","text":"a\\ud83c"}'
    begun = begin(0, b'{"type":"text","text":""}') + event("content_block_delta", piece)
    stopped = event("message_delta", b',"delta":{"stop_reason":"max_tokens"}')
    assert told.text(told.play([begun, stopped], kind=KIND)[0], "content") == "a\ufffd"
    assert told.text(told.play([begun], kind=KIND)[0], "content") == "a\ufffd"


def test_text_in_the_block_of_a_call_is_no_part_of_the_call() -> None:
    text = b',"index":0,"delta":{"type":"text_delta","text":"a"}'
    begun = begin(0, b'{"type":"tool_use","id":"t","name":"f","input":{}}')
    said, _ = told.play([begun, event("content_block_delta", text)], kind=KIND)
    assert [body.call for body in said if isinstance(body, events.Chunk) and body.delta] == [None]


def test_what_is_told_at_the_end_of_a_block_is_gathered() -> None:
    made = told.translator(KIND)
    made.feed(begin(0, b'{"type":"server_tool_use","id":"s","name":"f","input":{}}'))
    piece = b',"index":0,"delta":{"type":"input_json_delta","partial_json":"%b"}'
    made.feed(event("content_block_delta", piece % b"abcd") + event("ping"))
    assert made.gathered == 4
    made.feed(
        event("content_block_delta", piece % b"") + event("content_block_stop", b',"index":0')
    )
    made.feed(begin(1, b'{"type":"compaction"}'))
    assert made.gathered == 4
    compaction = b',"index":1,"delta":{"type":"%b","content":"So far."}'
    made.feed(event("content_block_delta", compaction % b"compaction_delta"))
    known = made.gathered
    assert known > 4
    text = b',"index":2,"delta":{"type":"text_delta","text":"a"}'
    made.feed(begin(2, b'{"type":"text","text":""}') + event("content_block_delta", text))
    assert made.gathered == known

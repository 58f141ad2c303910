"""The chat translator on small answers of our own, one for each shape of the wire.

Strategy: the answers are files in tests/fixtures/recordings, with what they say beside them.
Each is read whole, byte by byte, by event, at random and cut in two at every boundary: every
way must say the same, body by body. Random and damaged bytes: test_openai_chat_fuzz.py; what
real providers sent: test_openai_chat_recordings.py.
"""

from __future__ import annotations

import pytest
from tests.unit.providers import said as told

from holdfast import errors, events
from holdfast.providers import translator as translators
from holdfast.testing import recordings

BY_NAME = {recording.name: recording for recording in told.FIXTURES}


@pytest.fixture(params=told.FIXTURES, ids=lambda recording: recording.name)
def fixture(request: pytest.FixtureRequest) -> recordings.Recording:
    recording = request.param
    assert isinstance(recording, recordings.Recording)
    return recording


def test_each_answer_says_what_is_in_it(fixture: recordings.Recording) -> None:
    expected = fixture.expected
    said, translator = told.play([fixture.wire], expected["choices"])
    assert told.text(said, "content") == expected["final_text"]
    assert told.text(said, "reasoning") == expected["reasoning_text"]
    assert told.text(said, "refusal") == expected["refusal_text"]
    assert told.tool_calls(said) == expected["tool_calls"]
    finish = told.finish(said)
    assert (finish and finish.provider_finish_reason) == expected["finish"]
    assert (finish and finish.finish_reason) == expected["finish_reason"]
    assert translator.done == expected["done"]
    assert translator.finished == (finish is not None)
    assert told.verdict(translator) == expected["error"]


def test_usage_citations_and_extras_are_told_once(fixture: recordings.Recording) -> None:
    said, _ = told.play([fixture.wire], fixture.expected["choices"])
    usages = [body for body in said if isinstance(body, events.Usage)]
    assert usages == ([events.Usage(**fixture.expected["usage"])] if usages else [])
    assert bool(usages) == (fixture.expected["usage"] is not None)
    citations = [[body.url, body.title] for body in said if isinstance(body, events.Citation)]
    assert sorted(map(str, citations)) == sorted(map(str, fixture.expected.get("citations", [])))
    assert told.extras(said, "opaque") == fixture.expected.get("opaque", [])
    assert told.extras(said, "content") == fixture.expected.get("extra", [])


def test_the_cut_of_the_reads_makes_no_difference(fixture: recordings.Recording) -> None:
    wire, choices = fixture.wire, fixture.expected["choices"]
    said, translator = told.play([wire], choices)
    whole = told.drafts(said)
    ways = [cut(wire) for cut in recordings.FRAGMENTATIONS.values()]
    ways += [recordings.at_random(wire, seed) for seed in range(1, 6)]
    ways += [(wire[:n], wire[n:]) for n in range(1, len(wire))]
    for reads in ways:
        again, other = told.play(reads, choices)
        assert told.drafts(again) == whole
        assert (other.done, other.finished) == (translator.done, translator.finished)
        assert str(other.error) == str(translator.error)
        assert told.verdict(other) == told.verdict(translator)


def test_every_body_can_be_written_and_read_back(fixture: recordings.Recording) -> None:
    for body in told.play([fixture.wire], fixture.expected["choices"])[0]:
        draft = events.draft(body)
        assert b"\n" not in draft.data
        assert b"\r" not in draft.data
        assert draft.data.decode()
        again = events.decode(draft.kind, draft.data)
        assert again is not None
        assert events.draft(again) == draft


def test_nothing_is_said_after_the_end_marker_or_an_error(fixture: recordings.Recording) -> None:
    _, translator = told.play([fixture.wire], fixture.expected["choices"])
    if translator.done or translator.error is not None:
        error = translator.error
        assert translator.feed(BY_NAME["text"].wire) == []
        assert translator.end() == []
        assert translator.error is error


def test_a_finish_reason_is_told_at_once() -> None:
    wire = BY_NAME["text"].wire
    translator = told.translator()
    begin = wire.index(b'"usage":{')
    said = translator.feed(wire[:begin])
    assert isinstance(said[-1], events.Finish)
    assert translator.finished
    assert not translator.done


def test_all_choices_must_finish() -> None:
    wire = BY_NAME["three-choices"].wire
    translator = told.translator(choices=3)
    seen = []
    for read in recordings.per_event(wire):
        translator.feed(read)
        seen.append(translator.finished)
    assert seen == [False] * 8 + [True] * 3


def test_several_choices_keep_their_texts_apart() -> None:
    said, _ = told.play([BY_NAME["three-choices"].wire], 3)
    assert [told.text(said, "content", choice) for choice in range(3)] == ["ab"] * 3
    reasons = [told.finish(said, choice) for choice in range(3)]
    assert [reason and reason.finish_reason for reason in reasons] == ["length", "stop", "stop"]


def test_a_half_sign_is_held_back_until_its_other_half_comes() -> None:
    reads = recordings.per_event(BY_NAME["split-surrogates"].wire)
    translator = told.translator()
    deltas = [
        [body.delta for body in translator.feed(read) if isinstance(body, events.Chunk)]
        for read in reads
    ]
    assert deltas[:4] == [[], ["wave "], [], ["\U0001f30a and "]]


def test_an_error_drops_half_a_sign_and_the_end_keeps_it_as_a_mark() -> None:
    half = b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n'
    said, _ = told.play([half])
    assert told.text(said, "content") == "a\ufffd"
    said, translator = told.play([half, b'data: {"error":"x"}\n\n'])
    assert told.text(said, "content") == "a"
    assert told.verdict(translator) == "ProviderFailed"


def test_a_line_over_the_limit_is_malformed() -> None:
    said, translator = told.play([b"data: " + b"x" * (1 << 20)] * 9)
    assert said == []
    assert isinstance(translator.error, errors.ProviderMalformed)
    assert "bytes" in str(translator.error)


def test_json_outside_of_events_is_bounded() -> None:
    almost = b'{"a": "' + b"x" * (translators.MAX_STRAY - 7)
    translator = told.translator()
    translator.feed(almost)
    assert translator.error is None
    translator.feed(b"x")
    assert isinstance(translator.error, errors.ProviderMalformed)
    assert str(translators.MAX_STRAY) in str(translator.error)


def test_an_end_marker_without_its_field_name_ends_the_answer() -> None:
    _, translator = told.play([b"[DONE]\n"])
    assert translator.done


def test_messages_name_the_provider_and_quote_nothing_unread() -> None:
    _, translator = told.play([b'data: {"choices": "my secret prompt"}\n\n'])
    assert str(translator.error) == "fixture: an event is not of its format."
    _, translator = told.play([b'data: {"choices":[{"finish_reason":"error"}]}\n\n'])
    assert str(translator.error) == "fixture: The answer broke off: finish_reason error."
    translator = told.translator(name="p", key="k-123456")
    translator.feed(b'data: {"error":{"message":"bad k-123456"}}\n\n')
    assert str(translator.error) == "p: bad ***"


def test_an_unfinished_answer_is_left_to_the_producer() -> None:
    said, translator = told.play([b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'])
    assert told.text(said, "content") == "a"
    assert (translator.done, translator.finished, translator.error) == (False, False, None)


def test_an_empty_read_says_nothing() -> None:
    assert told.translator().feed(b"") == []


@pytest.mark.parametrize("event", ["error", "message"])
def test_deep_nesting_is_no_crash(event: str) -> None:
    deep = b"[" * 100_000
    wire = b'event: %b\ndata: {"choices":[],"x":%b\n\n' % (event.encode(), deep)
    _, translator = told.play([wire])
    assert translator.error is not None
    _, translator = told.play([b'{"x": ' + deep])
    assert isinstance(translator.error, errors.ProviderMalformed)


def test_one_chunk_may_hold_several_choices_and_any_of_them_an_error() -> None:
    chunk = (
        b'data: {"choices":[{"index":0,"delta":{"content":"a"}},'
        b'{"index":1,"delta":{"content":"b"}%b}]}\n\n'
    )
    said, translator = told.play([chunk % b""], 2)
    assert [told.text(said, "content", choice) for choice in range(2)] == ["a", "b"]
    assert translator.error is None
    _, translator = told.play([chunk % b',"error":{"code":503}'], 2)
    assert told.verdict(translator) == "ProviderOverloaded"


def test_json_after_the_end_marker_is_no_error() -> None:
    _, translator = told.play([b'data: [DONE]\n\n{"error":"late"}\n'])
    assert translator.done
    assert translator.error is None


def test_a_number_of_many_digits_is_no_crash() -> None:
    digits = b"9" * 5000
    said, translator = told.play([b'data: {"created":%b}\n\n' % digits])
    assert (said, translator.error) == ([], None)
    _, translator = told.play([b'data: {"choices":[],"usage":{"prompt_tokens":%b}}\n\n' % digits])
    assert told.verdict(translator) == "ProviderMalformed"


def test_usage_that_came_before_an_error_is_told() -> None:
    chunk = b'data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":3}}\n\n'
    said, translator = told.play([chunk, b'data: {"error":"x"}\n\n'])
    assert said[1:] == [events.Usage(input_tokens=3, total_tokens=3)]
    assert told.verdict(translator) == "ProviderFailed"


def test_a_half_sign_at_a_finish_comes_before_it() -> None:
    chunk = b'data: {"choices":[{"delta":{"content":"\\ud83d"},"finish_reason":"stop"}]}\n\n'
    said, _ = told.play([chunk])
    assert said == [events.Chunk("content", "\ufffd"), events.Finish(0, "stop", "stop")]


def test_a_choice_that_was_not_asked_for_does_not_count() -> None:
    chunk = b'data: {"choices":[{"index":%d,"finish_reason":"stop"}]}\n\n'
    _, translator = told.play([chunk % 1])
    assert not translator.finished
    _, translator = told.play([chunk % 1, chunk % 0])
    assert translator.finished


def spoken_on(*reasons: str) -> list[bytes]:
    """A piece of text for each reason, in the same chunk."""
    wire = b'data: {"choices":[{"delta":{"content":"%d"},"finish_reason":"%b"}]}\n\n'
    return [wire % (n, reason.encode()) for n, reason in enumerate(reasons)]


def test_a_choice_that_speaks_on_after_its_finish_is_ended_by_the_end_alone() -> None:
    made = told.translator()
    for n, read in enumerate(spoken_on("stop", "stop", "stop")):
        made.feed(read)
        assert made.finished == (n == 0)
    assert made.feed(b"data: [DONE]\n\n") == []
    assert made.done
    said, made = told.play(spoken_on("stop", "length"))
    assert made.finished
    assert [body for body in said if isinstance(body, events.Finish)] == [
        events.Finish(0, "stop", "stop"),
        events.Finish(0, "length", "length"),
    ]


def test_a_body_that_ends_in_the_middle_of_an_event_is_not_whole() -> None:
    said, made = told.play([*spoken_on("stop", "stop"), b'data: {"choices":[{"del'])
    assert told.text(said, "content") == "01"
    assert (made.done, made.finished, made.error) == (False, False, None)
    _, made = told.play([*spoken_on("stop"), b'data: {"choices":[{"del'])
    assert made.finished

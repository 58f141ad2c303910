"""The Gemini translator on small answers of our own, one for each shape of the wire.

Strategy: the answers are files in tests/fixtures/recordings/google, with what they say beside
them. Each is read whole, byte by byte, by event, at random and cut in two: every way must say
the same, body by body.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.unit.providers import said as told

from holdfast import errors, events
from holdfast.providers import kept
from holdfast.providers.google import answer, reasons
from holdfast.testing import recordings

FIXTURES = recordings.load_recordings(told.FOLDER / "google")
BY_NAME = {recording.name: recording for recording in FIXTURES}


def play(reads: Any, choices: int = 1) -> Any:
    return told.play(reads, choices, "google")


def frame(**body: Any) -> bytes:
    return b"data: %b\r\n\r\n" % json.dumps(body).encode()


def says(*parts: Any, **candidate: Any) -> bytes:
    return frame(candidates=[{"content": {"parts": list(parts)}, **candidate}])


@pytest.fixture(params=FIXTURES, ids=lambda recording: recording.name)
def fixture(request: pytest.FixtureRequest) -> recordings.Recording:
    recording = request.param
    assert isinstance(recording, recordings.Recording)
    return recording


def test_each_answer_says_what_is_in_it(fixture: recordings.Recording) -> None:
    expected = fixture.expected
    said, translator = play([fixture.wire], expected["choices"])
    assert told.text(said, "content") == expected["final_text"]
    assert told.text(said, "reasoning") == expected["reasoning_text"]
    assert told.tool_calls(said) == expected["tool_calls"]
    finish = told.finish(said)
    assert (finish and finish.provider_finish_reason) == expected["finish"]
    assert (finish and finish.finish_reason) == expected["finish_reason"]
    assert not translator.done
    assert translator.finished == (finish is not None)
    assert told.verdict(translator) == expected["error"]


def test_usage_citations_and_extras_are_told_once(fixture: recordings.Recording) -> None:
    said, _ = play([fixture.wire], fixture.expected["choices"])
    usages = [body for body in said if isinstance(body, events.Usage)]
    assert usages == ([events.Usage(**fixture.expected["usage"])] if usages else [])
    assert bool(usages) == (fixture.expected["usage"] is not None)
    citations = [[body.url, body.title] for body in said if isinstance(body, events.Citation)]
    assert citations == fixture.expected.get("citations", [])
    assert told.extras(said, "opaque") == fixture.expected.get("opaque", [])
    assert told.extras(said, "content") == fixture.expected.get("extra", [])


def test_a_block_is_what_goes_back_as_one_part(fixture: recordings.Recording) -> None:
    said, _ = play([fixture.wire], fixture.expected["choices"])
    chunks = [body for body in said if isinstance(body, events.Chunk) and body.choice == 0]
    blocks: list[list[Any]] = []
    for chunk in chunks:
        if chunk.block is not None:
            blocks.append([chunk.type, chunk.block, ""])
        blocks[-1][2] += chunk.delta
    assert [block[1] for block in blocks] == list(range(len(blocks)))
    assert blocks == fixture.expected.get("blocks", blocks)


def test_the_cut_of_the_reads_makes_no_difference(fixture: recordings.Recording) -> None:
    wire, choices = fixture.wire, fixture.expected["choices"]
    said, translator = play([wire], choices)
    whole = told.drafts(said)
    ways = [cut(wire) for cut in recordings.FRAGMENTATIONS.values()]
    ways += [recordings.at_random(wire, seed) for seed in range(1, 6)]
    ways += [(wire[:n], wire[n:]) for n in range(1, len(wire), 3)]
    for reads in ways:
        again, other = play(reads, choices)
        assert told.drafts(again) == whole
        assert other.finished == translator.finished
        assert str(other.error) == str(translator.error)
        assert told.verdict(other) == told.verdict(translator)


def test_every_body_can_be_written_and_read_back(fixture: recordings.Recording) -> None:
    for body in play([fixture.wire], fixture.expected["choices"])[0]:
        draft = events.draft(body)
        assert b"\n" not in draft.data
        assert draft.data.decode()
        again = events.decode(draft.kind, draft.data)
        assert again is not None
        assert events.draft(again) == draft


def test_no_end_is_told_before_the_body_ends(fixture: recordings.Recording) -> None:
    """STOP may stand before further text: only a clean end of the body proves the end."""
    translator = told.translator("google", fixture.expected["choices"])
    said = [body for read in recordings.per_event(fixture.wire) for body in translator.feed(read)]
    assert not any(isinstance(body, events.Finish) for body in said)
    assert not translator.finished
    assert not translator.done
    assert not any(isinstance(body, events.Finish) for body in translator.cut())
    assert not translator.finished


def test_usage_is_told_when_the_answer_breaks_off() -> None:
    translator = told.translator("google")
    wire = BY_NAME["text"].wire
    translator.feed(wire[: wire.rindex(b"data:")])
    assert translator.cut() == [events.Usage(9, 2, 11)]
    assert translator.cut() == []


def test_every_choice_must_end() -> None:
    reads = recordings.per_event(BY_NAME["two-candidates"].wire)
    for count, finished in ((2, False), (3, True)):
        said, translator = play(reads[:count], 2)
        assert translator.finished == finished
        assert sum(isinstance(body, events.Finish) for body in said) == count - 1
    assert told.text(said, "content", 1) == "bd"
    finish = told.finish(said, 1)
    assert finish is not None
    assert finish.finish_reason == "length"


def test_a_blocked_prompt_ends_every_choice() -> None:
    said, translator = play([BY_NAME["blocked-prompt"].wire], 3)
    assert translator.finished
    assert [body.choice for body in said if isinstance(body, events.Finish)] == [0, 1, 2]


def test_a_choice_that_goes_on_after_a_block_has_not_ended() -> None:
    blocked = frame(promptFeedback={"blockReason": "OTHER"})
    for part in ({"text": "a"}, {"functionCall": {"name": "f"}}, {"fileData": {"fileUri": "u"}}):
        said, translator = play([blocked, says(part)])
        assert told.finish(said) is None
        assert not translator.finished


@pytest.mark.parametrize("raw", [*reasons.REASONS, *reasons.BROKEN_OFF, "OTHER", "SOMETHING_NEW"])
def test_every_finish_reason(raw: str) -> None:
    said, translator = play([says({"text": "a"}, finishReason=raw)])
    finish = told.finish(said)
    if raw in reasons.BROKEN_OFF:
        assert finish is None
        assert type(translator.error) is reasons.BROKEN_OFF[raw]
        assert raw in str(translator.error)
    else:
        assert finish == events.Finish(0, reasons.REASONS.get(raw, "other"), raw)


def test_a_reason_that_says_nothing_is_no_end() -> None:
    said, translator = play([says({"text": "a"}, finishReason=reasons.UNSPECIFIED)])
    assert told.finish(said) is None
    assert not translator.finished


def test_an_error_goes_before_a_reason_in_its_frame() -> None:
    error = {"code": 429, "message": "Slow down."}
    candidate = {"finishReason": "MALFORMED_RESPONSE"}
    _, translator = play([frame(candidates=[candidate], error=error)])
    assert told.verdict(translator) == "ProviderRateLimited"


def test_what_broke_off_does_not_quote_the_answer() -> None:
    _, translator = play([BY_NAME["broken-call"].wire])
    assert "secret" not in str(translator.error)


def test_an_error_says_when_to_come_back() -> None:
    _, translator = play([BY_NAME["error-in-frame"].wire])
    assert isinstance(translator.error, errors.ProviderRateLimited)
    assert translator.error.retry_after == 7


def test_the_signature_comes_with_the_first_chunk_of_its_call() -> None:
    for name in ("tools", "tools-partial"):
        said, _ = play([BY_NAME[name].wire])
        calls = [c for c in said if isinstance(c, events.Chunk) and c.type == "tool_call"]
        assert calls[0].id
        assert calls[0].name
        assert told.extras(calls[:1], "tool_call")[0].keys() == {"thoughtSignature"}
        assert told.extras(calls, "tool_call") == told.extras(calls[:1], "tool_call")


def test_a_signature_that_comes_late_is_told_too() -> None:
    begun = says({"functionCall": {"name": "f", "willContinue": True}})
    late = says({"functionCall": {"willContinue": True}, "thoughtSignature": "cw=="})
    said, _ = play([begun, late])
    assert told.extras(said, "tool_call") == [{"thoughtSignature": "cw=="}]


def test_a_call_without_any_id_is_named_by_its_ordinal() -> None:
    said, _ = play([says({"functionCall": {"name": "f"}}, {"functionCall": {"name": "g"}})])
    assert [call["id"] for call in told.tool_calls(said)] == ["call_0", "call_1"]


def test_made_up_ids_differ_over_choices() -> None:
    call = {"content": {"parts": [{"functionCall": {"name": "f"}}]}}
    both = [{**call, "index": 0}, {**call, "index": 1}]
    said, _ = play([frame(candidates=both, responseId="R")], 2)
    assert [told.tool_calls(said, choice)[0]["id"] for choice in (0, 1)] == [
        "call_R_0",
        "call_R_1_0",
    ]


@pytest.mark.parametrize("zero", ["BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED"])
def test_a_block_without_a_reason_is_none(zero: str) -> None:
    feedback = frame(promptFeedback={"blockReason": zero})
    said, _ = play([says({"text": "a"}, finishReason="STOP"), feedback])
    finish = told.finish(said)
    assert finish is not None
    assert finish.finish_reason == "stop"


def test_pieces_of_arguments_are_gathered() -> None:
    made = told.translator("google")
    made.feed(says({"functionCall": {"name": "f", "willContinue": True}}))
    assert made.gathered == 0
    piece = {"jsonPath": "$.a", "stringValue": "abcd", "willContinue": True}
    for count in (1, 2):
        assert not made.feed(says({"functionCall": {"partialArgs": [piece], "willContinue": True}}))
        assert made.gathered == count * len("$.aabcd")
    made.feed(says({"functionCall": {}}, {"text": "b"}))
    assert made.gathered == 2 * len("$.aabcd")


def test_a_call_without_a_name_is_left_out() -> None:
    orphan = {"functionCall": {"args": {"a": 1}}, "thoughtSignature": "cw=="}
    said, translator = play([says(orphan, finishReason="STOP")])
    assert told.tool_calls(said) == []
    assert translator.finished
    said, _ = play([says({"functionCall": {"name": "f"}}, {"functionCall": {"args": {"a": 1}}})])
    assert [call["arguments"] for call in told.tool_calls(said)] == ["{}"]


def test_calls_are_bounded() -> None:
    call = says({"functionCall": {"name": "f", "args": {}}})
    translator = told.translator("google")
    for _ in range(answer.MAX_CALLS):
        translator.feed(call)
    assert translator.error is None
    translator.feed(call)
    assert told.verdict(translator) == "ProviderMalformed"


@pytest.mark.parametrize(
    "part",
    [
        {"functionCall": {"name": "f" * 2000}},
        {"functionCall": {"name": "f", "id": "i" * 2000}},
        {"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "f"}]}},
        {"text": "a", "thoughtSignature": "s" * (answer.MAX_SIGNATURE + 1)},
    ],
)
def test_what_makes_no_sense_is_malformed(part: dict[str, Any]) -> None:
    _, translator = play([says(part)])
    assert told.verdict(translator) == "ProviderMalformed"
    assert len(str(translator.error)) < 200


@pytest.mark.parametrize("index", [-1, answer.MAX_CHOICES, 10**30])
def test_choices_are_bounded(index: int) -> None:
    _, translator = play([says({"text": "a"}, index=index)])
    assert told.verdict(translator) == "ProviderMalformed"


def test_a_picture_is_cut_out_and_says_so() -> None:
    picture = {"mimeType": "image/png", "data": "A" * kept.MAX_KEPT}
    said, _ = play([says({"inlineData": picture, "thoughtSignature": "cw=="})])
    cut = {"inlineData": {"mimeType": "image/png", "data": None}, "truncated": True}
    assert told.extras(said, "opaque") == [cut | {"thoughtSignature": "cw=="}]


def test_what_an_answer_stands_on_is_cut_and_says_so_itself() -> None:
    long = "A" * kept.MAX_KEPT
    grounding = {"searchEntryPoint": {"renderedContent": long}, "webSearchQueries": ["kelp"]}
    quote = {"uri": "https://x.example", "startIndex": 0, "license": long}
    said, _ = play(
        [
            says(
                {"text": "a"},
                groundingMetadata=grounding,
                citationMetadata={"citationSources": [quote]},
            )
        ]
    )
    entry = {"searchEntryPoint": {"renderedContent": None}, "truncated": True}
    assert told.extras(said, "opaque") == [{"groundingMetadata": grounding | entry}]
    (cited,) = [body for body in said if isinstance(body, events.Citation)]
    assert isinstance(cited.extra, msgspec.Raw)
    assert msgspec.json.decode(cited.extra) == {
        "citationSources": [quote | {"license": None, "truncated": True}]
    }


def test_a_reason_that_repeats_itself_does_no_harm() -> None:
    translator = told.translator("google")
    translator.feed(says({"text": "a"}, finishReason="STOP"))
    translator.feed(says({"text": ""}, finishReason="STOP"))
    translator.feed(frame(usageMetadata={"promptTokenCount": 1}))
    assert sum(isinstance(body, events.Finish) for body in translator.end()) == 1


def test_what_stays_after_a_long_answer_is_small() -> None:
    translator = told.translator("google")
    for n in range(1000):
        translator.feed(says({"text": "x" * 1000}))
        translator.feed(says({"functionCall": {"name": "f", "args": {"n": n}}}, index=n % 100))
    assert translator.error is None
    held: Any = translator._fold._answer  # type: ignore[attr-defined]
    assert held._halves.held == {}
    assert all(choice.calls._gathered is None for choice in held._choices.values())


def test_odd_usage_does_no_harm() -> None:
    for usage in ("null", '"words"', "[1]", '{"promptTokenCount":1e400}', '{"a":' * 2000):
        wire = b'data: {"usageMetadata":%b' % usage.encode() + b"}" * usage.count("{") + b"\n\n"
        said, translator = play([wire, says({"text": "a"}, finishReason="STOP")])
        assert told.text(said, "content") == "a" or translator.error is not None
        assert not any(isinstance(body, events.Usage) for body in said)


def test_the_end_of_a_block_ends_a_half_sign() -> None:
    half = b'data: {"candidates":[{"content":{"parts":[{"text":"a\\ud83c"},%b]}}]}\n\n'
    said, _ = play([half % b'{"text":"b","thought":true}'])
    assert told.text(said, "content") == "a\ufffd"
    lone = [half % b'{"text":"x"}', half % b"{}", b'data: {"candidates":[]}\n\n']
    said, _ = play(lone)
    assert told.text(said, "content") == "a\ufffdxa\ufffd"
    piece = b'data: {"candidates":[{"content":{"parts":[{"text":"%b"}]}}]}\n\n'
    said, _ = play([piece % text for text in (b"a", b"\\ud83c", b"\\udf0ab")])
    assert told.text(said, "content") == "a\U0001f30ab"
    said, _ = play([half % b'{"text":"\\udf0ab"}'])
    assert told.text(said, "content") == "a\U0001f30ab"


def test_grounding_that_grows_is_held_in_its_newest_form() -> None:
    reads = recordings.per_event(BY_NAME["grounding"].wire)
    translator = told.translator("google")
    said = [body for read in reads for body in translator.feed(read)]
    assert told.extras(said, "opaque") == []
    last = translator.end()
    assert isinstance(last[-1], events.Finish)
    assert len(told.extras(last, "opaque")) == 1


def test_citations_are_bounded_and_name_their_place() -> None:
    chunks: list[Any] = [{"web": {"uri": f"https://x.example/{n}"}} for n in range(400)]
    chunks += [{"web": {"uri": "https://x.example/" + "y" * 5000}}, {"web": 5}, "odd"]
    said, _ = play([says({"text": "a"}, groundingMetadata={"groundingChunks": chunks})])
    assert sum(isinstance(body, events.Citation) for body in said) == 256
    said, _ = play([BY_NAME["recitation"].wire])
    places = [
        msgspec.json.decode(body.extra)
        for body in said
        if isinstance(body, events.Citation) and isinstance(body.extra, msgspec.Raw)
    ]
    assert [list(place) for place in places] == [["citationSources"], ["citations"]]
    odd: list[dict[str, Any]] = [
        {"groundingMetadata": 5},
        {"citationMetadata": {"citations": {}}},
        {"urlContextMetadata": "odd"},
    ]
    for candidate in odd:
        assert play([says({"text": "a"}, finishReason="STOP", **candidate)])[1].finished


def test_a_frame_that_only_people_could_read_does_no_harm() -> None:
    """A number of more digits than Python reads, in a field that is not read."""
    said, translator = play([b'data: {"odd":%b}\n\n' % (b"9" * 5000), says({"text": "a"})])
    assert told.text(said, "content") == "a"
    assert translator.error is None

"""The Responses translator on answers that real providers gave.

Strategy: the recordings lie outside of the repository, so each test loops over all of them and
collects what differs. What is expected was derived from the recordings by a script.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.providers import said as told

from holdfast import events
from holdfast.testing import recordings

KIND = "openai_responses"
ERRORS = {"failed-insufficient-quota": "ProviderQuota"}


@pytest.fixture(scope="module")
def recorded(shared: Path) -> list[recordings.Recording]:
    found = recordings.load_recordings(shared / "recordings" / "openai-responses")
    assert len(found) >= 12
    return found


def expected(recording: recordings.Recording) -> dict[str, Any]:
    known = {name: recording.expected[name] for name in ("final_text", "reasoning_text", "finish")}
    calls = recording.expected["tool_calls"]
    known["tool_calls"] = [(call["name"], call["arguments"]) for call in calls]
    known["error"] = ERRORS.get(recording.name)
    if known["error"]:
        known["finish"] = None  # an answer that failed has an error and no finish reason
    return known


def got(reads: recordings.Fragments) -> dict[str, Any]:
    said, translator = told.play(reads, kind=KIND)
    finish = told.finish(said)
    return {
        "final_text": told.text(said, "content"),
        "reasoning_text": told.text(said, "reasoning"),
        "finish": finish and finish.provider_finish_reason,
        "tool_calls": [(call["name"], call["arguments"]) for call in told.tool_calls(said)],
        "error": told.verdict(translator),
    }


@pytest.mark.parametrize("way", recordings.FRAGMENTATIONS)
def test_each_recording_says_what_is_expected(
    way: str, recorded: list[recordings.Recording]
) -> None:
    for recording in recorded:
        reads = recordings.FRAGMENTATIONS[way](recording.wire)
        assert got(reads) == expected(recording), recording.name


def test_each_recording_ends_with_its_usage(recorded: list[recordings.Recording]) -> None:
    for recording in recorded:
        said, translator = told.play([recording.wire], kind=KIND)
        assert translator.done == (recording.name not in ERRORS), recording.name
        usages = [body for body in said if isinstance(body, events.Usage)]
        wanted = recording.expected["usage"]
        assert len(usages) == bool(wanted), recording.name
        if wanted:
            assert usages[0].input_tokens == wanted["input_tokens"]
            assert usages[0].output_tokens == wanted["output_tokens"]
            assert usages[0].total_tokens == wanted["total_tokens"]
            details = wanted["output_tokens_details"]
            assert usages[0].reasoning_tokens == details["reasoning_tokens"]


def test_what_the_next_request_needs_is_kept(recorded: list[recordings.Recording]) -> None:
    by_name = {recording.name: told.play([recording.wire], kind=KIND)[0] for recording in recorded}
    (sealed,) = told.extras(by_name["bedrock-encrypted-reasoning-function"], "opaque")
    assert sealed["item"]["encrypted_content"].startswith("rsn_")
    assert sealed["item"]["id"].startswith("rs_")
    (shell,) = told.extras(by_name["local-shell-call"], "opaque")
    assert shell["item"]["action"]["command"] == ["ls", "-a", "~"]
    finish = told.finish(by_name["local-shell-call"])
    assert finish is not None
    assert finish.finish_reason == "tool_calls"
    searches = told.extras(by_name["web-search-annotations"], "opaque")
    assert [each["item"]["type"] for each in searches] == ["web_search_call"] * 2
    (source,) = [b for b in by_name["web-search-annotations"] if isinstance(b, events.Citation)]
    assert str(source.title).startswith("Mount Columbia")
    (phase,) = told.extras(by_name["copilot-id-rotation"], "opaque")
    assert phase["item"]["phase"] == "final_answer"


def test_every_cut_of_a_recording_is_unfinished(recorded: list[recordings.Recording]) -> None:
    for recording in recorded:
        reads = recordings.per_event(recording.wire)
        ends = [n for n, read in enumerate(reads) if b"response.completed" in read]
        for n in range(ends[0] if ends else len(reads)):
            _, translator = told.play(reads[:n], kind=KIND)
            assert not translator.done, (recording.name, n)
            assert not translator.finished, (recording.name, n)


def test_a_resumed_answer_says_what_the_whole_one_says(
    recorded: list[recordings.Recording],
) -> None:
    """Fetched again after its first event, the stream has everything but `response.created`."""
    by_name = {recording.name: recording for recording in recorded}
    whole, _ = told.play([by_name["background-original-full"].wire], kind=KIND)
    resumed, _ = told.play([by_name["background-resumed-after-seq0"].wire], kind=KIND)
    assert told.drafts(whole) == told.drafts(resumed)

"""The chat translator on answers that real providers gave.

Strategy: the recordings lie outside of the repository, so each test loops over all of them and
collects what differs. What is expected was derived from the recordings by a script; where our
answer differs on purpose, `DIFFERS` says so and why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.providers import said as told

from holdfast import events
from holdfast.testing import recordings

KINDS = ("openai-chat", "compatible")

CHOICES = {"n3-choices": 3}

ERRORS = {
    "groq-event-error-mid-reasoning": "ProviderRejected",
    "openrouter-error-in-chunk": "ProviderRejected",
}
"""The class of an error inside the stream; the others have none."""

DIFFERS: dict[str, dict[str, Any]] = {
    # The vendor sends its reasoning in `reasoning_details` alone, which the script that derived
    # the expectation did not read. The text is the model's reasoning and nothing else.
    "snowflake-logprobs-unicode": {"reasoning_text": "15 * 27 = 405"},
}

NO_END_MARKER = {"groq-event-error-mid-reasoning", "openrouter-error-in-chunk"}


@pytest.fixture(scope="module")
def recorded(shared: Path) -> list[recordings.Recording]:
    found = [r for k in KINDS for r in recordings.load_recordings(shared / "recordings" / k)]
    assert len(found) >= 25
    return found


def expected(recording: recordings.Recording) -> dict[str, Any]:
    names = ("final_text", "reasoning_text", "tool_calls", "finish")
    known = {name: recording.expected[name] for name in names}
    known["error"] = ERRORS.get(recording.name)
    known["tool_calls"] = [(call["name"], call["arguments"]) for call in known["tool_calls"]]
    return known | DIFFERS.get(recording.name, {})


def got(reads: recordings.Fragments, name: str) -> dict[str, Any]:
    said, translator = told.play(reads, CHOICES.get(name, 1))
    finish = told.finish(said)
    return {
        "final_text": told.text(said, "content"),
        "reasoning_text": told.text(said, "reasoning"),
        "tool_calls": [(call["name"], call["arguments"]) for call in told.tool_calls(said)],
        "finish": finish and finish.provider_finish_reason,
        "error": told.verdict(translator),
    }


@pytest.mark.parametrize("way", recordings.FRAGMENTATIONS)
def test_each_recording_says_what_is_expected(
    way: str, recorded: list[recordings.Recording]
) -> None:
    for recording in recorded:
        reads = recordings.FRAGMENTATIONS[way](recording.wire)
        assert got(reads, recording.name) == expected(recording), recording.name


def test_each_recording_ends_as_its_provider_ended_it(
    recorded: list[recordings.Recording],
) -> None:
    for recording in recorded:
        said, translator = told.play([recording.wire], CHOICES.get(recording.name, 1))
        # A `.jsonl` has no end marker of its own; its framing adds one.
        assert translator.done == (recording.name not in NO_END_MARKER), recording.name
        usages = [body for body in said if isinstance(body, events.Usage)]
        wanted = recording.expected["usage"]
        assert len(usages) == bool(wanted), recording.name
        if wanted:
            assert usages[0].input_tokens == wanted["prompt_tokens"]
            assert usages[0].output_tokens == wanted["completion_tokens"]
            assert usages[0].total_tokens == wanted["total_tokens"]


def test_signatures_and_sources_of_the_recordings_are_kept(
    recorded: list[recordings.Recording],
) -> None:
    by_name = {recording.name: told.play([recording.wire])[0] for recording in recorded}
    kept = told.extras(by_name["openrouter-reasoning-details-tool"], "opaque")
    assert [list(extra) for extra in kept] == [["reasoning_details"]]
    assert kept[0]["reasoning_details"][0]["signature"].startswith("EvsC")
    sources = [
        body for body in by_name["perplexity-citations"] if isinstance(body, events.Citation)
    ]
    assert len(sources) == len({source.url for source in sources}) == 7


def test_every_cut_of_a_recording_is_whole_or_unfinished(
    recorded: list[recordings.Recording],
) -> None:
    """Only an answer whose end was seen may count as ended."""
    for recording in recorded:
        reads = recordings.per_event(recording.wire)
        for n in range(len(reads)):
            _, translator = told.play(reads[:n], CHOICES.get(recording.name, 1))
            assert not translator.done, (recording.name, n)
            if translator.finished:
                assert recording.expected["finish"] is not None

"""The Anthropic translator on answers that were really given.

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

KIND = "anthropic"

# The script counted server-side calls as calls. Anthropic runs them itself and ends its turn
# with `end_turn`: a client that took them for its own would answer what nobody asks.
DIFFERS: dict[str, dict[str, Any]] = {
    "code-execution-thinking": {"tool_calls": []},
    "mcp-tool": {"tool_calls": []},
}

# The script read the usage of the last delta alone, which repeats the input only in newer
# answers; the input stands in `message_start`.
INPUT_AT_THE_START = {
    "astral-emoji": 17,
    "duplicate-message-start": 17,
    "max-tokens-partial-json-no-final-blank-line": 450,
    "text-then-tool": 506,
    "thinking-signature": 52,
}

KEPT = {
    "code-execution-thinking": [
        "signature",
        "server_tool_use",
        "bash_code_execution_tool_result",
        "container",
    ],
    "compaction": ["compaction"],
    "mcp-tool": ["mcp_tool_use", "mcp_tool_result"],
    "midstream-refusal-in-thinking": ["signature", "stop_details"],
    "redacted-thinking": ["redacted_thinking", "redacted_thinking"],
    "thinking-signature": ["signature"],
}


@pytest.fixture(scope="module")
def recorded(shared: Path) -> list[recordings.Recording]:
    found = recordings.load_recordings(shared / "recordings" / KIND)
    assert len(found) >= 12
    return found


def expected(recording: recordings.Recording) -> dict[str, Any]:
    names = ("final_text", "reasoning_text", "tool_calls", "finish")
    known = {name: recording.expected[name] for name in names}
    known["tool_calls"] = [(call["name"], call["arguments"]) for call in known["tool_calls"]]
    return known | {"error": None} | DIFFERS.get(recording.name, {})


def got(reads: recordings.Fragments) -> dict[str, Any]:
    said, translator = told.play(reads, kind=KIND)
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
        assert got(reads) == expected(recording), recording.name


def test_each_recording_ends_with_its_usage(recorded: list[recordings.Recording]) -> None:
    for recording in recorded:
        said, translator = told.play([recording.wire], kind=KIND)
        assert translator.done, recording.name
        usages = [body for body in said if isinstance(body, events.Usage)]
        wanted = recording.expected["usage"]
        sent = wanted.get("input_tokens", INPUT_AT_THE_START.get(recording.name))
        assert [(usage.input_tokens, usage.output_tokens) for usage in usages] == [
            (sent, wanted["output_tokens"])
        ], recording.name


def test_what_the_recordings_want_back_is_kept(recorded: list[recordings.Recording]) -> None:
    for recording in recorded:
        extras = told.extras(told.play([recording.wire], kind=KIND)[0], "opaque")
        names = [extra.get("content_block", {}).get("type", next(iter(extra))) for extra in extras]
        assert names == KEPT.get(recording.name, []), recording.name


def test_every_cut_of_a_recording_is_whole_or_unfinished(
    recorded: list[recordings.Recording],
) -> None:
    """Only the last delta, which names the reason, makes an answer count as ended."""
    for recording in recorded:
        reads = recordings.per_event(recording.wire)
        for n in range(len(reads)):
            _, translator = told.play(reads[:n], kind=KIND)
            assert not translator.done, (recording.name, n)
            assert translator.finished == (n == len(reads) - 1), (recording.name, n)

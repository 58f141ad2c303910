"""The Gemini translator on answers that Google gave.

Strategy: as for chat: the recordings lie outside of the repository, what is expected was
derived from them by a script, and where our answer differs on purpose, `DIFFERS` says why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.providers import said as told

from holdfast.testing import recordings

DIFFERS: dict[str, dict[str, Any]] = {
    # The script read no last event without a blank line after it; the body ended cleanly.
    "finish-message-no-final-blank-line": {"final_text": "Hello world!", "finish": "STOP"},
    "quotes-escaped-no-final-blank-line": {
        "final_text": ' Pineapples and "bananas" are two different types of fruit. Pineapples '
        "grow on a tropical plant with a rosette of long, pointed leaves. Bananas grow on a "
        "herbaceous plant with large, broad leaves. The two plants are not related, and "
        "pineapples do not grow on banana plants.",
        # Nothing was blocked: `promptFeedback` has ratings and no reason, and no candidate ends.
        "finish": None,
    },
    "empty-content": {"finish": None},
    # The script wrote `blocked:` before Google's word.
    "prompt-blocked": {"finish": "SAFETY"},
    # STOP stands in both frames, and then an error comes: the answer has not ended.
    "midstream-bare-json-error": {"finish": None, "error": "ProviderFailed"},
    # The script took every piece of a call for a call of its own, without its arguments.
    "partial-args": {
        "tool_calls": [
            ("getWeather", '{"location":"Boston"}'),
            ("getWeather", '{"location":"San Francisco"}'),
        ]
    },
}


@pytest.fixture(scope="module")
def recorded(shared: Path) -> list[recordings.Recording]:
    found = recordings.load_recordings(shared / "recordings" / "google")
    assert len(found) >= 14
    return found


def expected(recording: recordings.Recording) -> dict[str, Any]:
    names = ("final_text", "reasoning_text", "tool_calls", "finish")
    known = {name: recording.expected[name] for name in names}
    known["error"] = None
    known["tool_calls"] = [(call["name"], call["arguments"]) for call in known["tool_calls"]]
    return known | DIFFERS.get(recording.name, {})


@pytest.mark.parametrize("way", recordings.FRAGMENTATIONS)
def test_each_recording_says_what_is_expected(
    way: str, recorded: list[recordings.Recording]
) -> None:
    for recording in recorded:
        reads = recordings.FRAGMENTATIONS[way](recording.wire)
        said, translator = told.play(reads, kind="google")
        finish = told.finish(said)
        calls = told.tool_calls(said)
        assert {
            "final_text": told.text(said, "content"),
            "reasoning_text": told.text(said, "reasoning"),
            "tool_calls": [(call["name"], call["arguments"]) for call in calls],
            "finish": finish and finish.provider_finish_reason,
            "error": told.verdict(translator),
        } == expected(recording), recording.name
        assert translator.finished == (finish is not None)

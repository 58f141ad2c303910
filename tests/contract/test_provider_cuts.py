"""Recorded answers, cut anywhere and ended in every way: not one wrong `complete`.

Strategy: each recording is cut at every event boundary and at seeded random bytes. Whether the
rest may count as whole is told by a reading of the wire that shares no code with the
translators: it looks for the provider's own end in the events that are whole. Everything runs
in memory on simulated time; the same over sockets is in tests/integration.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract import attempting
from tests.integration import replaying

from holdfast.testing import recordings, simulated

RANDOM_CUTS = 50
ENDINGS: tuple[attempting.Ending, ...] = ("clean", "cut", "stall")


def cuts(wire: bytes, seed: int) -> list[int]:
    """Every event boundary, and so many seeded random places."""
    places, at = {0}, 0
    for event in recordings.per_event(wire):
        at += len(event)
        places.add(at)
    roll = random.Random(seed)
    return sorted(places | {roll.randrange(len(wire)) for _ in range(RANDOM_CUTS)})


def payloads(wire: bytes, *, flush: bool) -> Iterator[Any]:
    """The JSON of every event that is whole; at a clean end (`flush`) of the last one too. The
    event's name stands in for a type that the JSON does not give."""
    text = wire.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    blocks = text.split("\n\n")
    for block in blocks if flush else blocks[:-1]:
        fields = [line.partition(":") for line in block.split("\n")]
        said = "\n".join(value.removeprefix(" ") for name, _, value in fields if name == "data")
        named = [value.strip() for name, _, value in fields if name == "event"]
        try:
            decoded = json.loads(said, strict=False)
        except ValueError:
            yield said
            continue
        if isinstance(decoded, dict) and named:
            decoded.setdefault("type", named[-1])
        yield decoded


def may_be_whole(kind: str, wire: bytes, ending: attempting.Ending, choices: int) -> bool:
    """Whether the provider's own end is in these bytes."""
    seen = list(payloads(wire, flush=ending == "clean"))
    said = [each for each in seen if isinstance(each, dict)]
    if b"[DONE]" in wire and kind in ("openai_chat", "google_interactions"):
        return True
    return ENDS[kind](said, ending, choices)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _chat(said: list[Any], ending: attempting.Ending, choices: int) -> bool:
    """A reason for each choice; where one speaks on after it, a clean end too."""
    ended: set[int] = set()
    spoke_on = False
    for choice in (choice for each in said for choice in each.get("choices") or ()):
        index, delta = choice.get("index") or 0, _object(choice.get("delta"))
        spoke_on = spoke_on or (index in ended and bool(delta.get("content")))
        if choice.get("finish_reason"):
            ended.add(index)
    return len(ended) >= choices and (ending == "clean" or not spoke_on)


def _responses(said: list[Any], ending: attempting.Ending, choices: int) -> bool:
    return any(each.get("type") in ("response.completed", "response.incomplete") for each in said)


def _anthropic(said: list[Any], ending: attempting.Ending, choices: int) -> bool:
    reasons = (_object(each.get("delta")).get("stop_reason") for each in said)
    return any(each.get("type") == "message_stop" for each in said) or any(reasons)


def _google(said: list[Any], ending: attempting.Ending, choices: int) -> bool:
    """A clean end, and a reason that no further text follows."""
    reason = None
    for each in said:
        blocked = _object(each.get("promptFeedback")).get("blockReason")
        for candidate in each.get("candidates") or ():
            if _object(candidate.get("content")).get("parts"):
                reason = None
            reason = candidate.get("finishReason") or reason
        reason = blocked or reason
    return ending == "clean" and bool(reason)


def _interactions(said: list[Any], ending: attempting.Ending, choices: int) -> bool:
    named = ((each.get("event_type"), each.get("type")) for each in said)
    return any("interaction.completed" in names for names in named)


ENDS: dict[str, Callable[[list[Any], attempting.Ending, int], bool]] = {
    "openai_chat": _chat,
    "openai_responses": _responses,
    "anthropic": _anthropic,
    "google": _google,
    "google_interactions": _interactions,
}


async def wrong(recording: recordings.Recording, seed: int) -> list[str]:
    """Where this recording, cut, passes for whole and is not; each with what to look at."""
    kind = replaying.FORMATS[recording.expected["protocol"]]
    choices, found = replaying.choices_of(recording), []
    for at in cuts(recording.wire, seed):
        wire = recording.wire[:at]
        for ending in ENDINGS:
            played = await attempting.play(kind, [wire] if wire else [], ending, choices)
            if played.error is None and not may_be_whole(kind, wire, ending, choices):
                found.append(f"{recording.kind}/{recording.name} at byte {at}, {ending}")
    return found


OURS = attempting.playable(attempting.FIXTURES)


@pytest.mark.case("2.3")
@pytest.mark.case("1.4")
@pytest.mark.parametrize("recording", OURS, ids=lambda each: f"{each.kind}/{each.name}")
@simulated.timed
async def test_no_cut_of_ours_passes_for_a_whole_answer(recording: recordings.Recording) -> None:
    assert await wrong(recording, seed=len(recording.wire)) == []


@simulated.timed
async def test_no_cut_of_the_shared_ones_passes_for_a_whole_answer(shared: Path) -> None:
    found = attempting.playable(shared / "recordings")
    assert len(found) > 50
    for recording in found:
        assert await wrong(recording, seed=1) == []


@simulated.timed
async def test_a_whole_answer_passes_for_one() -> None:
    """The oracle is no wall: what ends as it should is complete."""
    for recording in OURS:
        kind = replaying.FORMATS[recording.expected["protocol"]]
        if recording.expected.get("error") or recording.expected.get("interrupted"):
            continue
        if may_be_whole(kind, recording.wire, "clean", replaying.choices_of(recording)):
            choices = replaying.choices_of(recording)
            played = await attempting.play(kind, [recording.wire], "clean", choices)
            assert played.verdict == "complete", recording.name

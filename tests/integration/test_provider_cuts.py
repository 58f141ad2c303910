"""Providers that break off, over sockets: not one wrong `complete`, and always an end.

Strategy: seeded cuts of recorded answers, each ended by FIN, by a reset or by silence, are
played by a real server to the running product. Whether the rest may pass for whole is decided
by the same reading of the wire as in tests/contract/test_provider_cuts.py, where the whole
matrix runs in memory.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

import pytest
from tests.contract import attempting
from tests.contract import test_provider_cuts as matrix
from tests.integration import harness, replaying

from holdfast.testing import recordings

Ending = Literal["fin", "rst", "stall"]

CUTS = 300
AT_ONCE = 16
STALL = "300ms"
"""How long a silence the node bears; on a busy machine an answer that is only slow may end by
it too, which is an end as good as any here."""


def seeded(found: Sequence[recordings.Recording], seed: int, count: int) -> list[replaying.Part]:
    roll = random.Random(seed)
    parts = []
    for number in range(count):
        recording = roll.choice(found)
        at = roll.randrange(len(recording.wire))
        ending: Ending = roll.choice(get_args(Ending))
        body = recordings.at_random(recording.wire[:at], number, 2000)
        parts.append(replaying.Part(recording, f"{number}-{at}-{ending}", body, ending))
    return parts


async def verdicts(parts: Iterable[replaying.Part]) -> list[tuple[replaying.Part, bool]]:
    """Whether each was told to be complete. Every answer ends, and cleanly."""
    parts = list(parts)
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(server: harness.Running, part: replaying.Part) -> tuple[replaying.Part, bool]:
        async with slots:
            answer = await replaying.play(server, part)
        assert answer.status == 200
        assert answer.clean
        last = harness.said(answer.body)[-1]
        assert last.event in ("complete", "error")
        return part, last.event == "complete"

    async with replaying.playing(parts) as provider:
        late = {"first_byte": STALL, "first_content": STALL, "between_contents": STALL}
        config = replaying.configured(parts, provider.url, deadlines=late)
        async with harness.running(config) as server, asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(server, part)) for part in parts]
    return [task.result() for task in tasks]


def wrong(told: Iterable[tuple[replaying.Part, bool]]) -> list[str]:
    found = []
    for part, complete in told:
        wire = b"".join(piece for piece in part.body if isinstance(piece, bytes))
        kind = replaying.FORMATS[part.recording.expected["protocol"]]
        choices = replaying.choices_of(part.recording)
        if complete and not matrix.may_be_whole(kind, wire, "cut", choices):
            found.append(part.model)
    return found


@pytest.mark.case("1.4")
async def test_no_seeded_cut_of_ours_passes_for_a_whole_answer() -> None:
    told = await verdicts(seeded(matrix.OURS, 1, CUTS))
    assert wrong(told) == []
    assert {complete for _, complete in told} == {True, False}


async def test_no_seeded_cut_of_the_shared_ones_passes_for_a_whole_answer(shared: Path) -> None:
    found = attempting.playable(shared / "recordings")
    assert wrong(await verdicts(seeded(found, 2, CUTS))) == []

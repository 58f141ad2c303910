"""The vendors' own clients read recorded answers as our translators do.

Strategy: `sides` makes the same plain words of both sides, `table` says for each recording
whether they are equal, and here the two are held against each other: what differs must be
exactly what the row says. So a recording without a row fails, and so does a row that has
ceased to be true, on either side. Refusals (an HTTP status and a body) are not accumulated by
anybody, and are compared elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from tests.integration import conftest, replaying
from tests.integration.stock import sides, table, words

from holdfast.testing import provider as replay
from holdfast.testing import recordings

pytestmark = [
    # The clients serialise what they read with pydantic, which tells where a provider sent
    # another type than its own; and google-genai where it sent an unknown reason.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore:.* is not a valid :UserWarning"),
]

TABLE_FILE = "tests/integration/stock/table.py"


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients look for proxies in the environment; loopback is asked directly."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


async def compared(recording: recordings.Recording) -> dict[str, tuple[object, object]]:
    """The words that differ, with what we read and what the client reads."""
    choices = replaying.choices_of(recording)
    ours = sides.ours(recording, choices)
    body = recordings.per_event(recording.wire)
    played = replay.Answer(headers=recording.headers, body=body)
    async with replay.ReplayServer([played]) as server:
        theirs = await sides.theirs(recording, server.url, choices)
    assert ours.keys() == theirs.keys()
    return {word: (ours[word], theirs[word]) for word in ours if ours[word] != theirs[word]}


async def complaints(
    found: Iterable[recordings.Recording], rows: table.Table, name: str
) -> list[str]:
    """Where the table of this name is not what the clients do."""
    told, seen = [], set()
    for recording in found:
        if sides.kind_of(recording) is None:
            continue
        file = f"{recording.kind}/{recording.name}"
        seen.add(file)
        differing = await compared(recording)
        row = rows.get(file)
        said = ", ".join(f"{word}: ours {a!r}, theirs {b!r}" for word, (a, b) in differing.items())
        if row is None:
            told.append(
                f"{file} has no row: add one to {name} in {TABLE_FILE}, Row() where all agree, "
                f"else the words that differ and why. Now differ: {said or 'none'}"
            )
        elif row.differing != differing.keys():
            told.append(f"{file}: its row says {row.words or 'none'}; differ: {said or 'none'}")
    gone = sorted(rows.keys() - seen)
    return told + [f"{file} is a row of {name} in {TABLE_FILE} and no recording" for file in gone]


async def test_our_recordings() -> None:
    found = recordings.load_recordings(conftest.FIXTURES)
    told = await complaints(found, table.OURS, "OURS")
    assert not told, "\n".join(told)


async def test_the_shared_recordings(shared: Path) -> None:
    found = recordings.load_recordings(shared / "recordings")
    told = await complaints(found, table.SHARED, "SHARED")
    assert not told, "\n".join(told)


@pytest.mark.parametrize("rows", [table.OURS, table.SHARED])
def test_what_differs_has_a_reason(rows: table.Table) -> None:
    known = words.values().keys()
    for file, row in rows.items():
        assert row.differing <= known, file
        assert bool(row.differing) == bool(row.why), file


async def test_a_table_that_is_wrong_is_told() -> None:
    """Each way in which a row can be wrong, with a recording in which both sides agree."""
    folder = conftest.FIXTURES / "compatible"
    (good,) = [r for r in recordings.load_recordings(folder) if r.name == "xai-reasoning"]
    file = "compatible/xai-reasoning"
    assert await complaints([good], {file: table.Row()}, "T") == []
    (told,) = await complaints([good], {}, "T")
    assert f"{file} has no row: add one to T in {TABLE_FILE}" in told
    (told,) = await complaints([good], {file: table.Row("text", "why")}, "T")
    assert told == f"{file}: its row says text; differ: none"
    (told,) = await complaints([], {file: table.Row()}, "T")
    assert told == f"{file} is a row of T in {TABLE_FILE} and no recording"
    wire = good.wire.replace(b"data: [DONE]", b'{"error": {"message": "a line alone"}}')
    bare = msgspec.structs.replace(good, wire=wire)
    (told,) = await complaints([bare], {file: table.Row()}, "T")
    assert told == f"{file}: its row says none; differ: error: ours 'error', theirs None"
    unknown = msgspec.structs.replace(good, expected={"protocol": "semaphore"})
    with pytest.raises(LookupError, match="compatible/xai-reasoning: its protocol semaphore"):
        await complaints([unknown], {}, "T")

"""A recorded answer, read twice from one running server: natively, and through a dialect.

Strategy: each recording is played by a provider, and a stock client asks for it by the route of a
dialect. The same stream is then folded natively, and both become the plain words of
`stock/words.py`. What a dialect always says otherwise (its finish reasons, no usage behind an
error) is in `Column.expected`; everything else that differs is a `Row` of the dialect's table: a
word, what the client is told in its place, and why. The table in docs/dialects.md is made of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import httpx2
import msgspec
from tests.integration import harness, recording_expectations, replaying
from tests.integration.stock import words

from holdfast import answer, events
from holdfast.testing import recordings

Told = tuple[words.Values, words.Values]
"""What should be read, and what was."""


class Asked(msgspec.Struct, frozen=True):
    """What a client asks for: `model` is `provider/model`. `http` is to be the client's own, so
    that the stream is known that it read."""

    url: str
    model: str
    choices: int
    http: httpx2.AsyncClient


class Row(msgspec.Struct, frozen=True):
    """Words in which a dialect's client is told another thing, what that is, and why. `whole` is
    what it is where the answer is asked for as one value, if that is another thing."""

    told: Mapping[str, Any]
    why: str
    whole: Mapping[str, Any] | None = None


class Column(msgspec.Struct, frozen=True):
    """One dialect. `read` gives the words of a stream, `whole` those of an answer that is asked
    for as one value; an error is there by its code. `expected` is the native answer in the
    dialect's words."""

    name: str
    read: Callable[[Asked], Awaitable[words.Values]]
    whole: Callable[[Asked], Awaitable[words.Values]] | None
    expected: Callable[[answer.Answer, int], words.Values]
    rows: Mapping[str, Row]


def native(told: answer.Answer, choices: int) -> words.Values:
    """The answer in plain words; `finish` is our own word."""
    first = told.choice(0)
    usage = told.usage
    return words.values(
        **{
            "text": first.content,
            "reasoning": first.reasoning,
            "refusal": first.refusal,
            "others": [told.choice(number).content for number in range(1, choices)],
            "finish": first.finish_reason,
            "usage": usage and [usage.input_tokens, usage.output_tokens],
            "error": told.error and told.error.code,
            "tool calls": [
                [call.name, words.arguments(call.arguments)]
                for _, call in sorted(first.tool_calls.items())
            ],
        }
    )


async def compared(
    found: Iterable[recordings.Recording], column: Column
) -> dict[str, tuple[Told, Told | None]]:
    """For each recording that can be played: as a stream, and as a whole where that is asked."""
    parts = [
        replaying.Part(recording, "whole", recordings.whole(recording.wire))
        for recording in found
        if replaying.why_not(recording) is None
    ]
    slots = asyncio.Semaphore(replaying.AT_ONCE)
    async with replaying.playing(parts) as provider:
        config = replaying.configured(parts, provider.url, server={"heartbeat_interval": 0.1})
        async with harness.running(config) as server, asyncio.TaskGroup() as group:

            async def both(part: replaying.Part) -> tuple[Told, Told | None]:
                async with slots:
                    streamed = _once(server, part, column, column.read)
                    if column.whole is None:
                        return await streamed, None
                    # Some answers end 2 s after their last word, so both are waited for at once.
                    whole = _once(server, part, column, column.whole)
                    first, second = await asyncio.gather(streamed, whole)
                    return first, second

            tasks = {part.file: group.create_task(both(part)) for part in parts}
    return {file: task.result() for file, task in tasks.items()}


async def _once(
    server: harness.Running,
    part: replaying.Part,
    column: Column,
    read: Callable[[Asked], Awaitable[words.Values]],
) -> Told:
    ids: list[str] = []
    statuses: list[int] = []

    async def noted(response: httpx2.Response) -> None:
        statuses.append(response.status_code)
        ids.extend(value for value in [response.headers.get("x-stream-id")] if value)

    choices = replaying.choices_of(part.recording)
    model = f"{replaying.kind_of(part.recording)}/{part.model}"
    hooks = {"response": [noted]}
    async with (
        asyncio.timeout(harness.PATIENCE),
        httpx2.AsyncClient(verify=words.VERIFY, event_hooks=hooks) as http,
    ):
        got = await read(Asked(server.url, model, choices, http))
    if not ids:
        # Refused before the first word: nothing was read but the error.
        wanted, _ = recording_expectations.expected(part.recording)
        return words.values(error=wanted["error"], others=got["others"]), got
    told = answer.Answer()
    async for event in server.service.events(events.stream_id(ids[0])):
        told.add(event)
    if told.error is not None and statuses[-1] != 200:
        return words.values(error=told.error.code, others=got["others"]), got
    return column.expected(told, choices), got


def complaints(results: Mapping[str, tuple[Told, Told | None]], column: Column) -> list[str]:
    """Where the table of a dialect is not what its clients read."""
    said = []
    for file, both in results.items():
        row = column.rows.get(file, Row({}, ""))
        for how, told in zip(("stream", "whole"), both, strict=True):
            wanted, got = told or ({}, {})
            differing = {word: got[word] for word in wanted if wanted[word] != got[word]}
            stated = dict(row.told if how == "stream" or row.whole is None else row.whole)
            if told is not None and differing != stated:
                natively = {word: wanted[word] for word in differing}
                said.append(
                    f"{column.name}, {file} as a {how}: its row says {stated}, the client "
                    f"was told {differing} and natively it is {natively}"
                )
    gone = sorted(column.rows.keys() - results.keys())
    return said + [f"{column.name}: {file} is a row and no recording" for file in gone]


def table(found: Iterable[recordings.Recording], columns: Sequence[Column]) -> str:
    """The table of the docs: kinds of recordings by dialect, and below why cells differ."""
    kinds: dict[str, list[str]] = {}
    mute: dict[str, int] = {}
    for recording in found:
        if replaying.why_not(recording) is None:
            kinds.setdefault(recording.kind, []).append(f"{recording.kind}/{recording.name}")
        else:
            mute[recording.kind] = mute.get(recording.kind, 0) + 1
    head = ["recordings", *(column.name for column in columns)]
    lines = [_line(head), _line(["---"] * len(head))]
    for kind, files in kinds.items():
        cells = [_cell(files, column) for column in columns]
        lines.append(_line([f"{kind} ({len(files)})", *cells]))
    for kind, count in mute.items():
        lines.append(_line([f"{kind} ({count})", *["not played"] * len(columns)]))
    return "\n".join(lines)


def _cell(files: Sequence[str], column: Column) -> str:
    """By reason, which recordings are told otherwise, and in which words."""
    whys: dict[str, list[str]] = {}
    for file in files:
        if row := column.rows.get(file):
            name = file.partition("/")[2]
            whys.setdefault(row.why, []).append(f"`{name}` ({', '.join(row.told)})")
    told = [f"{', '.join(names)}: {why}" for why, names in whys.items()]
    return f"equal but for {'; '.join(told)}" if told else "equal"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"

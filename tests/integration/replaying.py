"""Recorded answers, played by a provider on loopback and read through the running server.

Strategy: one server has a provider for each vendor's kind, all with their `base_url` at one
replay server; the model's name in the request says which recording is to be played, and how
it is cut. So everything but the provider's own machine is real.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Literal
from urllib import parse

import msgspec
from tests.integration import harness, recording_expectations

from holdfast import request, settings
from holdfast.providers import base, failures, vendors
from holdfast.providers import translator as translators
from holdfast.testing import provider as replay
from holdfast.testing import recordings

FORMATS = {
    "chat": "openai_chat",
    "openai-responses": "openai_responses",
    "anthropic": "anthropic",
    "google": "google",
    "google-interactions": "google_interactions",
}
"""The kind that speaks a recording's protocol."""

AT_ONCE = 6
"""Answers that are under way together. With many, each byte of an answer waits for a byte of
all others, and what follows the finish reason would come after the 2 s that it may take."""


class Check(msgspec.Struct, frozen=True):
    """One comparison. `note` says why an expectation was corrected, if it was."""

    file: str
    fragmentation: str
    what: str
    expected: Any
    got: Any
    note: str = ""

    @property
    def ok(self) -> bool:
        return bool(self.expected == self.got)


class Part(msgspec.Struct, frozen=True):
    """One answer to play: a recording and its body, cut."""

    recording: recordings.Recording
    label: str
    body: tuple[bytes | asyncio.Event, ...]
    ending: Literal["clean", "fin", "rst", "stall"] = "clean"

    @property
    def file(self) -> str:
        return f"{self.recording.kind}/{self.recording.name}"

    @property
    def model(self) -> str:
        return f"{self.file}@{self.label}"

    def request(self, **fields: object) -> bytes:
        """The request that this answers."""
        choices = choices_of(self.recording)
        provider = kind_of(self.recording)
        return harness.wanted(self.model, provider=provider, n=choices, **fields)


def choices_of(recording: recordings.Recording) -> int:
    """How many answers were asked for: one more than the highest index."""
    highest = 0
    for line in recording.wire.splitlines():
        with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
            for choice in json.loads(line.removeprefix(b"data:"), strict=False)["choices"]:
                highest = max(highest, choice.get("index") or 0)
    return highest + 1


def kind_of(recording: recordings.Recording) -> str:
    """The vendor's row, where it has one of this format that can make this call, else the
    format's own."""
    format = FORMATS.get(str(recording.expected.get("protocol")), "openai_chat")
    vendor = vendors.VENDORS.get(str(recording.expected.get("vendor")))
    if vendor is None or vendor.format.kind != format:
        return format
    if choices_of(recording) > 1 and not getattr(vendor.format, "takes_n", False):
        return format
    return vendor.name


def translator(recording: recordings.Recording) -> base.Translator:
    """A translator for this recording."""
    source = failures.Source("recording")
    wanted = request.Request(model="m", messages=[], n=choices_of(recording))
    fold = vendors.VENDORS[kind_of(recording)].format.fold(wanted, source)
    return translators.Translator(fold, source)


def why_not(recording: recordings.Recording) -> str | None:
    """Why a recording cannot be played; None where it can."""
    protocol = recording.expected.get("protocol")
    if protocol is None:
        return "no expectation beside it"
    if protocol == "http-error" or FORMATS.get(protocol) in vendors.VENDORS:
        return None
    return f"no provider of ours speaks it: {protocol}"


class Stage(msgspec.Struct, frozen=True):
    """A running server whose providers play these parts."""

    server: harness.Running
    provider: replay.ReplayServer


@contextlib.asynccontextmanager
async def playing(provider_parts: Iterable[Part]) -> AsyncIterator[replay.ReplayServer]:
    """A provider that plays the part whose model is asked for."""
    answers = {
        part.model: replay.Answer(
            status=part.recording.status,
            headers=part.recording.headers,
            body=part.body,
            ending=part.ending,
        )
        for part in provider_parts
    }
    async with replay.ReplayServer(lambda asked: answers[model_of(asked)]) as server:
        yield server


def model_of(asked: replay.Request) -> str:
    """The model that a request names: in its body, or in its path as Google has it."""
    found = re.search(r"/models/([^:?]+):", asked.target)
    return parse.unquote(found[1]) if found else str(asked.json()["model"])


def configured(
    parts: Iterable[Part], url: str, log_url: str = "memory://", **tables: Any
) -> settings.Settings:
    """Settings with a provider for each kind that the parts need, all at `url`."""
    kinds = {kind_of(part.recording) for part in parts}
    rows = {kind: {"kind": kind, "base_url": f"{url}/v1"} for kind in kinds}
    return harness.configured(log_url, rows, **tables)


@contextlib.asynccontextmanager
async def stage(parts: list[Part], log_url: str = "memory://") -> AsyncIterator[Stage]:
    """Both servers."""
    async with playing(parts) as provider:
        config = configured(parts, provider.url, log_url)
        async with harness.running(config) as server:
            yield Stage(server, provider)


def parts_of(
    found: Iterable[recordings.Recording], cuts: Iterable[str] = recordings.FRAGMENTATIONS
) -> list[Part]:
    """Every recording that can be played, in each of these fragmentations."""
    return [
        Part(recording, label, cut(recording.wire))
        for recording in found
        if why_not(recording) is None
        for label, cut in recordings.FRAGMENTATIONS.items()
        if label in cuts
    ]


async def play(server: harness.Running, part: Part, **fields: object) -> harness.Response:
    """The answer, read from its first event to its end."""
    reader = await harness.begin(server.port, part.request(**fields))
    try:
        return await reader.rest()
    finally:
        await reader.close()


def compare(part: Part, answer: harness.Response) -> list[Check]:
    """A check for each word of the expectation."""
    got = recording_expectations.read(answer)
    if "status" in got:
        return [Check(part.file, part.label, "status", [200], got["status"])]
    wanted, corrected = recording_expectations.expected(part.recording)
    return [
        Check(
            part.file,
            part.label,
            word,
            value,
            got[word],
            corrected[word].reason if word in corrected else "",
        )
        for word, value in wanted.items()
    ]


async def check_all(
    found: Iterable[recordings.Recording],
    log_url: str = "memory://",
    progress: Callable[[str], None] = lambda said: None,
    cuts: Iterable[str] = recordings.FRAGMENTATIONS,
) -> list[Check]:
    """Plays what can be played and compares; in the order of the recordings."""
    parts = parts_of(found, cuts)
    slots, done = asyncio.Semaphore(AT_ONCE), 0

    async def check(server: harness.Running, part: Part) -> list[Check]:
        nonlocal done
        async with slots:
            checks = await _checked(server, part)
        done += 1
        progress(f"{done} of {len(parts)} answers: {part.model}")
        return checks

    async with stage(parts, log_url) as on, asyncio.TaskGroup() as group:
        checking = [group.create_task(check(on.server, part)) for part in parts]
    return [each for task in checking for each in task.result()]


async def _checked(server: harness.Running, part: Part) -> list[Check]:
    """The checks of one part; an answer that cannot be read is a check that fails."""
    try:
        return compare(part, await play(server, part))
    except (OSError, TimeoutError, ValueError, LookupError, AssertionError) as error:
        return [Check(part.file, part.label, "answer", "an answer", repr(error))]

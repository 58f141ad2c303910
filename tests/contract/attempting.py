"""One attempt whose provider is a string of bytes and a way to end.

Strategy: the attempt, the translator and the format are the shipped ones; the exchange plays
the bytes in one read and ends as it is told, on simulated time, so that thousands of answers
and a silence of minutes take seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec
from tests.integration import replaying

from holdfast import errors, events, request, transport
from holdfast.producing import attempt
from holdfast.providers import base, failures, vendors
from holdfast.providers import translator as translators
from holdfast.testing import recordings

FORMATS: Mapping[str, base.Format] = {
    vendor.format.kind: vendor.format for vendor in vendors.VENDORS.values()
}
"""A format of each kind."""

FIXTURES = Path(__file__).parents[1] / "fixtures" / "recordings"

Ending = Literal["clean", "cut", "stall"]
"""The last chunk of the body; the connection's end before it, by FIN or reset; silence."""

DEADLINES = attempt.Deadlines(
    first_byte=30.0, first_content=60.0, between_contents=20.0, total=600.0
)
_CALL = transport.Request("POST", "http://provider.example/", ())
_CUT = errors.Truncated("The connection closed in the middle of the response's body.")


STREAM = events.StreamId("s" * 26)


class Outcome(msgspec.Struct, frozen=True):
    """How an answer ended: None is complete. `said` is what it said until then."""

    error: errors.HoldfastError | None
    said: tuple[events.Body, ...]

    @property
    def verdict(self) -> str:
        """`complete`, or the name of the error's class."""
        return "complete" if self.error is None else type(self.error).__name__

    def text(self, kind: str = "content") -> str:
        """The text of choice 0."""
        chunks = (body for body in self.said if isinstance(body, events.Chunk))
        return "".join(c.delta for c in chunks if (c.type, c.choice) == (kind, 0))


class _Scripted(base.Provider):
    """A `base.Provider` of one kind that answers with these reads."""

    name = "scripted"

    def __init__(self, kind: str, reads: Iterable[bytes], ending: Ending) -> None:
        self.kind = kind
        self._reads, self._ending = reads, ending

    def prepare(self, wanted: request.Request, model: str) -> transport.Request:
        return _CALL

    def translator(self, wanted: request.Request) -> base.Translator:
        source = failures.Source(self.name)
        return translators.Translator(FORMATS[self.kind].fold(wanted, source), source)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> errors.ProviderError:
        return failures.Source(self.name).of_response(status, headers, body)

    async def open(self, call: transport.Request, sink: transport.Sink) -> base.Exchange:
        sink.head(200, {"content-type": "text/event-stream"})
        for read in self._reads:
            sink.body(read)
        if self._ending != "stall":
            sink.end(None if self._ending == "clean" else _CUT)
        return _Exchange()


class _Exchange:
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def release(self) -> None: ...
    def abort(self, error: errors.TransportError | None = None) -> None: ...


async def play(
    kind: str, reads: Iterable[bytes], ending: Ending = "clean", choices: int = 1
) -> Outcome:
    """The outcome of one answer; to be called on simulated time, as silence lasts minutes."""
    said: list[events.Body] = []
    wanted = request.Request(model="m", messages=[], n=choices)
    provider = _Scripted(kind, reads, ending)
    one = attempt.Attempt(provider, wanted, _CALL, DEADLINES, said.extend, STREAM)
    if ending != "stall":
        return Outcome(await one.run(), tuple(said))
    running = asyncio.ensure_future(one.run())
    while not running.done():
        await asyncio.sleep(1.0)
        one.sweep(asyncio.get_running_loop().time())
        await asyncio.sleep(0)
    return Outcome(await running, tuple(said))


def playable(folder: Path) -> list[recordings.Recording]:
    """The recordings of a folder that a format of ours reads."""
    return [
        each
        for each in recordings.load_recordings(folder)
        if replaying.FORMATS.get(str(each.expected.get("protocol"))) in FORMATS
    ]

"""A provider around another one that writes down what it was asked and what it sent, and two that
go on where one has failed.

Strategy: everything is handed on unchanged; only `open` looks at what passes. A provider knows no
stream: the tag that the client put into its prompt, and which is in the call's body, says which
one it is.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Mapping

import msgspec

from holdfast import errors, events, request, transport
from holdfast.providers import base, demo, playback
from holdfast.testing import history, simulated
from holdfast.testing.simulation import record

TOLD = 150
"""Characters that are written at least where an answer diverges: so long a begin tells it apart,
as the demo repeats what it was asked."""

REST = "rest"
"""The host that is asked for the rest of an answer."""

_line = msgspec.json.Decoder(tuple[str, msgspec.Raw]).decode

TAG = re.compile(rb"tag-\d+-\d+")


class Witnessed:
    """A `base.Provider`. `marker` is in the bytes of the inner one's end marker and nowhere else;
    `unreachable` is the share of calls that find nobody, `diverging` that of the answers that are
    another one when they are told again."""

    def __init__(
        self,
        inner: base.Provider,
        seen: record.Record,
        chance: random.Random,
        *,
        marker: bytes = b'["done",',
        unreachable: float = 0.0,
        diverging: float = 0.0,
    ) -> None:
        self._inner, self._record, self._chance = inner, seen, chance
        self._marker, self.unreachable, self._diverging = marker, unreachable, diverging
        self.name, self.kind = inner.name, inner.kind
        self.prepare, self.discard = inner.prepare, inner.discard
        self.prefills, self.translator = inner.prefills, inner.translator
        self.failure = inner.failure

    def replay(
        self, wanted: request.Request, model: str, kept: str | None, written: int
    ) -> transport.Request | None:
        call = self._inner.replay(wanted, model, kept, written)
        # Where next to nothing is written, another answer is as good.
        if call is None or written < TOLD or self._chance.random() >= self._diverging:
            return call
        (message,) = wanted.messages
        self._record.diverged.add(self._stream(str(message.content).encode()))
        said = re.sub(r"(tag-\d+-\d+)", r"\1 too", str(message.content))
        other = msgspec.structs.replace(wanted, messages=[request.Message("user", said)])
        return self._inner.prepare(other, model)

    async def open(self, call: transport.Request, sink: transport.Sink) -> base.Exchange:
        stream = self._stream(call.body)
        self._record.add(history.Called(simulated.now(), stream))
        await asyncio.sleep(self._chance.choice((0.0, 0.0, 0.02, 0.5)))
        if self._chance.random() < self.unreachable:
            self._record.unreached[stream] += 1
            raise errors.Unreachable("Nobody is there, as it was asked for.")
        return await self._inner.open(call, _Passing(sink, self._record, stream, self._marker))

    def _stream(self, asked: bytes) -> str:
        """Which one it is whose tag is in these bytes."""
        found = TAG.search(asked)
        return self._record.stream(found[0].decode() if found else "")


class _Passing:
    """A `transport.Sink` in front of another."""

    def __init__(
        self, sink: transport.Sink, seen: record.Record, stream: str, marker: bytes
    ) -> None:
        self._sink, self._record, self._stream, self._marker = sink, seen, stream, marker

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self._sink.head(status, headers)

    def body(self, data: bytes) -> None:
        now = simulated.now()
        self._record.add(history.Sent(now, self._stream, len(data)))
        if self._marker in data:
            self._record.add(history.Marked(now, self._stream))
        self._sink.body(data)

    def end(self, error: errors.TransportError | None) -> None:
        self._sink.end(error)


def whole(wanted: request.Request) -> demo.Plan:
    """The demo's answer to this request, without what makes it fail."""
    return msgspec.structs.replace(
        demo.plan(wanted, "demo"), error_at=None, cut_at=None, stall_at=None, status=None
    )


class GoesOn(playback.Demo):
    """Where it is sent the beginning of one of the demo's answers it goes on from just there, and
    nothing makes it fail any more; before that it is the demo."""

    def prepare(self, wanted: request.Request, model: str) -> transport.Request:
        if all(message.role != "assistant" for message in wanted.messages):
            return super().prepare(wanted, model)
        return rest(wanted)

    async def open(self, call: transport.Request, sink: transport.Sink) -> base.Exchange:
        if call.place.host != REST:
            return await super().open(call, sink)
        skip, plan, _ = msgspec.json.decode(call.body, type=tuple[int, demo.Plan, str])
        return playback.Playback(_without(demo.script(plan), skip), sink)


class Spare(GoesOn):
    """Nothing ever makes it fail, and it tells no answer again."""

    def prepare(self, wanted: request.Request, model: str) -> transport.Request:
        return rest(wanted)

    def replay(
        self, wanted: request.Request, model: str, kept: str | None, written: int
    ) -> transport.Request | None:
        return None


def rest(wanted: request.Request) -> transport.Request:
    """The call for what an answer of the demo's has beyond what the conversation has of it."""
    asked = next(message for message in wanted.messages if message.role == "user")
    written = "".join(
        str(message.content) for message in wanted.messages if message.role == "assistant"
    )
    plan = whole(msgspec.structs.replace(wanted, messages=[asked]))
    body = msgspec.json.encode((len(written), plan, str(asked.content)))
    return transport.Request("POST", f"http://{REST}/", (), body)


def _without(script: playback.Script, skip: int) -> playback.Script:
    """A demo's script without so many characters of choice 0's content."""
    for delay, line in script:
        kind, data = _line(line)
        body = events.decode(kind, data)
        if skip and isinstance(body, events.Chunk) and body.type == "content" and not body.choice:
            left = msgspec.structs.replace(body, delta=body.delta[skip:])
            skip -= len(body.delta) - len(left.delta)
            line = demo.pack((kind, left)) + b"\n"
        yield delay, line

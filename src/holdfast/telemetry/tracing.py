"""Traces: what is told of a stream, and by whom it was asked for, to whoever gathers spans.

Strategy: a stream has one span, from its making to its end; who takes it over begins another one
in the same trace. Here is what the writers and the routes know of that: a span is told of each
call to a provider, and of the end, and never of a token. Who makes spans is chosen where things are
built; `Untraced` makes none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from holdfast import events, request, storage, transport
from holdfast.telemetry import record

Facts = Mapping[str, str | int | None]
"""What is known of a stream at its end, as the line that is logged of it has it."""


class Parent(msgspec.Struct, frozen=True, gc=False):
    """What somebody who asks says of the trace that they are in: W3C's headers as they came, which
    may be nonsense."""

    traceparent: str = ""
    tracestate: str = ""


NOBODY = Parent()


def parent(headers: Mapping[str, str]) -> Parent:
    """Of a request with these headers, by their names in lower case."""
    said = headers.get("traceparent")
    return NOBODY if said is None else Parent(said, headers.get("tracestate", ""))


class Span(Protocol):
    """Of one life of a stream's writer."""

    @property
    def trace(self) -> str:
        """What the stream's header keeps of it, a `traceparent`; "" where nothing is traced."""

    def calls(
        self, number: int, provider: str, model: str, call: transport.Request
    ) -> transport.Request:
        """A provider is about to be called: the call, with what tells it of the trace."""

    def called(self, call: record.Call) -> None:
        """How that went."""

    def moved(self, target: str) -> None:
        """The answer was left to another `provider/model`."""

    def ended(self, facts: Facts, usage: events.Tokens | None) -> None:
        """The stream's end is in the log, or somebody else brings it."""

    def close(self, why: str) -> None:
        """The writer is over; in a word why, where nothing has told how the stream ended."""


class Tracer(Protocol):
    """Makes spans."""

    def begins(
        self,
        stream: events.StreamId,
        header: storage.Header,
        wanted: request.Request,
        place: transport.Place | None,
        parent: Parent,
    ) -> Span:
        """A stream is made; its first call goes to `place`."""

    def adopts(
        self, stream: events.StreamId, header: storage.Header, wanted: request.Request
    ) -> Span:
        """A stream is taken over."""

    def resumes(self, stream: events.StreamId, connection: str, trace: str, parent: Parent) -> None:
        """A reader has come back. `trace` is what the stream's header keeps."""


class Untraced:
    """A `Tracer`, and a `Span`, of nothing."""

    trace = ""

    def begins(
        self,
        stream: events.StreamId,
        header: storage.Header,
        wanted: request.Request,
        place: transport.Place | None,
        parent: Parent,
    ) -> Span:
        return self

    def adopts(
        self, stream: events.StreamId, header: storage.Header, wanted: request.Request
    ) -> Span:
        return self

    def resumes(self, stream: events.StreamId, connection: str, trace: str, parent: Parent) -> None:
        pass

    def calls(
        self, number: int, provider: str, model: str, call: transport.Request
    ) -> transport.Request:
        return call

    def called(self, call: record.Call) -> None:
        pass

    def moved(self, target: str) -> None:
        pass

    def ended(self, facts: Facts, usage: events.Tokens | None) -> None:
        pass

    def close(self, why: str) -> None:
        pass


UNTRACED = Untraced()

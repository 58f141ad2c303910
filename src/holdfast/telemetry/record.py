"""What a node counts as it happens: the side of `counts` that is written to.

Strategy: one object for the whole node, handed to who sees things happen: streams, ticks, calls.
Everything here is a few additions to plain numbers, made when a stream or a call begins or ends,
for a tick, or for a network read of a provider; never for a token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec
import structlog

from holdfast import errors, events, told
from holdfast.telemetry import counts, failures
from holdfast.telemetry.histogram import SECOND, Recorder

_FAILING = (errors.ProviderError, errors.ContinuationDiverged)
"""What a provider's call can come to that is its own failure."""

Refused = Literal[
    "connections", "draining", "late", "line", "log", "requests", "streams", "unsaved"
]
"""Why a new stream is not taken: what there is too much of, or what is away."""

MAX_TOLD = 10_000
"""Streams that cannot be read, which are remembered so that each is told once."""

_log = structlog.get_logger("holdfast")


class Call(msgspec.Struct, frozen=True, gc=False):
    """A call to a provider that has ended. Times in seconds; `began` is on the loop's clock.
    `error` is the code of what it ended with, "" for a whole answer, and `first_chunk` None where
    nothing of an answer came. `host` and `port` tell where it was called, `label` is what the
    model counts under."""

    stream: events.StreamId
    provider: str
    model: str
    began: float
    seconds: float
    first_chunk: float | None
    error: str
    usage: events.Tokens | None
    host: str = ""
    port: int = 0
    label: str = ""


class Calls:
    """The calls to one model of one provider."""

    def __init__(self) -> None:
        self._active = self._begun = 0
        self._failed, self._tokens = dict[str, Recorder](), Counter[str]()
        self.duration, self.first_chunk, self.between = Recorder(), Recorder(), Recorder()

    @contextmanager
    def one(self) -> Iterator[None]:
        """A call is under way."""
        self._begun += 1
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1

    def ended(self, call: Call) -> None:
        """How one of them did."""
        us = int(call.seconds * SECOND)
        self.duration.add(us)
        if call.first_chunk is not None:
            self.first_chunk.add(int(call.first_chunk * SECOND))
        if call.error:
            self._failed.setdefault(call.error, Recorder()).add(us)
        if call.usage is not None:
            self._tokens.update(
                input_tokens=call.usage.input_tokens,
                output_tokens=call.usage.output_tokens,
                cached_tokens=call.usage.cached_tokens or 0,
                reasoning_tokens=call.usage.reasoning_tokens or 0,
            )

    def counted(self) -> counts.Calls:
        """Since the node began."""
        return counts.Calls(
            self._active,
            self._begun,
            {code: each.histogram() for code, each in self._failed.items()},
            self.duration.histogram(),
            self.first_chunk.histogram(),
            self.between.histogram(),
            **self._tokens,
        )


class Record:
    """What streams, calls and ticks of a node come to. `label` gives the name of a closed set that
    a provider's model counts under."""

    def __init__(
        self,
        label: Callable[[str, str], str] = lambda provider, model: model,
    ) -> None:
        self.label = label
        self._calls: dict[str, Calls] = {}
        self._streams: Counter[str] = Counter()  # by the fields of `counts.Counts`
        self._errors, self._unreadable = Counter[str](), Counter[str]()
        self._refused = Counter[str]()
        self._told = told.Told(MAX_TOLD)
        self._duration = Recorder()
        self.first_chunk, self.appends, self.loop_lag = Recorder(), Recorder(), Recorder()
        self.fallbacks = 0
        self.failures = failures.Failures()

    def calls(self, provider: str, model: str) -> Calls:
        """Those that are counted with this one."""
        name = f"{provider}/{self.label(provider, model)}"
        found = self._calls.get(name)
        if found is None:
            found = self._calls[name] = Calls()
        return found

    def call_ended(self, call: Call) -> None:
        """A call brought its answer, or did not."""
        self.calls(call.provider, call.model).ended(call)
        # Who was stopped, by a reader or a limit, is not to blame.
        if call.error and issubclass(errors.named(call.error), _FAILING):
            self._failed(call.stream, call.error, call.provider)

    def started(self) -> None:
        """A stream was made here."""
        self._streams["streams_started"] += 1

    def refused(self, reason: Refused) -> None:
        """A new stream was not taken."""
        self._refused[reason] += 1

    def adopted(self) -> None:
        """A stream was taken over."""
        self._streams["streams_adopted"] += 1

    def wrote(self, chunks: int, size: int) -> None:
        """What a producer has written that writes no more."""
        self._streams.update(written_chunks=chunks, written_bytes=size)

    def _failed(
        self, stream: events.StreamId, code: str, provider: str | None, said: str = ""
    ) -> None:
        example = failures.Example(stream, events.now_ms(), failures.message(code, said))
        self.failures.note(code, provider, example)

    def ended(self, stream: events.StreamId, terminal: events.Complete | events.Error) -> None:
        """A stream has its end."""
        if isinstance(terminal, events.Complete):
            self._streams["streams_completed"] += 1
            self._duration.add(terminal.duration_ms * 1000)
        elif terminal.code == errors.Cancelled.code:
            self._streams["streams_cancelled"] += 1
        else:
            self._streams["streams_error"] += 1
            self._errors[terminal.code] += 1
            self._failed(stream, terminal.code, None, terminal.message)

    def unreadable(self, stream: str, error: errors.LogCorrupt) -> None:
        """Something stored could not be read back, of this stream, or of none that is known."""
        self._unreadable[error.code] += 1
        if stream and not self._told.first(stream):
            return
        _log.error("stream_corrupt", stream=stream or None, code=error.code, error=error.message)

    def counted(self) -> counts.Counts:
        """Since the node began."""
        return msgspec.structs.replace(
            counts.Counts(**self._streams),  # type: ignore[arg-type]  # numbers alone
            fallbacks=self.fallbacks,
            errors=dict(self._errors),
            unreadable=dict(self._unreadable),
            refused=dict(self._refused),
            duration=self._duration.histogram(),
            first_chunk=self.first_chunk.histogram(),
            calls={name: one.counted() for name, one in self._calls.items()},
            appends=self.appends.histogram(),
            loop_lag=self.loop_lag.histogram(),
        )

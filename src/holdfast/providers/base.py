"""What a provider is: a call to make, and a translator for what comes back.

Strategy: a provider's own knowledge is pure. `prepare` turns our request into one HTTP
request, a `Translator` turns response bytes into event bodies, `failure` reads a refusal.
Who opens the exchange (a socket, or a script) is a separate, two-method thing, so that the
same producer drives both. One translator lives for one attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from holdfast import errors, events, request, transport


class Translator(Protocol):
    """Bytes in, event bodies out. It holds no clock, socket or task.

    After every call the producer looks at the three flags; once `error` or `done` is set it
    feeds no more.
    """

    done: bool
    """The provider's own end marker was seen."""

    finished: bool
    """Every choice that was asked for has its finish reason: only usage may follow."""

    error: errors.ProviderError | None
    """An error that the provider sent after its 200; what came before it still counts."""

    def feed(self, data: bytes) -> list[events.Body]:
        """What these bytes say: `Chunk`, `Finish`, `Usage`, `Citation`. Never raises on any
        input: what cannot be read becomes `error`."""

    def end(self) -> list[events.Body]:
        """The body has ended cleanly: what was still held back."""


class Exchange(Protocol):
    """One provider call under way; `transport.Exchange` is one."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self, error: errors.TransportError | None = None) -> None: ...


class Provider(Protocol):
    """One configured provider. `kind` is its wire format, `name` the operator's."""

    name: str
    kind: str

    def prepare(self, wanted: request.Request, model: str) -> transport.Request:
        """The provider's request. Raises `errors.InvalidField` naming what this provider
        cannot take, `errors.MissingKey` where no key is configured."""

    def translator(self, wanted: request.Request) -> Translator: ...

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> errors.ProviderError:
        """The class of an answer that is no stream: any status but 200, or JSON in a 200."""

    async def open(self, call: transport.Request, sink: transport.Sink) -> Exchange:
        """Starts the call. Raises `errors.TransportError`."""

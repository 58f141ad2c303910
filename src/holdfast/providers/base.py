"""What a provider is: a call to make, and a translator for what comes back.

Strategy: a provider's own knowledge is pure. A `Format` is how a kind of provider is asked and
how its answer reads: a request becomes a payload, and a `Fold` says what is new in each frame
of the answer. Around it stand one `Provider` for everything that is reached over HTTP
(`remote`), and one `Translator` for every format (`translator`). Who opens the exchange (a
socket, or a script) is a separate, small thing, so that the same producer drives both. One
translator and one fold live for one attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from holdfast import errors, events, request, sse, transport
from holdfast.providers import failures


class Fold(Protocol):
    """What an answer of one format says, frame by frame. It holds no clock, socket or task."""

    @property
    def done(self) -> bool:
        """The provider's own end marker was seen: nothing of the answer can follow."""

    @property
    def finished(self) -> bool:
        """Every choice that was asked for has its finish reason: only usage may follow, and
        the answer counts as whole where the body now ends, or 2 s later. A format whose finish
        reason may stand before further text says so after `release` alone, and one where that
        is seen takes it back."""

    @property
    def gathered(self) -> int:
        """Bytes of the answer that were taken in and are told later, such as arguments that are
        only of use whole: a sign that the answer goes on. Never less than before."""

    @property
    def calm(self) -> bool:
        """A frame of which `plain` says something means just that now, and changes nothing else."""

    def plain(self, data: bytes) -> events.Chunk | None:
        """What the data of a frame without a name say, where that is one piece of text, and no
        field says anything else. Whatever was said before makes no difference."""

    def take(self, frame: sse.Frame, out: list[events.Body]) -> None:
        """Appends what is new: `Chunk`, `Finish`, `Usage`, `Citation`; before them `Kept`, where
        the provider keeps the answer. What it does not know it leaves out. Raises
        `errors.ProviderError`, and nothing else on any input, where the frame reports an error
        or cannot be what the provider means; what was appended before still counts."""

    def release(self, out: list[events.Body]) -> None:
        """The answer has ended as it should, by its marker or a clean end of the body: appends
        what was held back."""

    def tell_usage(self, out: list[events.Body]) -> None:
        """The answer broke off: appends the usage known by now, unless it is told already."""


class Keeping(Protocol):
    """What a format adds whose provider can keep an answer, also when nobody reads it. Values,
    no I/O. Both are None for an id that cannot be one of this provider's."""

    def replay_path(self, kept: str, model: str) -> str | None:
        """What follows the base URL in the GET that tells the answer again from its first
        event, with all that was asked for at first."""

    def discard_path(self, kept: str) -> str | None:
        """The same in the POST, without a body, that stops the answer."""


class Format(Protocol):
    """A kind of provider: how it is asked, and how its answer reads. Values, no I/O."""

    @property
    def kind(self) -> str:
        """The name of the wire format: `extra` goes back only to a provider of this kind."""

    @property
    def keeping(self) -> Keeping | None:
        """How answers that the provider keeps are spoken of; None where it keeps none. What is
        kept already is spoken of so also where no new answer is to be kept."""

    def prefills(self, model: str) -> bool:
        """Whether an assistant's message at the end of a request is the begin of the answer, which
        the model goes on from just there."""

    def path(self, model: str) -> str:
        """What follows the base URL, percent-encoded, with the query."""

    def headers(self, key: str | None) -> tuple[tuple[str, str], ...]:
        """The headers that carry the key, if there is one, and the format's own."""

    def payload(self, wanted: request.Request, model: str) -> dict[str, Any]:
        """The JSON body. Raises `errors.InvalidField` naming what this provider cannot take."""

    def fold(self, wanted: request.Request, source: failures.Source) -> Fold:
        """A fold for one answer to this request. `source` words its errors."""


class Translator(Protocol):
    """Bytes in, event bodies out. It holds no clock, socket or task.

    After every call the producer looks at the three flags; once `error` or `done` is set it
    feeds no more.
    """

    done: bool
    """As a fold's."""

    finished: bool
    """As a fold's."""

    error: errors.ProviderError | None
    """An error that the provider sent after its 200; what came before it still counts."""

    @property
    def gathered(self) -> int:
        """As a fold's."""

    def feed(self, data: bytes) -> list[events.Body]:
        """What these bytes say. Never raises on any input: what cannot be read becomes
        `error`."""

    def end(self) -> list[events.Body]:
        """The body has ended cleanly: what was still held back."""

    def cut(self) -> list[events.Body]:
        """The body broke off, or is given up: the usage known by now."""


class Exchange(Protocol):
    """One provider call under way; `transport.Exchange` is one."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self, error: errors.TransportError | None = None) -> None: ...
    def release(self) -> None: ...


class Provider(Protocol):
    """One configured provider. `kind` is its wire format, `name` the operator's."""

    name: str
    kind: str

    def prepare(self, wanted: request.Request, model: str) -> transport.Request:
        """The provider's request. Raises `errors.InvalidField` naming what this provider
        cannot take, `errors.MissingKey` where no key is configured."""

    def replay(
        self, wanted: request.Request, model: str, kept: str | None, written: int
    ) -> transport.Request | None:
        """The call that brings the very same answer again from its first byte, for a stream
        whose writer died; None where there is none. `kept` is the id of the stream's `Kept`
        event. `written`: so many characters of text are there already and may come as fast as
        they can. May raise what `prepare` raises. A provider that inherits this has none."""
        return None

    def discard(self, kept: str) -> transport.Request | None:
        """The call that tells the provider to stop an answer that it keeps; None where nothing
        is kept. May raise `errors.MissingKey`. A provider that inherits this keeps nothing."""
        return None

    def prefills(self, model: str) -> bool:
        """As a format's. A provider that inherits this takes no prefill."""
        return False

    def translator(self, wanted: request.Request) -> Translator: ...

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> errors.ProviderError:
        """The class of an answer that is no stream: any status but 200, or JSON in a 200."""

    async def open(self, call: transport.Request, sink: transport.Sink) -> Exchange:
        """Starts the call. Raises `errors.TransportError`."""

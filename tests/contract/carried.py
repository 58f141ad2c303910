"""A whole node whose calls to providers go nowhere: scripts answer them, in simulated time.

Strategy: only what takes the calls, the registry's carrier, is not the shipped one. Whom a stream
may ask, what each is sent, with which key, how its bytes read and what readers get is the
product's own; so a wait of an hour is exact, and thousands of answers take seconds. What the
scripts were sent, and when, is written down where it arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from holdfast import answer, errors, request, service, settings, transport
from holdfast.eventlog import memory
from holdfast.providers import registry

Ending = Literal["clean", "cut", "stall"]
"""The last chunk of the body; the connection's end before it, by FIN or reset; silence."""

CUT = errors.Truncated("The connection closed in the middle of the response's body.")
STREAM = (("content-type", "text/event-stream"),)
DEADLINES = settings.Deadlines(connect=5, first_byte=30, first_content=60, between_contents=20)


class Said(msgspec.Struct, frozen=True):
    """One answer: network reads, each after so many seconds where a number stands before it.
    Without a status not even the head comes."""

    reads: Sequence[bytes | float] = ()
    ending: Ending = "clean"
    status: int | None = 200
    headers: tuple[tuple[str, str], ...] = STREAM


class Call(msgspec.Struct, frozen=True):
    """One call as it arrived, `at` so many seconds after the node began."""

    at: float
    provider: str
    headers: Mapping[str, str]
    body: Any
    raw: bytes


Vendor = Callable[[Call], Said | errors.TransportError]
"""What it says to a call, or why it cannot be reached."""


class Carrier(transport.Transport):
    """Takes each call to the vendor that is named by the host."""

    def __init__(self, vendors: Mapping[str, Vendor]) -> None:
        super().__init__()
        self._vendors = vendors
        self._time = asyncio.get_running_loop().time
        self._begun = self._time()
        self.calls: list[Call] = []

    async def open(self, request: transport.Request, sink: transport.Sink) -> Any:
        headers = {name.lower(): value for name, value in request.headers}
        at = round(self._time() - self._begun, 3)
        body = msgspec.json.decode(request.body) if request.body else None
        call = Call(at, request.place.host, headers, body, request.body)
        self.calls.append(call)
        said = self._vendors[call.provider](call)
        if isinstance(said, errors.TransportError):
            if isinstance(said, errors.DeadlineExceeded):
                await asyncio.sleep(DEADLINES.connect)
            raise said
        return _Exchange(said, sink)

    def to(self, provider: str) -> list[Call]:
        """The calls that went to whom is called so, or begins so."""
        return [call for call in self.calls if call.provider.startswith(provider)]

    @property
    def times(self) -> list[tuple[str, float]]:
        """Who was called, and when."""
        return [(call.provider, call.at) for call in self.calls]


class _Exchange:
    """Plays an answer; the first reads at once, as a socket may."""

    def __init__(self, said: Said, sink: transport.Sink) -> None:
        self._sink, self._ending = sink, said.ending
        self._left = list(said.reads)
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        if said.status is not None:
            sink.head(said.status, dict(said.headers))
        self._play()

    def _play(self) -> None:
        while self._left and not self._over:
            read = self._left.pop(0)
            if isinstance(read, float):
                self._timer = asyncio.get_running_loop().call_later(read, self._play)
                return
            self._sink.body(read)
        if not self._over and self._ending != "stall":
            self._over = True
            self._sink.end(None if self._ending == "clean" else CUT)

    def pause(self) -> None: ...
    def resume(self) -> None: ...

    def release(self) -> None:
        self.abort()

    def abort(self, error: errors.TransportError | None = None) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()


class Node(msgspec.Struct, frozen=True):
    """A node that runs."""

    service: service.Service
    carrier: Carrier

    async def ask(self, wanted: request.Request) -> answer.Answer:
        """The whole answer, folded as a reader folds it."""
        made = await self.service.create(wanted)
        folded = answer.Answer()
        async for event in self.service.events(made.stream):
            folded.add(event)
        return folded


@contextlib.asynccontextmanager
async def node(
    kinds: Mapping[str, str], vendors: Mapping[str, Vendor], **fallback: Any
) -> AsyncIterator[Node]:
    """A node with a provider of each name, of this kind, whose key is `key-of-` and its name, and
    with the table `fallback`."""
    config = settings.Settings(deadlines=DEADLINES, fallback=settings.Fallback(**fallback))
    rows = [
        registry.ProviderConfig(
            name=name, kind=kind, base_url=f"http://{name}", api_key=f"key-of-{name}"
        )
        for name, kind in kinds.items()
    ]
    carrier = Carrier(vendors)
    made = registry.Registry(rows, carrier)
    async with service.Service(memory.MemoryLog(), made, config) as running:
        yield Node(running, carrier)


def asking(model: str, *following: str, **fields: Any) -> request.Request:
    """A request to `provider/model`, and to others after it."""
    fields.setdefault("messages", [request.Message("user", "Tell it.")])
    return request.Request(model, fallback=request.Fallback(providers=list(following)), **fields)

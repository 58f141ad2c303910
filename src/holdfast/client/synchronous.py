"""`Client`: the synchronous client, for programs without an event loop of their own.

Strategy: nothing is done here a second time. A `Client` holds an `AsyncClient` and a
background loop; its methods are those of `AsyncClient`, with their signatures and docstrings,
run in that loop. An answer is read the same way, step by step. It works from any thread, and
where an event loop runs already (a notebook), because that is another loop.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from holdfast import answer, errors, events
from holdfast.client import background, client, reading

P = ParamSpec("P")
T = TypeVar("T")


def _waiting(
    method: Callable[Concatenate[client.AsyncClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Client, P], T]:
    """The same method, which waits for its outcome."""

    @functools.wraps(method)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(functools.partial(method, self._client, *args, **kwargs))

    return call


def _answering(
    method: Callable[Concatenate[client.AsyncClient, P], reading.AnswerStream],
) -> Callable[Concatenate[Client, P], AnswerStream]:
    """The same method, whose answer is read synchronously."""

    @functools.wraps(method)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> AnswerStream:
        return AnswerStream(method(self._client, *args, **kwargs), self)

    return call


def _made_like(
    init: Callable[Concatenate[client.AsyncClient, P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Client, P], None]]:
    """Gives a constructor the signature of another."""
    return functools.wraps(init)


class Client:
    """`AsyncClient` without `await`; close it, or enter it.

    with Client("http://127.0.0.1:8080") as client:
        with client.stream(model="demo", prompt="Why?") as answer:
            for text in answer.text_stream:
                print(text, end="")
            final = answer.final()

    Any thread may use it. Ctrl-C ends a wait and leaves the answer as it was: read on, or
    resume it. One that is never closed ends with the program.
    """

    @_made_like(client.AsyncClient.__init__)
    def __init__(self, *args: Any, **options: Any) -> None:
        self._client = client.AsyncClient(*args, **options)
        self._loop = background.Background(self._client.close)
        # Called once: by `close`, when nobody holds this any more, or at exit.
        self._end = weakref.finalize(self, self._loop.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """As `AsyncClient.close`; whoever still waits gets a ClientError."""
        self._end()

    stream = _answering(client.AsyncClient.stream)
    resume = _answering(client.AsyncClient.resume)
    get = _waiting(client.AsyncClient.get)
    timeline = _waiting(client.AsyncClient.timeline)
    cancel = _waiting(client.AsyncClient.cancel)
    link = _waiting(client.AsyncClient.link)
    streams = _waiting(client.AsyncClient.streams)
    shred = _waiting(client.AsyncClient.shred)
    seal = _waiting(client.AsyncClient.seal)
    rewrap = _waiting(client.AsyncClient.rewrap)
    shred_tenant = _waiting(client.AsyncClient.shred_tenant)


class AnswerStream:
    """An answer under way, as `Client.stream` and `resume` give it: `reading.AnswerStream`,
    entered with `with`, iterated with `for`, with the same errors. One thread may read at a
    time."""

    def __init__(self, of: reading.AnswerStream, client: Client) -> None:
        """`client` is held so that it is not closed while this is read."""
        self._of = of
        self._client = client
        self._events = _Steps(client._loop, of.__anext__)
        self._texts = _Steps(client._loop, of.text_stream.__anext__)

    @property
    def stream_id(self) -> str:
        """As in `reading.AnswerStream`, like all that follows."""
        return self._of.stream_id

    @property
    def position(self) -> events.Position:
        return self._of.position

    @property
    def reconnects(self) -> int:
        return self._of.reconnects

    @property
    def so_far(self) -> answer.Answer:
        return self._of.so_far

    @property
    def text_stream(self) -> Iterator[str]:
        return _Iterator(self._texts)

    def final(self) -> answer.Answer:
        return self._client._loop.run(self._of.final)

    def __enter__(self) -> Self:
        self._client._loop.run(self._of.__aenter__)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        # Where the client is closed, so is the connection.
        with contextlib.suppress(errors.ClientError):
            self._client._loop.run(lambda: self._of.__aexit__(kind, error, at))

    def __iter__(self) -> Iterator[events.Event]:
        return _Iterator(self._events)

    def __next__(self) -> events.Event:
        return next(_Iterator(self._events))


class _Steps(Generic[T]):
    """The same step again and again. One that was done when its wait was interrupted is kept:
    what it gave is the next."""

    def __init__(
        self, loop: background.Background, make: Callable[[], Coroutine[Any, Any, T]]
    ) -> None:
        self._loop = loop
        self._make = make
        self._late: background.Step[T] | None = None

    def next(self) -> T:
        step, self._late = self._late or self._loop.start(self._make), None
        try:
            step.wait()
        except BaseException:
            self._late = step if step.stop() else None
            raise
        return step.result()


class _Iterator(Generic[T]):
    def __init__(self, steps: _Steps[T]) -> None:
        self._steps = steps

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return self._steps.next()
        except StopAsyncIteration:
            raise StopIteration from None

"""`AsyncClient`: asks for an answer and reads it over as many connections as it takes.

Strategy: an `AnswerStream` is one state machine, driven by whoever iterates; it has no task.
Each step does what its state asks for: without a response it waits out the delay and opens
one, without a verdict it waits for the head, then it takes frame after frame. Whatever is
cancelled, the next step goes on from the state. What the frames say and whether that can be
true is `received`'s, when to come back is `reconnect`'s.

A response that ends before the terminal event is a cut, however cleanly it ends: a proxy can
make a clean end out of a cut. Until the stream's id is known the POST is sent again with its
Idempotency-Key, which attaches to the answer if that was created; from then on it is a GET
after the last event.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from holdfast import answer, errors, events, sse, transport
from holdfast.client import received, reconnect, response

_STREAM_PATH = re.compile(r"/v1/streams/([^/?#]*)(?:/events)?/?")
_ACCEPT = ("Accept", "text/event-stream")


class _Link:
    """What every exchange of one client needs."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        tries: reconnect.Limits,
        limits: response.Limits,
        connect_timeout: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        draw: Callable[[], float],
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.transport = transport.Transport(connect_timeout=connect_timeout)
        self.closed = False
        self.clock = clock
        self.sleep = sleep
        self.draw = draw
        self._headers = [("Authorization", f"Bearer {api_key}")] if api_key else []
        self._tries = tries
        self._limits = limits
        self.request("GET", "/")

    def tries(self) -> reconnect.Tries:
        return reconnect.Tries(self.clock(), self._tries)

    def response(self) -> response.Response:
        if self.closed:
            raise errors.ClientError("The client is closed.")
        return response.Response(self._limits, self.clock)

    def request(
        self, method: str, path: str, *headers: tuple[str, str], body: bytes = b""
    ) -> transport.Request:
        """Raises InvalidField for what cannot stand in a URL or a header."""
        try:
            url = self.base_url + path
            return transport.Request(method, url, (*headers, *self._headers), body)
        except ValueError as error:
            raise errors.InvalidField(f"The request cannot be sent: {error}.") from None


class AnswerStream:
    """An answer under way; `AsyncClient.stream` and `resume` give one, to be entered.

    Iterating gives the stream's events, the terminal one last, and the `rewind` of this
    reader's position (seq 0); `heartbeat` and `reconnect` are dealt with here. An event's `ts`
    is when it came here. Iteration, `text_stream` and `final` read on from the same place. One
    task may read at a time; a read may be cancelled and tried again.

    Entering and all three raise RequestRefused (the server's final verdict), GaveUp (no
    connection in time; reading on tries again), VerificationFailed (what came is not what the
    server wrote), SseError (an event over its limit) and ClientError (an answer over its
    limit, or a use that is not meant). Leaving closes the connection; it cancels nothing.
    """

    def __init__(
        self, link: _Link, has: received.Received, ask: transport.Request | None = None
    ) -> None:
        """`ask` is the POST that creates the stream, where its id is not known."""
        self._link = link
        self._has = has
        self._ask = ask
        self._tries = link.tries()
        self._not_before = 0.0
        self._response: response.Response | None = None
        self._begun = False
        self._connections = 0
        self._entered = False
        self._busy = False
        self._failure: errors.HoldfastError | None = None
        self._text_given = False

    @property
    def stream_id(self) -> str:
        """ "" until the server has told it, with its first response."""
        return self._has.stream_id

    @property
    def position(self) -> events.Position:
        """Of the last event taken in; `resume(stream_id, after=position)` goes on from it."""
        return self._has.position

    @property
    def reconnects(self) -> int:
        """How many event streams the server began for us after the first."""
        return max(0, self._connections - 1)

    @property
    def so_far(self) -> answer.Answer:
        """What the events taken in say; proved only when its `complete` is set."""
        return self._has.answer

    @property
    def text_stream(self) -> TextStream:
        """The text as it comes; see `TextStream`."""
        return TextStream(self)

    async def __aenter__(self) -> Self:
        """Returns when the server has begun an event stream, or said that there is no more."""
        self._entered = True
        self._tries.lost(self._link.clock())
        try:
            while not (self._begun or self._has.ended):
                await self._step()
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> events.Event:
        event = await self._next()
        if event is None:
            raise StopAsyncIteration
        if event.kind == "rewind":
            self._text_given = False  # whoever iterates has been told
        return event

    async def final(self) -> answer.Answer:
        """The whole answer, proved; reads what is left of it.

        Only the whole can be proved: after `resume` with a position the stream is read again
        from its first event. Raises AnswerFailed where the stream ended with an `error`.
        """
        if not self._has.whole:
            self._drop()
            self._has.from_the_start()
        while await self._next() is not None:
            pass
        self._raise_failed()
        return self._has.answer

    async def _next_text(self) -> str | None:
        while (event := await self._next()) is not None:
            if event.kind == "rewind" and self._text_given:
                self._text_given = False
                raise errors.Rewound
            body = event.body if event.kind == "chunk" else None
            if isinstance(body, events.Chunk) and body.type == "content" and body.choice == 0:
                self._text_given = True
                return body.delta
        self._raise_failed()
        return None

    def _raise_failed(self) -> None:
        error = self._has.answer.error
        if error is not None:
            raise errors.AnswerFailed(error.message, code=error.code, retryable=error.retryable)

    async def _next(self) -> events.Event | None:
        if self._busy:
            raise errors.ClientError("Another task is reading this answer.")
        self._busy = True
        try:
            event = None
            while event is None and not self._has.ended:
                if self._failure is not None:
                    raise self._failure
                if not self._entered:
                    raise errors.ClientError("The answer is read outside its `async with`.")
                event = await self._step()
            return event
        finally:
            self._busy = False

    async def _step(self) -> events.Event | None:
        """Does what the state asks for; returns the event, if one came of it."""
        try:
            if self._response is None:
                await self._open()
            elif not self._begun:
                await self._judge(self._response)
            else:
                return await self._take(self._response)
        except errors.GaveUp:
            raise
        except errors.HoldfastError as failure:
            self._failure = failure
            self._drop()
            raise
        return None

    async def _open(self) -> None:
        delay = self._not_before - self._link.clock()
        if delay > 0:
            await self._link.sleep(delay)
        opened = self._link.response()
        try:
            await opened.open(self._link.transport, self._request())
        except errors.TransportError as error:
            self._come_back(reconnect.Happened(error.message))
        else:
            self._response = opened

    def _request(self) -> transport.Request:
        stream_id, after = self._has.stream_id, self._has.last_event_id
        if self._ask is not None and not stream_id:
            return self._ask
        headers = (_ACCEPT, ("Last-Event-ID", after)) if after else (_ACCEPT,)
        return self._link.request("GET", f"/v1/streams/{stream_id}/events", *headers)

    async def _judge(self, begun: response.Response) -> None:
        await begun.headed()
        if begun.is_stream:
            self._begun = True
            self._connections += 1
            self._tries.connected(self._link.clock())
            self._has.response_begins(begun.header("x-stream-id"))
            return
        await begun.whole()
        if begun.status == 204:
            self._has.nothing_left()
            self._drop()
        else:
            self._come_back(begun.happened())

    async def _take(self, begun: response.Response) -> events.Event | None:
        frame = await begun.next()
        if frame is None or frame.event == "reconnect":
            self._tries.lost(begun.last_byte)
            self._come_back(begun.happened(frame))
            return None
        furthest = self._has.furthest
        event = self._has.take(frame, time.time_ns() // 1_000_000)
        if self._has.furthest > furthest:
            self._tries.progress()
        if self._has.ended:
            self._drop()
        return event

    def _come_back(self, happened: reconnect.Happened) -> None:
        """Leaves the connection; raises what `Tries.after` raises where there is no next."""
        self._drop()
        now = self._link.clock()
        self._not_before = now + self._tries.after(happened, now, self._link.draw())

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
        self._response, self._begun = None, False

    def _leave(self) -> None:
        self._entered = False
        self._drop()


class TextStream:
    """The content of choice 0, piece by piece, of one `AnswerStream`.

    A `rewind` makes the text void that was given out: then Rewound is raised, once, and
    iterating again (`answer.text_stream`) gives the text from its start. Where nothing had
    been given out it goes unnoticed. Raises AnswerFailed where the stream ends with an
    `error`, so that half a text cannot pass for a whole one.
    """

    def __init__(self, of: AnswerStream) -> None:
        self._of = of

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        text = await self._of._next_text()
        if text is None:
            raise StopAsyncIteration
        return text


class AsyncClient:
    """A client of one server; close it, or enter it.

        async with AsyncClient("http://127.0.0.1:8080") as client:
            async with client.stream(model="demo", prompt="Why?") as answer:
                async for text in answer.text_stream:
                    print(text, end="")
                final = await answer.final()
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        give_up_after: float = 300.0,
        read_timeout: float = 45.0,
        connect_timeout: float = transport.CONNECT_TIMEOUT,
        max_buffer: int = 256 * 1024,
        max_answer: int = received.MAX_ANSWER,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Times in seconds: without a connection since the last new event, until `GaveUp`;
        without a byte, until the connection counts as cut (three heartbeats of the server);
        for connecting. Sizes in bytes, for each answer: events that wait for the iterator,
        and all of its events. `clock`, `sleep` and `draw` (from [0, 1)) are for tests.

        Raises InvalidField for a URL or a key that cannot be sent.
        """
        self._max_answer = max_answer
        self._link = _Link(
            base_url,
            api_key,
            tries=reconnect.Limits(give_up_after=give_up_after),
            limits=response.Limits(read_timeout=read_timeout, max_buffer=max_buffer),
            connect_timeout=connect_timeout,
            clock=clock,
            sleep=sleep,
            draw=draw,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every connection; answers under way stay on the server. Idempotent."""
        self._link.closed = True
        await self._link.transport.close()

    def stream(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]] | None = None,
        prompt: str | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> AnswerStream:
        """A new answer, asked for when entered. `prompt` stands for one user message.

        `fields` are the further ones of `POST /v1/streams`; None leaves one out. Without an
        `idempotency_key` one is made, so that asking again after a lost response never makes
        a second answer. Raises InvalidField.
        """
        if (messages is None) == (prompt is None):
            raise errors.InvalidField("Give either messages or a prompt.")
        if messages is None:
            messages = [{"role": "user", "content": prompt}]
        wanted = {"model": model, "messages": messages, **fields}
        try:
            body = msgspec.json.encode({k: v for k, v in wanted.items() if v is not None})
        except (TypeError, ValueError, RecursionError) as error:
            raise errors.InvalidField(f"The request is no JSON: {error}.") from None
        headers = [
            ("Content-Type", "application/json"),
            ("Idempotency-Key", idempotency_key or uuid.uuid4().hex),
        ]
        ask = self._link.request("POST", "/v1/streams", _ACCEPT, *headers, body=body)
        return AnswerStream(self._link, self._received("", events.BEGIN), ask)

    def resume(
        self, stream: str, after: events.Position | str | None = None
    ) -> AnswerStream:
        """An answer that was asked for before, by its id, its URL or the `Location` of it.

        `after`: its events up to this position are left out; a string is an SSE id or the part
        behind its colon. Raises StreamNotFound (no such id can exist), InvalidField (a URL of
        another server: our key is not for it), MalformedPosition and ForeignPosition.
        """
        stream_id = self._stream_id(stream)
        if isinstance(after, str):
            named, after = events.parse_event_id(after)
            if named not in (None, stream_id):
                raise errors.ForeignPosition
        return AnswerStream(self._link, self._received(stream_id, after or events.BEGIN))

    async def get(self, stream: str) -> dict[str, Any]:
        """The snapshot of a stream, as `GET /v1/streams/{id}` gives it.

        Takes and raises what `resume` does, and RequestRefused, GaveUp and ClientError.
        """
        return await self._call("GET", f"/v1/streams/{self._stream_id(stream)}")

    async def cancel(self, stream: str) -> dict[str, Any]:
        """Asks that the stream ends; the readers' terminal event says when it has.

        Idempotent. Takes, gives and raises what `get` does; {} where the server says nothing.
        """
        return await self._call("POST", f"/v1/streams/{self._stream_id(stream)}/cancel")

    async def _call(self, method: str, path: str) -> dict[str, Any]:
        request = self._link.request(method, path, ("Accept", "application/json"))
        tries = self._link.tries()
        while True:
            got = self._link.response()
            try:
                await got.open(self._link.transport, request)
                await got.whole()
                happened = None if got.succeeded else got.happened()
            except errors.TransportError as error:
                happened = reconnect.Happened(error.message)
            finally:
                got.close()
            if happened is None:
                return got.json()
            await self._link.sleep(tries.after(happened, self._link.clock(), self._link.draw()))

    def _received(self, stream_id: str, after: events.Position) -> received.Received:
        return received.Received(stream_id, after, max_answer=self._max_answer)

    def _stream_id(self, stream: str) -> events.StreamId:
        if "/" not in stream:
            return events.stream_id(stream)
        path = stream.removeprefix(self._link.base_url)
        match = _STREAM_PATH.fullmatch(path)
        if match is None:
            raise errors.InvalidField(f"This is no URL of a stream of {self._link.base_url}.")
        return events.stream_id(match[1])

"""An answer under way: one reader's state over as many connections as it takes.

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

from types import TracebackType
from typing import Self

from holdfast import answer, errors, events, transport
from holdfast.client import link, received, reconnect, response

ACCEPT = ("Accept", "text/event-stream")


class AnswerStream:
    """An answer under way; `AsyncClient.stream` and `resume` give one, to be entered.

    Iterating gives the stream's events, the terminal one last, and the `rewind` of this
    reader's position (seq 0); `heartbeat` and `reconnect` are dealt with here. An event's `ts`
    is when it came here. Iteration, `text_stream` and `final` read on from the same place. One
    task may read at a time; a read may be cancelled and tried again.

    Entering and all three raise RequestRefused (the server's final verdict, as 401 and 403 are
    at any time; of a 429 by a limit of the caller's own `retry_after` says when to ask again),
    GaveUp (no connection in time; reading on tries again), VerificationFailed (what came is not
    what the server wrote), SseError (an event over its limit) and ClientError (an answer over
    its limit, or a use that is not meant). Leaving closes the connection; it cancels nothing.
    """

    def __init__(
        self, link: link.Link, has: received.Received, ask: transport.Request | None = None
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
        """What the events taken in say; proved only when `complete` was given out."""
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
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
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
            body = event.body
            if not isinstance(body, events.Chunk) or body.type != "content" or body.choice:
                continue
            if body.delta:
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
            if self._failure is not None:
                raise self._failure
            while event is None and not self._has.ended:
                if not self._entered or self._link.closed:
                    raise errors.ClientError("The answer, or its client, is closed.")
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
        headers = (ACCEPT, ("Last-Event-ID", after)) if after else (ACCEPT,)
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
        event = self._has.take(frame, events.now_ms())
        if self._has.furthest > furthest:
            self._tries.progress()
        # A response that has brought the end is left to end by itself: a reader that was
        # served to the end shall not look like one that ran away.
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

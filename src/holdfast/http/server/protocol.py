"""One client's socket, as uvicorn reads it, with what it does not have.

Strategy: one subclass of uvicorn's HTTP protocol gives what ASGI does not have: word of a lost
socket without a waiting task, how much is still unsent, an end of the response that the
client can tell from a finished one. It reaches the application through the scope (`http.sockets`),
so the application runs on any other ASGI server too, with a task for the first, without the
second, and with that server's own way of breaking off for the third. It also limits what
uvicorn does not: the size of a request's head, how long a request takes to come, which ends a body
that drips as well, how many requests wait behind one that is answered, and how long
a client may not take its answer; an event stream has a patience of its own. It tells the `door`,
which has the limits of all sockets together, what becomes of this one. An answer that is there
before its request is whole ends the connection, so that nobody reads on what nobody wants. A
request that two servers could read in two ways is refused (`framing`), and a path is what stood
on the wire: nothing is decoded, so it has one spelling. The kernel looks whether the other side
is still there.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from holdfast.http import sockets
from holdfast.http.server import door, framing
from holdfast.transport import liveness

HIGH_WATER = 16 * 1024
"""Bytes that we hold for a client before the next page waits."""

REQUEST_SECONDS = 60.0
"""For a whole request to come, the first one from the connection on."""

BODY_BYTES = 4 * 1024 * 1024
"""Of a body, for which there is as much time again."""

MAX_PIPELINED = 8
"""Requests that wait behind one that is answered; one network read could bring thousands."""

FLUSH_SECONDS = 60.0
"""In which a client is to take something of what waits for it, of a response that has ended as
well."""

LINGER_SECONDS = 2.0
"""For a client to read an answer that came before its request was whole, and to go."""

LINGER_BYTES = 8 * 1024 * 1024
"""What it may send meanwhile, which nobody keeps."""


class Protocol(HttpToolsProtocol):
    """One client's connection; responses know it as a `sockets.Socket`."""

    lost: Callable[[], None] | None = None
    """What to call, once, when the socket is lost while the response lasts that asked for it."""
    _head: int | None = 0
    """Bytes so far of the head that is coming; None while a body is."""
    _arriving: asyncio.TimerHandle | None = None
    _leaving: asyncio.TimerHandle | None = None
    _refusal: framing.Refusal | None = None
    _keep_alive = False
    """Whether the connection may serve on when the request that is coming is whole."""
    _lingering: int | None = None
    """Bytes that came since our side was ended; None before."""
    tenant = ""
    """Whose request was let in last."""
    _brought = 0
    """Bytes of a body that came since its request is awaited."""
    _begun: RequestResponseCycle | None = None
    """The response that is under way: uvicorn's `cycle` is the newest request's."""

    def __init__(self, *args: Any, door: door.Door, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._door = door

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._door.enter(self):
            self.give_way()
            return
        accepted = transport.get_extra_info("socket")
        liveness.probe(accepted)
        sockets.bound_unsent(accepted)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self._await_request()

    def give_way(self) -> None:
        """Closes without a word: a status would stop an EventSource for ever, this does not."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._lingering is not None:
            self._lingering += len(data)
            if self._lingering > LINGER_BYTES:
                self.transport.abort()
            return
        if self._head is not None:
            self._head += len(data)
            self._await_request()
        super().data_received(data)
        if self._lingering is not None or self.transport.is_closing():
            return
        if self._head is None:
            self._brought += len(data)
            if self._body_is_wanted():
                self._door.took_body(self, len(data))
        elif self._head > framing.MAX_HEAD:
            self._refuse(framing.TOO_LARGE)
        elif self._head or self.pipeline:
            self._door.took(self, len(data))

    def send_400_response(self, msg: str) -> None:
        """What uvicorn does where the parser stops."""
        self._refuse(self._refusal or framing.MALFORMED)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = self._head or 1  # it may be the rest of a read that brought another one
        self._await_request()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is None:
            return  # behind the body, where it would be taken for one that came before
        if len(self.headers) >= framing.MAX_FIELDS:
            self._give_up(framing.TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        version, upgrade = self.parser.get_http_version(), self.parser.should_upgrade()
        refusal = framing.refusal(version, self.url, self.headers, upgrade)
        if refusal is not None:
            self._give_up(refusal)
        if len(self.pipeline) >= MAX_PIPELINED:
            self._give_up(framing.TOO_LARGE)  # which is not said: it is another answer's turn
        super().on_headers_complete()
        self._head = None
        self.scope["path"] = self.scope["raw_path"].decode("ascii")
        # Weak, because the cycle has the scope: what is over is freed without the collector.
        ends = weakref.ref(self), weakref.ref(self.cycle)
        self.scope["extensions"] = {sockets.EXTENSION: ends}  # type: ignore[dict-item]
        # Until the request is whole its answer ends the connection.
        self._keep_alive = self.cycle.keep_alive and not upgrade
        self.cycle.keep_alive = False
        if version == "1.0":
            self.cycle.waiting_for_100_continue = False  # which it does not know
        self.cycle.transport = sockets.Early(self)  # type: ignore[assignment]
        self.refuse_pipelining()

    def _give_up(self, refusal: framing.Refusal) -> NoReturn:
        """Ends the parser's work from within one of its calls."""
        self._refusal = refusal
        raise ValueError(refusal.why)

    def on_body(self, body: bytes) -> None:
        if self._body_is_wanted():
            super().on_body(body)

    def _body_is_wanted(self) -> bool:
        """Whether it may still be read: an answer that has begun does not ask for more."""
        return self.lost is None and not self.cycle.response_started

    def on_message_complete(self) -> None:
        self._head = 0
        _cancel(self._arriving)
        self._arriving = None
        self._is_taken()
        if self.flow.write_paused:
            self._door.waits(self)
        self.cycle.transport = self.transport
        if not self.cycle.response_started:  # else its head has told the client
            self.cycle.keep_alive = self._keep_alive
        super().on_message_complete()

    def _answering(self) -> bool:
        """Whether there is an answer still to come to a request that is whole."""
        cycle = self.cycle
        if self.pipeline or cycle is None or cycle.response_complete:
            return bool(self.pipeline)
        return not cycle.more_body

    def _is_taken(self) -> None:
        """The door learns of an answer that is on its way, if the client takes what it is told."""
        if not self.flow.write_paused:
            _cancel(self._leaving)
            self._door.answers(self)
            self._holds_no_more()

    def _holds_no_more(self) -> None:
        """The door learns that nothing waits of what came."""
        if not self.pipeline and self._head == 0:
            self._door.forget(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.lost is None:
            self.flush()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._door.took_answers(self)
        if self.transport.is_closing():
            return
        if self._answering():
            self._is_taken()
        elif self._is_idle():
            _cancel(self.timeout_keep_alive_task)
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _is_idle(self) -> bool:
        """Whether its last answer is over, and nothing comes."""
        over = self.cycle is not None and self.cycle.response_complete
        return over and self._head == 0 and self._lingering is None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._begun = cycle
        super()._start_asgi_task(cycle, app)

    def _await_request(self) -> None:
        if self._arriving is None:
            self._brought = 0
            self._arriving = self.loop.call_later(REQUEST_SECONDS, self._request_is_late)

    def _request_is_late(self) -> None:
        self._arriving = None
        if self._answering() or self._brought >= BODY_BYTES:
            self._await_request()  # or it is the next one that is late, and the answer may go on
        else:
            self.transport.abort()

    def _refuse(self, refusal: framing.Refusal) -> None:
        """Ends the connection for what cannot be read, and says why if that is whose turn it
        is: in the middle of another answer it would be taken for a part of that."""
        if self._lingering is not None or self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.waiting_for_100_continue = False  # who asks for the body is told how it ended
            if cycle.response_started or self._answering():
                self.transport.abort()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.write(framing.answer(refusal))
        self.linger()

    def linger(self) -> None:
        """Ends our side. What the client still sends is let go for a while: a connection that is
        closed over it is reset, and the client may never see what it was told."""
        if self._lingering is not None or self.transport.is_closing():
            return
        self._lingering = 0
        self._door.whole(self)
        self._door.waits(self)
        self.transport.write_eof()
        self.flow.resume_reading()
        self.flush()
        _cancel(self._arriving)
        self._arriving = self.loop.call_later(LINGER_SECONDS, self._linger_on)

    def _linger_on(self) -> None:
        """Goes, but not while the answer leaves: `_look` sees to that."""
        if self.transport.get_write_buffer_size():
            self._arriving = self.loop.call_later(LINGER_SECONDS, self._linger_on)
        else:
            self.transport.abort()

    def shutdown(self) -> None:
        self._keep_alive = False
        super().shutdown()

    def reads(self) -> None:
        """Somebody reads the body, if one is coming."""
        if self._head is None:
            self._door.sends(self)

    def tell_of_loss(self, lost: Callable[[], None]) -> None:
        """Calls back when the socket is lost while this response lasts. Of its own request
        nothing more is read: who reads nothing would hear nothing of a loss."""
        self.lost = lost
        self._door.whole(self)
        self.cycle.body.clear()
        self.flow.resume_reading()
        self.refuse_pipelining()

    def refuse_pipelining(self) -> None:
        """Ends a connection where a request waits behind a response that asked for `lost`: as
        nothing is read meanwhile, nobody would learn that the client has gone."""
        if self.lost is not None and self.pipeline:
            self.transport.abort()

    def on_response_complete(self) -> None:
        self.lost = None
        super().on_response_complete()
        if self._lingering is not None or self.flow.write_paused or self._head:
            # The next request is awaited from when it can be; or it comes, and has its own time.
            _cancel(self.timeout_keep_alive_task)
        if self._lingering is None and not self._answering() and not self.transport.is_closing():
            self._door.waits(self)
        self._holds_no_more()
        # With a request behind it, it is the next response that sees to what is left.
        if self.cycle is not None and self.cycle.response_complete:
            self.flush()

    def flush(self) -> None:
        """Sees to it that what waits for the client leaves: until then it may give way."""
        _cancel(self._leaving)
        kept = self.transport.get_write_buffer_size()
        if kept:
            self._look_later(sockets.unsent(self.transport))
            self._door.waits(self)
            self._door.keeps(self, kept)

    def _look_later(self, unsent: int) -> None:
        self._leaving = self.loop.call_later(FLUSH_SECONDS, self._look, unsent)

    def _look(self, before: int) -> None:
        """Ends who has taken nothing since that much was unsent."""
        if not self.transport.get_write_buffer_size():
            self._door.took_answers(self)
            return
        unsent = sockets.unsent(self.transport)
        if unsent < before:
            self._look_later(unsent)
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._door.leave(self)
        _cancel(self._arriving)
        _cancel(self._leaving)
        if self._begun is not None:  # uvicorn tells the newest request alone
            self._begun.disconnected = True
            self._begun.message_event.set()
            self._begun = None
        # What was never begun still refers to us, and would wait for the garbage collector.
        self.cycle = None  # type: ignore[assignment]
        self.pipeline.clear()
        _cancel(self.timeout_keep_alive_task)
        lost, self.lost = self.lost, None
        if lost is not None:
            lost()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()

"""`AsyncClient`: what a program holds to ask one server for answers.

Strategy: every method checks what it was given and builds a request; the work is elsewhere.
Whatever asks for an answer is made before it is entered, so that a mistake of the caller shows
at the call and not behind the network.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib import parse

import msgspec

from holdfast import errors, events, transport
from holdfast.client import link, reading, received, reconnect, response

_STREAM_PATH = re.compile(r"/v1/streams/([^/?#]*)(?:/events)?/?")


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
        give_up_at_first: float | None = None,
        read_timeout: float = 45.0,
        connect_timeout: float = transport.CONNECT_TIMEOUT,
        max_buffer: int = 256 * 1024,
        max_answer: int = received.MAX_ANSWER,
        ca_file: Path | str | None = None,
        proxies: transport.Proxies | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Times in seconds: without a connection since the last new event, until `GaveUp`;
        the same for the first connection, if it is to be another (0: one try); without a
        byte, until the connection counts as cut (three heartbeats of the server); for
        connecting. Sizes in bytes, for each answer: events that wait for the iterator,
        and all of its events. `ca_file`: certificates (PEM) that https is trusted by beside the
        system's. `proxies`: the ways to the server, none by default: no variable of the
        environment is read here. `clock`, `sleep` and `draw` (from [0, 1)) are for
        tests. One client serves one event loop after the other.

        Raises InvalidField for a URL or a key that cannot be sent, and SettingsError for a
        `ca_file` without certificates.
        """
        self._max_answer = max_answer
        self._link = link.Link(
            base_url,
            api_key,
            tries=reconnect.Limits(give_up_after=give_up_after, give_up_at_first=give_up_at_first),
            limits=response.Limits(read_timeout=read_timeout, max_buffer=max_buffer),
            connect_timeout=connect_timeout,
            ca_file=None if ca_file is None else Path(ca_file),
            proxies=proxies,
            clock=clock,
            sleep=sleep,
            draw=draw,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every connection; answers under way stay on the server. Idempotent."""
        self._link.closed = True
        await self._link.transport.close()

    def stream(
        self,
        /,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]] | None = None,
        prompt: str | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> reading.AnswerStream:
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
        ask = self._link.request("POST", "/v1/streams", reading.ACCEPT, *headers, body=body)
        return reading.AnswerStream(self._link, self._received("", events.BEGIN), ask)

    def resume(
        self, stream: str, after: events.Position | str | None = None
    ) -> reading.AnswerStream:
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
        return reading.AnswerStream(self._link, self._received(stream_id, after or events.BEGIN))

    async def get(self, stream: str) -> dict[str, Any]:
        """The snapshot of a stream, as `GET /v1/streams/{id}` gives it.

        Takes and raises what `resume` does, and RequestRefused, GaveUp and ClientError.
        """
        return await self._link.call("GET", f"/v1/streams/{self._stream_id(stream)}")

    async def timeline(self, stream: str) -> dict[str, Any]:
        """What happened to a stream and who read it, as `GET /v1/streams/{id}/timeline` gives it.

        Takes and raises what `get` does.
        """
        return await self._link.call("GET", f"/v1/streams/{self._stream_id(stream)}/timeline")

    async def cancel(self, stream: str) -> dict[str, Any]:
        """Asks that the stream ends; the readers' terminal event says when it has.

        Idempotent. Takes, gives and raises what `get` does; {} where the server says nothing.
        """
        return await self._link.call("POST", f"/v1/streams/{self._stream_id(stream)}/cancel")

    async def link(self, stream: str) -> str:
        """A signed URL of a stream's events, for who can set no header, as a browser's
        `EventSource`: whoever has it may read this answer.

        Takes and raises what `get` does.
        """
        path = f"/v1/streams/{self._stream_id(stream)}/links"
        url = (await self._link.call("POST", path)).get("url")
        # Where the server is mounted stands before it, as it does in the base URL.
        _, known, rest = url.rpartition("/v1/streams/") if isinstance(url, str) else ("", "", "")
        if not known:
            raise errors.ClientError("The server's answer holds no URL of a stream.")
        return f"{self._link.base_url}{known}{rest}"

    async def streams(
        self,
        *,
        status: events.Status | None = None,
        client_id: str | None = None,
        session_id: str | None = None,
        created_from: int | None = None,
        created_to: int | None = None,
        limit: int | None = None,
        before: str | None = None,
    ) -> dict[str, Any]:
        """A page of the caller's streams, newest first, as `GET /v1/streams` gives it.

        `streams` holds the entries; `next`, unless it is None, is the `before` of the page
        after this one. Times in ms since 1970; `limit` entries at most, 50 without it. Raises
        RequestRefused, GaveUp and ClientError.
        """
        asked = {
            "status": status,
            "client_id": client_id,
            "session_id": session_id,
            "from": created_from,
            "to": created_to,
            "limit": limit,
            "before": before,
        }
        query = parse.urlencode({k: v for k, v in asked.items() if v is not None}, errors="replace")
        return await self._link.call("GET", "/v1/streams" + (f"?{query}" if query else ""))

    async def shred(self, stream: str) -> bool:
        """Destroys a stream for ever, as `DELETE /v1/streams/{id}` does; what is under way is
        cancelled first. False: its end is not visible yet, so ask again.

        Takes and raises what `get` does.
        """
        return not await self._link.call("DELETE", f"/v1/streams/{self._stream_id(stream)}")

    async def seal(self, *, counts: bool = True) -> dict[str, Any]:
        """Which keys there are and how many streams lie under them, as `GET /v1/seal` gives it;
        without `counts` they are not counted. This and the two below are for keys with the scope
        `admin`; raises RequestRefused, GaveUp, ClientError.
        """
        return await self._link.call("GET", "/v1/seal" if counts else "/v1/seal?counts=false")

    async def rewrap(self) -> dict[str, Any]:
        """Begins to bring everything under the present keys; `seal` tells how far that is."""
        return await self._link.call("POST", "/v1/seal/rewrap")

    async def shred_tenant(self, tenant: str) -> dict[str, Any]:
        """Begins to destroy all streams of a tenant; `seal` tells how far that is."""
        body = msgspec.json.encode({"tenant": tenant})
        return await self._link.call("POST", "/v1/seal/shred", body)

    def _received(self, stream_id: str, after: events.Position) -> received.Received:
        return received.Received(stream_id, after, max_answer=self._max_answer)

    def _stream_id(self, stream: str) -> events.StreamId:
        if "/" not in stream:
            return events.stream_id(stream)
        # A Location holds the whole URL, or its path from the root.
        base = self._link.base_url
        path = stream.removeprefix(base).removeprefix(parse.urlsplit(base).path)
        match = _STREAM_PATH.fullmatch(path)
        if match is None:
            raise errors.InvalidField(f"This is no URL of a stream of {base}.")
        return events.stream_id(match[1])

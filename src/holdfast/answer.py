"""The answer as a fold over a stream's events, and the proof of its text.

Strategy: who shows an answer (the service, the client, a test) folds the same events with
the same function, so nobody keeps a second account of what was said. A `rewind` forgets
what the design says it forgets. Text is gathered in lists and joined when it is asked for,
so that a long answer costs no copies.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from holdfast import errors, events


class Proof:
    """UTF-8 length and SHA-256 of a text that grows; `reset` at a rewind."""

    __slots__ = ("_sha", "length")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.length = 0
        self._sha = hashlib.sha256()

    def add(self, text: str) -> int:
        """Takes more of the text; how many bytes it has in UTF-8."""
        data = text.encode()
        size = len(data)
        self.length += size
        self._sha.update(data)
        return size

    @property
    def sha256(self) -> str:
        return self._sha.hexdigest()


class ToolCall:
    """One tool call; `arguments` is the text that the model wrote, JSON if it wrote JSON."""

    __slots__ = ("_arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self._arguments: list[str] = []

    def add(self, chunk: events.Chunk) -> None:
        self.id = chunk.id or self.id
        self.name = chunk.name or self.name
        self._arguments.append(chunk.delta)

    @property
    def arguments(self) -> str:
        return "".join(self._arguments)


class Choice:
    """What one choice holds since the last rewind."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {"content": [], "reasoning": [], "refusal": []}
        self.tool_calls: dict[int, ToolCall] = {}
        self.finish_reason: events.FinishReason | None = None
        self.provider_finish_reason: str | None = None

    def add(self, chunk: events.Chunk) -> None:
        if chunk.type == "tool_call":
            self.tool_calls.setdefault(chunk.call or 0, ToolCall()).add(chunk)
        elif chunk.type in self._texts:
            self._texts[chunk.type].append(chunk.delta)

    @property
    def content(self) -> str:
        return "".join(self._texts["content"])

    @property
    def reasoning(self) -> str:
        return "".join(self._texts["reasoning"])

    @property
    def refusal(self) -> str:
        return "".join(self._texts["refusal"])


CallStatus = Literal["running", "completed", "failed", "cancelled"]


class Call:
    """One provider call. `error` is a code; times in milliseconds since 1970, for people."""

    def __init__(self, number: int, provider: str, model: str, begun_at: int) -> None:
        self.number, self.provider, self.model = number, provider, model
        self.status: CallStatus = "running"
        self.error: str | None = None
        self.message = ""
        self.usage: events.Tokens | None = None
        self.begun_at, self.duration_ms = begun_at, 0

    def end(self, status: CallStatus, at: int, error: str | None = None, message: str = "") -> None:
        """Only the first end counts."""
        if self.status == "running":
            self.status, self.error, self.message = status, error, message
            self.duration_ms = max(0, at - self.begun_at)


class Answer:
    """Folds events, the first one first. After a durable `rewind` the next try follows, after
    a transient one the stream's first event: nothing is counted twice. `calls` are all provider
    calls, `attempts` the events of those that failed; `usage` is of the latest."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.status: events.Status = "pending"
        self.position = events.BEGIN
        self.start: events.Start | None = None
        self.usage: events.Tokens | None = None
        self.complete: events.Complete | None = None
        self.error: events.Error | None = None
        self.citations: list[events.Citation] = []
        self.calls: list[Call] = []
        self.attempts: list[events.Attempt] = []
        self.fallbacks: list[events.Fallback] = []
        self.chunks = 0
        self.created_at = 0
        self.first_chunk_at: int | None = None
        self.ended_at: int | None = None
        self._choices: dict[int, Choice] = {}

    def choice(self, number: int = 0) -> Choice:
        """The choice of this number; empty where nothing was said yet."""
        return self._choices.setdefault(number, Choice())

    @property
    def choices(self) -> dict[int, Choice]:
        return self._choices

    def add(self, event: events.Event) -> None:
        """Takes one more event. Raises `msgspec.DecodeError` on a body of a wrong shape."""
        if event.seq:
            self.position = event.position
            self.status = events.advance(self.status, event)
        body = event.body
        match body:
            case events.Chunk():
                self.chunks += 1
                if self.first_chunk_at is None:
                    self.first_chunk_at = event.ts
                self.choice(body.choice).add(body)
            case events.Start():
                self.start, self.created_at = body, event.ts
                self.calls = [Call(1, body.provider, body.model, event.ts)]
            case events.Rewind() if event.seq:
                self._choices.clear()
                self.citations.clear()
            case events.Rewind():
                self._begin()
            case events.Complete() | events.Error():
                self._end(body, event.ts)
            case events.Attempt():
                self._call(body, event.ts)
            case events.Adopted():
                self._end_call("failed", event.ts, events.failure(errors.Interrupted()))
                ended = [choice.finish_reason is not None for choice in self._choices.values()]
                if not (ended and all(ended)):  # else its cost may not be told again
                    self.usage = None
            case _:
                self._note(body)

    def _end(self, body: events.Complete | events.Error, ts: int) -> None:
        self.ended_at = ts
        if isinstance(body, events.Error):
            self.error = body
            cancelled = body.code == errors.Cancelled.code
            self._end_call("cancelled" if cancelled else "failed", ts, None if cancelled else body)
            return
        self.complete = body
        self.usage = body.usage or self.usage
        if self.calls:
            # Also where its writer died before it could say so.
            self.calls[-1].status = "running"
            self.calls[-1].usage = self.usage
        self._end_call("completed", ts)

    def _call(self, attempt: events.Attempt, ts: int) -> None:
        if attempt.error:
            self.attempts.append(attempt)
            if self.calls and self.calls[-1].number == attempt.number:
                self.calls[-1].end("failed", ts, attempt.error, attempt.message)
                self.calls[-1].duration_ms = attempt.duration_ms
                self.calls[-1].usage = attempt.usage
            self.usage = None
            return
        call = Call(attempt.number, attempt.provider, attempt.model, ts)
        # The stream's start told of a first call that went to somebody else then.
        self.calls = [one for one in self.calls if one.number != attempt.number] + [call]

    def _end_call(self, status: CallStatus, ts: int, error: events.Error | None = None) -> None:
        if self.calls:
            code, message = (error.code, error.message) if error else (None, "")
            self.calls[-1].end(status, ts, code, message)

    def _note(self, body: events.Body) -> None:
        match body:
            case events.Finish():
                choice = self.choice(body.choice)
                choice.finish_reason = body.finish_reason
                choice.provider_finish_reason = body.provider_finish_reason
            case events.Usage():
                self.usage = body.tokens
                if self.calls:
                    self.calls[-1].usage = body.tokens
            case events.Citation():
                self.citations.append(body)
            case events.Fallback():
                self.fallbacks.append(body)

"""Events as a provider's translator makes them, and the chunks that a fold makes of them.

Strategy: what the stock client accumulates is asked of the stock client: its accumulator takes
chunks as it gets them from a stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from holdfast import events, storage
from holdfast.dialects import openai_chat

STREAM = events.stream_id("5treamOfTheTestsABCDEFGHIJ")
DIALECT = openai_chat.Dialect()
START = events.Start(STREAM, "r", "p", "m", "2026-11-01T00:00:00.000Z")

Chunk = dict[str, Any]


def header(**terms: Any) -> storage.Header:
    """A stream's header; `terms` as `stream_options` make them."""
    packed = json.dumps({"padded": False, **terms}).encode()
    return storage.Header(
        owner="", created_at=1_795_000_000_123, provider="p", model="p/m", terms=packed
    )


def numbered(bodies: Iterable[events.Body]) -> list[events.Event]:
    """The events of a stream, as they are read back."""
    drafts = map(events.draft, bodies)
    return [events.Event(one.kind, one.data, 1, seq, 0) for seq, one in enumerate(drafts, 1)]


def extra(**fields: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(fields).encode())


def finish(
    reason: events.FinishReason = "stop", word: str | None = None, choice: int = 0
) -> events.Finish:
    return events.Finish(choice, reason, word)


def complete(reason: events.FinishReason = "stop", **fields: Any) -> events.Complete:
    """An end that is good."""
    given: dict[str, Any] = {"provider_finish_reason": None, "usage": None, "chunks": 1, "bytes": 1}
    proof = {"length": 1, "sha256": "", "duration_ms": 1, "attempts": 1, "exact": True}
    return events.Complete(reason, **(given | proof | fields))


def frames(*bodies: events.Body, **terms: Any) -> bytes:
    """All that a fold says of these events, after `start`."""
    fold = DIALECT.fold(STREAM, header(**terms))
    return b"".join(map(fold.render, numbered([START, *bodies])))


def chunks(data: bytes) -> list[Any]:
    """The values in whole frames; the end marker as text."""
    *blocks, rest = data.split(b"\n\n")
    assert rest == b""
    found: list[Any] = []
    for block in blocks:
        assert block.startswith(b"data: ")
        assert b"\n" not in block
        said = block.removeprefix(b"data: ")
        found.append("[DONE]" if said == b"[DONE]" else json.loads(said))
    return found


def deltas(*bodies: events.Body) -> list[Any]:
    """The deltas of the chunks that these events make, without the one of the role."""
    told = chunks(frames(*bodies))
    return [one["choices"][0]["delta"] for one in told if one != "[DONE]"][1:]


def accumulated(data: bytes) -> Chunk:
    """What the stock client makes of frames that end well."""
    state: Any = ChatCompletionStreamState()
    for chunk in chunks(data):
        if chunk != "[DONE]":
            state.handle_chunk(ChatCompletionChunk.construct(**chunk))
    made: Chunk = json.loads(state.current_completion_snapshot.model_dump_json(exclude_unset=True))
    return made


def whole(*bodies: events.Body, **terms: Any) -> Chunk:
    """The same events as one value."""
    made = DIALECT.whole(STREAM, header(**terms))
    for event in numbered([START, *bodies]):
        made.add(event)
    value: Chunk = json.loads(made.body())
    return value

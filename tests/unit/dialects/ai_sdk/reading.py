"""A page that reads a UI message stream: by the rules of the stock clients, and no code of ours.

Strategy: a frame is one `data:` line; a chunk of an unknown type, a delta of a part that is not
open, and anything behind the end are errors, as they are in `ai` 5, 6 and 7 or worse.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from holdfast import events, storage

STREAM = events.stream_id("5treamOfTheTestsABCDEFGHIJ")
HEADER = storage.Header(owner="", created_at=0, provider="p", model="m")
START = events.Start(STREAM, "r", "p", "m", "2026-11-01T00:00:00.000Z")
ENDS = ("finish", "abort", "error")

Chunk = dict[str, Any]


def numbered(bodies: Iterable[events.Body]) -> list[events.Event]:
    """The events of a stream, as they are read back."""
    drafts = map(events.draft, bodies)
    return [events.Event(one.kind, one.data, 1, seq, 0) for seq, one in enumerate(drafts, 1)]


def complete(reason: events.FinishReason = "stop", **fields: Any) -> events.Complete:
    """An end that is good."""
    given: dict[str, Any] = {"provider_finish_reason": None, "usage": None, "chunks": 1, "bytes": 1}
    proof = {"length": 1, "sha256": "", "duration_ms": 1, "attempts": 1, "exact": True}
    return events.Complete(reason, **(given | proof | fields))


def chunks(frames: bytes) -> list[Chunk]:
    """The chunks of whole frames; `[DONE]` is one of the type `done`."""
    *blocks, rest = frames.split(b"\n\n")
    assert rest == b""
    found = []
    for block in blocks:
        assert block.startswith(b"data: ")
        assert b"\n" not in block
        data = block.removeprefix(b"data: ")
        found.append({"type": "done"} if data == b"[DONE]" else json.loads(data))
    return found


def message(told: list[Chunk]) -> dict[str, Any]:
    """What a page makes of these chunks."""
    made: dict[str, Any] = {"id": "", "role": "assistant", "parts": []}
    active: dict[tuple[str, str], Chunk] = {}
    calls: dict[str, Chunk] = {}
    for chunk in told:
        match chunk:
            case {"type": "start", "messageId": id}:
                made["id"] = id
            case {"type": "start-step"}:
                made["parts"].append({"type": "step-start"})
            case {"type": "text-start" | "reasoning-start" as kind, "id": id}:
                kind = kind.removesuffix("-start")
                assert not any(each[0] == kind for each in active)
                active[kind, id] = {"type": kind, "text": "", "state": "streaming"}
                made["parts"].append(active[kind, id])
            case {"type": "text-delta" | "reasoning-delta" as kind, "id": id, "delta": delta}:
                active[kind.removesuffix("-delta"), id]["text"] += delta
            case {"type": "text-end" | "reasoning-end" as kind, "id": id}:
                active.pop((kind.removesuffix("-end"), id))["state"] = "done"
            case {"type": "tool-input-start", "toolCallId": id, "toolName": name}:
                assert id not in calls
                calls[id] = {"type": f"tool-{name}", "toolCallId": id, "state": "input-streaming"}
                made["parts"].append(calls[id])
            case {"type": "tool-input-delta", "toolCallId": id, "inputTextDelta": str()}:
                assert calls[id]["state"] == "input-streaming"
            case {"type": "tool-input-available", "toolCallId": id, "input": said, **more}:
                calls[id] |= {"state": "input-available", "input": said} | _beside(more)
            case {"type": "tool-input-error", "toolCallId": id, "input": said, **more}:
                failed = {"rawInput": said, "errorText": more["errorText"]}
                calls[id] |= {"state": "output-error", **failed} | _beside(more)
            case {"type": "source-url", "sourceId": str(), "url": str()}:
                made["parts"].append(chunk)
            case {"type": "finish", "finishReason": _, **more}:
                made |= {"metadata": more["messageMetadata"]} if more else {}
            case {"type": "finish-step" | "abort" | "error" | "done"}:
                pass
            case _:
                raise AssertionError(f"no page knows {chunk}")
    return made


def _beside(chunk: Chunk) -> Chunk:
    """What a page keeps with a call."""
    found = chunk.get("providerMetadata")
    return {"callProviderMetadata": found} if found else {}

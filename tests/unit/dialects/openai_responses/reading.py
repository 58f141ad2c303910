"""A client that reads the frames of a response by the words of OpenAI's reference, with no code of
ours.

Strategy: `Reader` builds the output from the small events alone, and holds every event that says
something again (a text that is done, an item, the response at the end) to what it has built.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from holdfast import events, storage

STREAM = events.stream_id("5treamOfTheTestsABCDEFGHIJ")
HEADER = storage.Header(owner="", created_at=1_700_000_000_500, provider="p", model="m")
START = events.Start(STREAM, "r", "p", "m", "2026-11-01T00:00:00.000Z")
ENDS = ("response.completed", "response.incomplete", "response.failed")
EPOCH = 1 << 16
"""Of a stream's first life; the random part is 0."""

Fields = dict[str, Any]


def header(**terms: Any) -> storage.Header:
    """A header with these terms; lengths are not hidden, unless they say so."""
    packed = msgspec.json.encode({"padded": False, **terms})
    return msgspec.structs.replace(HEADER, terms=packed)


def numbered(bodies: Iterable[events.Body], claims: Iterable[int] = ()) -> list[events.Event]:
    """The events of a stream, as they are read back. Behind each of the seqs in `claims` another
    life writes."""
    found, epoch, lost = [], EPOCH, set(claims)
    for seq, body in enumerate(bodies, 1):
        draft = events.draft(body)
        found.append(events.Event(draft.kind, draft.data, epoch, seq, 0))
        epoch += EPOCH if seq in lost else 0
    return found


def complete(reason: events.FinishReason = "stop", **fields: Any) -> events.Complete:
    """An end that is good."""
    given: Fields = {"provider_finish_reason": None, "usage": None, "chunks": 1, "bytes": 1}
    proof = {"length": 1, "sha256": "", "duration_ms": 2000, "attempts": 1, "exact": True}
    return events.Complete(reason, **(given | proof | fields))


def content(text: str, **fields: Any) -> events.Chunk:
    return events.Chunk("content", text, **fields)


def raw(**fields: Any) -> msgspec.Raw:
    """An `extra`."""
    return msgspec.Raw(msgspec.json.encode(fields))


def told(frames: bytes) -> list[Fields]:
    """The events of whole frames."""
    *blocks, rest = frames.split(b"\n\n")
    assert rest == b""
    found = []
    for block in blocks:
        name, data = block.split(b"\n")
        fields = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + fields["type"].encode()
        found.append(fields)
    return found


class Reader:
    """`output` is what the deltas come to, by `output_index`."""

    def __init__(self) -> None:
        self.output: dict[int, Fields] = {}
        self.done: dict[int, Fields] = {}
        self.response: Fields = {}
        self.ended = False

    def read(self, said: Iterable[Fields]) -> Reader:
        for event in said:
            assert not self.ended, event
            self._take(event)
        return self

    def _take(self, event: Fields) -> None:
        match event["type"].removeprefix("response."):
            case "created" | "queued" | "in_progress":
                self.response = event["response"]
            case "output_item.added":
                assert event["output_index"] == len(self.output)
                self.output[event["output_index"]] = event["item"]
            case "output_item.done":
                item = self.output[event["output_index"]]
                assert same(event["item"], item)
                assert event["output_index"] not in self.done
                self.done[event["output_index"]] = event["item"]
            case "completed" | "incomplete" | "failed":
                self.ended, self.response = True, event["response"]
                self._check_output(event["response"]["output"])
            case "error":
                assert event["error"]["code"] == event["code"]
                assert event["error"]["message"] == event["message"]
            case kind:
                self._in_item(kind, event, self.output[event["output_index"]])

    def _check_output(self, output: list[Fields]) -> None:
        assert len(output) == len(self.output)
        for index, item in enumerate(output):
            assert item == self.done.get(index, item)
            assert same(item, self.output[index])
            if self.response["status"] == "completed":
                assert index in self.done

    def _in_item(self, kind: str, event: Fields, item: Fields) -> None:
        assert event["item_id"] == item["id"]
        assert event["output_index"] not in self.done
        parts = (
            item["summary" if kind.startswith("reasoning") else "content"] if parted(kind) else []
        )
        at: int = next((event[n] for n in ("content_index", "summary_index") if n in event), -1)
        match kind.split("."):
            case ["content_part" | "reasoning_summary_part", "added"]:
                assert at == len(parts)
                parts.append(event["part"])
            case ["content_part" | "reasoning_summary_part", "done"]:
                assert event["part"] == parts[at]
            case ["output_text", "annotation", "added"]:
                assert event["annotation_index"] == len(parts[at]["annotations"])
                parts[at]["annotations"].append(event["annotation"])
            case [lane, "delta"]:
                place, field = (parts[at], TEXTS[lane]) if parts else (item, TEXTS[lane])
                place[field] += event["delta"]
                place.get("logprobs", []).extend(event.get("logprobs", []))
            case [lane, "done"]:
                place = parts[at] if parts else item
                assert event[TEXTS[lane]] == place[TEXTS[lane]]
                assert event.get("logprobs") == place.get("logprobs")
            case _:
                raise AssertionError(kind)


TEXTS = {
    "output_text": "text",
    "refusal": "refusal",
    "reasoning_summary_text": "text",
    "function_call_arguments": "arguments",
    "custom_tool_call_input": "input",
}


def parted(kind: str) -> bool:
    """Whether what is said so is a part of its item."""
    return not kind.startswith(("function_call", "custom_tool_call"))


def same(whole: Fields, built: Fields) -> bool:
    """Whether an item is what was built of it; its status goes on, and what a provider sealed
    comes only at the end."""
    if whole["type"] == "reasoning":
        return bool(whole["id"] == built["id"])
    return {**whole, "status": ""} == {**built, "status": ""}

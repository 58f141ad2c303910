"""What a frame of a Responses stream is: text, an item, the end, or an error.

Strategy: the `type` in the data decides; where there is none, the event's name. A delta that
goes on where the last one stopped takes the shortest way; the other types that matter have a
function each, in `READ`, and the rest are left out. The answer ends with its terminal event,
`response.completed`, `incomplete`, `failed` or `cancelled`, and with nothing else: before it,
nothing is finished. Where its name and the `status` inside differ, the worse one counts: some
servers name every end `completed`, and others have a status that they do not keep up.

The shapes of an error after a 200: an event `error`, flat or with an `error` object inside;
`response.failed`; a frame without a type that has a truthy `error`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from holdfast import errors, events, sse
from holdfast.providers import failures, frames, repeated, values
from holdfast.providers.openai_responses import answer, background, items, parts, wire

# Event type to lane. The second names of reasoning are those of the API's first version.
_DELTAS: dict[str, parts.Lane] = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "summary",
    "response.reasoning_summary.delta": "summary",
    "response.reasoning_text.delta": "raw",
    "response.reasoning.delta": "raw",
    "response.function_call_arguments.delta": "call",
    "response.custom_tool_call_input.delta": "call",
}
# Event type to lane and the field that holds the whole text.
_WHOLES: dict[str, tuple[parts.Lane, str]] = {
    "response.output_text.done": ("text", "text"),
    "response.refusal.done": ("refusal", "refusal"),
    "response.reasoning_summary_text.done": ("summary", "text"),
    "response.reasoning_summary.done": ("summary", "text"),
    "response.reasoning_text.done": ("raw", "text"),
    "response.reasoning.done": ("raw", "text"),
    "response.function_call_arguments.done": ("call", "arguments"),
    "response.custom_tool_call_input.done": ("call", "input"),
}
# Type of a content part to the same.
_PARTS: dict[str, tuple[parts.Lane, str]] = {
    "output_text": ("text", "text"),
    "text": ("text", "text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("raw", "text"),
    "summary_text": ("summary", "text"),
}

INCOMPLETE: dict[str, events.FinishReason] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "length": "length",
    "content_filter": "content_filter",
}
"""Why an answer is incomplete, in our words; any other reason is `other`."""

_STATUSES = ("completed", "incomplete", "cancelled", "failed")  # from good to bad
_CARRIERS = frozenset(("added", "delta", "done", "partial_image"))


class Fold(repeated.Never):
    """A `base.Fold`. `keeps`: the provider was asked to keep the answer."""

    def __init__(self, source: failures.Source, *, keeps: bool = False) -> None:
        self.done = False
        self._looks_for_id = keeps
        self.answer = answer.Answer(source)
        self._source = source
        self._usage: events.Usage | None = None
        self._usage_told = False
        self._items_told = False
        self._gathered = 0

    @property
    def finished(self) -> bool:
        """See `base.Fold.finished`."""
        return self.done

    @property
    def gathered(self) -> int:
        """See `base.Fold.gathered`."""
        return self._gathered

    def take(self, frame: sse.Frame, out: list[events.Body]) -> None:
        """See `base.Fold.take`."""
        if self._looks_for_id:
            self._look_for_id(frame, out)
        said = self.answer
        try:
            new = wire.decode(frame.data)
        except (ValueError, RecursionError):
            self._read(frame, out)
            return
        text, part = new.delta, said.running
        key = (new.type, new.output_index, new.content_index, new.summary_index)
        if key == part.key and text and not new.logprobs and not said.halves.held:
            part.length += len(text)
            part.last = (part.last + text)[-parts.MAX_TAIL :]
            out.append(events.Chunk(part.kind, text, 0, part.call))
        elif new.type in READ or not new.type.startswith("response."):
            told = len(out)
            self._read(frame, out)
            if text and len(out) == told:
                self._gathered += len(frame.data)
        else:
            self._leave_out(new.type, frame)

    def release(self, out: list[events.Body]) -> None:
        """See `base.Fold.release`."""
        self.answer.release(out)
        self.tell_usage(out)

    def tell_usage(self, out: list[events.Body]) -> None:
        """See `base.Fold.tell_usage`."""
        if self._usage is not None and not self._usage_told:
            self._usage_told = True
            out.append(self._usage)

    def _look_for_id(self, frame: sse.Frame, out: list[events.Body]) -> None:
        """Tells under which id the answer is kept, before anything else is told. An id that only
        comes later is not looked for: each frame would be decoded twice."""
        try:
            body = wire.load(frame)
        except (ValueError, RecursionError):
            return
        response = body.get("response") if isinstance(body, dict) else None
        known = bool(wire.text(response, "id"))
        self._looks_for_id = not known and (wire.text(body, "type") or frame.event) not in READ
        id = background.kept_id(response) if known else None
        if id is not None:
            out.append(events.Kept(id))

    def _read(self, frame: sse.Frame, out: list[events.Body]) -> None:
        """Any frame but a delta that goes on."""
        try:
            body = wire.load(frame)
        except (ValueError, RecursionError):
            self._read_text(frame)
            return
        type = wire.text(body, "type") or frame.event
        read = READ.get(type)
        if type in ("error", "response.error"):
            raise self._source.in_stream(body)
        if isinstance(body, dict) and read is not None:
            body["type"] = type
            read(self, body, out)
        elif not type.startswith("response.") and failures.reports_error(body):
            raise self._source.in_stream(body)
        elif not isinstance(body, dict) and (type == "message" or read is not None):
            raise self._source.malformed("an event is not of its format.")
        else:
            self._leave_out(type, frame)

    def _leave_out(self, type: str, frame: sse.Frame) -> None:
        """A frame that is not told. It may be a piece of an item that is told when it is
        complete, such as the code of an interpreter; a state, such as `in_progress`, is not."""
        if type.startswith("response.") and type.rpartition(".")[2] in _CARRIERS:
            self._gathered += len(frame.data)

    def _read_text(self, frame: sse.Frame) -> None:
        """A frame that is no JSON."""
        text = frame.text.strip()
        if frame.event == "error":
            raise self._source.in_stream(text)
        if text == frames.DONE:
            raise self._source.broke_off(errors.ProviderInterrupted, "no final event")
        if text and (frame.event == "message" or frame.event.startswith("response.")):
            raise self._source.malformed("an event is not of its format.")

    def _delta(self, body: dict[str, Any], out: list[events.Body]) -> None:
        type, text = wire.text(body, "type"), body.get("delta")
        extra: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
        if text is not None and not isinstance(text, str):
            raise self._source.malformed("a delta is no text.")
        if isinstance(body.get("logprobs"), list) and body["logprobs"]:
            extra = values.extra(logprobs=body["logprobs"])
        output = wire.number(body, "output_index")
        content, summary = wire.number(body, "content_index"), wire.number(body, "summary_index")
        place = (self.answer.index(body), _DELTAS[type], content or summary or 0)
        key = (type, output, content, summary) if output is not None else None
        self.answer.go_on(place, text or "", out, key, extra)

    def _whole(self, body: dict[str, Any], out: list[events.Body]) -> None:
        lane, field = _WHOLES[wire.text(body, "type")]
        index = self.answer.index(body)
        if lane == "call":
            self.answer.end_call(index, wire.arguments(body, field), out)
            return
        self._settle(index, lane, _number(body), wire.text(body, field), out)

    def _settle(
        self, index: int, lane: parts.Lane, number: int, whole: str, out: list[events.Body]
    ) -> None:
        part = self.answer.part(index, lane, number, whole) if whole else None
        if part is not None:
            self.answer.settle(part, whole, out)

    def _part_done(self, body: dict[str, Any], out: list[events.Body]) -> None:
        part, index = body.get("part"), self.answer.index(body)
        found = _PARTS.get(wire.text(part, "type"))
        if found is not None:
            lane, field = found
            self._settle(index, lane, _number(body), wire.text(part, field), out)
            for annotation in wire.objects(part, "annotations"):
                self.answer.cite((index, _number(body)), annotation, out)

    def _cite(self, body: dict[str, Any], out: list[events.Body]) -> None:
        annotation = body.get("annotation")
        if isinstance(annotation, dict):
            place = (self.answer.index(body), _number(body))
            self.answer.cite(place, annotation, out)

    def _item_added(self, body: dict[str, Any], out: list[events.Body]) -> None:
        item = body.get("item")
        if not isinstance(item, dict):
            return
        index = self.answer.begin_item(body, item)
        type = wire.text(item, "type")
        if type in items.CALLS:
            self.answer.begin_call(index, item, out, anew=True)
        elif type == "message" and item.get("phase"):
            # Whether it is a commentary or the answer; the next request should tell it again.
            told = {name: item[name] for name in item if name != "content"}
            self.answer.part(index, "text", 0)
            self.answer.keep(index, told, out)

    def _item_done(self, body: dict[str, Any], out: list[events.Body]) -> None:
        item = body.get("item")
        if isinstance(item, dict):
            self._items_told = True
            self._complete(self.answer.index(body), item, out)

    def _complete(self, index: int, item: dict[str, Any], out: list[events.Body]) -> None:
        """An item is complete: says what was not yet said of it."""
        said, type = self.answer, wire.text(item, "type")
        if type == "message":
            for number, part in enumerate(wire.objects(item, "content")):
                done = {"output_index": index, "content_index": number, "part": part}
                self._part_done(done, out)
        elif type == "reasoning":
            said.settle_texts(index, "raw", _texts(item, "content"), out)
            said.settle_texts(index, "summary", _texts(item, "summary"), out)
            if items.worth_keeping(item):
                said.keep(index, item, out)
        elif type in items.CALLS:
            said.begin_call(index, item, out, anew=False)
            said.end_call(index, items.text_of_call(item), out)
        elif type:
            said.keep(index, item, out)

    def _end(self, body: dict[str, Any], out: list[events.Body]) -> None:
        """A terminal event."""
        response = body.get("response")
        response = response if isinstance(response, dict) else {}
        self._usage = _usage(response.get("usage")) or self._usage
        named = wire.text(body, "type").removeprefix("response.")
        status = _STATUSES[max(map(_badness, (named, wire.text(response, "status"))))]
        if status == "failed":
            error = response.get("error") or body.get("error")  # the second is Perplexity's
            raise self._source.in_stream({"error": error or {}})
        if status == "cancelled":
            raise self._source.broke_off(errors.ProviderInterrupted, "it was cancelled")
        self._rest(wire.objects(response, "output"), out)
        self.answer.release(out)
        reason: events.FinishReason
        if status == "incomplete":
            details = response.get("incomplete_details")
            raw = values.word(wire.text(details, "reason")) or status
            reason = INCOMPLETE.get(raw.lower(), "other")
        else:
            raw, reason = status, "stop"
            if self.answer.refused:
                reason = "refusal"
            elif self.answer.waits_for_client:
                reason = "tool_calls"
        out.append(events.Finish(0, reason, raw))
        self.tell_usage(out)
        self.done = True

    def _rest(self, output: list[dict[str, Any]], out: list[events.Body]) -> None:
        """The final response says everything again: what was never said is said.

        Its items may be at other places than they were in the stream, so texts are compared
        over all items, calls by their ids, and other items count where none was told before.
        """
        said, cited, called = self.answer, self.answer.cites, bool(self.answer.calls)
        texts: dict[events.ChunkType, list[str]] = {"reasoning": [], "content": [], "refusal": []}
        for index, item in enumerate(output):
            type = wire.text(item, "type")
            for part in wire.objects(item, "content") if type == "message" else ():
                lane, field = _PARTS.get(wire.text(part, "type"), ("text", ""))
                texts[parts.KINDS[lane]].append(wire.text(part, field))
                for annotation in wire.objects(part, "annotations") if not cited else ():
                    said.cite((index,), annotation, out)
            if type == "reasoning":
                texts["reasoning"] += _texts(item, "content") or _texts(item, "summary")
        for kind, told in texts.items():
            said.end_with(kind, told, out)
        for item in output:
            type = wire.text(item, "type")
            if type in items.CALLS:
                if wire.text(item, "call_id") or not called:
                    self._complete(said.begin_item({}, item), item, out)
            elif not self._items_told and (
                items.worth_keeping(item) if type == "reasoning" else type not in ("message", "")
            ):
                said.keep(said.begin_item({}, item), item, out)


def _badness(status: str) -> int:
    """How bad an end is; one that is not known counts least."""
    return _STATUSES.index(status) if status in _STATUSES else 0


def _number(body: dict[str, Any]) -> int:
    """Which part of its item an event speaks of."""
    return wire.number(body, "content_index") or wire.number(body, "summary_index") or 0


def _texts(item: dict[str, Any], name: str) -> list[str]:
    return [wire.text(part, "text") for part in wire.objects(item, name)]


def _usage(usage: Any) -> events.Usage | None:
    """Token counts; `input_tokens` holds the cached ones, `output_tokens` the reasoning."""
    sent, written = values.tokens(usage, "input_tokens"), values.tokens(usage, "output_tokens")
    if sent is None and written is None:
        return None
    total = values.tokens(usage, "total_tokens")
    return events.Usage(
        input_tokens=sent or 0,
        output_tokens=written or 0,
        total_tokens=(sent or 0) + (written or 0) if total is None else total,
        reasoning_tokens=values.tokens(usage.get("output_tokens_details"), "reasoning_tokens"),
        cached_tokens=values.tokens(usage.get("input_tokens_details"), "cached_tokens"),
    )


READ: dict[str, Callable[[Fold, dict[str, Any], list[events.Body]], None]] = {
    **dict.fromkeys(_DELTAS, Fold._delta),
    **dict.fromkeys(_WHOLES, Fold._whole),
    "response.output_item.added": Fold._item_added,
    "response.output_item.done": Fold._item_done,
    "response.content_part.done": Fold._part_done,
    "response.reasoning_summary_part.done": Fold._part_done,
    "response.output_text.annotation.added": Fold._cite,
    **{f"response.{status}": Fold._end for status in _STATUSES},
}
"""The event types that are read, and what reads them."""

"""What is new in each frame of an interaction, as event bodies.

Strategy: an interaction is a list of steps, each of which begins, comes in deltas and stops.

- `model_output` is text; its pictures, sounds and other contents are `opaque` chunks.
- `thought` is reasoning. Its signature is in an `opaque` chunk when the step stops, as the step
  that the next request gives back.
- `function_call` is a call that the client is to make.
- Any other step is the work of one of Google's own tools: one `opaque` chunk when it stops.

The last status says how the answer ended. A status may change while the interaction goes on, so
it is held until the end: `interaction.completed`, or the marker after it. A body that ends
without them was cut, whatever the status.
"""

from __future__ import annotations

import hashlib
from typing import Any

from holdfast import errors, events, sse
from holdfast.providers import failures, halves, kept, values
from holdfast.providers.google import sources
from holdfast.providers.google_interactions import steps, wire

MAX_OPEN = 64
"""Steps that are under way at once; mostly it is one."""

MAX_CALLS = 256
"""Tool calls of one answer."""

MAX_NAME = 1024
"""Characters of the id or the name of a call, and of a step's type."""

STATUSES: dict[str, events.FinishReason] = {
    "completed": "stop",
    "requires_action": "tool_calls",
    "incomplete": "length",
    "budget_exceeded": "length",
    "requires_continuation": "length",
}
"""The statuses that end an answer, in ours."""

BROKEN_OFF = frozenset({"failed", "cancelled"})
"""Statuses that are errors: the same request may well succeed."""


class Answer:
    """The answer of one attempt. `take` raises `errors.ProviderError`; what it appended to `out`
    before still counts. `completed`: the interaction says that it has ended. `gathered`: bytes of
    frames that are told when their step stops."""

    def __init__(self, source: failures.Source) -> None:
        self._source = source
        self.completed = False
        self.finished = False
        self.gathered = 0
        self._id = ""
        self._ended: str | None = None  # a status, held
        self._open: dict[int, steps.Step] = {}
        self._begun = 0
        self._calls = 0
        self._halves = halves.Halves()
        self._cited = sources.Cited()
        self._usage: Any = None
        self._usage_told: events.Usage | None = None

    def take(
        self, event: wire.Event, frame: sse.Frame, out: list[events.Body], *, mended: bool
    ) -> None:
        """Appends what is new. `event` is the frame decoded. `mended`: its strings may hold
        lone surrogates."""
        delta = event.delta
        if delta is not None and delta.type == "text" and not mended and not self._halves.held:
            step = self._open.get(event.index or 0)
            if step is not None and step.shown and delta.text and step.kind == "model_output":
                self._ended = None
                out.append(events.Chunk("content", delta.text))
                if event.metadata:
                    self._count(event)
                return
        self._count(event)
        self._identify(event.interaction)
        index = event.index or 0
        match event.event_type:
            case "step.start":
                self._start(index, event.step, frame, out)
            case "step.delta" if delta is not None:
                self._delta(self._step(index, delta), delta, frame, out)
            case "step.stop":
                self._stop(index, out)
            case "interaction.status_update":
                self._status(event.status)
            case "interaction.completed":
                self._complete(event.interaction)

    def release(self, out: list[events.Body], *, marked: bool) -> None:
        """The body has ended: what was held back, and its end too, if there was a marker."""
        for index in list(self._open):
            self._stop(index, out)
        out.extend(self._halves.release())
        if marked and self._ended is not None and not self.finished:
            reason = STATUSES.get(self._ended, "other")
            if reason == "stop" and self._calls:
                reason = "tool_calls"
            self.finished = True
            out.append(events.Finish(0, reason, self._ended))
        self.tell_usage(out)

    def tell_usage(self, out: list[events.Body]) -> None:
        """Appends the newest usage, unless it is told already."""
        counted = _usage(self._usage)
        if counted is not None and counted != self._usage_told:
            self._usage_told = counted
            out.append(counted)

    def _count(self, event: wire.Event) -> None:
        """Notes the usage so far, wherever it stands."""
        for holder, name in ((event.interaction, "usage"), (event.metadata, "total_usage")):
            if isinstance(holder, dict):
                self._usage = holder.get(name) or self._usage
        self._usage = event.usage or self._usage

    def _identify(self, interaction: Any) -> None:
        """Notes the interaction's id, in short: other providers take at most 40 characters."""
        id = interaction.get("id") if isinstance(interaction, dict) else None
        if not self._id and isinstance(id, str) and id:
            self._id = hashlib.sha256(halves.valid(id).encode()).hexdigest()[:16]

    def _status(self, status: Any) -> None:
        if not isinstance(status, str):
            return
        status = values.word(status)
        if status in BROKEN_OFF:
            raise self._source.broke_off(errors.ProviderFailed, f"status {status}")
        self._ended = status if status in STATUSES else None

    def _complete(self, interaction: Any) -> None:
        """The interaction's own end; a status that is not known here is an end all the same."""
        about = interaction if isinstance(interaction, dict) else {}
        if failures.reports_error(about):
            raise self._source.in_stream(about)
        self._status(about.get("status"))
        if self._ended is None and isinstance(about.get("status"), str):
            self._ended = values.word(about["status"])
        self.completed = True

    def _start(self, index: int, fields: Any, frame: sse.Frame, out: list[events.Body]) -> None:
        if not isinstance(fields, dict):
            return
        self._ended = None
        self._stop(index, out)
        kind = fields.get("type")
        step = self._begin(index, kind if isinstance(kind, str) else "")
        if step.kind == "function_call":
            self._call(step, fields, out)
        elif step.kind == "model_output":
            for item in sources.listed(fields, "content"):
                self._content(step, item, out)
        elif step.kind == "thought":
            step.sign(fields.get("signature"))
            for item in sources.listed(fields, "summary"):
                self._content(step, item, out)
        else:
            step.gather(fields)
            self.gathered += len(frame.data)

    def _begin(self, index: int, kind: str) -> steps.Step:
        if len(kind) > MAX_NAME or (index not in self._open and len(self._open) >= MAX_OPEN):
            raise self._source.malformed("too many steps at once, or a step of no known type.")
        step = self._open[index] = steps.Step(self._begun, halves.valid(kind))
        self._begun += 1
        return step

    def _step(self, index: int, delta: wire.Delta) -> steps.Step:
        """The step that a delta goes on; where no start was seen, the delta tells the kind."""
        step = self._open.get(index)
        if step is not None:
            return step
        thought = delta.type in ("thought_summary", "thought_signature")
        return self._begin(index, "thought" if thought else "model_output")

    def _delta(
        self, step: steps.Step, delta: wire.Delta, frame: sse.Frame, out: list[events.Body]
    ) -> None:
        self._ended = None
        match delta.type:
            case "text":
                self._say(step, delta.text or "", out)
            case "thought_summary":
                if isinstance(delta.content, dict):
                    self._content(step, delta.content, out)
            case "thought_signature":
                step.sign(delta.signature)
                self.gathered += len(delta.signature or "")
            case "arguments_delta" if step.call is not None:
                if isinstance(delta.arguments, str) and delta.arguments:
                    step.written = True
                    self._argue(step, delta.arguments, out)
            case "text_annotation_delta":
                self._annotate({"annotations": delta.annotations}, out)
            case _:
                fields = wire.fields(frame).get("delta")
                if not isinstance(fields, dict):
                    return
                if step.kind == "model_output":
                    self._content(step, fields, out)
                elif step.call is None and step.kind != "thought":
                    step.gather(fields)
                    self.gathered += len(frame.data)

    def _content(self, step: steps.Step, item: dict[str, Any], out: list[events.Body]) -> None:
        """One content of an output, or of a thought's summary, whose pictures are left out."""
        text = item.get("text")
        if item.get("type") == "text" and isinstance(text, str):
            self._say(step, text, out)
            self._annotate(item, out)
        elif isinstance(item.get("type"), str) and step.kind != "thought":
            extra = kept.raw(item)
            out.append(events.Chunk("opaque", block=step.block(), extra=extra))

    def _say(self, step: steps.Step, text: str, out: list[events.Body]) -> None:
        kind: events.ChunkType = "reasoning" if step.kind == "thought" else "content"
        text = self._halves.whole((0, kind, None), text)
        if text:
            out.append(events.Chunk(kind, text, block=step.block()))

    def _call(self, step: steps.Step, fields: dict[str, Any], out: list[events.Body]) -> None:
        """A call begins. Its arguments come in deltas, or stand here, where `{}` says nothing.
        One without an id gets one, of the interaction's id and its ordinal."""
        id, name, arguments = fields.get("id"), fields.get("name"), fields.get("arguments")
        if not isinstance(name, str) or not name:
            return
        step.call, self._calls = self._calls, self._calls + 1
        made = "_".join(("call", *([self._id] if self._id else []), str(step.call)))
        id = id if isinstance(id, str) and id else made
        if self._calls > MAX_CALLS or max(len(id), len(name)) > MAX_NAME:
            raise self._source.malformed("too many tool calls, or too long an id or name.")
        step.arguments = arguments if isinstance(arguments, dict) else {}
        id, name, block = halves.valid(id), halves.valid(name), step.block()
        out.append(events.Chunk("tool_call", call=step.call, id=id, name=name, block=block))

    def _argue(self, step: steps.Step, text: str, out: list[events.Body]) -> None:
        text = self._halves.whole((0, "tool_call", step.call), text)
        if text:
            out.append(events.Chunk("tool_call", text, call=step.call))

    def _annotate(self, fields: dict[str, Any], out: list[events.Body]) -> None:
        """The sources of a part of the text; its place is counted in bytes."""
        for item in sources.listed(fields, "annotations"):
            url = item.get("url") or item.get("document_uri")
            title = item.get("title") or item.get("file_name") or item.get("name")
            begin, end = (values.tokens(item, name) for name in ("start_index", "end_index"))
            extra = values.extra(annotations=[kept.bounded(item)])
            self._cited.cite(url, title, f" {begin} {end}", extra, out)

    def _stop(self, index: int, out: list[events.Body]) -> None:
        """A step is complete: what was gathered of it."""
        step = self._open.pop(index, None)
        if step is None:
            return
        out.extend(self._halves.release())
        if step.call is not None:
            if not step.written:
                self._argue(step, values.encoded(step.arguments), out)
        elif step.kind not in ("model_output", "function_call") and (
            step.kind != "thought" or step.signature
        ):
            out.append(events.Chunk("opaque", block=step.block(), extra=step.whole()))


def _usage(counts: Any) -> events.Usage | None:
    """Token counts. What tools brought was read by the model like the prompt, and thoughts
    were written like the answer."""
    read = values.tokens(counts, "total_input_tokens")
    written = values.tokens(counts, "total_output_tokens")
    thoughts = values.tokens(counts, "total_thought_tokens")
    if read is None and written is None and thoughts is None:
        return None
    read = (read or 0) + (values.tokens(counts, "total_tool_use_tokens") or 0)
    output = (written or 0) + (thoughts or 0)
    total = values.tokens(counts, "total_tokens")
    return events.Usage(
        input_tokens=read,
        output_tokens=output,
        total_tokens=read + output if total is None else total,
        reasoning_tokens=thoughts,
        cached_tokens=values.tokens(counts, "total_cached_tokens"),
    )

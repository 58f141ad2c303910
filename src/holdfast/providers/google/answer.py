"""What is new in each frame of a Gemini answer, as event bodies.

Strategy: for each choice it is remembered what kind of part came last and whether the choice
has ended. The commonest frame, one more piece of the same text, takes the shortest way.

- A block is what must be one part when the client gives it back: a run of text, or of thoughts;
  and each call, each other part and each part with a signature by itself.
- A `thoughtSignature` is the `extra` of its part's chunk. One without text (Gemini ends many an
  answer so) is an `opaque` chunk that holds the whole part, as are code that Google ran, its
  result, files, and calls of Google's own tools.
- STOP may stand before further text, and does in some answers in every frame, so an end is
  held until the body ends, and dropped when the choice goes on.
- A blocked prompt has no candidate at all: it ends every choice that was asked for.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import events
from holdfast.providers import failures, halves, kept, values
from holdfast.providers.google import calls, reasons, sources, wire

MAX_CHOICES = 128
"""Google takes at most 8."""

MAX_CALLS = 256
"""Tool calls of one choice."""

MAX_SIGNATURE = 1 << 20
"""Characters of a thought signature."""


class _Choice:
    """What must be remembered of one choice."""

    __slots__ = ("block", "calls", "ended", "finished", "kind", "sources")

    def __init__(self, index: int) -> None:
        self.kind: events.ChunkType | None = None  # of the text block that may go on
        self.block = -1
        self.ended: tuple[events.FinishReason, str] | None = None  # held until the body ends
        self.finished = False
        self.calls = calls.Calls(index)
        self.sources = sources.Sources(index)


class Answer:
    """The answer of one attempt; `wanted` is how many choices were asked for. `finished`: all
    of them have ended, and that has been told.

    `take` raises `ProviderMalformed` where a frame makes no sense and what
    `reasons.BROKEN_OFF` says; what it appended to `out` before still counts.
    """

    def __init__(self, wanted: int, source: failures.Source) -> None:
        self._wanted, self._source = wanted, source
        self.finished = False
        self._choices: dict[int, _Choice] = {}
        self._halves = halves.Halves()
        self._usage: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
        self._usage_told: events.Usage | None = None

    @property
    def gathered(self) -> int:
        """See `base.Fold.gathered`: pieces of arguments."""
        return sum(choice.calls.gathered for choice in self._choices.values())

    def take(self, chunk: wire.Chunk, out: list[events.Body], *, mended: bool) -> None:
        """Appends what is new. `mended`: the strings may hold lone surrogates."""
        if chunk.usage_metadata is not msgspec.UNSET:
            self._usage = chunk.usage_metadata
        mended = mended or bool(self._halves.held)
        for candidate in chunk.candidates or ():
            index = candidate.index or 0
            choice = self._choices.get(index) or self._open(index)
            content = candidate.content
            if content is not None and content.parts:
                for part in content.parts:
                    text = part.text
                    if text is None or part.thought_signature is not None:
                        self._part(index, choice, part, chunk.response_id, out)
                        continue
                    if not text:
                        continue
                    kind: events.ChunkType = "reasoning" if part.thought else "content"
                    choice.ended = None
                    if kind == choice.kind and not mended:
                        out.append(events.Chunk(kind, text, index))
                    else:
                        self._say(index, choice, kind, text, out)
            if (
                candidate.grounding_metadata
                or candidate.citation_metadata
                or candidate.url_context_metadata
            ):
                choice.sources.take(candidate, out)
            if candidate.finish_reason:
                self._end(choice, candidate.finish_reason)
        feedback = chunk.prompt_feedback
        blocked = values.word((feedback and feedback.block_reason) or "")
        if blocked and blocked not in reasons.UNSPECIFIED_BLOCKS:
            self._block(blocked)

    def release(self, out: list[events.Body]) -> None:
        """The body has ended cleanly: what was held back, the ends above all."""
        for index, choice in self._choices.items():
            out.extend(self._halves.release(index))
            choice.sources.release(out)
            if choice.ended is None or choice.finished:
                continue
            reason, raw = choice.ended
            if reason == "stop" and choice.calls.count:
                reason = "tool_calls"
            choice.finished = True
            out.append(events.Finish(index, reason, raw))
        told = (choice.finished for n, choice in self._choices.items() if n < self._wanted)
        self.finished = sum(told) == self._wanted
        self.tell_usage(out)

    def tell_usage(self, out: list[events.Body]) -> None:
        """Appends the newest usage, unless it is told already."""
        if self._usage is msgspec.UNSET:
            return
        try:
            counted = reasons.usage(msgspec.json.decode(self._usage))
        except (ValueError, RecursionError):
            return  # counts that nobody can read do no harm to the answer
        if counted is not None and counted != self._usage_told:
            self._usage_told = counted
            out.append(counted)

    def _open(self, index: int) -> _Choice:
        if not 0 <= index < MAX_CHOICES:
            raise self._source.malformed("a candidate has an impossible index.")
        choice = self._choices[index] = _Choice(index)
        return choice

    def _say(
        self,
        index: int,
        choice: _Choice,
        kind: events.ChunkType,
        text: str,
        out: list[events.Body],
        signature: str | None = None,
    ) -> None:
        """A piece of text where the shortest way is not enough."""
        block = None
        if kind != choice.kind or signature is not None:
            block = self._next_block(index, choice, out)
            choice.kind = None if signature is not None else kind
        text = self._halves.whole((index, kind, None), text)
        extra = msgspec.UNSET if signature is None else values.extra(thoughtSignature=signature)
        if text or block is not None:
            out.append(events.Chunk(kind, text, index, block=block, extra=extra))

    def _next_block(self, index: int, choice: _Choice, out: list[events.Body]) -> int:
        out.extend(self._halves.release(index))
        choice.block += 1
        choice.kind = None
        return choice.block

    def _part(
        self,
        index: int,
        choice: _Choice,
        part: wire.Part,
        answer_id: str | None,
        out: list[events.Body],
    ) -> None:
        """A part that is no mere text."""
        signature = part.thought_signature or None
        if signature is not None and len(signature) > MAX_SIGNATURE:
            raise self._source.malformed(f"a signature of over {MAX_SIGNATURE} characters.")
        if part.function_call is not None:
            choice.ended = None
            self._call(index, choice, part.function_call, signature, answer_id, out)
        elif part.text:
            choice.ended = None
            kind: events.ChunkType = "reasoning" if part.thought else "content"
            self._say(index, choice, kind, part.text, out, signature)
        else:
            fields = _fields(part)
            if not fields and signature is None:
                return
            fields = fields or {"text": ""}
            if part.thought:
                fields["thought"] = True
            choice.ended = None
            block = self._next_block(index, choice, out)
            sealed = {} if signature is None else {"thoughtSignature": signature}
            extra = kept.raw(fields, **sealed)
            out.append(events.Chunk("opaque", choice=index, block=block, extra=extra))

    def _call(
        self,
        index: int,
        choice: _Choice,
        call: wire.FunctionCall,
        signature: str | None,
        answer_id: str | None,
        out: list[events.Body],
    ) -> None:
        try:
            chunk = choice.calls.take(call, signature, answer_id)
        except ValueError as error:
            raise self._source.malformed(f"{error}.") from None
        if choice.calls.count > MAX_CALLS:
            raise self._source.malformed(f"over {MAX_CALLS} tool calls.")
        if chunk is None:
            return
        if chunk.name is not None:
            block = self._next_block(index, choice, out)
            chunk = msgspec.structs.replace(chunk, block=block)
        out.append(chunk)

    def _end(self, choice: _Choice, raw: str) -> None:
        """A choice says that it has ended; it may go on all the same."""
        raw = values.word(raw)
        if raw in reasons.BROKEN_OFF:
            raise self._source.broke_off(reasons.BROKEN_OFF[raw], f"finishReason {raw}")
        if raw != reasons.UNSPECIFIED:
            choice.ended = (reasons.REASONS.get(raw, "other"), raw)

    def _block(self, raw: str) -> None:
        """Google blocked the prompt, or the answer in its midst: all choices end."""
        for index in range(self._wanted):
            choice = self._choices.get(index) or self._open(index)
            choice.ended = ("content_filter", raw)


def _fields(part: wire.Part) -> dict[str, Any]:
    """What the client need not understand of a part, as it came."""
    named = {
        "executableCode": part.executable_code,
        "codeExecutionResult": part.code_execution_result,
        "inlineData": part.inline_data,
        "fileData": part.file_data,
        "toolCall": part.tool_call,
        "toolResponse": part.tool_response,
    }
    return {name: value for name, value in named.items() if value is not None}

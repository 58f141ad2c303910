"""What is new in each chunk of a chat stream, as event bodies.

Strategy: `Deltas` remembers what the chunks do not repeat: which tool call a fragment goes on,
whether a choice has ended, which sources were named. The commonest chunk, one piece of
content, takes the shortest way; every other field is looked at where it is not empty.

What vendors do differently, and what becomes of it:

- Reasoning comes as `reasoning_content` or `reasoning`, and counts once where both say it.
  OpenRouter repeats it in `reasoning_details`: their text counts only for a choice that has
  no other reasoning. Their items with a signature or encrypted data become the `extra` of an
  `opaque` chunk, because the next request must give them back.
- Usage may come in every chunk (Perplexity): it is held until all choices have finished.
- A finish reason may come twice (OpenRouter): it is told once. `stop` after a refusal becomes
  `refusal`, after a tool call `tool_calls`; the vendor's own word always stands beside.
- A choice may speak on after its finish reason (gateways before Gemini send `stop` with every
  chunk). From then on only the end marker or a clean end of the body ends the answer, and a
  last reason that is another one is told there.
- Some finish reasons say that the answer broke off: they are errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from holdfast import errors, events
from holdfast.providers import failures, halves, values
from holdfast.providers.openai_chat import tool_calls, wire

MAX_CHOICES = 128
"""OpenAI's own limit for `n`."""

MAX_CALLS = 256
"""Tool calls of one answer; OpenAI takes at most 128 tools."""

MAX_CITATIONS = 256
"""Sources of one answer; further ones are left out, and URLs over `MAX_URL` characters."""

MAX_URL = 4096

REASONS: dict[str, events.FinishReason] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "refusal": "refusal",
}
"""The vendors' finish reasons in ours; any other word is `other`."""

BROKEN_OFF: dict[str, type[errors.ProviderError]] = {
    "error": errors.ProviderFailed,  # OpenRouter, Mistral
    "network_error": errors.ProviderFailed,  # Z.AI
    "insufficient_system_resource": errors.ProviderOverloaded,  # DeepSeek
}
"""Finish reasons that are errors."""


class _Choice:
    """What must be remembered of one choice."""

    __slots__ = ("calls", "last", "reasoned", "refused", "told")

    def __init__(self) -> None:
        self.told: events.Finish | None = None
        self.last: events.Finish | None = None
        self.reasoned = False
        self.refused = False
        self.calls = tool_calls.Calls()

    @property
    def finished(self) -> bool:
        return self.told is not None


class Deltas:
    """The answer of one attempt, chunk by chunk; `wanted` is the `n` that was asked for.

    `take` raises `ProviderMalformed` where a chunk makes no sense and what `BROKEN_OFF` says;
    what it appended to `out` before still counts.
    """

    __slots__ = (
        "_calls",
        "_choices",
        "_cited",
        "_ended",
        "_halves",
        "_source",
        "_spoke_on",
        "_usage",
        "_usage_told",
        "_wanted",
        "finished",
    )

    def __init__(self, wanted: int, source: failures.Source) -> None:
        self._source = source
        self.finished = False
        self._ended = self._spoke_on = False  # a choice has; and then said more
        self._wanted = wanted
        self._choices: dict[int, _Choice] = {}
        self._halves = halves.Halves()
        self._calls = 0
        self._usage: events.Usage | None = None
        self._usage_told: events.Usage | None = None
        self._cited: set[str] = set()

    @property
    def calm(self) -> bool:
        """No choice has ended, and nothing is held back."""
        return not (self._ended or self._halves.held)

    def take(
        self, chunk: wire.Chunk, out: list[events.Body], *, mended: bool, broken: bool
    ) -> None:
        """Appends what is new. `mended`: the strings may hold lone surrogates. `broken`: the
        chunk reports an error too, which goes before its finish reasons."""
        for choice in chunk.choices or ():
            index = choice.index or 0
            if not 0 <= index < MAX_CHOICES:
                raise self._source.malformed("a choice has an impossible index.")
            before = len(out)
            if choice.delta is not None:
                self._delta(index, choice.delta, mended or bool(self._halves.held), out)
            if self._ended and len(out) > before and self._state(index).finished:
                self._spoke_on, self.finished = True, False
            if choice.logprobs:
                _attach(choice.logprobs, index, before, out)
            if choice.usage:
                self._count(choice.usage)
            if choice.finish_reason and not broken:
                self._finish(index, choice.finish_reason, out)
        if chunk.usage:
            self._count(chunk.usage)
        if chunk.citations or chunk.search_results:
            self._cite(chunk, out)
        if chunk.x_groq and isinstance(chunk.x_groq, dict):
            self._count(chunk.x_groq.get("usage"))
        if self.finished:
            self.tell_usage(out)

    def release(self, out: list[events.Body]) -> None:
        """The answer has ended: what was held back."""
        out.extend(self._halves.release())
        if self._spoke_on:
            for state in self._choices.values():
                if state.last is not None and state.last != state.told:
                    out.append(state.last)
            self.finished = self._all_finished()
        self.tell_usage(out)

    def tell_usage(self, out: list[events.Body]) -> None:
        """Appends the newest usage, unless it is told already."""
        if self._usage is not None and self._usage != self._usage_told:
            self._usage_told = self._usage
            out.append(self._usage)

    def _delta(self, index: int, delta: wire.Delta, mended: bool, out: list[events.Body]) -> None:
        if delta.reasoning_content or delta.reasoning or delta.reasoning_details:
            self._reason(index, delta, mended, out)
        content = delta.content
        if content:
            if not isinstance(content, str):
                for part in content:
                    for kind, text in _texts(part):
                        self._say(kind, text, index, mended, out)
            elif mended:
                self._say("content", content, index, True, out)
            else:
                out.append(events.Chunk("content", content, index))
        if delta.refusal:
            self._state(index).refused = True
            self._say("refusal", delta.refusal, index, mended, out)
        if delta.tool_calls:
            for fragment in delta.tool_calls:
                self._call(index, fragment, mended, out)
        if delta.annotations:
            self._annotate(index, delta.annotations, out)

    def _state(self, index: int) -> _Choice:
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice()
        return state

    def _say(
        self, kind: events.ChunkType, text: str, index: int, mended: bool, out: list[events.Body]
    ) -> None:
        if mended:
            text = self._halves.whole((index, kind, None), text)
        if text:
            out.append(events.Chunk(kind, text, index))

    def _reason(self, index: int, delta: wire.Delta, mended: bool, out: list[events.Body]) -> None:
        state = self._state(index)
        text = delta.reasoning_content or delta.reasoning or ""
        state.reasoned = state.reasoned or bool(text)
        listed = delta.reasoning_details if isinstance(delta.reasoning_details, list) else ()
        items = [item for item in listed if isinstance(item, dict)]
        if not state.reasoned:
            told = (item.get("text") or item.get("summary") for item in items)
            text = "".join(piece for piece in told if isinstance(piece, str))
        self._say("reasoning", text, index, mended, out)
        kept = [item for item in items if item.get("signature") or item.get("data")]
        if kept:
            extra = values.extra(reasoning_details=kept)
            out.append(events.Chunk("opaque", choice=index, extra=extra))

    def _call(self, index: int, fragment: wire.Call, mended: bool, out: list[events.Body]) -> None:
        calls = self._state(index).calls
        function = fragment.function or wire.Function()
        id, name = halves.valid(fragment.id or ""), halves.valid(function.name or "")
        had = calls.count
        call = calls.place(fragment.index, id, name)
        self._calls += calls.count - had
        if self._calls > MAX_CALLS or max(len(id), len(name)) > tool_calls.MAX_ID:
            raise self._source.malformed("too many tool calls, or too long an id or name.")
        new_id, new_name = calls.learn(call, id, name)
        text = _arguments(function)
        call.has_arguments = call.has_arguments or bool(text)
        if mended:
            text = self._halves.whole((index, "tool_call", call.ordinal), text)
        extra = None
        if fragment.extra_content:
            extra = values.extra(extra_content=fragment.extra_content)
        if text or new_id or new_name or extra is not None:
            chunk = events.Chunk("tool_call", text, index, call.ordinal, new_id, new_name)
            out.append(msgspec.structs.replace(chunk, extra=extra) if extra is not None else chunk)

    def _finish(self, index: int, raw: str, out: list[events.Body]) -> None:
        state = self._state(index)
        raw = values.word(raw)
        word = raw.lower()
        if state.finished:
            if self._spoke_on:
                state.last = events.Finish(index, _reason(word, state), raw)
            return
        if word in BROKEN_OFF:
            raise self._source.broke_off(BROKEN_OFF[word], f"finish_reason {word}")
        out.extend(self._halves.release(index))
        state.told = events.Finish(index, _reason(word, state), raw)
        out.append(state.told)
        self._ended = True
        self.finished = not self._spoke_on and self._all_finished()

    def _all_finished(self) -> bool:
        ended = (choice.finished for n, choice in self._choices.items() if n < self._wanted)
        return sum(ended) == self._wanted

    def _count(self, usage: Any) -> None:
        self._usage = _usage(usage) or self._usage

    def _cite(self, chunk: wire.Chunk, out: list[events.Body]) -> None:
        """Perplexity repeats its sources in every chunk; its `search_results` have titles."""
        for listed in (chunk.search_results, chunk.citations):
            for item in listed if isinstance(listed, list) else ():
                source = item if isinstance(item, dict) else {"url": item}
                self._name_source(source, events.Citation(), "", out)

    def _annotate(self, index: int, annotations: Any, out: list[events.Body]) -> None:
        """OpenAI's `url_citation`, which names the part of the text that it stands for."""
        for item in annotations if isinstance(annotations, list) else ():
            source = item.get("url_citation") if isinstance(item, dict) else None
            if isinstance(source, dict):
                extra = values.extra(annotations=[item])
                ends = (values.tokens(source, name) for name in ("start_index", "end_index"))
                place = " ".join(map(str, ("", index, *ends)))
                citation = events.Citation(choice=index, extra=extra)
                self._name_source(source, citation, place, out)

    def _name_source(
        self, source: dict[str, Any], citation: events.Citation, place: str, out: list[events.Body]
    ) -> None:
        """Cites a source once for each `place`."""
        url, title = source.get("url"), source.get("title")
        if not isinstance(url, str) or not 0 < len(url) <= MAX_URL:
            return
        key = url + place
        if key in self._cited or len(self._cited) >= MAX_CITATIONS:
            return
        self._cited.add(key)
        title = halves.valid(title[:MAX_URL]) if isinstance(title, str) else None
        out.append(msgspec.structs.replace(citation, url=halves.valid(url), title=title))


def plain(chunk: wire.Chunk) -> events.Chunk | None:
    """See `base.Fold.plain`."""
    if chunk.choices is None or len(chunk.choices) != 1:
        return None
    (choice,), delta = chunk.choices, chunk.choices[0].delta
    if delta is None or not isinstance(delta.content, str):
        return None
    index = choice.index or 0
    alone = wire.Choice(index=choice.index, delta=wire.Delta(content=delta.content))
    if chunk != wire.Chunk(choices=[alone]) or not 0 <= index < MAX_CHOICES:
        return None
    return events.Chunk("content", delta.content, index)


def _reason(word: str, state: _Choice) -> events.FinishReason:
    reason = REASONS.get(word, "other")
    if reason == "stop" and state.refused:
        return "refusal"
    if reason == "stop" and state.calls.count:
        return "tool_calls"
    return reason


def _texts(part: wire.Part) -> Iterator[tuple[events.ChunkType, str]]:
    """What a part of a content list says."""
    if part.type == "text":
        yield "content", part.text or ""
    elif isinstance(part.thinking, str):
        yield "reasoning", part.thinking
    else:
        for inner in part.thinking or ():
            yield "reasoning", inner.text or ""


def _arguments(function: wire.Function) -> str:
    arguments = function.arguments
    if isinstance(arguments, dict):
        return values.encoded(arguments)
    return arguments or ""


def _attach(logprobs: Any, index: int, before: int, out: list[events.Body]) -> None:
    """Log probabilities go with the last piece of text of their chunk, if it has one."""
    if not isinstance(logprobs, dict) or not any(logprobs.values()):
        return
    extra = values.extra(logprobs=logprobs)
    last = out[-1] if len(out) > before else None
    if isinstance(last, events.Chunk) and last.type in ("content", "refusal"):
        out[-1] = msgspec.structs.replace(last, extra=extra)
    else:
        out.append(events.Chunk("opaque", choice=index, extra=extra))


def _usage(usage: Any) -> events.Usage | None:
    """Token counts; DeepSeek and Moonshot have a cached count of their own beside."""
    if not isinstance(usage, dict):
        return None
    prompt = values.tokens(usage, "prompt_tokens")
    completion = values.tokens(usage, "completion_tokens")
    if prompt is None and completion is None:
        return None
    total = values.tokens(usage, "total_tokens")
    cached = values.tokens(usage.get("prompt_tokens_details"), "cached_tokens")
    for name in ("cached_tokens", "prompt_cache_hit_tokens"):
        cached = values.tokens(usage, name) if cached is None else cached
    reasoning = values.tokens(usage.get("completion_tokens_details"), "reasoning_tokens")
    if reasoning is None:
        reasoning = values.tokens(usage, "reasoning_tokens")
    return events.Usage(
        input_tokens=prompt or 0,
        output_tokens=completion or 0,
        total_tokens=(prompt or 0) + (completion or 0) if total is None else total,
        reasoning_tokens=reasoning,
        cached_tokens=cached,
    )

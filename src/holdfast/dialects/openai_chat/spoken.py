"""What an event is in the words of chat completions: the `choices` of a chunk.

Strategy: a stream's frames and the whole value are made of the same words, so that they say the
same. `Spoken` remembers what must be said once: a choice's role, a call's id and name, a finish
reason. Annotations and the details of reasoning wait for the end of their choice and come at once,
because OpenAI's own accumulator cannot join two lists whose items have no index. What a provider
added is said where it is of this very format, which its shape shows.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import events
from holdfast.dialects import ids

Choice = dict[str, Any]
"""One of a chunk's `choices`: index, delta, logprobs, finish_reason."""

_NAMES = {"content": "content", "reasoning": "reasoning_content", "refusal": "refusal"}
REVOCABLE = ["reasoning", "opaque", "citation"]
"""Behind these another answer may follow: what is not told at once is dropped."""

_ANSWERS = ("content", "refusal")

_decode = msgspec.json.Decoder().decode


class _State:
    """What was said of one choice; of each of its calls, which fields."""

    __slots__ = ("calls", "finish", "held", "refused", "spoke", "thought")

    def __init__(self) -> None:
        self.calls: dict[int, set[str]] = {}
        self.held: dict[str, list[Any]] = {}
        self.finish: str | None = None
        self.refused = self.spoke = self.thought = False


class Spoken:
    """One stream's events, the first one first."""

    def __init__(self, stream: events.StreamId) -> None:
        self._stream = stream
        self._states: list[_State] = []
        self._ids: set[str] = set()

    @property
    def only_thought(self) -> bool:
        """Nothing was said but what is revocable, so another answer may follow."""
        return not any(state.spoke or state.finish for state in self._states)

    def say(self, body: events.Body) -> list[Choice]:
        """What is new, each for a chunk of its own."""
        out: list[Choice] = []
        match body:
            case events.Chunk():
                self._chunk(body, out)
            case events.Citation():
                held = self._state(body.choice, out).held
                held.setdefault("annotations", []).extend(_annotations(body))
            case events.Finish():
                self._finish(body.choice, body.finish_reason, body.provider_finish_reason, out)
            case events.Complete():
                ends = body.choices or (events.ChoiceEnd(0, body.finish_reason, 0, ""),)
                for end in ends:
                    if self._state(end.choice, out).finish is None:
                        word = body.provider_finish_reason
                        self._finish(end.choice, end.finish_reason, word, out)
                for index, state in enumerate(self._states):
                    _release(index, state, out)
            case events.Rewind():
                self._break_off(out)
        return out

    def _state(self, index: int, out: list[Choice]) -> _State:
        """That of a choice, which begins with its role. OpenAI's accumulator takes the first that
        comes for choice 0, and the next for 1: so they begin in order."""
        for number in range(len(self._states), index + 1):
            self._states.append(_State())
            out.append(_choice(number, {"role": "assistant", "content": ""}))
        return self._states[index]

    def _break_off(self, out: list[Choice]) -> None:
        """What was thought stays; what follows is another thought, in a paragraph of its own."""
        for index, state in enumerate(self._states):
            state.held = {}
            if state.thought:
                out.append(_choice(index, {_NAMES["reasoning"]: "\n\n"}))

    def _chunk(self, chunk: events.Chunk, out: list[Choice]) -> None:
        state = self._state(chunk.choice, out)
        extra = {} if isinstance(chunk.extra, msgspec.UnsetType) else _decode(chunk.extra)
        extra = extra if isinstance(extra, dict) else {}
        delta: dict[str, Any] = {}
        spoke = chunk.type == "tool_call" or (chunk.type in _ANSWERS and bool(chunk.delta))
        state.spoke = state.spoke or spoke
        state.thought = state.thought or chunk.type == "reasoning"
        if chunk.type == "tool_call":
            delta["tool_calls"] = [self._call(chunk, state, extra)]
        elif chunk.type in _NAMES:
            state.refused = state.refused or chunk.type == "refusal"
            delta[_NAMES[chunk.type]] = chunk.delta
        elif isinstance(details := extra.get("reasoning_details"), list):
            state.held.setdefault("reasoning_details", []).extend(details)
        logprobs = extra.get("logprobs")
        logprobs = logprobs if isinstance(logprobs, dict) else None  # a list is another format's
        if delta or logprobs:
            out.append(_choice(chunk.choice, delta, logprobs))

    def _call(self, chunk: events.Chunk, state: _State, extra: dict[str, Any]) -> dict[str, Any]:
        """Accumulators add text to text, so what is no text of arguments is said once."""
        index = chunk.call or 0
        call: dict[str, Any] = {"index": index}
        function = {"arguments": chunk.delta}
        if index not in state.calls:
            call |= {"id": self._call_id(chunk, index), "type": "function"}
            function["name"] = ""
            state.calls[index] = set()
        told = state.calls[index]
        if chunk.name and "name" not in told:
            told.add("name")
            function["name"] = chunk.name
        if extra.get("extra_content") and "extra" not in told:
            told.add("extra")
            call["extra_content"] = extra["extra_content"]
        return call | {"function": function}

    def _call_id(self, chunk: events.Chunk, index: int) -> str:
        made = f"call_{self._stream[:24]}_{chunk.choice}_{index}"
        return ids.once(self._ids, chunk.id, made)

    def _finish(
        self, index: int, reason: events.FinishReason, word: str | None, out: list[Choice]
    ) -> None:
        state = self._state(index, out)
        said = str(reason)
        if reason == "refusal":
            said = "stop" if state.refused else "content_filter"
        elif reason == "other":
            said = word or said
        _release(index, state, out)
        if said != state.finish:
            state.finish = said
            out.append(_choice(index, {}, finish_reason=said))


def usage(tokens: events.Tokens) -> dict[str, Any]:
    """Token counts in OpenAI's words."""
    counts: dict[str, Any] = {
        "prompt_tokens": tokens.input_tokens,
        "completion_tokens": tokens.output_tokens,
        "total_tokens": tokens.total_tokens,
    }
    if tokens.cached_tokens is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": tokens.cached_tokens}
    if tokens.reasoning_tokens is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": tokens.reasoning_tokens}
    return counts


def _choice(
    index: int,
    delta: dict[str, Any],
    logprobs: dict[str, Any] | None = None,
    finish_reason: str | None = None,
) -> Choice:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


def _release(index: int, state: _State, out: list[Choice]) -> None:
    if state.held:
        out.append(_choice(index, state.held))
        state.held = {}


def _annotations(citation: events.Citation) -> list[Any]:
    """Those that came in this format; else the source without a place in the text."""
    extra = {} if isinstance(citation.extra, msgspec.UnsetType) else _decode(citation.extra)
    listed = extra.get("annotations") if isinstance(extra, dict) else None
    own = [one for one in listed if _is_own(one)] if isinstance(listed, list) else []
    if own or not citation.url:
        return own
    place = {"start_index": 0, "end_index": 0}
    source = {"url": citation.url, "title": citation.title or "", **place}
    return [{"type": "url_citation", "url_citation": source}]


def _is_own(annotation: Any) -> bool:
    return isinstance(annotation, dict) and isinstance(annotation.get("url_citation"), dict)

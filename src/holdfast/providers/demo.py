"""A provider that answers by itself: deterministic, with no key, no network and no clock.

Strategy: a request becomes a `Plan`, a plan becomes bodies, bodies become lines of a wire of
its own, each a JSON array of kind and body: `["chunk", {"type": "content", "delta": "Kelp"}]`,
at last `["done", {}]`, or `["error", {"code", "message"}]`. The same request gives the same
bytes, so a test may compare whole answers.

What the answer is like can be asked for: by the model (`PRESETS`), or in a line of the last
user message or of a system message that begins with `/demo`:

    /demo tokens=200 rate=50 seed=7 unicode=1

| option | meaning |
|---|---|
| `tokens` | pieces of content; without it the whole text, about 120 |
| `rate` | pieces a second; 30 |
| `seed` | another text; without it the prompt gives one |
| `reasoning` | pieces of reasoning before the content |
| `unicode` | 1: with emoji, joined and combining characters, and other scripts |
| `tool` | that many tool calls, and no content unless `tokens` asks for it; none behind results |
|  | of tools, and 1 where one must be |
| `refuse` | 1: a refusal and no content |
| `finish` | the finish reason |
| `error_at`, `error` | an error in the stream after so many pieces, and which one |
| `stall_at` | silence for ever after so many pieces |
| `cut_at` | the connection breaks after so many pieces |
| `status` | the call is refused with this HTTP status |
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from holdfast import errors, events, request
from holdfast.providers import demo_text, tool_choice

MAX_LINE = 64 << 10
"""Bytes of a line of the wire."""

INTEGERS: dict[str, tuple[int, int]] = {
    "tokens": (0, 200_000),
    "rate": (1, 100_000),
    "seed": (0, 2**32 - 1),
    "reasoning": (0, 200_000),
    "unicode": (0, 1),
    "tool": (0, 16),
    "refuse": (0, 1),
    "error_at": (0, 200_000),
    "stall_at": (0, 200_000),
    "cut_at": (0, 200_000),
    "status": (400, 599),
}
"""The options that are whole numbers, and their least and greatest."""

ERRORS: dict[str, type[errors.ProviderError]] = {
    error.code.removeprefix("provider_"): error
    for error in (
        errors.ProviderTimeout,
        errors.ProviderMalformed,
        errors.ProviderFailed,
        errors.ProviderOverloaded,
        errors.ProviderRateLimited,
        errors.ProviderQuota,
        errors.ProviderAuth,
        errors.ProviderModelNotFound,
        errors.ProviderContextLength,
        errors.ProviderRejected,
    )
}
"""What `error` may be."""

FINISHES: tuple[events.FinishReason, ...] = (
    "stop",
    "length",
    "tool_calls",
    "content_filter",
    "refusal",
    "other",
)
"""What `finish` may be."""

PRESETS: dict[str, str] = {
    "demo-fast": "rate=1000",
    "demo-slow": "rate=5",
    "demo-long": "tokens=2000 rate=200",
    "demo-reasoning": "reasoning=40",
    "demo-tools": "tool=2",
    "demo-unicode": "unicode=1",
}
"""The options that a model's name stands for; any other name stands for none."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer, decided on. The fields are the options, and what the request adds.

    `ahead`: so many characters of all deltas come without waiting, because they were told
    before; it changes no byte.
    """

    seed: int
    choices: int = 1
    topic: str = ""
    tool_name: str = "look_up"
    input_tokens: int = 0
    limit: int | None = None
    ahead: int = 0
    tokens: int | None = None
    rate: int = 30
    reasoning: int = 0
    unicode: int = 0
    tool: int = 0
    refuse: int = 0
    finish: events.FinishReason | None = None
    error_at: int | None = None
    error: str = "failed"
    stall_at: int | None = None
    cut_at: int | None = None
    status: int | None = None


pack = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(tuple[str, msgspec.Raw]).decode
_unpack = msgspec.json.Decoder(Plan).decode


def unpack(data: bytes) -> Plan:
    """The plan in a call's body."""
    return _unpack(data)


def plan(wanted: request.Request, model: str) -> Plan:
    """What the answer to this request will be. Raises `InvalidField` naming a bad option."""
    options = _options(PRESETS.get(model, ""))
    prompt, answered = "", False
    for message in wanted.messages:
        text = _text(message)
        if message.role in ("system", "developer"):
            options |= _options("\n".join(_commands(text)))
        elif message.role == "user":
            prompt, answered = text, False
        answered = answered or message.role == "tool"
    options |= _options("\n".join(_commands(prompt)))
    if answered:
        options.pop("tool", None)  # or who sends results by itself would never come to an end
    prompt = "\n".join(line for line in prompt.splitlines() if not _is_command(line)).strip()
    digest = hashlib.sha256(f"{model}\n{prompt}".encode("utf-8", "replace")).digest()
    chosen = tool_choice.of(wanted)
    if not isinstance(chosen, tool_choice.ToolChoice):  # left to the demo, or in another's words
        chosen = tool_choice.ToolChoice("auto")
    fields: dict[str, Any] = {
        "seed": int.from_bytes(digest[:4], "big"),
        "choices": wanted.n,
        "topic": " ".join(prompt.split())[:60],
        "tool_name": chosen.name[:100] or _tool_name(wanted) or "look_up",
        "tool": int(chosen.mode in ("required", "function")),
        "input_tokens": sum(len(_text(message).split()) for message in wanted.messages),
        "limit": wanted.max_tokens,
    }
    return Plan(**fields | options)


def _text(message: request.Message) -> str:
    if isinstance(message.content, str):
        return message.content
    texts = (part.get("text") for part in message.content or ())
    return "\n".join(text for text in texts if isinstance(text, str))


def _is_command(line: str) -> bool:
    return re.match(r"\s*/demo(\s|$)", line) is not None


def _commands(text: str) -> list[str]:
    return [line.split("/demo", 1)[1] for line in text.splitlines() if _is_command(line)]


def _tool_name(wanted: request.Request) -> str | None:
    for tool in wanted.tools or ():
        function = tool.get("function")
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            return str(function["name"])[:100]
    return None


def _options(text: str) -> dict[str, Any]:
    """Reads `name=value` words."""
    found: dict[str, Any] = {}
    for word in text.split():
        name, _, value = word[:100].partition("=")
        if name in INTEGERS:
            low, high = INTEGERS[name]
            if not re.fullmatch(r"\d{1,10}", value, re.ASCII) or not low <= int(value) <= high:
                raise errors.InvalidField(f"/demo: {name} is a whole number from {low} to {high}.")
            found[name] = int(value)
        elif name in ("error", "finish"):
            known = tuple(ERRORS) if name == "error" else FINISHES
            if value not in known:
                raise errors.InvalidField(f"/demo: {name} is one of {', '.join(known)}.")
            found[name] = value
        else:
            known = (*INTEGERS, "error", "finish")
            raise errors.InvalidField(
                f"/demo: there is no option {name!r}; there are {', '.join(known)}."
            )
    return found


def head(plan: Plan) -> tuple[int, Mapping[str, str]]:
    """Status and headers of the response."""
    if plan.status is not None:
        return plan.status, {"content-type": "application/json"}
    return 200, {"content-type": "application/x-ndjson"}


def script(plan: Plan) -> Iterator[tuple[float, bytes]]:
    """The response's body as (seconds to wait, bytes); raises `Truncated` for `cut_at`."""
    if plan.status is not None:
        message = f"The demo refuses with {plan.status}, as it was asked to."
        yield 0.0, pack({"error": {"message": message, "type": "demo", "code": None}})
        return
    pieces = said = 0
    for body in _bodies(plan):
        is_piece = isinstance(body, events.Chunk)
        if is_piece and pieces == plan.cut_at:
            raise errors.Truncated("The demo broke off, as it was asked to.")
        if is_piece and pieces == plan.stall_at:
            yield math.inf, b""
        if is_piece and pieces == plan.error_at:
            message = "The demo failed, as it was asked to."
            yield 0.0, _line("error", events.Error(plan.error, message, False))
            return
        waits = is_piece and said >= plan.ahead
        yield (1 / plan.rate if waits else 0.0), _line(body.kind, body)
        pieces += is_piece
        said += len(body.delta) if isinstance(body, events.Chunk) else 0
    yield 0.0, _line("done", {})


def _line(kind: str, body: Any) -> bytes:
    return pack((kind, body)) + b"\n"


def _bodies(plan: Plan) -> Iterator[events.Chunk | events.Finish | events.Usage]:
    """The whole answer. Choices take turns, piece by piece."""
    spoken = 0
    for chunk in itertools.chain(
        _turns("reasoning", [_thoughts(plan, n) for n in _range(plan)]),
        _turns("refusal" if plan.refuse else "content", [_said(plan, n) for n in _range(plan)]),
        itertools.chain.from_iterable(_tool_calls(plan, n) for n in _range(plan)),
    ):
        yield chunk
        spoken += 1
    for choice in _range(plan):
        reason = plan.finish or _finish(plan, choice)
        yield events.Finish(choice, reason, reason)
    yield events.Usage(
        input_tokens=plan.input_tokens,
        output_tokens=spoken,
        total_tokens=plan.input_tokens + spoken,
        reasoning_tokens=plan.reasoning * plan.choices if plan.reasoning else None,
    )


def _range(plan: Plan) -> range:
    return range(plan.choices)


def _turns(kind: events.ChunkType, sources: list[Iterator[str]]) -> Iterator[events.Chunk]:
    left = dict(enumerate(sources))
    while left:
        for choice, source in list(left.items()):
            piece = next(source, None)
            if piece is None:
                del left[choice]
            else:
                yield events.Chunk(kind, piece, choice)


def _thoughts(plan: Plan, choice: int) -> Iterator[str]:
    return itertools.islice(demo_text.thoughts(plan.seed + choice), plan.reasoning)


def _whole(plan: Plan, choice: int) -> Iterator[str]:
    """The content of a choice before `max_tokens` cuts it."""
    if plan.refuse:
        return demo_text.refusal()
    seed = plan.seed + choice
    if plan.tokens is None:
        return iter(()) if plan.tool else demo_text.answer(seed, plan.topic, bool(plan.unicode))
    endless = demo_text.endless(seed, plan.topic, bool(plan.unicode))
    return itertools.islice(endless, plan.tokens)


def _said(plan: Plan, choice: int) -> Iterator[str]:
    return itertools.islice(_whole(plan, choice), plan.limit)


def _finish(plan: Plan, choice: int) -> events.FinishReason:
    if plan.limit is not None and any(itertools.islice(_whole(plan, choice), plan.limit, None)):
        return "length"
    if plan.refuse:
        return "refusal"
    return "tool_calls" if plan.tool else "stop"


def _tool_calls(plan: Plan, choice: int) -> Iterator[events.Chunk]:
    for call in range(plan.tool):
        name = f"call_{plan.seed + choice:08x}_{call}"
        yield events.Chunk("tool_call", "", choice, call, name, plan.tool_name)
        for piece in demo_text.arguments(plan.seed + choice + call):
            yield events.Chunk("tool_call", piece, choice, call)


class Translator:
    """A `base.Translator` for the demo's own wire."""

    def __init__(self, *, choices: int = 1, source: str = "demo") -> None:
        self.done = False
        self.finished = False
        self.error: errors.ProviderError | None = None
        self._unfinished = set(range(choices))
        self._source = source
        self._rest = b""

    def feed(self, data: bytes) -> list[events.Body]:
        """See `base.Translator.feed`."""
        out: list[events.Body] = []
        if self.done or self.error is not None:
            return out
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line, out)
            if self.done or self.error is not None:
                return out
        if len(self._rest) > MAX_LINE:
            self._malformed()
        return out

    def end(self) -> list[events.Body]:
        """See `base.Translator.end`: nothing is ever held back."""
        return []

    @property
    def gathered(self) -> int:
        """See `base.Translator.gathered`: everything is told at once."""
        return 0

    def cut(self) -> list[events.Body]:
        """See `base.Translator.cut`: usage is never held back."""
        return []

    def _take(self, line: bytes, out: list[events.Body]) -> None:
        try:
            kind, data = _decode_line(line[: MAX_LINE + 1])
            body = events.decode(kind, data)
        except (ValueError, RecursionError):
            self._malformed()
            return
        if kind == "done":
            self.done = True
        elif isinstance(body, events.Error):
            known = ERRORS.get(body.code, errors.ProviderFailed)
            self.error = known(f"{self._source}: {body.message}")
        elif isinstance(body, events.Chunk | events.Usage | events.Finish):
            out.append(body)
            if isinstance(body, events.Finish):
                self._unfinished.discard(body.choice)
                self.finished = not self._unfinished
        else:
            self._malformed()

    def _malformed(self) -> None:
        self.error = errors.ProviderMalformed(f"{self._source}: a line is not of its format.")

"""Answers that a provider of Anthropic's format is scripted to give, by the model asked for.

Strategy: the stock clients read the same answers of the provider itself and of our server, and have
to be told the same. An answer is asked for as `vendor/NAME`; `chat/NAME` are those of `answers`,
which a provider of OpenAI's format gives.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anthropic
import msgspec
from tests.integration import asking, harness
from tests.integration.dialects import answers
from tests.integration.stock import words

from holdfast.testing import provider as replay

MESSAGES: Any = [{"role": "user", "content": words.ASKED}]


def event(type: str, **fields: Any) -> bytes:
    """One event of a stream."""
    data = msgspec.json.encode({"type": type, **fields})
    return b"event: %b\ndata: %b\n\n" % (type.encode(), data)


def begun(**usage: int) -> bytes:
    """How a message begins."""
    counted = {"input_tokens": 9, "output_tokens": 1, **usage}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    ending = {"stop_reason": None, "stop_sequence": None}
    return event("message_start", message={**message, **ending, "usage": counted})


def block(index: int, content: Mapping[str, Any], *deltas: Mapping[str, Any]) -> tuple[bytes, ...]:
    """A whole block, in deltas."""
    return (
        event("content_block_start", index=index, content_block=content),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    )


def text(index: int, *said: str, **delta: Any) -> tuple[bytes, ...]:
    """A block of text."""
    more = [delta] if delta else []
    deltas = [{"type": "text_delta", "text": one} for one in said]
    return block(index, {"type": "text", "text": ""}, *more, *deltas)


def use(index: int, kind: str, id: str, name: str, *arguments: str) -> tuple[bytes, ...]:
    """A block of a tool's call."""
    deltas = [{"type": "input_json_delta", "partial_json": one} for one in arguments]
    return block(index, {"type": kind, "id": id, "name": name, "input": {}}, *deltas)


def end(reason: str = "end_turn", **told: Any) -> tuple[bytes, ...]:
    """How a message ends."""
    delta = {"stop_reason": reason, "stop_sequence": None, **told}
    details = {"thinking_tokens": 2}
    usage = {"input_tokens": 9, "output_tokens": 5, "output_tokens_details": details}
    return (event("message_delta", delta=delta, usage=usage), event("message_stop"))


PING = event("ping")
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{"type": "web_search_result", "url": "https://a.example", "title": "A"}],
}
CITED = {
    "type": "web_search_result_location",
    "url": "https://a.example",
    "title": "A",
    "cited_text": "Tides",
    "encrypted_index": "sealed",
}
CUT = (begun(), *text(0, "Neap")[:-1])

ANSWERS: Mapping[str, tuple[bytes, ...]] = {
    "text": (begun(), PING, *text(0, "Neap ", '"tide" 🌊'), *end()),
    "cached": (begun(cache_read_input_tokens=7), *text(0, "Neap"), *end()),
    "thinking": (
        begun(),
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "Hm. "},
            {"type": "thinking_delta", "thinking": "So."},
            {"type": "signature_delta", "signature": "sealed"},
        ),
        *block(1, {"type": "redacted_thinking", "data": "hidden"}),
        *text(2, "Yes."),
        *end(),
    ),
    "unseen": (
        begun(),
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "signature_delta", "signature": "sealed"},
        ),
        *text(1, "Yes."),
        *end(),
    ),
    "tools": (
        begun(),
        *text(0, "Let me see."),
        *use(1, "tool_use", "toolu_a", "get_weather", '{"city":', ' "Oslo"}'),
        *use(2, "tool_use", "toolu_b", "get_time", "{}"),
        *end("tool_use"),
    ),
    "bare": (begun(), *use(0, "tool_use", "toolu_a", "get_time"), *end("tool_use")),
    "search": (
        begun(),
        *use(0, "server_tool_use", "srvtoolu_1", "web_search", '{"query":', '"tides"}'),
        *block(1, FOUND),
        *text(2, "I found: "),
        *text(3, "tides.", type="citations_delta", citation=CITED),
        *end(),
    ),
    "length": (begun(), *text(0, "Neap"), *end("max_tokens")),
    "sequence": (begun(), *text(0, "Neap"), *end("stop_sequence", stop_sequence="tide")),
    "refusal": (
        begun(),
        *text(0, "Neap"),
        *end("refusal", stop_details={"type": "refusal", "category": "bio", "explanation": "No."}),
    ),
    "pause": (begun(), *text(0, "Neap"), *end("pause_turn")),
    "json": (begun(), *text(0, '{"city":', '"Oslo"}'), *end()),
    "nothing": (begun(), *end()),
}

BROKEN: Mapping[str, tuple[bytes, ...]] = {
    "error": (*CUT, event("error", error={"type": "overloaded_error", "message": "Overloaded"})),
    "cut": CUT,
    "late": (
        begun(),
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "Hm."},
        ),
        *text(1, "Neap")[:-1],
    ),
}
"""Answers that break off."""

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
REFUSALS = {f"refuse-{status}": status for status in _TYPES}


def refused(status: int) -> replay.Answer:
    """A refusal in Anthropic's envelope."""
    error = {"type": _TYPES[status], "message": "no"}
    body = msgspec.json.encode({"type": "error", "error": error, "request_id": "req_1"})
    more = (("Retry-After", "3"),) if status in (429, 529) else ()
    headers = (("Content-Type", "application/json"), *more)
    return replay.Answer(status=status, headers=headers, body=(body,), framing="length")


@contextlib.asynccontextmanager
async def staged(**tables: Any) -> AsyncIterator[answers.Stage]:
    """A server with both providers, which one process plays. Heartbeats come each 100 ms."""
    gate = asyncio.Event()

    def choose(asked: replay.Request) -> replay.Answer:
        model = asked.json()["model"]
        if asked.target.endswith("/chat/completions"):
            return replay.Answer(body=answers.ANSWERS[model])
        if model in REFUSALS:
            return refused(REFUSALS[model])
        if model == "paused":
            first, second = text(0, "Neap ")[:2], text(0, '"tide" 🌊')[1:]
            return replay.Answer(body=(begun(), *first, gate, *second, *end()))
        ending: Any = "fin" if model in ("cut", "late") else "clean"
        return replay.Answer(body={**ANSWERS, **BROKEN}[model], ending=ending)

    async with replay.ReplayServer(choose) as provider:
        rows = {
            "vendor": {"kind": "anthropic", "base_url": provider.url, "api_key": asking.KEY},
            "chat": {"kind": "openai", "base_url": f"{provider.url}/v1", "api_key": asking.KEY},
        }
        tables.setdefault("server", {"heartbeat_interval": 0.1})
        config = harness.configured(providers=rows, **tables)
        async with harness.running(config) as server:
            yield answers.Stage(server, provider, gate)


def client(url: str, key: str = "any", **options: Any) -> anthropic.AsyncAnthropic:
    """The stock client. Nothing of the environment is looked at."""
    http = anthropic.DefaultAsyncHttpxClient(verify=words.VERIFY, trust_env=False)
    options.setdefault("max_retries", 0)
    if "auth_token" not in options:
        options["api_key"] = key
    return anthropic.AsyncAnthropic(base_url=url, http_client=http, **options)


def asked(model: str, **fields: Any) -> Any:
    """The arguments of a call of the client's."""
    return {"model": model, "max_tokens": 100, "messages": MESSAGES, **fields}


def told(message: Any) -> dict[str, Any]:
    """What a message says that is no provider's own name of it."""
    said: dict[str, Any] = message.to_dict()
    for name in ("id", "model", "diagnostics"):
        said.pop(name, None)
    said["content"] = [
        {name: value for name, value in one.items() if value is not None} for one in said["content"]
    ]
    said["usage"] = {name: n for name, n in said["usage"].items() if n}
    return {name: value for name, value in said.items() if value is not None}

"""Answers that a provider of chat completions is scripted to give, by the model that is asked for.

Strategy: the clients of every language read the same answers on the same server, and are held to
the same words; see `READ`. An answer is asked for as `vendor/NAME`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec
from tests.integration import asking, harness

from holdfast.testing import provider as replay


def frame(*choices: dict[str, Any], **fields: Any) -> bytes:
    """A chunk of these choices."""
    return b"data: %b\n\n" % msgspec.json.encode({"choices": choices, **fields})


def said(index: int = 0, reason: str | None = None, **delta: Any) -> bytes:
    """A chunk of one choice."""
    return frame({"index": index, "delta": delta, "finish_reason": reason})


def call(index: int, arguments: str, **begin: str) -> bytes:
    """A piece of a tool call; `id` and `name` where it begins."""
    function: dict[str, str] = {"arguments": arguments}
    fragment: dict[str, Any] = {"index": index, "function": function}
    if begin:
        function["name"] = begin["name"]
        fragment |= {"id": begin["id"], "type": "function"}
    return said(tool_calls=[fragment])


USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 5,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
DONE = b"data: [DONE]\n\n"
END = frame(usage=USAGE) + DONE
ROLE = said(role="assistant", content="")
PROBS = {"content": [{"token": "Tide", "logprob": -0.5, "bytes": [84], "top_logprobs": []}]}
CITED = {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 4}

ANSWERS: Mapping[str, tuple[bytes, ...]] = {
    "text": (ROLE, said(content="Neap "), said(content='"tide" 🌊'), said(reason="stop"), END),
    "tools": (
        ROLE,
        call(0, "", id="call_a", name="get_weather"),
        call(0, '{"city":'),
        call(0, ' "Oslo"}'),
        call(1, "", id="call_b", name="get_time"),
        call(1, "{}"),
        said(reason="tool_calls"),
        END,
    ),
    "reasoning": (
        said(reasoning_content="Hm. "),
        said(reasoning_content="So."),
        said(content="Yes."),
        said(reason="stop"),
        END,
    ),
    "refusal": (ROLE, said(refusal="I can"), said(refusal="not."), said(reason="stop"), END),
    "length": (ROLE, said(content="Neap"), said(reason="length"), END),
    "filter": (ROLE, said(content="Neap"), said(reason="content_filter"), END),
    "json": (ROLE, said(content='{"city":'), said(content='"Oslo"}'), said(reason="stop"), END),
    "choices": (
        said(1, content="one"),
        said(0, content="zero"),
        said(0, "stop"),
        said(1, "length"),
        END,
    ),
    "logprobs": (
        frame({"index": 0, "delta": {"content": "Tide"}, "logprobs": PROBS}),
        said(reason="stop"),
        END,
    ),
    "cited": (
        said(content="Tide"),
        said(annotations=[{"type": "url_citation", "url_citation": CITED}]),
        said(reason="stop"),
        END,
    ),
    "no-usage": (ROLE, said(content="Neap"), said(reason="stop"), DONE),
    "nothing": (ROLE, said(reason="stop"), END),
    "error": (ROLE, said(content="Neap"), b'data: {"error":{"message":"broken","code":500}}\n\n'),
    "cut": (ROLE, said(content="Neap")),
}

READ: Mapping[str, Mapping[str, Any]] = {
    "text": {"text": 'Neap "tide" 🌊'},
    "tools": {
        "finish": "tool_calls",
        "tool calls": [
            ["call_a", "get_weather", '{"city": "Oslo"}'],
            ["call_b", "get_time", "{}"],
        ],
    },
    "reasoning": {"text": "Yes.", "reasoning": "Hm. So."},
    "refusal": {"refusal": "I cannot."},
    "length": {"text": "Neap", "finish": "length"},
    "filter": {"text": "Neap", "finish": "content_filter"},
    "json": {"text": '{"city":"Oslo"}'},
    "choices": {"text": "zero", "others": [["one", "length"]]},
    "logprobs": {"text": "Tide", "logprobs": ["Tide"]},
    "cited": {"text": "Tide", "sources": ["https://a.example"]},
    "no-usage": {"text": "Neap", "usage": None},
    "nothing": {},
}
"""What is read of an answer that ends well, beside `USUAL`."""

USUAL: Mapping[str, Any] = {
    "text": "",
    "reasoning": "",
    "refusal": "",
    "tool calls": [],
    "finish": "stop",
    "others": [],
    "logprobs": [],
    "sources": [],
    "usage": [9, 5, 14, 4, 2],
}


def expected(name: str) -> dict[str, Any]:
    return {**USUAL, **READ[name]}


class Refusing(msgspec.Struct, frozen=True):
    """A refusal of the provider's."""

    status: int
    code: str
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def answer(self) -> replay.Answer:
        error = {"message": f"no: {self.code}", "type": "t", "code": self.code}
        body = msgspec.json.encode({"error": error})
        headers = (("Content-Type", "application/json"), *self.headers)
        return replay.Answer(status=self.status, headers=headers, body=(body,), framing="length")


REFUSALS = {
    "refuse-400": Refusing(400, "bad"),
    "refuse-401": Refusing(401, "invalid_api_key"),
    "refuse-404": Refusing(404, "model_not_found"),
    "refuse-429": Refusing(429, "rate_limit_exceeded", (("Retry-After", "3"),)),
    "refuse-500": Refusing(500, "oops"),
    "refuse-503": Refusing(503, "busy"),
}


Made = TypeVar("Made")


class Stage(msgspec.Struct, frozen=True):
    """A running server whose provider `vendor` gives these answers. `gate` holds back the second
    half of the model `paused`, and all that `thinking` says."""

    server: harness.Running
    provider: replay.ReplayServer
    gate: asyncio.Event

    @property
    def url(self) -> str:
        """The base URL that stock clients of OpenAI are given."""
        return f"{self.server.url}/v1"

    def asked(self) -> Any:
        """The body of the last request to the provider."""
        return self.provider.requests[-1].json()

    async def beaten(self, times: int = 3) -> None:
        """Returns when whoever reads has got so many heartbeats more."""
        service = self.server.service
        await asking.until(lambda: len(service.connections) == 1)
        connection = next(iter(service.connections.all()))
        await asking.until(lambda: connection.chunks_sent > 0)
        before = connection.bytes_sent
        await asking.until(lambda: connection.bytes_sent >= before + times * len(b": ping\n"))

    async def held(
        self,
        reading: Coroutine[Any, Any, Made],
        beats: int = 3,
        end: Callable[[Stage], Awaitable[None]] | None = None,
    ) -> Made:
        """What whoever reads `paused` gets of it: so many heartbeats (none where the whole is asked
        for), and then the rest, or what `end` makes of it."""
        self.gate.clear()
        task = asyncio.create_task(reading)
        if beats:
            await self.beaten(beats)
        else:
            await asking.until(lambda: len(self.server.service.connections) == 1)
        try:
            if end is None:
                self.gate.set()
            else:
                await end(self)
            return await task
        finally:
            self.gate.set()
            await asking.idle(self.server)


@contextlib.asynccontextmanager
async def staged(**tables: Any) -> AsyncIterator[Stage]:
    """Both servers. Heartbeats come each 100 ms. `alike` is the same provider, as one that speaks
    like OpenAI."""
    gate = asyncio.Event()

    def choose(asked: replay.Request) -> replay.Answer:
        model = asked.json()["model"]
        if model in REFUSALS:
            return REFUSALS[model].answer
        if model == "paused":
            first, *rest = ANSWERS["text"][1:]
            return replay.Answer(body=(ROLE, first, gate, *rest))
        if model == "thinking":
            return replay.Answer(body=(gate, *ANSWERS["text"]))
        ending: Any = "fin" if model == "cut" else "clean"
        return replay.Answer(body=ANSWERS[model], ending=ending)

    async with replay.ReplayServer(choose) as provider:
        row = {"kind": "openai", "base_url": f"{provider.url}/v1", "api_key": asking.KEY}
        alike = {"kind": "openai_chat", "base_url": f"{provider.url}/v1"}
        tables.setdefault("server", {"heartbeat_interval": 0.1})
        config = harness.configured(providers={"vendor": row, "alike": alike}, **tables)
        async with harness.running(config) as server:
            yield Stage(server, provider, gate)

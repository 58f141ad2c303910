"""A server for clients of Responses, and what they read in the words of `answers.READ`.

Strategy: two providers give scripted answers. `vendor` speaks chat completions, so that what
clients read is told in a format that it was not written in; `own` speaks Responses, for what is
told as it came and for what goes back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from tests.integration import asking, harness
from tests.integration.dialects import answers
from tests.integration.stock import words

from holdfast.testing import provider as replay

ASKED: Any = words.ASKED

Fields = dict[str, Any]


def frame(type: str, **fields: Any) -> bytes:
    """An event of the provider's own format."""
    data = msgspec.json.encode({"type": f"response.{type}", **fields})
    return b"event: response.%b\ndata: %b\n\n" % (type.encode(), data)


SEALED = {"type": "reasoning", "id": "rs_68", "summary": [], "encrypted_content": "sealed"}
SEARCH = {
    "type": "web_search_call",
    "id": "ws_68",
    "status": "completed",
    "action": {"type": "search", "query": "tide"},
}
CITED = {
    "type": "url_citation",
    "url": "https://a.example",
    "title": "A",
    "start_index": 0,
    "end_index": 4,
}
PROB = {"token": "Tide", "logprob": -0.5, "bytes": [84], "top_logprobs": []}
MESSAGE = {"type": "message", "id": "msg_68", "role": "assistant", "phase": "final_answer"}
SHELL = {"type": "custom_tool_call", "id": "ctc_68", "call_id": "call_c", "name": "sh"}
USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 14,
}


def _item(index: int, item: Fields, *pieces: bytes) -> bytes:
    begun = frame("output_item.added", output_index=index, item=item)
    return begun + b"".join(pieces) + frame("output_item.done", output_index=index, item=item)


_AT = {"output_index": 2, "content_index": 0, "item_id": "msg_68"}

OWN: Mapping[str, bytes] = {
    "items": b"".join(
        (
            _item(0, SEALED),
            _item(1, SEARCH),
            frame("output_item.added", output_index=2, item=MESSAGE | {"content": []}),
            frame("output_text.delta", **_AT, delta="Tide", logprobs=[PROB]),
            frame("output_text.annotation.added", **_AT, annotation_index=0, annotation=CITED),
            frame("output_item.added", output_index=3, item=SHELL | {"input": ""}),
            frame("custom_tool_call_input.delta", output_index=3, item_id="ctc_68", delta="ls"),
            frame("completed", response={"id": "resp_68", "status": "completed", "usage": USAGE}),
        )
    ),
}

FINISH = {
    "stop": "completed",
    "tool_calls": "completed",
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}
"""Reasons in the words of Responses."""

NAMES = [name for name in answers.READ if name != "choices"]
"""A response is one answer."""


def expected(name: str) -> Fields:
    """What is read of one of `answers`: log probabilities are those of another format."""
    wanted = answers.expected(name)
    del wanted["others"]
    return wanted | {"finish": FINISH[wanted["finish"]], "logprobs": []}


def told(response: Any) -> Fields:
    """A response in these words."""
    parts = [part for item in response.output if item.type == "message" for part in item.content]
    texts = [part for part in parts if part.type == "output_text"]
    usage, details = response.usage, response.incomplete_details
    calls = [item for item in response.output if item.type == "function_call"]
    thoughts = [item for item in response.output if item.type == "reasoning"]
    return {
        "text": response.output_text,
        "reasoning": "".join(part.text for item in thoughts for part in item.summary),
        "refusal": "".join(part.refusal for part in parts if part.type == "refusal"),
        "tool calls": [[call.call_id, call.name, call.arguments] for call in calls],
        "finish": (details and details.reason) or response.status,
        "logprobs": [one.token for part in texts for one in part.logprobs or ()],
        "sources": [one.url for part in texts for one in part.annotations],
        "usage": usage
        and [
            usage.input_tokens,
            usage.output_tokens,
            usage.total_tokens,
            usage.input_tokens_details.cached_tokens,
            usage.output_tokens_details.reasoning_tokens,
        ],
    }


@contextlib.asynccontextmanager
async def staged(log_url: str = "memory://", **tables: Any) -> AsyncIterator[answers.Stage]:
    """Both servers. Heartbeats come each 100 ms."""
    gate = asyncio.Event()

    def choose(asked: replay.Request) -> replay.Answer:
        model = asked.json()["model"]
        if model in OWN:
            return replay.Answer(body=(OWN[model],))
        if model in answers.REFUSALS:
            return answers.REFUSALS[model].answer
        if model == "paused":
            first, *rest = answers.ANSWERS["text"][1:]
            return replay.Answer(body=(answers.ROLE, first, gate, *rest))
        ending: Any = "fin" if model == "cut" else "clean"
        return replay.Answer(body=answers.ANSWERS[model], ending=ending)

    async with replay.ReplayServer(choose) as provider:
        row = {"base_url": f"{provider.url}/v1", "api_key": asking.KEY}
        providers = {
            "vendor": {"kind": "openai", **row},
            "own": {"kind": "openai_responses", **row},
        }
        tables.setdefault("server", {"heartbeat_interval": 0.1})
        async with harness.running(harness.configured(log_url, providers, **tables)) as server:
            yield answers.Stage(server, provider, gate)

"""What the stock `openai` client reads of an answer on our route of chat completions."""

from __future__ import annotations

from typing import Any

import openai
from tests.integration.dialects import column
from tests.integration.stock import words

from holdfast import answer

FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}


def _client(asked: column.Asked) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{asked.url}/v1", api_key="k", max_retries=0, http_client=asked.http
    )


def _request(asked: column.Asked) -> dict[str, Any]:
    messages = [{"role": "user", "content": words.ASKED}]
    return {"model": asked.model, "messages": messages, "n": asked.choices}


async def read(asked: column.Asked) -> words.Values:
    """A stream, by the client's own accumulator."""
    completions = _client(asked).chat.completions
    options: Any = {"include_usage": True}
    error = None
    snapshot = None
    try:
        async with completions.stream(**_request(asked), stream_options=options) as got:
            try:
                async for _ in got:
                    snapshot = got.current_completion_snapshot
            except openai.APIError as raised:
                error = raised.code
    except openai.APIError as raised:
        return _values(None, raised.code, asked.choices)
    return _values(snapshot, error, asked.choices)


async def whole(asked: column.Asked) -> words.Values:
    """An answer that is asked for as one value."""
    try:
        told = await _client(asked).chat.completions.create(**_request(asked))
    except openai.APIError as raised:
        return _values(None, raised.code, asked.choices)
    return _values(told, None, asked.choices)


def _values(told: Any, error: str | None, choices: int) -> words.Values:
    if told is None or not told.choices:
        return words.values(error=error, others=[""] * (choices - 1))
    by_index = {choice.index: choice for choice in told.choices}
    first, message = by_index[0], by_index[0].message
    more = message.model_extra or {}
    usage = told.usage
    return words.values(
        **{
            "text": message.content or "",
            "reasoning": more.get("reasoning_content") or "",
            "refusal": message.refusal or "",
            "others": [
                (by_index[n].message.content or "") if n in by_index else ""
                for n in range(1, choices)
            ],
            "finish": first.finish_reason,
            "usage": usage and [usage.prompt_tokens, usage.completion_tokens],
            "error": error,
            "tool calls": [
                [call.function.name, words.arguments(call.function.arguments or "")]
                for call in message.tool_calls or ()
            ],
        }
    )


def expected(told: answer.Answer, choices: int) -> words.Values:
    """The native answer in the words of chat completions."""
    first = told.choice(0)
    said = column.native(told, choices)
    if first.finish_reason == "refusal":
        said["finish"] = "stop" if first.refusal else "content_filter"
    elif end := first.finish_reason or (told.complete and told.complete.finish_reason):
        said["finish"] = FINISH.get(end, first.provider_finish_reason or end)
    if told.error is not None:
        said["usage"] = None  # it is told behind the answer, and there is none
    return said


ROWS: dict[str, column.Row] = {}

COLUMN = column.Column("OpenAI chat", read, whole, expected, ROWS)

"""What the stock `openai` client reads of an answer on our route of responses."""

from __future__ import annotations

from typing import Any

import openai
from openai.types import responses as openai_types
from tests.integration.dialects import column
from tests.integration.stock import words

from holdfast import answer


def _client(asked: column.Asked) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{asked.url}/v1", api_key="k", max_retries=0, http_client=asked.http
    )


async def read(asked: column.Asked) -> words.Values:
    """A stream, by the client's own accumulator; where it fails, what can be read of it after."""
    client, last = _client(asked), None
    request: Any = {"model": asked.model, "input": words.ASKED}
    try:
        async with client.responses.stream(**request) as got:
            async for event in got:
                found = getattr(event, "response", None)
                last = found if isinstance(found, openai_types.Response) else last
    except openai.APIError as error:
        return await _left(asked, error, last.id if last else None)
    return values(last, None, asked.choices)


async def whole(asked: column.Asked) -> words.Values:
    """An answer that is asked for as one value."""
    try:
        told = await _client(asked).responses.create(model=asked.model, input=words.ASKED)
    except openai.APIError as error:
        return await _left(asked, error, None)
    return values(told, None, asked.choices)


async def _left(asked: column.Asked, error: openai.APIError, id: str | None) -> words.Values:
    """What there is of an answer that failed."""
    if isinstance(error, openai.APIStatusError):
        stream = error.response.headers.get("x-stream-id")
        id = stream and f"resp_{stream}"
    last = await _client(asked).responses.retrieve(id) if id else None
    return values(last, error.code, asked.choices)


def values(told: openai_types.Response | None, error: str | None, choices: int = 1) -> words.Values:
    """A response in plain words."""
    others = [""] * (choices - 1)
    if told is None:
        return words.values(error=error, others=others)
    parts = [part for item in told.output if item.type == "message" for part in item.content]
    usage, details = told.usage, told.incomplete_details
    return words.values(
        **{
            "text": told.output_text,
            "reasoning": "".join(map(_thought, told.output)),
            "refusal": "".join(part.refusal for part in parts if part.type == "refusal"),
            "others": others,
            "finish": (details and details.reason) or told.status,
            "usage": usage and [usage.input_tokens, usage.output_tokens],
            "error": error,
            "tool calls": [call for item in told.output for call in _call(item)],
        }
    )


def _thought(item: Any) -> str:
    return "".join(part.text for part in item.summary) if item.type == "reasoning" else ""


def _call(item: Any) -> list[Any]:
    if item.type == "function_call":
        return [[item.name, words.arguments(item.arguments)]]
    return [[item.name, item.input]] if item.type == "custom_tool_call" else []


ENDS = {
    "stop": "completed",
    "tool_calls": "completed",
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}


def expected(told: answer.Answer, choices: int) -> words.Values:
    """The native answer in the words of responses."""
    first, said = told.choice(0), column.native(told, choices)
    end = first.finish_reason or (told.complete and told.complete.finish_reason)
    if told.error is not None:
        said["finish"] = "failed"
    elif end == "refusal":
        said["finish"] = "completed" if first.refusal else "content_filter"
    else:
        said["finish"] = ENDS.get(str(end), first.provider_finish_reason or end)
    return said


ROWS = {
    "openai-chat/n3-choices": column.Row({"others": ["", ""]}, "a response is one answer"),
}

COLUMN = column.Column("OpenAI Responses", read, whole, expected, ROWS)

"""What the stock `openai` client reads: chat completions and the Responses API.

Strategy: its own accumulator of each; what the accumulator leaves out is taken from the typed
events that it hands on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
from openai.types import responses as openai_types
from tests.integration.stock import words


def _openai(url: str) -> openai.AsyncOpenAI:
    http = openai.DefaultAsyncHttpxClient(verify=words.VERIFY)
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0, http_client=http)


async def chat(url: str, choices: int) -> words.Values:
    client = _openai(url)
    asked: Any = [{"role": "user", "content": words.ASKED}]
    async with client, client.chat.completions.stream(model="m", messages=asked, n=choices) as got:
        error = await words.read_all(got, (openai.APIError,))
        try:
            told = got.current_completion_snapshot
        except AssertionError:
            return words.values(error=error)
    usage = told.usage
    counted = usage and [usage.prompt_tokens, usage.completion_tokens]
    if not told.choices:
        return words.values(usage=counted, error=error)
    first, *others = sorted(told.choices, key=lambda choice: choice.index)
    message, more = first.message, first.message.model_extra or {}
    return words.values(
        **{
            "text": message.content or "",
            "reasoning": more.get("reasoning") or more.get("reasoning_content") or "",
            "refusal": message.refusal or "",
            "others": [choice.message.content or "" for choice in others],
            "finish": first.finish_reason,
            "usage": counted,
            "error": error,
            "tool calls": [
                [call.function.name, words.arguments(call.function.arguments or "")]
                for call in message.tool_calls or ()
            ],
        }
    )


class _Responded:
    """The items of an answer of the Responses API, as the client's events have them.

    The last event repeats the whole answer, but for servers that leave that out: then the
    items as they were done count, and what the client accumulated of those that were not.
    """

    def __init__(self) -> None:
        self.last: openai_types.Response | None = None
        self.refused = False
        self._items: dict[int, Any] = {}
        self._texts: dict[tuple[int, int], str] = {}
        self._arguments: dict[int, str] = {}

    def take(self, event: Any) -> None:
        found = getattr(event, "response", None)
        self.last = found if isinstance(found, openai_types.Response) else self.last
        self.refused = self.refused or event.type in ("error", "response.failed")
        match event.type:
            case "response.output_item.added" | "response.output_item.done":
                self._items[event.output_index] = event.item
            case "response.output_text.delta":
                self._texts[event.output_index, event.content_index] = event.snapshot
            case "response.function_call_arguments.delta":
                self._arguments[event.output_index] = event.snapshot

    def values(self, error: str | None) -> words.Values:
        last = self.last
        items = (last and last.output) or [item for _, item in sorted(self._items.items())]
        parts = [part for item in items if item.type == "message" for part in item.content]
        text = "".join(part.text for part in parts if part.type == "output_text")
        status = (last and last.incomplete_details and last.incomplete_details.reason) or (
            last and last.status
        )
        return words.values(
            **{
                "text": text or "".join(said for _, said in sorted(self._texts.items())),
                "reasoning": "\n\n".join(map(_thought, items)).strip("\n"),
                "refusal": "".join(part.refusal for part in parts if part.type == "refusal"),
                # What is not at its end yet, or failed, has no reason of its end.
                "finish": status if status not in ("queued", "in_progress", "failed") else None,
                "usage": last
                and last.usage
                and [last.usage.input_tokens, last.usage.output_tokens],
                "error": "error" if self.refused else error,
                "tool calls": [
                    call for n, item in enumerate(items) for call in self._call(n, item)
                ],
            }
        )

    def _call(self, index: int, item: Any) -> list[Any]:
        if item.type == "custom_tool_call":
            return [[item.name, item.input]]
        if item.type == "function_call":
            return [[item.name, words.arguments(item.arguments or self._arguments.get(index, ""))]]
        return []


def _thought(item: Any) -> str:
    """The text of a reasoning item, or where it has none, its summary."""
    if item.type != "reasoning":
        return ""
    if item.content:
        return "".join(part.text for part in item.content)
    return "\n\n".join(part.text for part in item.summary)


async def responses(url: str, choices: int) -> words.Values:
    client = _openai(url)
    responded = _Responded()

    async def told(stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for event in stream:
            responded.take(event)
            yield event

    async with client, client.responses.stream(model="m", input=words.ASKED) as got:
        error = await words.read_all(told(aiter(got)), (openai.APIError,))
    return responded.values(error)

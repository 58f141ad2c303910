"""What the stock `google-genai` client reads: streamGenerateContent and the Interactions API.

Strategy: it accumulates nothing, so its own types of each chunk and event are joined here, as a
caller of it would.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from tests.integration.stock import words


def _client(url: str) -> Any:
    verify = {"verify": words.VERIFY}
    options = genai_types.HttpOptions(base_url=url, client_args=verify, async_client_args=verify)
    return genai.Client(api_key="k", http_options=options).aio


async def generate(url: str, choices: int) -> words.Values:
    told = words.values()
    client = _client(url)

    async def taken() -> AsyncIterator[None]:
        async for chunk in await client.models.generate_content_stream(
            model="m", contents=words.ASKED
        ):
            _take(told, chunk)
            yield

    told["error"] = await words.read_all(taken(), (genai_errors.APIError,))
    await client.aclose()
    return told


def _take(told: words.Values, chunk: genai_types.GenerateContentResponse) -> None:
    """The client accumulates nothing: its own type of each chunk is read part by part."""
    counted = chunk.usage_metadata
    if counted is not None:
        read = (counted.prompt_token_count, counted.tool_use_prompt_token_count)
        written = (counted.candidates_token_count, counted.thoughts_token_count)
        told["usage"] = [sum(count or 0 for count in counts) for counts in (read, written)]
    if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason is not None:
        told["finish"] = chunk.prompt_feedback.block_reason.value
    for candidate in (one for one in chunk.candidates or () if not one.index):
        if candidate.finish_reason is not None:
            told["finish"] = candidate.finish_reason.value
        for part in (candidate.content and candidate.content.parts) or ():
            if part.text:
                told["reasoning" if part.thought else "text"] += part.text
            if part.function_call is not None:
                told["tool calls"].append([part.function_call.name, part.function_call.args or {}])


async def interact(url: str, choices: int) -> words.Values:
    answer = _Interaction()
    client = _client(url)

    async def taken() -> AsyncIterator[None]:
        stream = await client.interactions.create(model="m", input=words.ASKED, stream=True)
        async for event in stream:
            answer.take(event)
            yield

    error = await words.read_all(taken(), (genai_errors.APIError,))
    await client.aclose()
    return answer.values(error)


class _Interaction:
    """The steps of an interaction, as the client's events have them."""

    def __init__(self) -> None:
        self._told = words.values()
        self._status: str | None = None
        self._refused = False
        self._steps: dict[int, Any] = {}
        self._arguments: dict[int, str] = {}

    def take(self, event: Any) -> None:
        match event.event_type:
            case "step.start":
                self._steps[event.index] = event.step
                self._say("text", getattr(event.step, "content", None))
                self._say("reasoning", getattr(event.step, "summary", None))
            case "step.delta":
                self._count(event.metadata and event.metadata.total_usage)
                self._go_on(event.index, event.delta)
            case "interaction.status_update":
                self._status = event.status
                self._count(event.usage)
            case "interaction.completed":
                self._status = event.interaction.status or self._status
                self._count(event.interaction.usage)
            case "error":
                self._refused = True

    def _go_on(self, index: int, delta: Any) -> None:
        match delta.type:
            case "text":
                self._say("text", [delta])
            case "thought_summary":
                self._say("reasoning", [delta.content])
            case "arguments_delta":
                self._arguments[index] = self._arguments.get(index, "") + delta.arguments

    def _say(self, word: str, parts: Iterable[Any] | None) -> None:
        self._told[word] += "".join(getattr(part, "text", None) or "" for part in parts or ())

    def _count(self, usage: Any) -> None:
        if usage is not None:
            read = (usage.total_input_tokens, usage.total_tool_use_tokens)
            written = (usage.total_output_tokens, usage.total_thought_tokens)
            self._told["usage"] = [sum(n or 0 for n in counts) for counts in (read, written)]

    def values(self, error: str | None) -> words.Values:
        calls = [
            [step.name, words.arguments(self._arguments.get(index) or step.arguments or {})]
            for index, step in sorted(self._steps.items())
            if getattr(step, "type", None) == "function_call"
        ]
        refused = self._refused or self._status in ("failed", "cancelled")
        # What is not at its end yet, or failed, has no reason of its end.
        finish = None if refused or self._status == "in_progress" else self._status
        error = "error" if refused else error
        return {**self._told, "tool calls": calls, "finish": finish, "error": error}

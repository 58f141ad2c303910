"""What the stock `anthropic` client reads, by its own accumulator."""

from __future__ import annotations

from typing import Any

import anthropic
from tests.integration.stock import words


async def messages(url: str, choices: int) -> words.Values:
    http = anthropic.DefaultAsyncHttpxClient(verify=words.VERIFY)
    client = anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0, http_client=http)
    asked: Any = [{"role": "user", "content": words.ASKED}]
    async with client, client.messages.stream(model="m", messages=asked, max_tokens=9) as got:
        error = await words.read_all(got, (anthropic.APIError,))
        try:
            told = got.current_message_snapshot
        except AssertionError:
            return words.values(error=error)
    blocks: list[Any] = list(told.content)
    usage = told.usage
    read = (usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
    return words.values(
        **{
            "text": "".join(block.text for block in blocks if block.type == "text"),
            "reasoning": "".join(b.thinking for b in blocks if b.type == "thinking"),
            "finish": told.stop_reason,
            "usage": [sum(count or 0 for count in read), usage.output_tokens],
            "error": error,
            "tool calls": [[b.name, b.input] for b in blocks if b.type == "tool_use"],
        }
    )

"""The stock `openai` client for Python, and what it reads in the words of `answers.READ`."""

from __future__ import annotations

from typing import Any

import openai
from tests.integration.stock import words

MESSAGES: Any = [{"role": "user", "content": words.ASKED}]
USAGE: Any = {"include_usage": True}


def client(url: str, key: str = "any", **options: Any) -> openai.AsyncOpenAI:
    """The stock client. Nothing of the environment is looked at."""
    http = openai.DefaultAsyncHttpxClient(verify=words.VERIFY, trust_env=False)
    options.setdefault("max_retries", 0)
    return openai.AsyncOpenAI(base_url=url, api_key=key, http_client=http, **options)


def told(completion: Any) -> dict[str, Any]:
    """A completion in the words of `answers.READ`."""
    first, *others = sorted(completion.choices, key=lambda choice: choice.index)
    message, usage = first.message, completion.usage
    more = message.model_extra or {}
    annotations = message.annotations or ()
    probs = first.logprobs and first.logprobs.content
    return {
        "text": message.content or "",
        "reasoning": more.get("reasoning_content") or "",
        "refusal": message.refusal or "",
        "tool calls": [
            [call.id, call.function.name, call.function.arguments]
            for call in message.tool_calls or ()
        ],
        "finish": first.finish_reason,
        "others": [[choice.message.content, choice.finish_reason] for choice in others],
        "logprobs": [one.token for one in probs or ()],
        "sources": [url_of(one) for one in annotations],
        "usage": usage
        and [
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.total_tokens,
            usage.prompt_tokens_details.cached_tokens,
            usage.completion_tokens_details.reasoning_tokens,
        ],
    }


def url_of(annotation: Any) -> str:
    """Of a source; the accumulator keeps those of a stream as plain values."""
    if isinstance(annotation, dict):
        return str(annotation["url_citation"]["url"])
    return str(annotation.url_citation.url)

"""The stock `openai` client for Python, and what it reads in the words of `answers.READ`."""

from __future__ import annotations

from typing import Any

import httpx2
import openai
import pydantic
from tests.integration.dialects import answers
from tests.integration.stock import words

MESSAGES: Any = [{"role": "user", "content": words.ASKED}]
USAGE: Any = {"include_usage": True}


def client(url: str, key: str = "any", **options: Any) -> openai.AsyncOpenAI:
    """The stock client. Nothing of the environment is looked at."""
    options.setdefault("max_retries", 0)
    return openai.AsyncOpenAI(base_url=url, api_key=key, http_client=http(), **options)


def http() -> httpx2.AsyncClient:
    """What its requests go by."""
    return openai.DefaultAsyncHttpxClient(verify=words.VERIFY, trust_env=False)


CUT = (httpx2.TransportError, openai.APIConnectionError)
"""What the client raises where a connection breaks off."""

REFUSED = {
    "refuse-400": (openai.BadRequestError, "provider_rejected"),
    "refuse-401": (openai.InternalServerError, "provider_auth"),
    "refuse-404": (openai.NotFoundError, "provider_model_not_found"),
    "refuse-429": (openai.RateLimitError, "provider_rate_limited"),
    "refuse-500": (openai.InternalServerError, "provider_failed"),
    "refuse-503": (openai.InternalServerError, "provider_overloaded"),
}
"""What the client raises for each of `answers.REFUSALS`, and its code."""
assert REFUSED.keys() == answers.REFUSALS.keys()


def check_refusal(raised: openai.APIStatusError, name: str) -> None:
    """It tells all that the client decides by whether to ask again."""
    assert raised.code == REFUSED[name][1], raised.code
    headers = raised.response.headers
    again = name in ("refuse-429", "refuse-500", "refuse-503")
    assert headers["x-should-retry"] == ("true" if again else "false"), headers
    assert ("retry-after" in headers) == (name in ("refuse-429", "refuse-503")), headers
    assert raised.request_id, headers


class Place(pydantic.BaseModel):
    """What the answer `json` is."""

    city: str


class GetWeather(pydantic.BaseModel):
    """The arguments of the first of the calls `tools`."""

    city: str


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

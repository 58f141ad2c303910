"""LangChain's `ChatOpenAI`, and what it reads of a stream."""

from __future__ import annotations

from typing import Any

import httpx2
import langchain_openai
import pydantic


def model(url: str, name: str, http: httpx2.AsyncClient, **use: Any) -> langchain_openai.ChatOpenAI:
    """The model `name`; whoever gives it the client of HTTP closes that, as LangChain would not."""
    return langchain_openai.ChatOpenAI(
        model=name,
        base_url=url,
        api_key=pydantic.SecretStr("any"),
        max_retries=0,
        http_async_client=http,
        **use,
    )


async def streamed(runnable: Any, asked: Any = "Say it.") -> Any:
    """All chunks, added up."""
    total = None
    async for chunk in runnable.astream(asked):
        total = chunk if total is None else total + chunk
    return total

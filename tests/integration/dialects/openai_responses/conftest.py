"""A server with our route of responses, and the stock client: one for a file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest_asyncio
from tests.integration.dialects import answers, responding, stock_openai


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[answers.Stage]:
    async with responding.staged() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stock(stage: answers.Stage) -> AsyncIterator[openai.AsyncOpenAI]:
    async with stock_openai.client(stage.url) as found:
        yield found

"""A server with our route of Messages and its providers, and the stock client: one for a file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import pytest_asyncio
from tests.integration.dialects import answers, messages


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[answers.Stage]:
    async with messages.staged() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stock(stage: answers.Stage) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with messages.client(stage.server.url) as found:
        yield found

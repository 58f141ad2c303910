"""Pages of the AI SDK in one Node process, and a server of theirs with its provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.integration import peers
from tests.integration.dialects.ai_sdk import chat_pages


@pytest.fixture(scope="session")
def pages(pytestconfig: pytest.Config) -> Iterator[peers.Peer]:
    """Each test opens pages of its own in it."""
    peers.installed(pytestconfig)
    with chat_pages.browser() as peer:
        yield peer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(pages: peers.Peer) -> AsyncIterator[chat_pages.Stage]:
    async with chat_pages.stage(pages) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def on(kept: chat_pages.Stage) -> AsyncIterator[chat_pages.Stage]:
    yield kept
    await kept.idle()

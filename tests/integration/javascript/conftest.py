"""A browser for the tests of a file; each has a profile of its own in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration import peers
from tests.integration.javascript import browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chrome(
    require: Callable[[str], Path], request: pytest.FixtureRequest
) -> AsyncIterator[browser.Browser]:
    program = require("chromium")
    peers.installed(request.config)
    async with browser.running(program) as running:
        yield running

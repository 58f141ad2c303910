"""Each recorded answer, as pages of `ai` 5, 6 and 7 show it: see `dialects/test_recordings.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration import peers
from tests.integration.dialects import column, for_ai_sdk
from tests.integration.dialects.ai_sdk import chat_pages

from holdfast.testing import recordings


@pytest.mark.parametrize("version", chat_pages.VERSIONS)
async def test_the_shared_recordings(pages: peers.Peer, version: int, shared: Path) -> None:
    one = for_ai_sdk.of(pages, version)
    results = await column.compared(recordings.load_recordings(shared / "recordings"), one)
    assert len(results) >= 73
    said = column.complaints(results, one)
    assert not said, "\n".join(said)

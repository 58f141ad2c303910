"""Pages of `ai` 5, 6 and 7 on a node that hides lengths: they pass over the letters."""

from __future__ import annotations

import re

import pytest
from tests.integration import peers
from tests.integration.dialects.ai_sdk import chat_pages
from tests.integration.dialects.ai_sdk.chat_pages import CALLS, VERSIONS, delta


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_page_passes_over_the_letters(pages: peers.Peer, version: int) -> None:
    async with chat_pages.stage(pages, streaming={"padding": True}) as on:
        calls = [delta(tool_calls=[one]) for one in CALLS]
        thought = delta(reasoning_content="Hm")
        on.vendor.will_say(thought, "The sea", " is", " old.", *calls, finish="tool_calls")
        page = await on.page(version, f"padded-{version}")
        await page.send()
        seen = await page.until(status="ready")
        assert chat_pages.parts(seen) == [
            "step",
            ("reasoning", "Hm", "done"),
            ("text", "The sea is old.", "done"),
            ("tool-tide", "input-available", {"at": 7}),
            ("tool-wind", "input-available", {}),
        ]
        raw = await on.call("GET", f"/padded-{version}/stream?finished=true")
        told = [block for block in raw.blocks if b"-delta" in block]
        assert told
        assert all(re.search(rb"}\n: [A-Za-z0-9+/]*\n\n$", block) for block in told)
        await on.idle()

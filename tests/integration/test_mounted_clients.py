"""Stock clients of other APIs reach a mounted node by a base URL, as they would reach the vendor.

Strategy: one call each that leads to a second URL or to a whole answer; what else they can do is
tested where nothing is mounted.
"""

from __future__ import annotations

import anthropic
import openai
import pytest
from tests.integration import harness, mounting

from holdfast import app

ASKED = "Hello!\n/demo rate=10000 tokens=5"


@pytest.mark.parametrize("way", [mounting.included, mounting.within])
async def test_they_find_it_below_its_prefix(way: mounting.Way) -> None:
    async with mounting.serving(way(app.asgi(harness.configured()))) as served:
        url = f"http://127.0.0.1:{served.port}{served.at}"
        async with (
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as theirs,
            anthropic.AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as others,
        ):
            made = await theirs.responses.create(model="demo", input=ASKED, background=True)
            told = [one async for one in await theirs.responses.retrieve(made.id, stream=True)]
            assert told[-1].type == "response.completed"
            said = await others.messages.create(
                model="demo", max_tokens=99, messages=[{"role": "user", "content": ASKED}]
            )
            assert said.stop_reason == "end_turn"

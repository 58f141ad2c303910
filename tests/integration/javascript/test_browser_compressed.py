"""A browser asks for compressed answers by itself, and gives each event out when it is there.

Strategy: an empty page of the server's own origin, with nothing of ours in it. The provider waits
for the test, which lets the next piece out when the page has the one before; what coding was sent
is read off the wire.
"""

from __future__ import annotations

import msgspec
import pytest
from tests.integration import asking, harness, recorded_wire
from tests.integration.javascript import browser, page_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOURCE = """
(() => {
  window.text = "";
  window.source = new EventSource("%s");
  window.source.addEventListener("chunk", ({ data }) => (window.text += JSON.parse(data).delta));
  window.source.addEventListener("complete", () => (window.over = true));
})()
"""

FETCH = """
(async () => {
  window.text = "";
  const answer = await fetch("%s");
  window.coding = answer.headers.get("content-encoding");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let held = "", found; !(found = await reader.read()).done; ) {
    const blocks = (held + found.value).split("\\n\\n");
    held = blocks.pop();
    for (const block of blocks)
      if (block.startsWith("event: chunk\\n"))
        window.text += JSON.parse(block.split("\\n")[1].slice(6)).delta;
  }
  window.over = true;
})()
"""

PARTS = 4


@pytest.mark.case("2.30")
@pytest.mark.parametrize("query", ["", "?compression=off"], ids=["compressed", "turned off"])
@pytest.mark.parametrize("script", [SOURCE, FETCH], ids=["EventSource", "fetch"])
async def test_each_piece_is_there_before_the_next_one_is_made(
    chrome: browser.Browser, script: str, query: str
) -> None:
    told = page_stage.Told(PARTS)
    async with (
        page_stage.staged(told.answer) as stage,
        recorded_wire.recording(stage.server.port) as wire,
        chrome.profile(quiet=False) as profile,
    ):
        made = await harness.ask(
            stage.server.port, "POST", "/v1/streams", None, harness.wanted("demo")
        )
        path = f"/v1/streams/{harness.stream_of(made)}/events{query}"
        await profile.lend(f"{wire.url}/lab/", "@microsoft/fetch-event-source")
        tab = await profile.open(f"{wire.url}/lab/")
        await tab.evaluate(f"void {script % path}" if script is FETCH else script % path)
        for _ in range(PARTS):
            text = msgspec.json.encode(told.let()).decode()
            await tab.until(f"window.text === {text}")
        told.end()
        await tab.until("window.over")
        first = next(one for one in wire.exchanges if one.target == f"GET {path}")
        assert first.encoding == ("identity" if query else "gzip")
        assert first.ids[-1].endswith(f"-{len(first.ids)}")
        await asking.idle(stage.server)

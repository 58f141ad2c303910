"""What a browser's own EventSource, and a library that others wrote for it, make of our streams.

Strategy: as in `test_page`, in an empty page of the server's own origin, with nothing of ours in
it. The provider waits for the test, and what was sent is read off the wire. How long they wait
before they come back is theirs: three seconds for Chromium's EventSource.
"""

from __future__ import annotations

import msgspec
import pytest
from tests.integration import asking, harness, recorded_wire
from tests.integration.javascript import browser, page_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIBRARY = "@microsoft/fetch-event-source"

FETCHES = """
(async () => {
  const { fetchEventSource } = await import("/lab/index.js");
  window.seen = [];
  window.state = "open";
  fetchEventSource("/v1/streams", {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": "once" },
    body: JSON.stringify({ model: "demo", messages: [{ role: "user", content: "Hello!" }] }),
    openWhenHidden: true,
    onmessage: (event) => window.seen.push(event),
    onerror: () => 1, // ms until it comes back
  }).then(() => (window.state = "resolved"), () => (window.state = "rejected"));
})()
"""

SOURCE = """
(() => {
  window.seen = JSON.parse(sessionStorage.seen ?? "[]");
  const last = window.seen.at(-1)?.id;
  window.source = new EventSource(`%s${last ? `?after=${last.split(":")[1]}` : ""}`);
  for (const name of ["start", "chunk", "metadata", "complete"])
    window.source.addEventListener(name, ({ type, data, lastEventId }) => {
      window.seen.push({ event: type, data, id: lastEventId });
      sessionStorage.seen = JSON.stringify(window.seen);
    });
})()
"""

TEXT = (
    "window.seen.filter(({ event }) => event === 'chunk')"
    ".map(({ data }) => JSON.parse(data).delta).join('')"
)


async def holds(tab: browser.Tab, text: str) -> None:
    await tab.until(f"{TEXT} === {msgspec.json.encode(text).decode()}")


async def check_once(tab: browser.Tab, wire: recorded_wire.Wire) -> None:
    """Each event once, in order: those that it holds, and those that were sent."""
    ids = await tab.evaluate("window.seen.map(({ id }) => id).filter((id) => id)")
    assert [number(id) for id in ids] == list(range(1, len(ids) + 1))
    assert [id for one in wire.readings for id in one.ids] == ids
    assert await tab.evaluate("window.seen.at(-1).event") == "complete"


def number(id: str) -> int:
    return int(id.rpartition("-")[2])


@pytest.mark.parametrize("lost", ["in mid-answer", "before the first byte"])
async def test_fetch_event_source_posts_again_and_buys_no_second_answer(
    chrome: browser.Browser, lost: str
) -> None:
    told = page_stage.Told(3)
    async with (
        page_stage.staged(told.answer) as stage,
        recorded_wire.recording(stage.server.port) as wire,
        chrome.profile(quiet=False) as profile,
    ):
        await profile.lend(f"{wire.url}/lab/", f"{LIBRARY}/lib/esm")
        tab = await profile.open(f"{wire.url}/lab/")
        if lost == "before the first byte":
            wire.mute = "POST /v1/streams"
        await tab.evaluate(FETCHES)
        await asking.until(lambda: len(stage.provider.requests) == 1)
        wire.mute = ""
        text = told.let()
        if lost == "in mid-answer":
            await holds(tab, text)
        wire.cut()
        await holds(tab, told.let())
        await holds(tab, told.end())
        await tab.until("window.state === 'resolved'")
        await check_once(tab, wire)
        asked = [one for one in wire.exchanges if one.target == "POST /v1/streams"]
        (stream,) = await stage.streams()
        last = asked[-1].last_event_id
        resumed = f"{stream['id']}:" if lost == "in mid-answer" else None
        assert len(asked) == 2
        assert last is None if resumed is None else str(last).startswith(resumed)
        assert len(stage.provider.requests) == 1


async def test_fetch_event_source_takes_no_broken_answer_for_a_whole_one(
    chrome: browser.Browser,
) -> None:
    """It resolves at any clean end, so there is none before the terminal event: asked to come back,
    again and again, it comes."""
    told = page_stage.Told(2)
    async with (
        page_stage.staged(told.answer, server={"max_connection_age": 0.2}) as stage,
        recorded_wire.recording(stage.server.port) as wire,
        chrome.profile(quiet=False) as profile,
    ):
        await profile.lend(f"{wire.url}/lab/", f"{LIBRARY}/lib/esm")
        tab = await profile.open(f"{wire.url}/lab/")
        await tab.evaluate(FETCHES)
        asked_to = "window.seen.filter(({ event }) => event === 'reconnect').length"
        for times in (1, 2):
            await tab.until(f"window.seen && {asked_to} >= {times}")
        await holds(tab, told.let())
        await tab.until(f"{asked_to} >= 3")
        assert await tab.evaluate("window.state") == "open"
        await holds(tab, told.end())
        await tab.until("window.state === 'resolved'")
        await check_once(tab, wire)
        assert len(stage.provider.requests) == 1


async def test_event_source_survives_a_reload_and_a_cut_and_stops_at_the_end(
    chrome: browser.Browser,
) -> None:
    """A page that is loaded again says by `?after=` what it has, the browser by a header; 204 tells
    it that there is nothing more."""
    told = page_stage.Told(3)
    async with (
        page_stage.staged(told.answer) as stage,
        recorded_wire.recording(stage.server.port) as wire,
        chrome.profile(quiet=False) as profile,
    ):
        maker = await harness.begin(stage.server.port, harness.wanted("demo"))
        path = f"/v1/streams/{harness.stream_of(maker)}/events"
        await profile.lend(f"{wire.url}/lab/", LIBRARY)
        tab = await profile.open(f"{wire.url}/lab/")
        await tab.evaluate(SOURCE % path)
        await holds(tab, told.let())
        await tab.reload()
        await tab.evaluate(SOURCE % path)
        await holds(tab, told.let())
        wire.cut()
        await tab.until("window.source.readyState === EventSource.CONNECTING")
        await holds(tab, told.end())
        await tab.until("window.source.readyState === EventSource.CLOSED")
        await check_once(tab, wire)
        first, reloaded, cut, over = [one for one in wire.exchanges if path in one.target]
        assert (first.target, first.last_event_id) == (f"GET {path}", None)
        assert reloaded.target == f"GET {path}?after={first.ids[-1].partition(':')[2]}"
        assert cut.last_event_id == reloaded.ids[-1]
        assert over.last_event_id == cut.ids[-1]
        assert bytes(over.answered).startswith(b"HTTP/1.1 204 ")
        await maker.rest()
        assert len(stage.provider.requests) == 1

"""The dashboard in Chromium: one operator's day at it, and the modules that only compute.

Strategy: a node with keys, streams of the demo that are under way, done and failed, and a proxy at
an address that stays, so that the node behind it can be another one. The browser is started once
and the story is one: each view is looked at for what it shows, whether it fits a phone, and what
axe-core finds in both themes. Of what a browser complains about there are the refusals and the
outage that the story is about, and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration import (
    asking,
    conftest,
    harness,
    mounting,
    node_with_callers,
    recorded_wire,
)
from tests.integration.javascript import browser, page_stage

from holdfast import app
from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

PEOPLE = {
    "root": node_with_callers.Who("ops", "", ("admin",)),
    "app": node_with_callers.Who("acme", "alice"),
}
VIEWS = ("overview", "streams", "connections", "errors")
STATE = "document.getElementById('link').dataset.state"
TILES = "[...document.querySelectorAll('#tiles dd:not(.more)')].map((one) => one.textContent)"
WIDE = "document.documentElement.scrollWidth"
NONE = "\N{EN DASH}"
HISTORY = "import('/dashboard/main.js').then(({ overview }) => overview.history.times)"


def rows(place: str) -> str:
    """The texts of a table's rows, cell by cell."""
    cells = "[...row.cells].map((cell) => cell.textContent)"
    return f"[...document.querySelectorAll('#{place} tbody tr')].map((row) => {cells})"


async def ask(stage: node_with_callers.Stage, options: str, client: str) -> str:
    """A stream of the demo's, asked for by a client of this name; its id."""
    headers = {**stage.key("app"), "X-Client-Id": client}
    port = stage.server.port
    made = await harness.ask(port, "POST", "/v1/streams", headers, asking.demo(options))
    assert made.status == 201, made.body
    return str(made.json()["id"])


async def read(stage: node_with_callers.Stage, id: str) -> None:
    answer = await harness.ask(
        stage.server.port, "GET", f"/v1/streams/{id}/events", stage.key("app")
    )
    assert answer.status == 200


@contextlib.asynccontextmanager
async def node(folder: Path, wire: recorded_wire.Wire) -> AsyncIterator[node_with_callers.Stage]:
    """A node on the files of this folder, which the wire leads to."""
    async with node_with_callers.staged(folder, PEOPLE) as stage:
        wire.target = stage.server.port
        try:
            yield stage
        finally:
            wire.cut()


async def show(tab: browser.Tab, view: str) -> None:
    await tab.click(f"nav a[href='#/{view}']")
    await tab.until(f"document.getElementById('{view}').checkVisibility()")


async def check(tab: browser.Tab) -> None:
    """That the view which is shown is for everybody, and fits."""
    await tab.theme("light")
    assert await tab.faults() == []
    await tab.theme("dark")
    assert await tab.faults("color-contrast") == []
    await tab.size(390, 844)
    await tab.until(f"{WIDE} <= 390")
    small = (
        "[...document.querySelectorAll('button, select, input')].filter((one) => "
        "one.checkVisibility() && one.getBoundingClientRect().height < 44).map((one) => one.id)"
    )
    assert await tab.evaluate(small) == []  # a finger hits what is 44 high
    await tab.size(1280, 900)


async def test_an_operator_sees_what_there_is_and_stays_through_a_restart(
    chrome: browser.Browser, tmp_path: Path, logged: conftest.Logged
) -> None:
    async with recorded_wire.recording(0) as wire, chrome.profile(quiet=False) as profile:
        async with node(tmp_path, wire) as stage:
            done = await ask(stage, "tokens=5", "web")
            failed = await ask(stage, "tokens=9 error_at=3", "mobile")
            for id in (done, failed):
                await read(stage, id)
            running = await ask(stage, "tokens=4000 rate=2", "batch")
            tab = await profile.open(f"{wire.url}/dashboard")
            await lets_in(tab, stage)
            await overview(tab)
            await streams(tab, done)
            await connections(tab, done)
            await errors(tab, failed)
            first = (await tab.evaluate(HISTORY))[0]
            await harness.ask(
                stage.server.port, "POST", f"/v1/streams/{running}/cancel", stage.key("app"), b""
            )
        await tab.until(f"{STATE} === 'lost'")
        assert await tab.text("link-text") == "Reconnecting…"
        async with node(tmp_path, wire):
            await tab.evaluate("dispatchEvent(new Event('online'))")  # which shortens the wait
            await tab.until(f"{STATE} === 'live'")
            await tab.until(f"{HISTORY}.then((times) => times.at(-1) > Date.now() / 1000 - 2)")
            assert (await tab.evaluate(HISTORY))[0] == first
            await show(tab, "streams")
            await tab.until(f"{rows('streams-table')}.length === 3")
        noise = [line for line in await profile.noise() if "Failed to load resource" not in line]
        assert noise == []


async def lets_in(tab: browser.Tab, stage: node_with_callers.Stage) -> None:
    """Whoever has a key with the scope, and nobody else."""
    await tab.until("document.getElementById('lock').open")
    assert await tab.faults() == []
    for name in ("none", "app"):
        await tab.fill("#lock-key", stage.keys.get(name, "hf_nobody_0"))
        await tab.press("Enter")
        await tab.until("document.getElementById('lock-problem').checkVisibility()")
    await tab.fill("#lock-key", stage.keys["root"])
    await tab.press("Enter")
    await tab.until(f"{STATE} === 'live'")
    assert await tab.evaluate("document.getElementById('lock').open") is False
    assert stage.keys["root"] not in await tab.evaluate("document.documentElement.outerHTML")


async def overview(tab: browser.Tab) -> None:
    await tab.until(f"{TILES}[0] === '1'")  # the one that is under way
    await tab.until(f"{rows('providers')}.some(([name]) => name === 'demo')")
    (provider,) = [row for row in await tab.evaluate(rows("providers")) if row[0] == "demo"]
    assert provider[2] == "closed"
    (own,) = await tab.evaluate(rows("nodes"))
    assert own[1] == "up"
    legend = "[...document.querySelectorAll('#charts .legend dd')].map((one) => one.textContent)"
    assert (await tab.evaluate(legend))[0] == "1"
    await tab.until(f"{rows('rules-table')}.length > 2")
    await check(tab)


async def streams(tab: browser.Tab, done: str) -> None:
    await tab.press("/")
    await tab.until("document.activeElement.id === 'streams-text'")
    await tab.until(f"{rows('streams-table')}.length === 3")
    await check(tab)
    await tab.choose("#streams-where", "client_id")
    await tab.fill("#streams-text", "web")
    await tab.press("Enter")
    await tab.until(f"{rows('streams-table')}.length === 1")
    assert "client_id=web" in await tab.evaluate("location.hash")
    await tab.choose("#streams-where", "id")
    await tab.fill("#streams-text", done)
    await tab.press("Enter")
    story = await timeline(tab, done)
    assert story[0] == "start"
    assert "first chunk" in story
    assert "connection opened" in story
    assert story.index("complete") > story.index("first chunk")
    assert await tab.text("stream-status") == "completed"
    await tab.until(f"{rows('readers')}.length === 1")
    await check(tab)


async def timeline(tab: browser.Tab, id: str) -> list[str]:
    """What has happened to a stream, once that is shown."""
    shown = f"document.getElementById('stream-id').textContent === '{id}'"
    await tab.until(f"{shown} && document.getElementById('story').checkVisibility()")
    return [row[1] for row in await tab.evaluate(rows("timeline"))]


async def connections(tab: browser.Tab, done: str) -> None:
    await show(tab, "connections")
    await tab.until(f"{rows('connections-table')}.length === 2")
    await tab.until(f"{rows('hours')}.length > 0")
    await check(tab)
    await tab.fill("#connections-text", done)
    await tab.until(f"{rows('connections-table')}.length === 1")
    ((_, stream, state, *_),) = await tab.evaluate(rows("connections-table"))
    assert (stream, state) == (done, "completed")


async def errors(tab: browser.Tab, failed: str) -> None:
    await show(tab, "errors")
    await tab.until(f"{rows('errors-table')}.length === 2")
    kinds = await tab.evaluate(rows("errors-table"))
    # The call that failed, and the stream that ended with it.
    assert sorted(kind[:3] for kind in kinds) == [
        ["provider_failed", "calls to demo", "1"],
        ["provider_failed", "streams", "1"],
    ]
    await check(tab)
    await tab.click("#errors-table .examples a")
    assert "error" in await timeline(tab, failed)
    assert await tab.evaluate("document.activeElement.id") == "stream-title"


async def test_it_is_where_the_node_is_mounted(chrome: browser.Browser) -> None:
    host = mounting.within(app.asgi(harness.configured()))
    async with mounting.serving(host) as served, chrome.profile() as profile:
        tab = await profile.open(f"http://127.0.0.1:{served.port}{served.at}/dashboard")
        await tab.until(f"{STATE} === 'live'")
        await tab.until(f"{rows('nodes')}.length === 1")


# What only computes


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tab(chrome: browser.Browser) -> AsyncIterator[browser.Tab]:
    """The page of a node without keys, which is there for its own machine."""
    async with page_stage.staged(replay.Answer()) as stage, chrome.profile() as profile:
        yield await profile.open(f"{stage.server.url}/dashboard")


async def test_figures_are_written_in_one_form_for_each_unit(tab: browser.Tab) -> None:
    written = await tab.evaluate("""import("/dashboard/format.js").then((f) => [
        [null, undefined, NaN].map(f.ms),
        [0, 12345.4].map(f.whole),
        [0, 0.004, 0.123, 12.34, 1234.5].map(f.rate),
        [0, 0.02, 0.42, 9.96, 123.4, 999.6, 1234, 61_000].map(f.ms),
        [59_000, 60_000, 61_000, 3_720_000, 90_000_000].map(f.duration),
        [0, 999, 1000, 45_678, 999_900, 123_456_789].map(f.bytes),
        [0, 0.0123, 0.5, 1].map(f.share),
        [f.figure(0.05, "share"), f.figure(90, "seconds"), f.figure(3, "count")],
        [f.words("half_open"), f.words(null)],
        [f.moment(null, 0), f.moment(new Date(2026, 0, 5, 13, 4, 5), new Date(2026, 0, 5, 23)),
         f.moment(new Date(2026, 0, 5, 13, 4, 5), new Date(2026, 0, 6)),
         f.moment(new Date(2025, 11, 31, 13, 4, 5), new Date(2026, 0, 6))],
    ])""")
    assert written == [
        [NONE, NONE, NONE],
        ["0", "12,345"],
        ["0", "<0.01", "0.12", "12.3", "1,235"],
        ["0 ms", "<0.1 ms", "0.4 ms", "10 ms", "123 ms", "1.00 s", "1.23 s", "1 min 1 s"],
        ["59.00 s", "1 min", "1 min 1 s", "1 h 2 min", "1 d 1 h"],
        ["0 B", "999 B", "1.00 kB", "45.7 kB", "1.00 MB", "123 MB"],
        ["0 %", "1.2 %", "50 %", "100 %"],
        ["5.0 %", "1 min 30 s", "3"],
        ["half open", NONE],
        [NONE, "13:04:05", "5 Jan 13:04", "31 Dec 2025 13:04"],
    ]


async def test_the_history_is_bounded_and_shows_its_gaps(tab: browser.Tab) -> None:
    """A thousand seconds, an outage, and what a server knows that was started again in it."""
    full, gap, merged, again = await tab.evaluate("""import("/dashboard/history.js").then((m) => {
        const history = new m.History();
        const of = { p50: 1, p95: 2, p99: null };
        const at = (second, streams) => ({
            at: 1000 * second, streams_active: streams, first_chunk_ms: of, chunk_latency_ms: of });
        for (let n = 1; n <= 1000; n++) history.add(at(n, n));
        const sizes = Object.values(history.columns).map((column) => column.length);
        const full = [history.times.length, Math.max(...sizes), Math.min(...sizes),
            history.times[0], history.columns.latency99.at(-1)];
        history.add(at(1020, 7));
        const gap = [history.times.slice(-3), history.columns.streams.slice(-3)];
        history.merge([at(1018, 1), at(1019, 2), at(1020, 3), at(1021, 4)]);
        const merged = [history.times.slice(-5), history.columns.streams.slice(-5)];
        history.add(at(1021, 9));
        history.add(at(900, 9));
        history.merge([]);
        return [full, gap, merged, [history.times.length <= m.POINTS, history.last]];
    })""")
    assert full == [300, 300, 300, 701, None]
    assert gap == [[1000, 1001, 1020], [1000, None, 7]]
    assert merged == [[1001, 1018, 1019, 1020, 1021], [None, 1, 2, 3, 4]]
    assert again == [True, 1021]


async def test_a_table_keeps_its_rows_and_is_bounded(tab: browser.Tab) -> None:
    kept, order, most, texts = await tab.evaluate("""import("/dashboard/document.js").then((m) => {
        const place = document.createElement("div");
        const columns = ["id", "n"].map((name) => ({ name, text: (one) => `${one[name]}` }));
        const more = { key: (one) => one.id, empty: "None.", most: 3 };
        const table = new m.Table(place, "Things", columns, more);
        const rows = () => [...table.body.rows];
        table.fill([{ id: "a", n: 1 }, { id: "b", n: 2 }]);
        const [a, b] = rows();
        table.fill([{ id: "c", n: 3 }, { id: "b", n: "<b>" }, { id: "a", n: 1 }]);
        const kept = rows()[2] === a && rows()[1] === b;
        const order = rows().map((row) => row.textContent);
        table.fill(["d", "e", "f", "g"].map((id) => ({ id, n: 0 })));
        const most = rows().length;
        table.fill([]);
        return [kept, order, most, [place.textContent, table.table.hidden, table.none.hidden]];
    })""")
    assert kept
    assert order == ["c3", "b<b>", "a1"]
    assert most == 3
    assert texts == ["ThingsidnNone.", True, False]

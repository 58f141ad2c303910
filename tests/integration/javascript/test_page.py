"""The page of the demo, in Chromium: the story that it tells, and each state that it can be in.

Strategy: the provider waits for the test (`page_stage`), so that a reload in mid-answer is one on
any machine; what was really sent is read off the wire (`recorded_wire`). Each test has a profile of
its own in one browser, which fails at its end for any error, violation of the page's policy, or
request to elsewhere.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from typing import Any

import pytest
from tests.integration import asking, conftest, harness, recorded_wire
from tests.integration.javascript import browser, page_stage
from tests.integration.javascript.page_stage import STATE, asked, shows

from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "isMobile": True,
    "hasTouch": True,
}
RELOADS = 5


# The story


async def test_reloads_a_second_tab_and_a_pulled_plug_cost_nothing(chrome: browser.Browser) -> None:
    told = page_stage.Told(RELOADS + 4)
    async with (
        page_stage.staged(told.answer) as stage,
        recorded_wire.recording(stage.server.port) as wire,
        chrome.profile() as profile,
    ):
        tab = await profile.open(f"{wire.url}/")
        id = await asked(tab)
        text = told.let()
        await shows(tab, text)
        for _ in range(RELOADS):
            await tab.reload()
            await shows(tab, text)  # which nobody sends again
            text = told.let()
            await shows(tab, text)
        second = await tab.follow("#tab")
        await shows(second, text)
        text = told.let()
        await shows(tab, text)
        await shows(second, text)
        await tab.click("#plug")
        await tab.until(f"{STATE} === 'reconnecting'")
        # Until the browser has closed it, the server sends on; that would be sent again.
        await asking.until(lambda: wire.readings[RELOADS].over)
        text = told.let()
        await shows(second, text)  # it goes on without the first
        await shows(tab, text)
        whole = told.end()
        for one in (tab, second):
            await shows(one, whole, "done")
            assert await one.text("state") == "Complete and verified"
        assert f"{len(whole.encode()):,} bytes" in await tab.text("detail")
        assert "nothing stands twice" in await tab.text("detail")
        assert await tab.text("connections") == "2"  # since the last reload: with the plug pulled
        assert await tab.text("position") == wire.readings[-1].ids[-1].partition(":")[2]
        assert await tab.text("bytes") == f"{len(whole.encode())} B"
        await check_server(stage, id, whole)
        check_wire(wire, id)


async def check_server(stage: page_stage.Stage, id: str, whole: str) -> None:
    """One stream, one call of the provider, and exactly what was shown."""
    assert len(stage.provider.requests) == 1
    assert [stream["id"] for stream in await stage.streams()] == [id]
    shown = await stage.shown(id)
    assert len(shown["attempts"]) == 1
    assert shown["content"] == whole
    assert shown["sha256"] == hashlib.sha256(whole.encode()).hexdigest()


def check_wire(wire: recorded_wire.Wire, id: str) -> None:
    """Nothing that a tab held was sent to it again: the provider stood still at each reload, so
    each event came once for each tab. And each response began behind the position that it was asked
    with."""
    first, *rest = wire.readings
    assert (first.target, first.last_event_id) == ("POST /v1/streams", None)
    assert {one.target for one in rest} == {f"GET /v1/streams/{id}/events"}
    positions = [number(one.last_event_id) for one in wire.readings]
    assert positions.count(0) == 2  # one for each tab
    assert len(positions) == RELOADS + 3  # and one for the plug
    for one, position in zip(wire.readings, positions, strict=True):
        numbers = [number(event) for event in one.ids]
        assert numbers == list(range(position + 1, position + 1 + len(numbers)))
    times = Counter(event for one in wire.readings for event in one.ids)
    assert {event: count for event, count in times.items() if count != 2} == {}, positions


def number(id: str | None) -> int:
    return int(id.rpartition("-")[2]) if id else 0


async def test_a_reload_before_the_answer_has_an_id_asks_for_no_second_one(
    chrome: browser.Browser,
) -> None:
    """The request has come and its answer got lost: it is made again with the same key."""
    told = page_stage.Told(2)
    async with (
        page_stage.staged(told.answer) as stage,
        recorded_wire.recording(stage.server.port) as wire,
        chrome.profile() as profile,
    ):
        tab = await profile.open(f"{wire.url}/")
        wire.mute = "POST /v1/streams"
        await tab.click("#ask")
        await asking.until(lambda: len(stage.provider.requests) == 1)
        assert await tab.evaluate(STATE) == "asking"
        wire.mute = ""
        await tab.reload()
        await shows(tab, told.end(), "done")
        assert [one.target for one in wire.exchanges].count("POST /v1/streams") == 2
        assert len(await stage.streams()) == 1
        assert len(stage.provider.requests) == 1


async def test_what_has_ended_is_there_again_after_a_reload_and_in_a_new_tab(
    chrome: browser.Browser,
) -> None:
    told = page_stage.Told(1)
    async with page_stage.staged(told.answer) as stage, chrome.profile() as profile:
        tab = await profile.open(f"{stage.server.url}/")
        await asked(tab)
        whole = told.end()
        await shows(tab, whole, "done")
        await tab.reload()
        await shows(tab, whole, "done")
        second = await profile.open(str(await tab.evaluate("location.href")))
        await shows(second, whole, "done")
        assert await second.text("state") == "Complete and verified"
        assert len(stage.provider.requests) == 1


async def test_an_address_of_another_answer_is_that_answer(chrome: browser.Browser) -> None:
    """Also in a tab that holds one of its own."""
    tolds = [page_stage.Told(1), page_stage.Told(2)]
    async with (
        page_stage.staged(*(told.answer for told in tolds)) as stage,
        chrome.profile() as profile,
    ):
        tabs = [await profile.open(f"{stage.server.url}/") for _ in tolds]
        for tab, told in zip(tabs, tolds, strict=True):
            await asked(tab)
            await shows(tab, told.end(), "done")
        there = str(await tabs[1].evaluate("location.hash"))
        await tabs[0].evaluate(f"location.hash = '{there}'")
        await shows(tabs[0], tolds[1].text(), "done")
        await tabs[0].reload()
        await shows(tabs[0], tolds[1].text(), "done")
        assert len(stage.provider.requests) == 2


async def test_what_was_never_asked_is_not_asked_by_a_reload(chrome: browser.Browser) -> None:
    """As of a tab that still waited for a place."""
    told = page_stage.Told(1)
    async with page_stage.staged(told.answer) as stage, chrome.profile() as profile:
        tab = await profile.open(f"{stage.server.url}/")
        await asked(tab)
        await shows(tab, told.end(), "done")
        await tab.evaluate(
            "(history.replaceState({ asked: true }, '', '/'), sessionStorage.clear())"
        )
        await tab.reload()
        await shows(tab, "", "empty")
        assert len(stage.provider.requests) == 1


# Its ends


async def test_escape_and_the_button_stop_the_answer_for_all_its_readers(
    chrome: browser.Browser,
) -> None:
    tolds = [page_stage.Told(3), page_stage.Told(3)]
    async with (
        page_stage.staged(*(told.answer for told in tolds)) as stage,
        chrome.profile() as profile,
    ):
        tab = await profile.open(f"{stage.server.url}/")
        for told, stop in zip(tolds, ("Escape", "#stop"), strict=True):
            id = await asked(tab)
            text = told.let()
            await shows(tab, text)
            second = await tab.follow("#tab")
            await shows(second, text)
            await (tab.press(stop) if stop == "Escape" else tab.click(stop))
            for one in (tab, second):
                await shows(one, text, "stopped")
            assert (await stage.shown(id))["status"] == "cancelled"
            await second.close()
        assert await tab.evaluate("document.getElementById('ask').disabled") is False


async def test_an_answer_that_fails_is_told_with_its_reason(chrome: browser.Browser) -> None:
    body = (asking.chunk("Half an "), asking.chunk("answer"))
    twice = {"attempts": 2, "delay": 0}  # which the page does not want: it is to be seen
    async with (
        page_stage.staged(replay.Answer(body=body, ending="rst"), fallback=twice) as stage,
        chrome.profile() as profile,
    ):
        tab = await profile.open(f"{stage.server.url}/")
        await tab.click("#ask")
        await shows(tab, "Half an answer", "failed")
        assert await tab.text("state") == "Failed: provider_interrupted"
        await tab.reload()
        await shows(tab, "Half an answer", "failed")
        assert len(stage.provider.requests) == 1


async def test_an_answer_that_begins_anew_takes_the_place_of_the_old_one(
    chrome: browser.Browser,
) -> None:
    told = page_stage.Told(2)
    going = asyncio.Event()
    broken = replay.Answer(body=(asking.chunk("This is "), going), ending="rst")
    twice = {"attempts": 2, "delay": 0}
    async with (
        page_stage.staged(broken, told.answer, fallback=twice) as stage,
        chrome.profile() as profile,
    ):
        again = {"mode": "restart", "providers": ["vendor/m"]}
        body = harness.wanted("demo", fallback=again)
        maker = await harness.begin(stage.server.port, body)
        tab = await profile.open(f"{stage.server.url}/#{harness.stream_of(maker)}")
        await shows(tab, "This is ")
        going.set()
        await shows(tab, told.let())
        await shows(tab, told.end(), "done")
        assert await tab.text("state") == "Complete and verified"
        await maker.rest()


async def test_a_server_that_takes_nothing_now_is_asked_again_until_that_is_stopped(
    chrome: browser.Browser,
) -> None:
    async with (
        page_stage.staged(replay.Answer()) as stage,
        chrome.profile(quiet=False) as profile,
    ):
        tab = await profile.open(f"{stage.server.url}/")
        await stage.server.service.drain(0)
        await tab.click("#ask")
        await tab.until("document.getElementById('detail').textContent.startsWith('Trying again.')")
        assert await tab.evaluate(STATE) == "asking"
        await tab.press("Escape")
        await shows(tab, "", "stopped")
        assert stage.provider.requests == []


async def test_an_address_that_names_no_answer_says_so(
    chrome: browser.Browser, logged: conftest.Logged
) -> None:
    async with (
        page_stage.staged(replay.Answer()) as stage,
        chrome.profile(quiet=False) as profile,
    ):
        tab = await profile.open(f"{stage.server.url}/#{'0' * 26}")
        await shows(tab, "", "failed")
        assert await tab.text("state") == "Failed: stream_not_found"
        (noise,) = await profile.noise()  # as the browser notes each 404
        assert "404" in noise


# How it is used, and looks


async def test_the_rate_is_that_of_the_last_moments(chrome: browser.Browser) -> None:
    """40 pieces a second for 5 seconds, a pause, and a burst."""
    async with page_stage.staged(replay.Answer()) as stage, chrome.profile() as profile:
        tab = await profile.open(f"{stage.server.url}/")
        steady, paused, burst, path = await tab.evaluate("""(async () => {
            const meter = new (await import("/meter.js")).Meter(1000);
            let now = 1000;
            for (; now < 6000; now += 25) meter.add(now);
            const steady = [meter.first, meter.rate(now)];
            const paused = meter.rate((now += 1500));
            for (let n = 0; n < 60; n++) meter.add(now);
            const burst = meter.rate((now += 250));
            meter.advance(now + 3_600_000);
            return [steady, paused, burst, [meter.bins.length, meter.line(120, 24).length]];
        })()""")
        assert steady == [0, 40]
        assert paused == 0
        assert burst == 40  # 60 pieces in a second and a half
        assert path[0] == 120  # an hour that nobody looked at costs no memory
        assert path[1] < 2000


async def test_it_is_used_by_keyboard_and_shows_where_one_is(chrome: browser.Browser) -> None:
    told = page_stage.Told(1)
    async with page_stage.staged(told.answer) as stage, chrome.profile() as profile:
        tab = await profile.open(f"{stage.server.url}/")
        assert await tab.evaluate("document.activeElement.id") == "question"  # to begin at once
        await tab.fill("#question", "Two")
        await tab.press("Shift+Enter")
        assert await tab.evaluate(STATE) == "empty"
        id = await asked(tab)
        sent = stage.provider.requests[0].json()["messages"][-1]["content"]
        assert sent == "Two"
        shown = []
        for _ in range(5):
            await tab.press("Tab")
            focused = "document.activeElement"
            if await tab.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid":
                shown.append(await tab.evaluate(f"{focused}.id"))
        assert shown == ["kind", "plug", "tab", "stop"]
        whole = told.end()
        await shows(tab, whole, "done")
        assert await tab.evaluate("document.getElementById('tab').hash") == f"#{id}"
        status = "document.getElementById('status')"
        assert await tab.evaluate(f"{status}.getAttribute('role')") == "status"
        assert await tab.evaluate(f"{status}.contains(document.getElementById('answer'))") is False


async def test_a_long_question_is_asked_whole(chrome: browser.Browser) -> None:
    told = page_stage.Told(1)
    async with page_stage.staged(told.answer) as stage, chrome.profile() as profile:
        tab = await profile.open(f"{stage.server.url}/")
        pasted = "document.execCommand('selectAll'), document.execCommand('insertText', false, %s)"
        await tab.evaluate(pasted % "'word '.repeat(20_000) + 'end'")
        await asked(tab)
        sent = stage.provider.requests[0].json()["messages"][-1]["content"]
        assert sent == "word " * 20_000 + "end"
        await shows(tab, told.end(), "done")


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_it_fits_a_phone_in_both_themes_and_keeps_still_where_that_is_wished(
    chrome: browser.Browser, theme: str
) -> None:
    told = page_stage.Told(2)
    options: dict[str, Any] = {**PHONE, "colorScheme": theme, "reducedMotion": "reduce"}
    async with page_stage.staged(told.answer) as stage, chrome.profile(**options) as profile:
        tab = await profile.open(f"{stage.server.url}/")
        await check_fits(tab)
        await asked(tab)
        await shows(tab, told.let())
        await check_fits(tab)
        moving = "document.getAnimations().length"
        assert await tab.evaluate(moving) == 0
        await tab.click("#plug")
        await tab.until(f"{STATE} === 'reconnecting'")
        await check_fits(tab)
        await shows(tab, told.end(), "done")
        await check_fits(tab)
        paper = await tab.evaluate("getComputedStyle(document.body).backgroundColor")
        channels = [int(part) for part in paper.removeprefix("rgb(").removesuffix(")").split(",")]
        assert (sum(channels) > 384) is (theme == "light")


async def check_fits(tab: browser.Tab) -> None:
    assert await tab.evaluate("document.documentElement.scrollWidth") <= 390
    small = (
        "[...document.querySelectorAll('button, select, a.button')].filter((one) => "
        "one.checkVisibility() && one.getBoundingClientRect().height < 44).map((one) => one.id)"
    )
    assert await tab.evaluate(small) == []  # a finger hits what is 44 high


async def test_the_end_of_the_text_stays_in_sight_of_who_looks_at_it(
    chrome: browser.Browser,
) -> None:
    told = page_stage.Told(12)
    ends = "document.documentElement.scrollHeight - innerHeight - scrollY"
    small = {"width": 390, "height": 500}
    async with page_stage.staged(told.answer) as stage, chrome.profile(viewport=small) as profile:
        tab = await profile.open(f"{stage.server.url}/")
        await asked(tab)
        text = told.let(8)
        await shows(tab, text)
        assert await tab.evaluate("document.documentElement.scrollHeight") > 700
        await tab.until(f"{ends} < 2")
        await tab.reload()
        await shows(tab, text)
        await tab.until(f"{ends} < 2")
        await tab.evaluate("scrollTo(0, 0)")
        await shows(tab, told.let(2))
        assert await tab.evaluate("scrollY") == 0  # whoever reads above is left there
        await shows(tab, told.end(), "done")
        assert await tab.evaluate("scrollY") == 0


@pytest.mark.parametrize("size", [(640, 400), (844, 390)])
async def test_a_window_that_is_short_shows_the_text(
    chrome: browser.Browser, size: tuple[int, int]
) -> None:
    """A page at 200 %, and a phone on its side."""
    told = page_stage.Told(30)
    short = {"width": size[0], "height": size[1]}
    async with page_stage.staged(told.answer) as stage, chrome.profile(viewport=short) as profile:
        tab = await profile.open(f"{stage.server.url}/")
        await asked(tab)
        await shows(tab, told.let(30))
        await tab.until("document.documentElement.scrollHeight - innerHeight - scrollY < 2")
        covered = "document.getElementById('panel').getBoundingClientRect().bottom"
        assert await tab.evaluate(covered) < 0
        await shows(tab, told.end(), "done")


async def test_a_long_text_grows_in_pieces_that_look_like_one(chrome: browser.Browser) -> None:
    """What is laid out anew for each word is a small part of it."""
    told = page_stage.Told(1)
    async with page_stage.staged(told.answer) as stage, chrome.profile() as profile:
        tab = await profile.open(f"{stage.server.url}/")
        await asked(tab)
        same, largest, heights = await tab.evaluate("""(async () => {
            const show = await import("/show.js");
            const answer = document.getElementById("answer");
            show.clear();
            let whole = "";
            for (let n = 1; n < 20_000; n++) {
                const word = n % 97 ? `w${n} ` : n % 2 ? ".\\n\\nThen " : "\\n";
                whole += word;
                show.text(word);
            }
            const walker = document.createTreeWalker(answer, NodeFilter.SHOW_TEXT);
            let largest = 0;
            while (walker.nextNode()) largest = Math.max(largest, walker.currentNode.length);
            const same = answer.textContent === whole;
            const height = answer.getBoundingClientRect().height;
            answer.replaceChildren(whole);
            return [same, largest, [height, answer.getBoundingClientRect().height]];
        })()""")
        assert same
        assert largest < 3000
        assert heights[0] == heights[1] > 10_000


async def test_each_paragraph_runs_the_way_of_its_script(chrome: browser.Browser) -> None:
    told = page_stage.Told(1)
    async with page_stage.staged(told.answer) as stage, chrome.profile() as profile:
        tab = await profile.open(f"{stage.server.url}/")
        await asked(tab)
        left, right = await tab.evaluate("""(async () => {
            const show = await import("/show.js");
            const answer = document.getElementById("answer");
            show.clear();
            const hebrew = "\u05e9\u05dc\u05d5\u05dd";
            for (const text of ["Kelp\\n", "x".repeat(3000), "\\n", hebrew]) show.text(text);
            const lines = document.createRange();
            lines.selectNodeContents(answer.lastChild);
            const box = answer.getBoundingClientRect();
            const { left, right } = lines.getBoundingClientRect();
            return [left - box.left, box.right - right];
        })()""")
        assert right < 2 < left


async def test_without_the_setting_it_moves(chrome: browser.Browser) -> None:
    told = page_stage.Told(1)
    async with page_stage.staged(told.answer) as stage, chrome.profile() as profile:
        tab = await profile.open(f"{stage.server.url}/")
        await asked(tab)
        assert await tab.evaluate("document.getAnimations().length") > 0
        await shows(tab, told.end(), "done")


async def test_the_policy_is_enforced(chrome: browser.Browser) -> None:
    """So that its silence in the other tests says something."""
    async with (
        page_stage.staged(replay.Answer()) as stage,
        chrome.profile(quiet=False) as profile,
    ):
        tab = await profile.open(f"{stage.server.url}/")
        await tab.evaluate("document.body.setAttribute('style', 'color: red')")
        await tab.evaluate("fetch('http://127.0.0.1:1/').catch(() => {})")
        noise = "\n".join(await profile.noise())
        assert "style-src" in noise
        assert "connect-src" in noise

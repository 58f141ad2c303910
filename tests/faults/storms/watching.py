"""The dashboard in Chromium beside hundreds of streams: what the page holds after two minutes.

Strategy: readers ask for one answer after the other, the page is open meanwhile, and again and
again the browser collects its garbage and tells what is left. Pictures of each view, in both themes
and as wide as a phone, are kept for people to look at.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

import msgspec
from tests.faults import served
from tests.faults.storms import storming
from tests.integration import asking, harness
from tests.integration.javascript import browser

VIEWS = ("overview", "streams", "connections", "errors")
SIZES = {"wide": (1280, 900), "phone": (390, 844)}
PICTURES = "HOLDFAST_PICTURES"
"""Names the folder for pictures; without it there are none."""


class Watch(msgspec.Struct, frozen=True):
    """`streams` at once of `tokens`, `rate` a second each; the page is open for `seconds`, of which
    the first `warm` do not count. It may hold `grown_mb` more at the end than then."""

    streams: int = 500
    tokens: int = 100
    rate: int = 10
    seconds: float = 120
    warm: float = 30
    every: float = 10
    grown_mb: float = 2


async def _read(port: int, size: Watch, over: asyncio.Event, number: int) -> int:
    """One reader, who asks again as soon as he has an answer; how many he had."""
    # Each begins at another time, so that their ends are spread.
    await asyncio.sleep(number / size.streams * size.tokens / size.rate)
    had = 0
    while not over.is_set():
        options = f"tokens={size.tokens} rate={size.rate}" + (" error_at=50" * (number % 50 == 0))
        answer = await (await harness.begin(port, asking.demo(options))).rest()
        had += answer.clean
    return had


async def _pictures(tab: browser.Tab) -> None:
    folder = os.environ.get(PICTURES)
    if folder is None:
        return
    for theme in ("light", "dark"):
        await tab.theme(theme)
        for name, (width, height) in SIZES.items():
            await tab.size(width, height)
            for view in VIEWS:
                await tab.click(f"nav a[href='#/{view}']")
                await tab.until(f"document.getElementById('{view}').checkVisibility()")
                await asyncio.sleep(2)  # what it asks for has come
                await tab.shot(Path(folder) / f"{view}-{theme}-{name}.png")
    await tab.click("nav a[href='#/overview']")


async def watch(size: Watch, folder: Path) -> storming.Figures:
    """The page is open under the load; what it holds stays the same."""
    program = shutil.which("chromium")
    if program is None:
        raise OSError("there is no chromium")
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(served.serving(folder))
        chrome = await stack.enter_async_context(browser.running(Path(program)))
        profile = await stack.enter_async_context(chrome.profile())
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            readers = [
                group.create_task(_read(server.port, size, over, number))
                for number in range(size.streams)
            ]
            tab = await profile.open(f"http://127.0.0.1:{server.port}/dashboard")
            await asyncio.sleep(size.warm)
            held = [await tab.held()]
            for _ in range(round((size.seconds - size.warm) / size.every)):
                await asyncio.sleep(size.every)
                held.append(await tab.held())
            await _pictures(tab)
            over.set()
    first, last = held[0], held[-1]
    assert last.megabytes <= first.megabytes + size.grown_mb, held
    assert last.nodes <= 1.1 * first.nodes, held
    return {
        "answers read": sum(one.result() for one in readers),
        "MB of the page, at first": first.megabytes,
        "at most": max(one.megabytes for one in held),
        "at last": last.megabytes,
        "nodes of the page, at first": first.nodes,
        "nodes, at last": last.nodes,
    }

"""A real browser, told what to do: Chromium, driven by Node (`tests/peers/browser.mjs`).

Strategy: a command goes out as a line of JSON and its answer comes back as one, so a test is
written here, where it can look at the server at the same time. A `Profile` is a browser of its own
as far as sites can tell, with its own storage and connections; its tabs share them. A test waits
for what a tab is to show and never for a time. What a tab did that nobody wants (errors, violations
of its policy, requests to elsewhere) is gathered, and told when the profile ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from tests.integration import peers

PATIENCE = 60.0
"""Seconds for one command; the browser itself gives up before."""


class Failed(Exception):
    """The browser could not do what it was told; the message says what."""


class Held(msgspec.Struct, frozen=True):
    """What a page holds once its garbage is collected: objects of its scripts, and nodes."""

    megabytes: float
    nodes: int


class Browser:
    """A running browser."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process, self._numbers = process, itertools.count(1)
        self.version = ""

    async def do(self, command: str, **told: Any) -> Any:
        """Raises `Failed`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode({"command": command, **told}) + b"\n")
        async with asyncio.timeout(PATIENCE):
            line = await self._process.stdout.readline()
        answer = msgspec.json.decode(line) if line else {"error": "the browser has ended"}
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["value"]

    def number(self) -> int:
        """Of the next profile or tab."""
        return next(self._numbers)

    @contextlib.asynccontextmanager
    async def profile(self, quiet: bool = True, **options: Any) -> AsyncIterator[Profile]:
        """A profile with options of playwright's `newContext`; unless `quiet` is False, fails at
        its end for what its tabs did that nobody wants."""
        name = self.number()
        await self.do("context", name=name, options=options)
        found = Profile(self, name)
        try:
            yield found
            if quiet:
                assert await found.noise() == []
        finally:
            await self.do("leave", context=name)


class Profile:
    """Tabs that share storage and connections."""

    def __init__(self, browser: Browser, name: int) -> None:
        self.browser, self.name = browser, name
        self.tabs: list[Tab] = []

    async def open(self, url: str, waits: str = "load") -> Tab:
        """A new tab with this address, loaded; `waits` is playwright's word for how far."""
        tab = Tab(self, self.browser.number())
        await self.browser.do("open", context=self.name, tab=tab.number, url=url, waits=waits)
        self.tabs.append(tab)
        return tab

    async def lend(self, url: str, folder: str) -> None:
        """An empty page at `url`, which ends in a slash, and below it the modules of a folder of
        `tests/peers/node_modules`."""
        await self.browser.do("lend", context=self.name, url=url, folder=folder)

    async def noise(self) -> list[str]:
        """What all tabs did that nobody wants."""
        return [line for tab in self.tabs for line in await tab.noise()]


class Tab:
    """One page. Scripts are expressions."""

    def __init__(self, profile: Profile, number: int) -> None:
        self.profile, self.number = profile, number

    async def _do(self, command: str, **told: Any) -> Any:
        return await self.profile.browser.do(command, tab=self.number, **told)

    async def evaluate(self, script: str) -> Any:
        return await self._do("evaluate", script=script)

    async def until(self, script: str) -> None:
        """Returns when it is true."""
        await self._do("until", script=script)

    async def text(self, id: str) -> str:
        """What stands in an element."""
        return str(await self.evaluate(f"document.getElementById('{id}').textContent"))

    async def reload(self) -> None:
        await self._do("reload")

    async def click(self, selector: str) -> None:
        await self._do("click", selector=selector)

    async def press(self, key: str) -> None:
        await self._do("press", key=key)

    async def fill(self, selector: str, text: str) -> None:
        await self._do("fill", selector=selector, text=text)

    async def choose(self, selector: str, value: str) -> None:
        await self._do("choose", selector=selector, value=value)

    async def follow(self, selector: str) -> Tab:
        """The tab that a link opens."""
        tab = Tab(self.profile, self.profile.browser.number())
        name = self.profile.name
        await self._do("follow", context=name, selector=selector, **{"as": tab.number})
        self.profile.tabs.append(tab)
        return tab

    async def shot(self, path: Path, full: bool = True) -> None:
        await self._do("shot", path=str(path), full=full)

    async def size(self, width: int, height: int) -> None:
        await self._do("size", width=width, height=height)

    async def theme(self, name: str) -> None:
        """`light` or `dark`."""
        await self._do("theme", name=name)

    async def held(self) -> Held:
        """What it holds now."""
        return msgspec.convert(await self._do("held"), Held)

    async def faults(self, rule: str | None = None) -> list[str]:
        """What somebody could not see, read or use, as axe-core finds it, by one rule or by all."""
        return list(await self._do("faults", rule=rule))

    async def noise(self) -> list[str]:
        return list(await self._do("noise"))

    async def close(self) -> None:
        """Fails for what it did that nobody wants."""
        assert await self.noise() == []
        self.profile.tabs.remove(self)
        await self._do("close")


@contextlib.asynccontextmanager
async def running(program: Path) -> AsyncIterator[Browser]:
    """The browser, until the block ends. The packages of `tests/peers` are to be installed."""
    async with peers.by_line("browser.mjs") as process:
        found = Browser(process)
        found.version = await found.do("launch", program=str(program))
        yield found

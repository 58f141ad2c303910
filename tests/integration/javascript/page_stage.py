"""A node with the demo's page, whose answers come when a test says so.

Strategy: the page asks for the model `demo`, and a route leads that to a scripted provider, which
waits for an event of the test's before each part of its answer. So there is nothing to be late
for: what the test does in mid-answer is in mid-answer on any machine, and the provider's requests
are the calls that an answer cost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from tests.integration import asking, harness
from tests.integration.javascript import browser

from holdfast import app
from holdfast.testing import provider as replay

WORDS = 8
"""Pieces of a part."""

STATE = "document.getElementById('page').dataset.state"
TEXT = "document.getElementById('answer').textContent"


class Told:
    """An answer in parts, each of which waits until it is let out; so does the end."""

    def __init__(self, parts: int) -> None:
        self.gates = [asyncio.Event() for _ in range(parts + 1)]
        self.parts = [
            [f"{part}.{word} 🌊 " if word % 4 == 0 else f"{part}.{word} " for word in range(WORDS)]
            for part in range(parts)
        ]
        self._out = 0

    @property
    def answer(self) -> replay.Answer:
        body: list[bytes | asyncio.Event] = []
        for gate, words in zip(self.gates, [*self.parts, []], strict=True):
            body += [gate, *(asking.chunk(word) for word in words)]
        return replay.Answer(body=(*body, asking.STOP))

    def let(self, parts: int = 1) -> str:
        """Lets so many more parts out; gives the text up to there."""
        for gate in self.gates[self._out : self._out + parts]:
            gate.set()
        self._out += parts
        return self.text(self._out)

    def text(self, parts: int | None = None) -> str:
        """Of so many parts, or of all."""
        return "".join(word for part in self.parts[:parts] for word in part)

    def end(self) -> str:
        """Lets all out that is left; gives the whole text."""
        self.let(len(self.gates) - self._out)
        return self.text()


class Stage(msgspec.Struct, frozen=True):
    """A running node and who answers for it."""

    server: harness.Running
    provider: replay.ReplayServer

    async def streams(self) -> list[Any]:
        """All streams that there are, as the server lists them."""
        return list((await harness.ask(self.server.port, "GET", "/v1/streams")).json()["streams"])

    async def shown(self, id: str) -> Any:
        return (await harness.ask(self.server.port, "GET", f"/v1/streams/{id}")).json()


@contextlib.asynccontextmanager
async def staged(*answers: replay.Answer, **tables: Any) -> AsyncIterator[Stage]:
    """These answers in turn. A wait of the test's is over before the provider is closed."""
    async with replay.ReplayServer(answers) as provider:
        row = {"kind": "openai", "base_url": f"{provider.url}/v1", "api_key": asking.KEY}
        config = harness.configured(
            providers={"vendor": row},
            routes={"page": {"models": ("demo",), "targets": ("vendor/m",)}},
            **tables,
        )
        async with harness.serving(app.asgi(config, page=True)) as server:
            yield Stage(server, provider)


async def asked(tab: browser.Tab) -> str:
    """Asks with the keyboard; gives the new stream's id, once the address has it."""
    await tab.evaluate("document.getElementById('question').focus()")
    await tab.press("Enter")
    await tab.until(f"{STATE} === 'streaming' && location.hash.length > 20")
    return str(await tab.evaluate("location.hash.slice(1)"))


async def shows(tab: browser.Tab, text: str, state: str = "streaming") -> None:
    """Returns when the tab shows exactly this, in this state; fails telling what it shows."""
    wanted = msgspec.json.encode(text).decode()
    try:
        await tab.until(f"{STATE} === '{state}' && {TEXT} === {wanted}")
    except browser.Failed as error:
        seen = await tab.evaluate(f"[{STATE}, document.getElementById('detail').textContent]")
        said = await tab.evaluate(TEXT)
        raise AssertionError(
            f"{error}; it shows {seen}, {said[-200:]!r}, not {text[-200:]!r}"
        ) from None

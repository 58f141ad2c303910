"""The hook that docs/dialects.md has around `useChat`, in React, with `ai` 5, 6 and 7.

Strategy: the hook is taken from the document as it stands; only the address, the key and the model
are put in. It is shown by React on Node, on a page whose connections break off as in Chromium. The
provider stands still in mid-answer. What an ordinary transport makes of the same is told beside, so
that what the hook is for is seen to be needed.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from tests.integration import asking
from tests.integration.dialects.ai_sdk import chat_pages
from tests.integration.dialects.ai_sdk.chat_pages import VERSIONS, Data, Page, Stage, delta

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("version", VERSIONS),
]

DOCS = Path(__file__).resolve().parents[4] / "docs" / "dialects.md"
(HOOK,) = [
    block
    for block in re.findall(r"^```js\n(.*?)^```$", DOCS.read_text("utf-8"), re.M | re.S)
    if "useChat(" in block
]

ORDINARY = """
import { useMemo } from "react";
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";

export function useOrdinary(id, messages, options) {
  const api = "https://holdfast.example/api/chat";
  const transport = useMemo(() => new DefaultChatTransport({ api, fetch }), [id]);
  const chat = useChat({ ...options, id, messages, resume: true, transport });
  return { ...chat, comeBack: () => chat.resumeStream() };
}
"""

WHOLE = ["step", ("text", "Hello world", "done")]
HALF = ["step", ("text", "Hello wor", "streaming")]


async def opened(
    on: Stage,
    version: int,
    chat: str,
    kept: list[Data] | None = None,
    *,
    hook: str = HOOK,
    model: str = "m",
) -> Page:
    """A page that has come back to what there is, if anything."""
    hook = hook.replace("https://holdfast.example", on.server.url).replace("gpt-5", model)
    page = await on.page(version, f"{chat}-{version}", kept, hook=hook, browser=True)
    await page.tell("until", asked=1)
    return page


class Half:
    """An answer that stands still in the middle; `page` has asked for it."""

    def __init__(self, page: Page, gate: asyncio.Event, seen: Data) -> None:
        self.page, self.messages = page, seen["messages"]
        self.go_on = gate.set


async def half(on: Stage, version: int, chat: str, **more: Any) -> Half:
    gate = asyncio.Event()
    page = await opened(on, version, chat, **more)
    await page.until(status="ready")
    on.vendor.will_say("Hello", " wor", gate, "ld")
    await page.ask()
    seen = await page.until("Hello wor", "streaming")
    assert chat_pages.parts(seen) == HALF
    return Half(page, gate, seen)


async def cut(on: Stage, page: Page) -> Data:
    """Breaks off all connections of readers; what the page shows then."""
    for one in list(on.server.service.connections.all()):
        one.cut()
    return await page.until(status="error")


async def ended(page: Page, text: str = "Hello world") -> Data:
    return await page.until(text, "ready")


async def come_back(page: Page) -> None:
    """And waits for the first word."""
    await page.tell("begin", method="comeBack")
    await page.until("Hello", "streaming")


async def goes_on(on: Stage, page: Page) -> None:
    """The next question has the whole conversation with it."""
    on.vendor.will_say("Yes.")
    await page.ask("Really?")
    seen = await ended(page, "Yes.")
    assert [one["content"] for one in on.vendor.asked[-1]["messages"]] == [
        "Why?",
        "Hello world",
        "Really?",
    ]
    assert (seen.get("error"), seen["cut"], len(seen["messages"])) == (None, False, 4)


async def test_a_chat_to_the_end(on: Stage, version: int) -> None:
    answer = await half(on, version, "whole")
    answer.go_on()
    seen = await ended(answer.page)
    assert chat_pages.parts(seen) == WHOLE
    assert seen["asked"] == [
        ["GET", f"/api/chat/whole-{version}/stream?finished=true", 204],
        ["POST", "/api/chat", 200],
    ]
    await goes_on(on, answer.page)


async def test_a_connection_that_breaks_off_while_the_answer_goes_on(
    on: Stage, version: int
) -> None:
    answer = await half(on, version, "cut")
    for _ in range(2):
        seen = await cut(on, answer.page)
        assert (chat_pages.parts(seen), seen["cut"]) == (HALF, True)
        await come_back(answer.page)
    answer.go_on()
    seen = await ended(answer.page)
    assert chat_pages.parts(seen) == WHOLE
    assert (seen.get("error"), seen["cut"], len(seen["messages"])) == (None, False, 2)
    await goes_on(on, answer.page)


async def test_an_answer_that_has_ended_when_its_page_comes_back(on: Stage, version: int) -> None:
    answer = await half(on, version, "late")
    await cut(on, answer.page)
    answer.go_on()
    await asking.idle(on.server)
    await answer.page.tell("begin", method="comeBack")
    seen = await ended(answer.page)
    assert chat_pages.parts(seen) == WHOLE
    assert seen["asked"][-1] == ["GET", f"/api/chat/late-{version}/stream?finished=true", 200]
    assert len(seen["messages"]) == 2
    await goes_on(on, answer.page)


async def test_a_page_that_is_loaded_again(on: Stage, version: int) -> None:
    """Its application has kept the question, and later the answer."""
    answer = await half(on, version, "again")
    await answer.page.tell("leave")
    page = await opened(on, version, "again", answer.messages[:1])
    assert chat_pages.parts(await page.until("Hello wor", "streaming")) == HALF
    answer.go_on()
    whole = (await ended(page))["messages"]
    late = await opened(on, version, "again", whole[:1])
    assert (await ended(late))["messages"] == whole
    await goes_on(on, page)
    # Nothing is read again that is there.
    there = await opened(on, version, "again", whole)
    seen = await there.until(status="ready")
    assert (seen["messages"], seen["called"]) == (whole, [])
    assert seen["asked"] == [["GET", f"/api/chat/again-{version}/stream", 204]]


CALL = [
    "step",
    ("text", "Hello", "done"),
    ("tool-tide", "input-available", {"at": 7}),
]


async def half_a_call(on: Stage, version: int, chat: str, **more: Any) -> Half:
    gate = asyncio.Event()
    begun = {"index": 0, "id": "c0", "function": {"name": "tide", "arguments": '{"at":'}}
    rest = {"index": 0, "function": {"arguments": "7}"}}
    calls = [delta(tool_calls=[call]) for call in (begun, rest)]
    page = await opened(on, version, chat, **more)
    await page.until(status="ready")
    on.vendor.will_say("Hello", calls[0], gate, calls[1], finish="tool_calls")
    await page.ask()
    seen = await page.until("Hello{}")
    assert chat_pages.parts(seen)[-1] == ("tool-tide", "input-streaming", {})
    return Half(page, gate, seen)


async def test_a_tool_call_that_is_cut_in_its_middle(on: Stage, version: int) -> None:
    answer = await half_a_call(on, version, "call")
    await cut(on, answer.page)
    await come_back(answer.page)
    answer.go_on()
    seen = await ended(answer.page, '{"at":7}')
    assert chat_pages.parts(seen) == CALL
    assert len(seen["called"]) == 1


@pytest.mark.parametrize("options", ["status=429", "error_at=3 error=overloaded"])
async def test_an_answer_that_fails_is_an_error_and_no_cut(
    on: Stage, version: int, options: str
) -> None:
    page = await opened(on, version, options[:6], model="demo")
    await page.until(status="ready")
    await page.ask(f"/demo rate=10000 {options}")
    seen = await page.until(status="error")
    assert '"provider_' in seen["error"]
    assert not seen["cut"]


async def test_an_answer_that_fails_when_its_page_has_come_back(on: Stage, version: int) -> None:
    gate = asyncio.Event()
    page = await opened(on, version, "worse")
    await page.until(status="ready")
    on.vendor.will_say("Hello", gate, b'data: {"error": {"message": "No."}}\n\n')
    await page.ask()
    await page.until("Hello", "streaming")
    assert (await cut(on, page))["cut"]
    await come_back(page)
    gate.set()
    seen = await page.until(status="error")
    assert "No." in seen["error"]
    assert not seen["cut"]


async def test_an_answer_that_is_stopped(on: Stage, version: int) -> None:
    answer = await half(on, version, "stop")
    await answer.page.tell("call", method="stop")
    seen = await answer.page.until(status="ready")
    assert chat_pages.parts(seen) == ["step", ("text", "Hello wor", "done")]
    assert (seen["asked"][-1], seen.get("error")) == (
        ["POST", f"/api/chat/stop-{version}/stop", 202],
        None,
    )
    assert not seen["finished"][-1]["isAbort"]


async def test_an_ordinary_transport_doubles_what_was_cut(on: Stage, version: int) -> None:
    answer = await half(on, version, "twice", hook=ORDINARY)
    await cut(on, answer.page)
    await come_back(answer.page)
    answer.go_on()
    seen = await ended(answer.page)
    assert chat_pages.parts(seen) == (HALF + WHOLE if version < 7 else WHOLE)


async def test_an_ordinary_transport_stays_with_the_half(on: Stage, version: int) -> None:
    answer = await half(on, version, "never", hook=ORDINARY)
    await cut(on, answer.page)
    answer.go_on()
    await asking.idle(on.server)
    await answer.page.tell("call", method="comeBack")
    seen = await answer.page.until(status="ready")
    assert chat_pages.parts(seen) == HALF


async def test_a_tool_call_that_was_kept_unfinished(on: Stage, version: int) -> None:
    """The page that has kept it comes back at once, before anything could drop it."""
    answer = await half_a_call(on, version, "kept")
    page = await opened(on, version, "kept", answer.messages)
    await page.until("Hello", "streaming")
    answer.go_on()
    found = [chat_pages.parts(await ended(one, '{"at":7}')) for one in (answer.page, page)]
    assert found[0] == CALL
    assert (found[1] == CALL) == (version == 7)

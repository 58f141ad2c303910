"""Pages of `ai` 5, 6 and 7 that come back to an answer, break off, and stop it.

Strategy: the provider stands still in mid-answer, so each page has the same half of it, whatever it
went through, and the rest is said when all are there. What the provider was asked is counted.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.integration import asking, harness, peers
from tests.integration.dialects.ai_sdk import chat_pages
from tests.integration.dialects.ai_sdk.chat_pages import VERSIONS, Page, Stage, delta

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("version", VERSIONS),
]

WHOLE = ["step", ("text", "Hello world", "done")]
HALF = ["step", ("text", "Hello wor", "streaming")]


class Half:
    """An answer that stands still in the middle; `page` has asked for it."""

    def __init__(self, page: Page, gate: asyncio.Event, seen: dict[str, Any]) -> None:
        self.page, self.messages = page, seen["messages"]
        self.go_on = gate.set
        assert chat_pages.parts(seen) == HALF


async def half(on: Stage, version: int, chat: str, **more: Any) -> Half:
    gate = asyncio.Event()
    on.vendor.will_say("Hello", " wor", gate, "ld")
    page = await on.page(version, chat, **more)
    await page.ask()
    return Half(page, gate, await page.until("Hello wor"))


async def ended(page: Page, text: str = "Hello world") -> dict[str, Any]:
    """What a page shows at the end."""
    return await page.until(text, "ready")


def cut(on: Stage, how: str = "sent away") -> None:
    """Breaks off all connections of readers: as a node that ends does, or as one that is killed."""
    connections = on.server.service.connections
    if how == "sent away":
        connections.dismiss("draining")
    else:
        for one in list(connections.all()):
            one.cut()


async def test_five_reloads_and_a_second_tab_are_one_call(on: Stage, version: int) -> None:
    asked = len(on.vendor.asked)
    answer = await half(on, version, f"reloads-{version}")
    tabs = [answer.page]
    for number in range(6):
        # A page keeps what it has of the answer, or it does not.
        messages = answer.messages if number % 2 else answer.messages[:1]
        page = await on.page(version, f"reloads-{version}", messages)
        await page.resume()
        assert chat_pages.parts(await page.until("Hello wor", "streaming")) == HALF
        tabs.append(page)
    # The same bytes as whoever asked, whose page it is now.
    answer.go_on()
    found = [await ended(page) for page in tabs]
    assert [chat_pages.parts(seen) for seen in found] == [WHOLE] * 7
    assert len({chat_pages.answer(seen)["id"] for seen in found}) == 1
    assert [len(seen["messages"]) for seen in found] == [2] * 7
    assert len(on.vendor.asked) == asked + 1


async def test_behind_the_end_there_is_nothing_to_come_back_to(on: Stage, version: int) -> None:
    answer = await half(on, version, f"late-{version}")
    answer.go_on()
    await ended(answer.page)
    page = await on.page(version, f"late-{version}", answer.messages)
    seen = await page.tell("call", method="resumeStream")
    assert seen["asked"] == [["GET", f"/api/chat/late-{version}/stream", 204]]
    assert (seen["status"], seen.get("error"), seen["messages"]) == ("ready", None, answer.messages)
    # Unless it asks for that, as a page does whose application keeps nothing.
    page = await on.page(version, f"late-{version}", answer.messages[:1], finished=True)
    await page.resume()
    assert chat_pages.parts(await ended(page)) == WHOLE


@pytest.mark.parametrize(
    ("how", "where"), [("sent away", "Node"), ("sent away", "browser"), ("killed", "Node")]
)
async def test_a_connection_that_breaks_off_is_an_error_and_can_be_resumed(
    on: Stage, version: int, how: str, where: str
) -> None:
    chat = f"{how}-{where}-{version}"
    answer = await half(on, version, chat, browser=where == "browser")
    cut(on, how)
    seen = await answer.page.until("Hello wor", "error")
    assert seen["finished"][0]["isError"]
    assert seen["finished"][0]["isDisconnect"] == (where == "browser")
    if version == 5 and where == "browser":
        # It keeps what it had, and writes the whole answer behind it: a new page does not.
        page = await on.page(version, chat, seen["messages"])
    else:
        page = answer.page
    await page.resume()
    await page.until(status="streaming")
    answer.go_on()
    assert chat_pages.parts(await ended(page)) == WHOLE


async def test_what_version_5_does_in_place(on: Stage, version: int) -> None:
    """In a browser it says half of the answer twice, unless its transport's `fetch` throws an error
    that it does not take for a lost network."""
    for chat, more, twice in (
        ("doubled", {"browser": True}, version == 5),
        ("plain", {"browser": True, "plain": True}, False),
    ):
        answer = await half(on, version, f"{chat}-{version}", **more)
        cut(on)
        await answer.page.until("Hello wor", "error")
        await answer.page.resume()
        await answer.page.until(status="streaming")
        answer.go_on()
        seen = await ended(answer.page)
        assert chat_pages.parts(seen) == (HALF + WHOLE if twice else WHOLE)


async def test_a_page_that_has_kept_a_call_in_its_middle(on: Stage, version: int) -> None:
    """Version 5 keeps it and shows it twice; the application drops the unfinished message first."""
    gate = asyncio.Event()
    begun = {"index": 0, "id": "c0", "function": {"name": "tide", "arguments": '{"at":'}}
    rest = {"index": 0, "function": {"arguments": "7}"}}
    calls = [delta(tool_calls=[call]) for call in (begun, rest)]
    on.vendor.will_say(calls[0], gate, calls[1], finish="tool_calls")
    page = await on.page(version, f"call-{version}")
    await page.ask()
    kept = (await page.until("{}"))["messages"]
    assert kept[-1]["parts"][-1]["state"] == "input-streaming"
    whole = ["step", ("tool-tide", "input-available", {"at": 7})]
    holding = await on.page(version, f"call-{version}", kept)
    without = await on.page(version, f"call-{version}", kept[:-1])
    for one in (holding, without):
        await one.resume()
        await one.until(status="streaming")
    gate.set()
    found = [chat_pages.parts(await ended(one, '{"at":7}')) for one in (page, without, holding)]
    assert found[:2] == [whole, whole]
    assert (found[2] == whole) == (version > 5)


async def test_stopping(on: Stage, version: int) -> None:
    answer = await half(on, version, f"stop-{version}")
    stopped = await on.call("POST", f"/stop-{version}/stop")
    assert stopped.status == 202
    assert stopped.headers["x-stream-id"] == chat_pages.answer({"messages": answer.messages})[
        "id"
    ].removeprefix("msg_")
    seen = await answer.page.until("Hello wor", "ready")
    assert chat_pages.parts(seen) == ["step", ("text", "Hello wor", "done")]
    assert (seen.get("error"), seen["failed"]) == (None, [])
    assert "finishReason" not in seen["finished"][0]
    assert (await on.call("POST", f"/stop-{version}/stop")).status == 204
    assert (await on.call("GET", f"/stop-{version}/stream")).status == 204
    # The conversation goes on from there.
    on.vendor.will_say("Yes.")
    await answer.page.send("Go on.")
    assert [one["content"] for one in on.vendor.asked[-1]["messages"]] == [
        "Why?",
        "Hello wor",
        "Go on.",
    ]


async def test_stopping_before_the_first_word(on: Stage, version: int) -> None:
    gate = asyncio.Event()
    on.vendor.will_say(gate, "Late.")
    page, asked = await on.page(version, f"early-{version}"), len(on.vendor.asked)
    await page.ask()
    await asking.until(lambda: len(on.vendor.asked) > asked)
    assert (await on.call("POST", f"/early-{version}/stop")).status == 202
    seen = await page.until(status="ready")
    assert (seen.get("error"), seen["failed"]) == (None, [])
    assert chat_pages.parts(seen) == ["step"]
    gate.set()


async def test_the_page_that_goes_away_stops_nothing(on: Stage, version: int) -> None:
    """`stop()` of the client is no more than that."""
    answer = await half(on, version, f"away-{version}")
    seen = await answer.page.tell("call", method="stop")
    assert (seen["status"], seen["finished"][0]["isAbort"]) == ("ready", True)
    page = await (await on.page(version, f"away-{version}", answer.messages[:1])).resume()
    await page.until("Hello wor")
    answer.go_on()
    assert chat_pages.parts(await ended(page)) == WHOLE


async def test_the_newest_answer_counts(on: Stage, version: int) -> None:
    """The page is left in mid-answer and another answer asked for; both are under way."""
    first = await half(on, version, f"again-{version}")
    await first.page.tell("call", method="stop")
    gate = asyncio.Event()
    on.vendor.will_say("Good", gate, " bye")
    await first.page.tell("begin", method="regenerate")
    await first.page.until("Good")
    page = await (await on.page(version, f"again-{version}", first.messages[:1])).resume()
    await page.until("Good")
    gate.set()
    assert chat_pages.parts(await ended(page, "Good bye")) == [
        "step",
        ("text", "Good bye", "done"),
    ]
    # The older one goes on, and is no chat's any more.
    assert (await on.call("GET", f"/again-{version}/stream")).status == 204
    assert (await on.call("POST", f"/again-{version}/stop")).status == 204
    first.go_on()


async def test_the_server_ends_and_nothing_more_comes(pages: peers.Peer, version: int) -> None:
    async with chat_pages.stage(pages) as stage:
        answer = await half(stage, version, f"end-{version}")
    seen = await answer.page.until("Hello wor", "error")
    assert seen["finished"][0]["isError"]


async def test_each_reader_has_the_same_bytes(on: Stage, version: int) -> None:
    answer = await half(on, version, f"same-{version}")
    target = f"/api/chat/same-{version}/stream"
    readers = [await harness.Reader.open(on.server.port, "GET", target) for _ in range(2)]
    for reader in readers:
        await reader.until(lambda one: b"wor" in one.body)
    answer.go_on()
    whole = [await reader.rest() for reader in readers]
    assert all(one.clean for one in whole)
    late = await on.call("GET", f"/same-{version}/stream?finished=true")
    texts = {one.body.replace(b": ping\n", b"") for one in (*whole, late)}
    assert len(texts) == 1
    assert texts.pop().endswith(b"data: [DONE]\n\n")
    await ended(answer.page)


async def test_an_answer_that_goes_on_after_tools_is_replayed_from_there(
    on: Stage, version: int
) -> None:
    """A stream is one step: a page that comes back in the middle shows that step alone, until its
    application gives it the message's earlier parts again."""
    call = {"index": 0, "id": "c0", "function": {"name": "tide", "arguments": "{}"}}
    gate = asyncio.Event()
    on.vendor.will_say(delta(tool_calls=[call]), finish="tool_calls")
    on.vendor.will_say("Low", gate, " tide.")
    page = await on.page(version, f"step-{version}", auto=True)
    await page.send()
    told = {"tool": "tide", "toolCallId": "c0", "output": "low"}
    await page.tell("begin", method="addToolOutput", args=[told])
    seen = await page.until("Low", "streaming")
    other = await on.page(version, f"step-{version}", seen["messages"])
    await other.resume()
    await other.until(status="streaming")
    gate.set()
    found = await ended(other, "Low tide.")
    assert chat_pages.parts(found) == ["step", ("text", "Low tide.", "done")]
    assert chat_pages.parts(await ended(page, "Low tide.")) == [
        "step",
        ("tool-tide", "output-available", {}),
        "step",
        ("text", "Low tide.", "done"),
    ]
    assert chat_pages.answer(found)["id"] == chat_pages.answer(seen)["id"]

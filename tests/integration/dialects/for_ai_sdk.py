"""What a page of the AI SDK shows of an answer on our route of chats."""

from __future__ import annotations

import functools
import json
from typing import Any

import httpx2
from tests.integration import peers
from tests.integration.dialects import column
from tests.integration.dialects.ai_sdk import chat_pages
from tests.integration.stock import words

from holdfast import answer

FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "content_filter": "content-filter",
    "refusal": "content-filter",
    "other": "other",
}

ROWS = {
    "openai-chat/n3-choices": column.Row({"others": ["", ""]}, "a chat is one answer"),
}


async def read(pages: peers.Peer, version: int, asked: column.Asked) -> words.Values:
    """What the page shows at the end."""
    transport = {"api": f"{asked.url}/api/chat", "body": {"model": asked.model}}
    page = await chat_pages.opened(pages, version, asked.model, transport)
    seen = await page.send(words.ASKED)
    # Fetched by the page, so nobody else has seen whose answer it is.
    for seen_by in asked.http.event_hooks["response"]:
        await seen_by(httpx2.Response(200, headers=seen["headers"]))
    error = json.loads(seen["error"])["code"] if "error" in seen else None
    others = [""] * (asked.choices - 1)
    if seen["messages"][-1]["role"] != "assistant":
        return words.values(error=error, others=others)
    message = chat_pages.answer(seen)
    usage = message.get("metadata", {}).get("usage")
    return words.values(
        **{
            "text": _text(message, "text"),
            "reasoning": _text(message, "reasoning"),
            "others": others,
            "finish": seen["finished"][0].get("finishReason"),
            "usage": usage and [usage["inputTokens"], usage["outputTokens"]],
            "error": error,
            "tool calls": [
                [part["type"].removeprefix("tool-"), _arguments(part)]
                for part in message["parts"]
                if part["type"].startswith("tool-")
            ],
        }
    )


def _text(message: dict[str, Any], kind: str) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == kind)


def _arguments(part: dict[str, Any]) -> Any:
    """Those of a call that is whole, or the text so far."""
    if part["state"] == "input-available":
        return part["input"]
    return words.arguments(part.get("rawInput", part.get("input", "")))


def expected(told: answer.Answer, choices: int) -> words.Values:
    """The native answer in the words of a page."""
    said = column.native(told, choices)
    complete = told.complete
    said["text"] += said["refusal"]
    said["refusal"] = ""
    said["finish"] = complete and FINISH[complete.finish_reason]
    if complete is None:
        said["usage"] = None  # it is told at a good end
    else:
        said["tool calls"] = [[name, {} if a == "" else a] for name, a in said["tool calls"]]
    return said


def of(pages: peers.Peer, version: int) -> column.Column:
    """The dialect, as this version reads it."""
    return column.Column("AI SDK", functools.partial(read, pages, version), None, expected, ROWS)


COLUMN = of(peers.Peer("", 0), chat_pages.VERSIONS[-1])
"""For the table in the docs alone, as it has no pages."""

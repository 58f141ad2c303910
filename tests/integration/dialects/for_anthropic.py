"""What the stock `anthropic` client reads of an answer on our route of Messages."""

from __future__ import annotations

from typing import Any

import anthropic
from tests.integration.dialects import column
from tests.integration.stock import words

from holdfast import answer

FINISH = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}
FINER = {"stop_sequence": "stop", "model_context_window_exceeded": "length"}


def client(url: str, http: Any, **more: Any) -> anthropic.AsyncAnthropic:
    """The stock client at our address."""
    more = {"api_key": "k", "max_retries": 0, **more}
    return anthropic.AsyncAnthropic(base_url=url, http_client=http, **more)


def _request(asked: column.Asked) -> dict[str, Any]:
    messages = [{"role": "user", "content": words.ASKED}]
    return {"model": asked.model, "messages": messages, "max_tokens": 1000}


def code(raised: anthropic.APIError) -> str:
    """Our code in an error that the client raised."""
    body: Any = raised.body
    return str(body["error"]["code"])


async def read(asked: column.Asked) -> words.Values:
    """A stream, by the client's own accumulator."""
    error = snapshot = None
    try:
        async with client(asked.url, asked.http).messages.stream(**_request(asked)) as got:
            async for _ in got:
                snapshot = got.current_message_snapshot
    except anthropic.APIError as raised:
        error = code(raised)
    return _values(snapshot, error)


async def whole(asked: column.Asked) -> words.Values:
    """An answer that is asked for as one value."""
    try:
        told = await client(asked.url, asked.http).messages.create(**_request(asked))
    except anthropic.APIError as raised:
        return _values(None, code(raised))
    return _values(told, None)


def _values(told: Any, error: str | None) -> words.Values:
    if told is None:
        return words.values(error=error)
    blocks, usage = told.content, told.usage
    text = "".join(block.text for block in blocks if block.type == "text")
    read = usage.input_tokens + (usage.cache_read_input_tokens or 0)
    return words.values(
        **{
            "text": text,
            "reasoning": "".join(b.thinking for b in blocks if b.type == "thinking"),
            "finish": told.stop_reason,
            "usage": None if error else [read, usage.output_tokens],
            "error": error,
            "tool calls": [[b.name, b.input] for b in blocks if b.type == "tool_use"],
        }
    )


def expected(told: answer.Answer, choices: int) -> words.Values:
    """The native answer in the words of Messages."""
    said = column.native(told, choices)
    first = told.choice(0)
    complete = told.complete
    ours = complete and complete.finish_reason
    word = first.provider_finish_reason or ""
    said["finish"] = ours and (word if FINER.get(word) == ours else FINISH.get(ours, word or ours))
    if first.refusal and ours == "stop":
        said["finish"] = "refusal"
    # A refusal in words is a text like any other.
    said["text"] += said.pop("refusal")
    said["refusal"] = ""
    # Counts come with the end; clients cannot do without any.
    said["usage"] = complete and (said["usage"] or [0, 0])
    return said


_CUT = (
    '{"filename": "taxes.txt", "lines_of_text": [\n"# COMPREHENSIVE TAX GUIDE FOR INDIVIDUALS WITH '
    'MULTIPLE W-2s",\n"",\n"## INTRODUCTION",\n"",\n"Filing taxes'
)

ROWS = {
    "anthropic/max-tokens-partial-json-no-final-blank-line": column.Row(
        {
            "tool calls": [
                [
                    "make_file",
                    {
                        "filename": "taxes.txt",
                        "lines_of_text": [
                            "# COMPREHENSIVE TAX GUIDE FOR INDIVIDUALS WITH MULTIPLE W-2s",
                            "",
                            "## INTRODUCTION",
                            "",
                        ],
                    },
                ]
            ]
        },
        "arguments that were cut: the client completes them; in one value they are the text as it "
        "came, as `INVALID_JSON`",
        {"tool calls": [["make_file", {"INVALID_JSON": _CUT}]]},
    ),
    "openai-chat/n3-choices": column.Row({"others": []}, "a message is one answer"),
}

COLUMN = column.Column("Messages", read, whole, expected, ROWS)

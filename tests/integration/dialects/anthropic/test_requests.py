"""What providers are asked for where the stock `anthropic` client asks us.

Strategy: a provider of the same format is sent what the client sends, so the client asks the
provider itself too, and both requests have to be equal, but for what is said in two ways (a text
alone and a list of one). Others are sent what they know, or the request is refused by the name of
the field.
"""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from tests.integration import asking
from tests.integration.dialects import answers, messages
from tests.integration.dialects.messages import asked, client

pytestmark = pytest.mark.asyncio(loop_scope="module")

CACHE = {"cache_control": {"type": "ephemeral"}}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


AGENT: dict[str, Any] = {
    "system": [text("You are an agent. " * 500), text("Rules. " * 900, **CACHE)],
    "messages": [
        {"role": "user", "content": "Mend the test."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Look first.", "signature": "sealed"},
                text("I look."),
                {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a.py"}},
                {"type": "thinking", "thinking": "And there.", "signature": "sealed too"},
                {"type": "tool_use", "id": "toolu_2", "name": "run", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "def f(): ..."},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "is_error": True,
                    "content": [text("1 failed")],
                    **CACHE,
                },
                text("Go on.", **CACHE),
            ],
        },
    ],
    "tools": [
        {"name": "read", "description": "A file.", "input_schema": {"type": "object"}},
        {"name": "run", "input_schema": {"type": "object", "properties": {}}, **CACHE},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2048},
    "stop_sequences": ["END"],
    "metadata": {"user_id": "user_1"},
    "max_tokens": 4096,
    "extra_body": {"temperature": 1, "top_k": 40, "a_field_of_next_year": {"x": [1]}},
}

SEEN: dict[str, Any] = {
    "messages": [
        {
            "role": "user",
            "content": [
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
                    **CACHE,
                },
                {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "Salt."},
                    "title": "Sea",
                    "context": "An essay.",
                    "citations": {"enabled": True},
                },
                {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
                {"type": "of_tomorrow", "x": [1]},
                text("What is this?"),
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "redacted_thinking", "data": "hidden"},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": "x"}},
                messages.FOUND | {"tool_use_id": "s"},
                {"type": "of_tomorrow"},
                text("Salt.", citations=[messages.CITED]),
            ],
        },
        {"role": "user", "content": "Sure?"},
    ],
    "tools": [{"type": "web_search_20250305", "name": "web_search"}, {"type": "of_tomorrow"}],
    "output_config": {
        "format": {"type": "json_schema", "schema": {"type": "object"}},
        "effort": "low",
    },
    "container": "container_1",
    "service_tier": "auto",
}


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """A text alone is a list of one."""
    for turn in body["messages"]:
        if isinstance(turn["content"], str):
            turn["content"] = [text(turn["content"])]
    return body


@pytest.mark.parametrize("fields", [AGENT, SEEN, {}, {"system": [text("Be brief.")]}])
async def test_a_provider_of_the_same_format_is_asked_the_same(
    stage: answers.Stage, stock: anthropic.AsyncAnthropic, fields: dict[str, Any]
) -> None:
    async with client(stage.provider.url) as direct:
        for beta in (False, True):
            more = {"betas": ["context-1m-2025-08-07", "files-api-2025-04-14"]} if beta else {}
            sent = []
            for one, model in ((stock, "vendor/text"), (direct, "text")):
                api: Any = one.beta.messages if beta else one.messages
                stream = await api.create(**{**asked(model), **fields}, **more, stream=True)
                async for _ in stream:
                    pass
                request = stage.provider.requests[-1]
                sent.append((normal(request.json()), request.headers.get("anthropic-beta")))
            assert sent[0] == sent[1]
            assert sent[0][1] == ("context-1m-2025-08-07,files-api-2025-04-14" if beta else None)
    assert stage.provider.requests[-2].headers["x-api-key"] == asking.KEY


async def test_a_provider_of_another_format(
    stage: answers.Stage, stock: anthropic.AsyncAnthropic
) -> None:
    fields = {
        name: value
        for name, value in AGENT.items()
        if name not in ("thinking", "extra_body", "tools", "tool_choice")
    }
    await stock.messages.create(
        **{**asked("chat/text"), **fields},
        tools=AGENT["tools"][:2],
        tool_choice={"type": "tool", "name": "run"},
        extra_headers={"anthropic-beta": "a-2025-01-01"},
    )
    sent = stage.asked()
    assert [message["role"] for message in sent["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "user",
    ]
    names = [call["function"]["name"] for call in sent["messages"][2]["tool_calls"]]
    assert names == ["read", "run"]
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["read", "run"]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "run"}}
    assert sent["stop"] == ["END"]
    assert not {"metadata", "thinking", "stop_sequences"} & sent.keys()
    assert "sealed" not in str(sent)
    assert "cache_control" not in str(sent)
    assert "anthropic-beta" not in stage.provider.requests[-1].headers


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"thinking": AGENT["thinking"]}, "^Error code: 400.*thinking: the provider chat"),
        ({"extra_body": {"top_k": 40}}, "top_k: the provider chat"),
        ({"tools": AGENT["tools"]}, r"tools\[2\]"),
        ({"messages": SEEN["messages"]}, r"messages\[0\].content\[2\].citations"),
        (
            {"messages": [{"role": "user", "content": SEEN["messages"][0]["content"][3:]}]},
            r"messages\[0\].content\[0\].source",
        ),
    ],
)
async def test_what_another_format_does_not_have_is_refused_by_its_name(
    stage: answers.Stage, stock: anthropic.AsyncAnthropic, fields: dict[str, Any], named: str
) -> None:
    before = len(stage.provider.requests)
    with pytest.raises(anthropic.BadRequestError, match=named):
        await stock.messages.create(**{**asked("chat/text"), **fields})
    assert len(stage.provider.requests) == before


async def test_or_dropped_where_the_settings_say_so() -> None:
    async with (
        messages.staged(dialects={"unknown_fields": "drop"}) as stage,
        client(stage.server.url) as stock,
    ):
        await stock.messages.create(
            **asked("chat/text", thinking=AGENT["thinking"], extra_body={"top_k": 40})
        )
        assert not {"thinking", "top_k"} & stage.asked().keys()


async def test_betas_that_are_no_names_are_refused(stock: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="`anthropic-beta`"):
        await stock.messages.create(
            **asked("vendor/text"), extra_headers={"anthropic-beta": "a; b=<c>"}
        )

"""A provider that somebody else wrote, in each format: npm's `@copilotkit/aimock`.

Strategy: aimock is told once what to answer to which question, and answers it in the format of
whoever asks: so each test runs for every format against the running server, and what a reader
gets must be the same but for the provider's own words. A question is answered only where all
that its fixture matches has arrived (tools, a system message, a tool's result), which is how
the requests are checked. aimock refuses a request without the key.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
import pytest_asyncio
from tests.integration import harness, peers, recording_expectations

from holdfast import request
from holdfast.providers import registry

KEY = "key-of-the-tests"


class Format(NamedTuple):
    """How aimock says why an answer ended: it is whole, it calls tools, it met its limit."""

    whole: str
    called: str
    limit: tuple[str, str]
    """Our reason, and its word."""
    thinks: bool = True


FORMATS = {
    "openai": Format("stop", "tool_calls", ("length", "length")),
    # It leaves out why an answer is incomplete.
    "openai_responses": Format("completed", "completed", ("other", "incomplete")),
    "anthropic": Format("end_turn", "tool_use", ("length", "max_tokens")),
    "google": Format("STOP", "STOP", ("length", "MAX_TOKENS")),
    # It knows neither limits nor reasoning here.
    "google_interactions": Format("completed", "requires_action", ("stop", "completed"), False),
}
"""By kind."""

TEXT = "Ebb 🌊 and flow — 潮汐 twice a day 🌗."
"""aimock cuts after `CUT` UTF-16 units, within the first emoji."""

CUT = 5
THOUGHT = "The moon pulls 🌕, the water follows."
COUNTED = {"prompt_tokens": 11, "completion_tokens": 7}
CALLS = [
    {"id": "call_1", "name": "tide_at", "arguments": '{"place":"Saint-Malo","hours":[6,18]}'},
    {"id": "call_2", "name": "moon", "arguments": "{}"},
]
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": call["name"],
            "description": f"Knows {call['name']}",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
        },
    }
    for call in CALLS
]
PROMPT = "When is high water?"


def _answer(question: str, response: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A fixture: the answer to one question. `match` says what else has to be there."""
    match = {"userMessage": question, **more.pop("match", {})}
    return {"match": match, "response": response, **more}


def _refusal(status: int, kind: str, **more: Any) -> dict[str, Any]:
    error = {"message": f"refused as {kind}", "type": kind}
    return {"error": error, "status": status, **more}


REFUSALS = {
    "too often": (_refusal(429, "rate_limit_error", retryAfter=1), "provider_rate_limited"),
    "who is it": (_refusal(401, "authentication_error"), "provider_auth"),
    "wrong": (_refusal(400, "invalid_request_error"), "provider_rejected"),
    "nowhere": (_refusal(404, "not_found_error"), "provider_model_not_found"),
    "broken": (_refusal(500, "api_error"), "provider_failed"),
    "too busy": (_refusal(529, "overloaded_error"), "provider_overloaded"),
}
"""Refusals by question, with the code of our error."""

FAULTS = {
    "drop": ({"dropRate": 1}, "provider_failed"),
    "garble": ({"malformedRate": 1}, "provider_malformed"),
    "limit": ({"rateLimitRate": 1}, "provider_rate_limited"),
    "hang up": ({"disconnectRate": 1}, "provider_interrupted"),
}
"""Faults by question: 500, a body that is no JSON, 429, and a connection that is closed."""

LONG = f"""{TEXT} The keeper of the light writes it down, the hour, the wind, and who went out; \
and what came in with the tide: {TEXT[::-1]}"""
GO_ON, SPARE = "go on", 60
"""The instruction, and from where on the next one tells `LONG`: some of it again."""

FIXTURES = [
    _answer("say it", {"content": TEXT, "reasoning": THOUGHT, "usage": COUNTED}),
    # Google says STOP after tool calls, where aimock has a word of its own.
    _answer(
        "call",
        {"toolCalls": CALLS, "usage": COUNTED, "finishReason": "stop"},
        match={"toolName": "moon", "model": "m-google"},
    ),
    _answer("call", {"toolCalls": CALLS, "usage": COUNTED}, match={"toolName": "moon"}),
    _answer("talk and act", {"content": TEXT, "toolCalls": CALLS[:1], "usage": COUNTED}),
    _answer("tell short", {"content": "Ebb", "finishReason": "length", "usage": COUNTED}),
    _answer("in short", {"content": "Twice."}, match={"systemMessage": "You know the sea."}),
    _answer("so what", {"content": "At six."}, match={"toolResultContains": "06:12"}),
    _answer("cut", {"content": TEXT}, truncateAfterChunks=4),
    _answer("break off", {"content": LONG}, truncateAfterChunks=24, latency=2),
    _answer(GO_ON, {"content": LONG}, match={"model": "m-from-the-begin"}),
    _answer(GO_ON, {"content": LONG[SPARE:]}, match={"model": "m-from-there"}),
    *(_answer(question, response) for question, (response, _) in REFUSALS.items()),
    *(_answer(question, {"content": "-"}, chaos=rates) for question, (rates, _) in FAULTS.items()),
]


def each_format(test: Callable[..., Any]) -> Any:
    """Runs a test for each kind, all on the loop of the one server."""
    in_loop = pytest.mark.asyncio(loop_scope="module")
    return in_loop(pytest.mark.parametrize("kind", FORMATS)(test))


@pytest.fixture(scope="module")
def aimock(pytestconfig: pytest.Config) -> Iterator[peers.Peer]:
    """aimock with these fixtures."""
    peers.installed(pytestconfig)
    options = {"strict": True, "chunkSize": CUT, "auth": {"apiKeys": [KEY]}}
    with peers.running("aimock.mjs", {"options": options, "fixtures": FIXTURES}) as peer:
        yield peer


def path_of(kind: str) -> str:
    """The path of a kind's own base URL: what its two addresses do not have in common."""
    wanted = request.Request("m", [request.Message("user", "x")])
    placed = registry.ProviderConfig(name="x", kind=kind, api_key="k", base_url="http://x")
    own = registry.ProviderConfig(name="own", kind=kind, api_key="k")
    both = registry.Registry([placed, own])
    end = both.get("x").prepare(wanted, "m").url.removeprefix("http://x")
    base = both.get("own").prepare(wanted, "m").url.removesuffix(end)
    return urllib.parse.urlsplit(base).path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(aimock: peers.Peer) -> AsyncIterator[harness.Running]:
    """A server that has aimock as a provider of each kind, and one that has another key."""
    rows = {
        kind: {"kind": kind, "base_url": aimock.url + path_of(kind), "api_key": KEY}
        for kind in FORMATS
    }
    rows |= {f"{kind}-locked": {**row, "api_key": "another"} for kind, row in rows.items()}
    fallback = {"attempts": 1, "instruction": GO_ON, "breaker_failures": 1000}
    async with harness.running(harness.configured("memory://", rows, fallback=fallback)) as running:
        yield running


async def ask(server: harness.Running, provider: str, question: str, **fields: Any) -> Any:
    """What a reader gets, in the words of `recording_expectations`."""
    asked = [{"role": "user", "content": question}]
    body = harness.wanted(f"m-{provider}", provider=provider, **{"messages": asked, **fields})
    answer = await (await harness.begin(server.port, body)).rest()
    reason = harness.said(answer.body)[-1].data.get("finish_reason")
    return recording_expectations.read(answer) | {"reason": reason}


def whole(values: recording_expectations.Values) -> recording_expectations.Values:
    """The words that are the same for every format; fails where the answer did not end well."""
    assert (values["error"], values["end"]) == (None, "clean"), values
    assert values["proof"] == recording_expectations.proof(values["text"])
    return {word: values[word] for word in ("text", "reasoning", "tool calls")}


def called(calls: list[list[str]]) -> list[tuple[str, Any]]:
    return [(name, msgspec.json.decode(arguments)) for name, arguments in calls]


WANTED = [(call["name"], msgspec.json.decode(call["arguments"])) for call in CALLS]


@each_format
async def test_text_reasoning_and_usage_come_through(server: harness.Running, kind: str) -> None:
    values = await ask(server, kind, "say it")
    thought = THOUGHT if FORMATS[kind].thinks else ""
    assert whole(values) == {"text": TEXT, "reasoning": thought, "tool calls": []}
    assert (values["reason"], values["finish"]) == ("stop", FORMATS[kind].whole)
    assert values["usage"] == [11, 7, 18]


@each_format
async def test_tool_calls_come_through(server: harness.Running, kind: str) -> None:
    values = await ask(server, kind, "call", tools=TOOLS)
    assert called(whole(values)["tool calls"]) == WANTED
    assert values["text"] == ""
    assert (values["reason"], values["finish"]) == ("tool_calls", FORMATS[kind].called)
    assert values["usage"] == [11, 7, 18]


@each_format
async def test_text_and_a_tool_call_come_through(server: harness.Running, kind: str) -> None:
    values = await ask(server, kind, "talk and act", tools=TOOLS)
    assert called(whole(values)["tool calls"]) == WANTED[:1]
    assert values["text"] == TEXT


@each_format
async def test_an_answer_at_its_limit_ends_as_that(server: harness.Running, kind: str) -> None:
    values = await ask(server, kind, "tell short", max_tokens=1)
    assert whole(values)["text"] == "Ebb"
    assert (values["reason"], values["finish"]) == FORMATS[kind].limit


@each_format
async def test_a_system_message_arrives(server: harness.Running, kind: str) -> None:
    messages = [
        {"role": "system", "content": "You know the sea."},
        {"role": "user", "content": "in short"},
    ]
    values = await ask(server, kind, "", messages=messages)
    assert whole(values)["text"] == "Twice."


@each_format
async def test_a_result_of_a_tool_arrives(server: harness.Running, kind: str) -> None:
    function = {"name": "tide_at", "arguments": CALLS[0]["arguments"]}
    messages = [
        {"role": "user", "content": "so what"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": '{"high": "06:12"}'},
    ]
    values = await ask(server, kind, "", messages=messages, tools=TOOLS)
    assert whole(values)["text"] == "At six."


async def journal(aimock: peers.Peer) -> list[Any]:
    """The requests that arrived, in the words of chat."""
    port = urllib.parse.urlsplit(aimock.url).port
    assert port is not None
    headers = {"Authorization": f"Bearer {KEY}"}
    kept = await harness.ask(port, "GET", "/__aimock/journal", headers)
    return [entry["body"] for entry in kept.json()]


@each_format
async def test_the_request_arrives(server: harness.Running, aimock: peers.Peer, kind: str) -> None:
    """As aimock understood it: its journal holds every request in the words of chat."""
    asked = {"temperature": 0.5, "max_tokens": 77, "tools": TOOLS}
    assert whole(await ask(server, kind, "call", **asked))
    body = (await journal(aimock))[-1]
    limit = body.get("max_tokens") or body["max_completion_tokens"]
    assert (body["model"], body["temperature"], limit) == (f"m-{kind}", 0.5, 77)
    assert body["messages"] == [{"role": "user", "content": "call"}]
    for tool, given in zip(body["tools"], TOOLS, strict=True):
        if kind == "google":  # where aimock does not look for the schema in its newer place
            tool["function"].setdefault("parameters", given["function"]["parameters"])
        assert tool["function"] == given["function"]


@each_format
async def test_an_answer_that_is_cut_is_an_error(server: harness.Running, kind: str) -> None:
    values = await ask(server, kind, "cut")
    assert values["error"] == "provider_interrupted"
    assert TEXT.startswith(values["text"])
    assert len(values["text"]) < len(TEXT)


@pytest.mark.parametrize("question", REFUSALS)
@each_format
async def test_a_refusal_has_its_class(server: harness.Running, kind: str, question: str) -> None:
    values = await ask(server, kind, question)
    assert (values["error"], values["text"]) == (REFUSALS[question][1], "")


@pytest.mark.parametrize("question", FAULTS)
@each_format
async def test_a_fault_has_its_class(server: harness.Running, kind: str, question: str) -> None:
    values = await ask(server, kind, question)
    assert (values["error"], values["text"]) == (FAULTS[question][1], "")


@each_format
async def test_another_key_is_refused(server: harness.Running, kind: str) -> None:
    assert (await ask(server, f"{kind}-locked", "say it"))["error"] == "provider_auth"


@pytest.mark.parametrize("model", ["m-from-there", "m-from-the-begin"])
@each_format
async def test_an_answer_of_every_kind_is_gone_on_with(
    server: harness.Running, aimock: peers.Peer, kind: str, model: str
) -> None:
    for first in FORMATS:
        following = {"providers": [f"{kind}/{model}"]}
        values = await ask(server, first, "break off", fallback=following)
        assert whole(values)["text"] == LONG, first
        before, after = (await journal(aimock))[-2:]
        question, written, instruction = after["messages"]
        assert [question] == before["messages"]
        assert written["role"] == "assistant"
        assert LONG.startswith(written["content"])
        assert 80 < len(written["content"]) < len(LONG)
        assert instruction == {"role": "user", "content": GO_ON}

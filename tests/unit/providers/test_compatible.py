"""The request that a row describes, and the rows themselves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast import errors, request, transport
from holdfast.providers import compatible, openai_chat

USER = request.Message("user", "Hi")
OPENAI = compatible.ROWS["openai"]


def provider(kind: str = "openai", **options: Any) -> compatible.Provider:
    options = {"api_key": "k-1", **options}
    row = compatible.ROWS[kind]
    return compatible.Provider("mine", row, transport_=transport.Transport(), **options)


def wanted(**fields: Any) -> request.Request:
    fields = {"model": "mine/m", "messages": [USER], **fields}
    return request.Request(**fields)


def body(kind: str = "openai", **fields: Any) -> dict[str, Any]:
    call = provider(kind).prepare(wanted(**fields), "m")
    decoded = msgspec.json.decode(call.body)
    assert isinstance(decoded, dict)
    return decoded


@pytest.mark.parametrize("row", compatible.ROWS.values(), ids=lambda row: row.name)
def test_every_row_can_be_called(row: compatible.Row) -> None:
    made = compatible.Provider("p", row, transport_=transport.Transport(), api_key="k")
    call = made.prepare(wanted(max_tokens=5), "some/model")
    assert call.url == f"{row.base_url}/chat/completions"
    assert call.url.startswith("https://") or row.api_key_env is None
    sent = msgspec.json.decode(call.body)
    assert (sent["model"], sent["stream"], sent[row.max_tokens]) == ("some/model", True, 5)
    assert ("stream_options" in sent) == row.usage_option
    assert row.usage_option or not row.obfuscation_option
    assert made.kind == "openai_chat"


def test_a_plain_request_has_no_more_than_it_needs() -> None:
    call = provider("mistral").prepare(wanted(), "m")
    assert call.method == "POST"
    assert dict(call.headers) == {
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        "User-Agent": "holdfast",
        "Authorization": "Bearer k-1",
    }
    assert msgspec.json.decode(call.body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
    }


def test_everything_that_is_asked_for_is_sent() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    said = [
        request.Message("developer", "Be brief."),
        request.Message("user", [{"type": "text", "text": "Hi"}], name="ann"),
        request.Message("assistant", tool_calls=[{"id": "a", "type": "function"}]),
        request.Message("tool", "5", tool_call_id="a"),
    ]
    sent = body(
        messages=said,
        temperature=0.0,
        max_tokens=9,
        tools=[tool],
        response_format={"type": "json_object"},
        stop=["\n"],
        n=2,
        buffer_size=1,
        fallback={"enabled": True},
        metadata=request.Metadata(user_id="u"),
    )
    assert sent == {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "ann"},
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]},
            {"role": "tool", "content": "5", "tool_call_id": "a"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
        "n": 2,
        "temperature": 0.0,
        "max_completion_tokens": 9,
        "tools": [tool],
        "response_format": {"type": "json_object"},
        "stop": ["\n"],
    }


def test_obfuscation_is_switched_off_where_it_is_known_alone() -> None:
    assert body("deepseek")["stream_options"] == {"include_usage": True}
    assert [row.name for row in compatible.ROWS.values() if row.obfuscation_option] == [
        "openai",
        "openai",
    ]


def test_the_developer_role_is_system_elsewhere() -> None:
    messages = [request.Message("developer", "Be brief.")]
    assert body("groq", messages=messages)["messages"][0]["role"] == "system"


def test_what_a_vendor_cannot_take_is_refused_by_name() -> None:
    with pytest.raises(errors.InvalidField, match=r"^n: mine"):
        body("groq", n=2)
    with pytest.raises(errors.InvalidField, match=r"^messages\[1\]\.name: mine"):
        body("groq", messages=[USER, request.Message("user", "Hi", name="ann")])
    with pytest.raises(errors.InvalidField, match="Unicode"):
        body(messages=[request.Message("user", "\ud83d")])


def test_a_missing_key_is_told_at_the_request() -> None:
    for url in (None, OPENAI.base_url):
        made = provider(api_key=None, base_url=url)
        with pytest.raises(errors.MissingKey, match="OPENAI_API_KEY"):
            made.prepare(wanted(), "m")
    with pytest.raises(errors.MissingKey):
        provider(api_key="").prepare(wanted(), "m")


@pytest.mark.parametrize(("kind", "url"), [("openai", "http://127.0.0.1:9/v1/"), ("ollama", None)])
def test_a_server_of_ones_own_needs_no_key(kind: str, url: str | None) -> None:
    call = provider(kind, api_key=None, base_url=url).prepare(wanted(), "m")
    assert "Authorization" not in dict(call.headers)
    assert call.url.endswith("/v1/chat/completions")


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "ftp://x.example"},
        {"base_url": "https://user:secret-1@x.example"},
        {"api_key": "secret-1\n"},
        {"api_key": "secret-1é"},
    ],
)
def test_what_cannot_be_sent_is_refused_at_once_and_not_quoted(options: dict[str, Any]) -> None:
    with pytest.raises(errors.SettingsError, match="mine") as caught:
        provider(**options)
    assert "secret-1" not in str(caught.value)


def test_the_parts_of_a_provider_know_its_name_and_key() -> None:
    made = provider(api_key="k-12345")
    translator = made.translator(wanted(n=2))
    assert isinstance(translator, openai_chat.Translator)
    translator.feed(b'data: {"error":"no k-12345"}\n\n')
    assert str(translator.error) == "mine: no ***"
    refused = made.failure(401, {}, b'{"message": "no k-12345"}')
    assert isinstance(refused, errors.ProviderAuth)
    assert refused.message == "mine: HTTP 401: no ***"

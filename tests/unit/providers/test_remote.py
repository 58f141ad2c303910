"""The call that a provider makes, and what it says of its own name and key."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast import errors, request, transport
from holdfast.providers import remote, vendors

USER = request.Message("user", "Hi")
OPENAI = vendors.VENDORS["openai"]


def provider(kind: str = "openai", **options: Any) -> remote.Provider:
    vendor = vendors.VENDORS[kind]
    options = {"api_key": "k-1", "base_url": vendor.base_url, **options}
    return remote.Provider("mine", vendor.format, transport_=transport.Transport(), **options)


def wanted(**fields: Any) -> request.Request:
    fields = {"model": "mine/m", "messages": [USER], **fields}
    return request.Request(**fields)


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


def test_what_cannot_be_asked_is_refused_with_the_providers_name() -> None:
    with pytest.raises(errors.InvalidField, match=r"^n: .*\(provider mine\)$"):
        provider("groq").prepare(wanted(n=2), "m")
    with pytest.raises(errors.InvalidField, match="Unicode"):
        provider().prepare(wanted(messages=[request.Message("user", "\ud83d")]), "m")
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(errors.InvalidField, match="nested"):
        provider().prepare(wanted(tools=[{"type": "function", "x": deep}]), "m")


@pytest.mark.parametrize(
    "kind", {vendor.format.kind: name for name, vendor in vendors.VENDORS.items()}.values()
)
def test_the_fields_of_tool_use_are_refused_on_other_roles(kind: str) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    told: tuple[tuple[str, Any], ...] = (("tool_calls", [call]), ("tool_call_id", "a"))
    for field, value in told:
        messages = [USER, USER, request.Message("user", "Hi", **{field: value})]
        found = rf"^messages\[2\]\.{field}: .*\(provider mine\)$"
        made = provider(kind, base_url="https://x.example")
        with pytest.raises(errors.InvalidField, match=found):
            made.prepare(wanted(messages=messages), "m")


def test_a_missing_key_is_told_at_the_request() -> None:
    for key in (None, ""):
        made = provider(api_key=key, key_needed="OPENAI_API_KEY")
        with pytest.raises(errors.MissingKey, match="set OPENAI_API_KEY"):
            made.prepare(wanted(), "m")


def test_a_server_of_ones_own_needs_no_key() -> None:
    made = provider(api_key=None, base_url="http://127.0.0.1:9/v1/")
    call = made.prepare(wanted(), "m")
    assert "Authorization" not in dict(call.headers)
    assert call.url == "http://127.0.0.1:9/v1/chat/completions"


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
    translator.feed(b'data: {"error":"no k-12345"}\n\n')
    assert str(translator.error) == "mine: no ***"
    refused = made.failure(401, {}, b'{"message": "no k-12345"}')
    assert isinstance(refused, errors.ProviderAuth)
    assert refused.message == "mine: HTTP 401: no ***"


# An answer that the provider keeps


def test_an_answer_is_told_again_by_a_request_that_only_names_it() -> None:
    made = provider("openai_responses")
    call = made.replay(wanted(), "gpt-4o", "resp_1", 99)
    assert call is not None
    assert (call.method, call.body) == ("GET", b"")
    assert call.url == "https://api.openai.com/v1/responses/resp_1?stream=true"
    assert dict(call.headers) == {
        "Accept": "text/event-stream",
        "User-Agent": "holdfast",
        "Authorization": "Bearer k-1",
    }


def test_an_answer_is_stopped_by_a_request_that_only_names_it() -> None:
    call = provider("openai_responses").discard("resp_1")
    assert call is not None
    assert (call.method, call.body) == ("POST", b"")
    assert call.url == "https://api.openai.com/v1/responses/resp_1/cancel"
    assert dict(call.headers) == {
        "Accept": "application/json",
        "User-Agent": "holdfast",
        "Authorization": "Bearer k-1",
    }


@pytest.mark.parametrize("kind", vendors.VENDORS)
def test_without_an_id_that_can_be_one_there_is_nothing_to_call(kind: str) -> None:
    made = provider(kind, base_url="https://x.example", api_key=None)
    assert made.replay(wanted(), "m", None, 0) is None
    assert made.replay(wanted(), "m", "../models", 0) is None
    assert made.discard("../models") is None
    keeps = vendors.VENDORS[kind].format.kind == "openai_responses"
    assert (made.replay(wanted(), "m", "resp_1", 0) is not None) == keeps
    assert (made.discard("resp_1") is not None) == keeps


def test_a_missing_key_is_told_there_too() -> None:
    made = provider("openai_responses", api_key=None, key_needed="OPENAI_API_KEY")
    with pytest.raises(errors.MissingKey):
        made.replay(wanted(), "m", "resp_1", 0)
    with pytest.raises(errors.MissingKey):
        made.discard("resp_1")


# What was written in the provider's own format


def sent(kind: str = "openai", **fields: Any) -> dict[str, Any]:
    own = request.Foreign(vendors.VENDORS[kind].format.kind, fields)
    call = provider(kind).prepare(wanted(max_tokens=5, foreign=own), "gpt-5")
    found: dict[str, Any] = msgspec.json.decode(call.body)
    return found


def test_fields_of_its_own_kind_are_sent_as_they_are() -> None:
    said: dict[str, Any] = {
        "seed": 7,
        "logit_bias": {"1": -100},
        "x": None,
        "y": [],
        "prediction": {"a": [1]},
    }
    assert sent(**said) == sent() | said


def test_what_the_request_says_itself_counts() -> None:
    said: dict[str, Any] = {
        "model": "other",
        "max_completion_tokens": 9,
        "stream": False,
        "messages": {},
    }
    assert sent(**said) == sent()


def test_an_object_that_both_write_has_the_fields_of_both_and_ours_count() -> None:
    ours = sent()["stream_options"]
    made = sent(stream_options={"include_usage": False, "more": {"a": 1}})["stream_options"]
    assert made == ours | {"more": {"a": 1}}
    assert made["include_usage"] is True
    assert sent(stream_options="no")["stream_options"] == ours


def test_headers_of_its_own_kind_are_sent_beside_the_providers() -> None:
    for kind, beta in (("anthropic", "a,b"), ("openai_chat", None)):
        own = request.Foreign(kind, headers={"anthropic-beta": "a,b"})
        headers = dict(provider("anthropic").prepare(wanted(foreign=own), "m").headers)
        assert headers.get("anthropic-beta") == beta
        assert headers["x-api-key"] == "k-1"


def test_fields_of_another_kind_are_not_sent() -> None:
    own = request.Foreign("anthropic", {"seed": 7})
    plain = provider().prepare(wanted(), "m")
    assert provider().prepare(wanted(foreign=own), "m") == plain


def test_a_field_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(errors.InvalidField, match="Unicode"):
        sent(user="\ud83d")


def test_a_list_that_both_write_has_the_items_of_both() -> None:
    """What a client wants to be included, and the sealed reasoning that we give back."""
    sealed = "reasoning.encrypted_content"
    fields = {"include": ["file_search_call.results", sealed]}
    asked = wanted(foreign=request.Foreign("openai_responses", fields))
    call = provider("openai_responses").prepare(asked, "gpt-5")
    assert msgspec.json.decode(call.body)["include"] == [sealed, "file_search_call.results"]

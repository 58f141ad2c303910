"""What a target may see: its own kind all, another kind what everybody understands."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast import errors, request
from holdfast.producing import disclosing
from holdfast.providers import registry

CONFIGS = [
    registry.ProviderConfig(name="chat", kind="openai", api_key="k"),
    registry.ProviderConfig(name="other", kind="openai_responses", api_key="k"),
]
PROVIDERS = registry.Registry(CONFIGS)
CHAT, OTHER = (registry.Target(PROVIDERS.get(name), "m") for name in ("chat", "other"))

THOUGHT = {"type": "reasoning", "encrypted_content": "sealed"}
SAID = [
    request.Message("user", "Why?"),
    request.Message("assistant", [{"type": "text", "text": "Because."}, THOUGHT]),
    request.Message("user", "And?"),
]
PLAIN = [SAID[0], request.Message("assistant", [{"type": "text", "text": "Because."}]), SAID[2]]


def wanted(foreign: request.Foreign | None = None, **fields: Any) -> request.Request:
    return request.Request("m", SAID, temperature=0.5, foreign=foreign, **fields)


def foreign(kind: str = "openai_chat", **more: Any) -> request.Foreign:
    return request.Foreign(kind, {"seed": 7, "user": "ann"}, ["user"], **more)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("asked", [None, foreign(headers={"x-beta": "1"})])
def test_its_own_kind_is_shown_all(asked: request.Foreign | None, strict: bool) -> None:
    whole = wanted(asked)
    assert disclosing.shown(whole, CHAT, "openai_chat", strict=strict) is whole


@pytest.mark.parametrize("strict", [True, False])
def test_another_kind_is_shown_what_people_wrote(strict: bool) -> None:
    shown = disclosing.shown(wanted(n=2), OTHER, "openai_chat", strict=strict)
    assert shown == msgspec.structs.replace(wanted(n=2), messages=PLAIN)
    assert wanted().messages[1].content == SAID[1].content  # the request itself is left as it is


def test_whoever_would_not_be_told_all_is_not_asked() -> None:
    with pytest.raises(errors.InvalidField) as caught:
        disclosing.shown(wanted(foreign()), OTHER, "openai_chat", strict=True)
    assert caught.value.message.startswith("seed: the provider other ")
    assert "dialects.unknown_fields" in caught.value.message
    many = request.Foreign("openai_chat", {"seed": 1, "logit_bias": {}, "user": "u"}, ["user"])
    with pytest.raises(errors.InvalidField, match=r"^logit_bias, seed: "):
        disclosing.shown(wanted(many), OTHER, "openai_chat", strict=True)


@pytest.mark.parametrize(
    ("asked", "strict"),
    [
        (foreign(), False),
        (request.Foreign("openai_chat"), True),
        (request.Foreign("openai_chat", {"user": "ann"}, ["user", "store"]), True),
        (request.Foreign("openai_chat", headers={"x-beta": "1"}), True),
    ],
)
def test_what_is_not_shown_is_gone(asked: request.Foreign, strict: bool) -> None:
    shown = disclosing.shown(wanted(asked), OTHER, "openai_chat", strict=strict)
    assert shown == msgspec.structs.replace(wanted(), messages=PLAIN)


def test_a_conversation_in_another_form_is_written_in_the_one_that_all_know() -> None:
    own = request.Foreign("anthropic")
    use = {"type": "tool_use", "id": "t1", "name": "tide", "input": {"at": "Brest"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "high"}
    said = [
        request.Message("user", "When?"),
        request.Message("assistant", [use]),
        request.Message("user", [result]),
    ]
    asked = request.Request("m", said, foreign=own)
    shown = disclosing.shown(asked, CHAT, "anthropic", strict=True)
    assert shown.foreign is None
    assert [message.role for message in shown.messages] == ["user", "assistant", "tool"]
    assert shown.messages[1].tool_calls is not None
    assert shown.messages[2].tool_call_id == "t1"

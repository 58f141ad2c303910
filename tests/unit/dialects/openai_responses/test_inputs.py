"""Input items as messages, and on to a provider of this format, which gets them as they were."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.dialects.openai_responses import reading

from holdfast import errors, request, transport
from holdfast.dialects.openai_responses import inputs
from holdfast.providers import asked, remote, vendors

Fields = dict[str, Any]

STREAM = reading.STREAM
OWNED = "5treamOfTheTestsABCDEFGHIJsigned"  # ids of streams that have an owner are longer
TEXT = {"type": "input_text", "text": "Look."}
IMAGE = {"type": "input_image", "image_url": "https://example.org/x.png", "detail": "low"}
FILE = {"type": "input_file", "filename": "x.pdf", "file_data": "data:application/pdf;base64,QQ=="}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"x":1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "ok"}
SEALED = {"type": "reasoning", "id": "rs_68", "summary": [], "encrypted_content": "s"}


def given_back(*items: Fields) -> list[Fields]:
    """What a provider of this format gets for these items."""
    vendor = vendors.VENDORS["openai_responses"]
    provider = remote.Provider(
        "p", vendor.format, transport_=transport.Transport(), base_url="https://example.org"
    )
    wanted = request.Request("m", inputs.messages(list(items), None))
    found: list[Fields] = msgspec.json.decode(provider.prepare(wanted, "m").body)["input"]
    return found


def said(role: str, *parts: Fields) -> Fields:
    return {"type": "message", "role": role, "content": list(parts)}


@pytest.mark.parametrize(
    "items",
    [
        [{"type": "message", "role": "user", "content": "Hi"}],
        [{"type": "message", "role": "system", "content": "Be brief."}],
        [said("user", TEXT, IMAGE)],
        [said("user", TEXT, FILE)],
        [said("user", TEXT, {"type": "input_image", "file_id": "file_1", "detail": "auto"})],
        [said("user", TEXT, {"type": "input_file", "file_url": "https://example.org/x.pdf"})],
        [said("user", TEXT | {"prompt_cache_breakpoint": {"mode": "explicit"}}, TEXT)],
        [CALL, OUTPUT],
        [CALL, CALL | {"call_id": "d"}, OUTPUT, OUTPUT | {"call_id": "d"}],
        [OUTPUT | {"output": [TEXT, IMAGE]}],
        [SEALED, CALL, OUTPUT],
        [SEALED, CALL, SEALED | {"id": "rs_69"}, CALL | {"call_id": "d"}, OUTPUT],
        [SEALED, {"type": "message", "role": "assistant", "content": "Yes."}, CALL, OUTPUT],
        [CALL, OUTPUT, {"type": "message", "role": "assistant", "content": "Yes."}],
        [{"type": "message", "role": "assistant", "content": text} for text in ("One.", "Two.")],
        [said("assistant", {"type": "refusal", "refusal": "No."})],
        [said("assistant", {"type": "output_text", "text": "Yes."}) | {"phase": "final_answer"}],
        [{"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"q": "x"}}],
        [{"type": "custom_tool_call", "call_id": "c", "name": "sh", "input": "ls"},
         {"type": "custom_tool_call_output", "call_id": "c", "output": "a.txt"}],
        [{"type": "mcp_approval_request", "id": "r", "name": "f", "arguments": "{}"},
         {"type": "mcp_approval_response", "approval_request_id": "r", "approve": True}],
        [{"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}},
         {"type": "shell_call_output", "call_id": "c", "output": []}],
        [CALL | {"namespace": "n"}, OUTPUT],
        [{"type": "compaction", "id": "cmp_1", "encrypted_content": "s"}],
        [{"type": "additional_tools", "role": "developer", "tools": []}],
        [said("user", TEXT) | {"field_of_next_year": 1}],
    ],
    ids=lambda items: ",".join(item["type"] for item in items),
)  # fmt: skip
def test_the_same_kind_gets_the_same_items(items: list[Fields]) -> None:
    assert given_back(*items) == items


def test_what_says_nothing_to_the_model_is_left_out() -> None:
    text = {"type": "output_text", "text": "Yes.", "annotations": [{"type": "x"}], "logprobs": []}
    own = {"id": "msg_68", "status": "completed", "phase": None}
    found = given_back(
        {"role": "user", "content": "Hi", "id": None},
        said("assistant", text) | own,
        CALL | {"id": "fc_68", "status": "completed", "caller": None},
        OUTPUT | {"id": "fco_1", "status": "completed"},
    )
    assert found == [
        {"type": "message", "role": "user", "content": "Hi"},
        {"type": "message", "role": "assistant", "content": "Yes."},
        CALL,
        OUTPUT,
    ]


@pytest.mark.parametrize(
    ("item", "kept"),
    [
        (SEALED | {"id": f"rs_{STREAM}_0", "status": None}, {"id"}),
        ({"type": "web_search_call", "id": f"item_{STREAM}_1", "action": {}}, {"id"}),
        (CALL | {"id": f"fc_{STREAM}_12", "namespace": "n"}, {"id"}),
        (CALL | {"id": f"fc_{OWNED}_0", "namespace": "n"}, {"id"}),
        ({"type": "custom_tool_call", "id": f"ctc_{STREAM}_0", "input": ""}, {"id"}),
        (said("assistant") | {"id": f"msg_{STREAM}_0", "phase": "commentary"}, {"id"}),
        (SEALED | {"id": f"rs_{STREAM}"}, set()),
    ],
)  # fmt: skip
def test_an_id_of_ours_is_none_of_the_providers(item: Fields, kept: set[str]) -> None:
    (found,) = given_back(item)
    plain = {name: value for name, value in item.items() if value is not None}
    assert found == {name: value for name, value in plain.items() if name not in kept}


def test_a_summary_of_ours_does_not_go_back() -> None:
    """It is the raw text, which stands in the item too; one of the provider's own does."""
    text = [{"type": "reasoning_text", "text": "Hm."}]
    ours: Fields = {"type": "reasoning", "id": f"rs_{STREAM}_0", "content": text}
    (found,) = given_back(ours | {"summary": [{"type": "summary_text", "text": "Hm."}]})
    assert found == {"type": "reasoning", "content": text, "summary": []}
    own = [{"type": "summary_text", "text": "Thought."}]
    assert given_back(ours | {"summary": own})[0]["summary"] == own
    assert given_back(SEALED | {"summary": own}) == [SEALED | {"summary": own}]


def test_reasoning_that_is_worth_nothing_is_left_out() -> None:
    bare: Fields = {
        "type": "reasoning",
        "id": f"rs_{STREAM}_0",
        "summary": [],
        "encrypted_content": None,
    }
    assert given_back(bare, CALL, OUTPUT) == [CALL, OUTPUT]


def test_messages_for_all() -> None:
    found = inputs.messages([SEALED, said("assistant", {"type": "output_text", "text": "Yes."}),
                             CALL, CALL | {"call_id": "d"}, OUTPUT,
                             said("user", TEXT, IMAGE)], "Be brief.")  # fmt: skip
    function = {"name": "f", "arguments": '{"x":1}'}
    calls = [{"id": id, "type": "function", "function": function} for id in ("c", "d")]
    image = {"type": "image_url", "image_url": {"url": IMAGE["image_url"], "detail": "low"}}
    assert found == [
        request.Message("developer", "Be brief."),
        request.Message("assistant", [SEALED, {"type": "text", "text": "Yes."}], tool_calls=calls),
        request.Message("tool", "ok", tool_call_id="c"),
        request.Message("user", [{"type": "text", "text": "Look."}, image]),
    ]
    assert asked.portable(found)[1].content == [{"type": "text", "text": "Yes."}]
    assert inputs.messages("Hi", None) == [request.Message("user", "Hi")]


def test_another_kind_is_told_what_was_said_and_no_call_of_its_own_tools() -> None:
    own = {"type": "custom_tool_call", "call_id": "c", "name": "sh", "input": "ls"}
    back = {"type": "custom_tool_call_output", "call_id": "c", "output": "a.txt"}
    phased = said("assistant", {"type": "output_text", "text": "Yes."}) | {"phase": "final_answer"}
    found = asked.portable(inputs.messages([own, back, phased], None))
    assert found == [request.Message("assistant", [{"type": "text", "text": "Yes."}])]


@pytest.mark.parametrize(
    ("item", "where"),
    [
        ({}, r"input\[1\]\.type"),
        ({"type": 7}, r"input\[1\]\.type"),
        ({"type": "item_reference", "id": "msg_1"}, r"input\[1\]: items are not stored"),
        ({"role": "tool", "content": ""}, r"input\[1\]\.role"),
        ({"role": "user"}, r"input\[1\]\.content"),
        ({"role": "user", "content": ["x"]}, r"input\[1\]\.content"),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, r"input\[1\]\.call_id"),
        (OUTPUT | {"call_id": 7}, r"input\[1\]\.call_id"),
        (OUTPUT | {"output": 7}, r"input\[1\]\.output"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_place(item: Fields, where: str) -> None:
    with pytest.raises(errors.InvalidField, match=rf"^{where}"):
        inputs.messages([{"role": "user", "content": "Hi"}, item], None)

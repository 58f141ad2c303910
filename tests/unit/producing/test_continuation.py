"""The request for the rest of an answer: what is sent, and that nothing else changes."""

from __future__ import annotations

import msgspec
import pytest

from holdfast import request
from holdfast.producing import continuation

ASKED = [
    request.Message("system", "Be brief."),
    request.Message("user", [{"type": "text", "text": "Who keeps the light?"}]),
]
WANTED = request.Request(
    model="model",
    messages=ASKED,
    provider="first",
    temperature=0.5,
    top_p=0.9,
    max_tokens=100,
    tools=[{"type": "function", "function": {"name": "tide"}}],
    tool_choice="none",
    parallel_tool_calls=False,
    response_format={"type": "text"},
    stop=["END"],
    buffer_size=10,
    flush_interval_ms=20,
    context={"a": 1},
    fallback=request.Fallback(mode="continue"),
    metadata=request.Metadata(purpose="test", priority="high"),
)
INSTRUCTION = " Weiter, bitte …\n"


def messages(written: str, *, prefill: bool, strip: bool = False) -> list[request.Message]:
    rest = continuation.of(WANTED, written, prefill=prefill, instruction=INSTRUCTION, strip=strip)
    return rest.messages


def test_a_prefill_is_the_last_message() -> None:
    assert messages("The keeper\n", prefill=True) == [
        *ASKED,
        request.Message("assistant", "The keeper\n"),
    ]


def test_history_is_followed_by_the_instruction_as_it_stands() -> None:
    assert messages("The keeper\n", prefill=False) == [
        *ASKED,
        request.Message("assistant", "The keeper\n"),
        request.Message("user", INSTRUCTION),
    ]


@pytest.mark.parametrize("prefill", [True, False])
def test_nothing_else_changes(prefill: bool) -> None:
    before = request.pack(WANTED)
    rest = continuation.of(WANTED, "The keeper", prefill=prefill, instruction=INSTRUCTION)
    assert request.pack(WANTED) == before  # not the list of messages either
    changed = {
        field
        for field in request.Request.__struct_fields__
        if getattr(rest, field) != getattr(WANTED, field)
    }
    assert changed == {"messages", "max_tokens"}


@pytest.mark.parametrize(
    ("wanted", "written", "used", "left"),
    [
        (100, "four", 30, 70),
        (100, "four" * 50, 7, 50),  # what most tell before the end is no more than a begin
        (100, "four", 84, 16),
        (100, "four", 85, 16),  # fewer are refused by some
        (100, "four", 1000, 16),
        (10, "four", 0, 10),
        (1, "four", 1000, 1),
        (100, "", 0, 100),
        (100, "the", 0, 100),
        (100, "four", 0, 99),
        (100, "four" * 10, 0, 90),
        (100, "秋风秋雨", 0, 97),  # by bytes: such a character is about a token
        (100, "four" * 1000, 0, 16),
        (None, "four" * 1000, 30, None),
    ],
)
def test_max_tokens_is_what_is_left(
    wanted: int | None, written: str, used: int, left: int | None
) -> None:
    asked = msgspec.structs.replace(WANTED, max_tokens=wanted)
    rest = continuation.of(asked, written, prefill=True, instruction=INSTRUCTION, used_tokens=used)
    assert rest.max_tokens == left


@pytest.mark.parametrize("prefill", [True, False])
@pytest.mark.parametrize(
    ("written", "sent", "stripped"),
    [
        ("The keeper", "The keeper", ""),
        ("The keeper ", "The keeper", " "),
        ("The keeper \n\t\n", "The keeper", " \n\t\n"),
        (" \nThe  keeper\u3000\u00a0", " \nThe  keeper", "\u3000\u00a0"),
        ("The keeper\u200b", "The keeper\u200b", ""),  # of no width, and no whitespace
    ],
)
def test_it_can_be_sent_without_the_whitespace_at_its_end(
    written: str, sent: str, stripped: str, prefill: bool
) -> None:
    assert continuation.stripped(written) == stripped
    said = messages(written, prefill=prefill, strip=True)
    assert said[: len(ASKED) + 1] == [*ASKED, request.Message("assistant", sent)]
    assert said[len(ASKED) + 1 :] == ([] if prefill else [request.Message("user", INSTRUCTION)])


def test_what_is_stripped_is_used_all_the_same() -> None:
    rest = continuation.of(
        WANTED, "four" + " " * 40, prefill=True, instruction=INSTRUCTION, strip=True
    )
    assert rest.max_tokens == 89


@pytest.mark.parametrize("prefill", [True, False])
@pytest.mark.parametrize(
    ("written", "strip"), [("", False), ("", True), (" \n", True), (" \n", False)]
)
def test_where_nothing_is_left_to_send_it_is_asked_again(
    written: str, strip: bool, prefill: bool
) -> None:
    assert messages(written, prefill=prefill, strip=strip) == ASKED

"""Every kind of provider as the one that goes on: what it is sent, and what its answers bring.

Strategy: the first provider breaks off after half a text, with reasoning and words of its own that
are nobody else's. The next one is of each kind in turn: a script, whose request is looked at, or
a recorded answer, whose text must stand behind the half without a loss.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from tests import seams
from tests.contract import attempting, carried, wires
from tests.contract.carried import Said
from tests.integration import replaying

from holdfast import events, request
from holdfast.testing import recordings, simulated

TEXT = seams.PROSE
HALF = TEXT[: TEXT.index(" ", 400) + 1]

PREFILLED = ("anthropic", "claude-sonnet-4-5")
"""Who takes the beginning of its answer as the last message."""

THOUGHT = "Nobody else may see what I think of it."
BEGIN: list[bytes] = [
    b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"%s"}}]}\n\n' % THOUGHT.encode(),
    *wires.WIRES["openai_chat"]([HALF])[:2],
    b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":300,'
    b'"total_tokens":309}}\n\n',
]
ASKED = [
    request.Message("system", "You know the sea."),
    request.Message("user", "Who keeps the light?"),
    request.Message("assistant", "Which one?"),
    request.Message("user", "The one at the Point."),
]


def vendors(b: carried.Vendor) -> dict[str, carried.Vendor]:
    return {"a": lambda call: Said(BEGIN, "cut"), "b": b}


def node(
    kind: str, b: carried.Vendor, **fallback: object
) -> contextlib.AbstractAsyncContextManager[carried.Node]:
    return carried.node({"a": "openai_chat", "b": kind}, vendors(b), attempts=1, **fallback)


def wanted(model: str = "n") -> request.Request:
    return carried.asking("a/m", f"b/{model}", messages=ASKED, max_tokens=1000)


@pytest.mark.case("2.24")
@pytest.mark.parametrize("kind", wires.WIRES)
@simulated.timed
async def test_what_each_kind_is_sent(kind: str) -> None:
    async with node(kind, lambda call: Said(wires.WIRES[kind]([TEXT[len(HALF) :]]))) as on:
        found = await on.ask(wanted())
        assert found.choice().content == TEXT
        assert found.choice().reasoning == THOUGHT
        [call] = on.carrier.to("b")
        sent = wires.asked(kind, call.body)
        assert [turn for turn in sent.turns if turn[0] != "system"] == [
            ("user", "Who keeps the light?"),
            ("assistant", "Which one?"),
            ("user", "The one at the Point."),
            ("assistant", HALF),
            ("user", "…"),
        ]
        assert sent.max_tokens == 700
        assert b"You know the sea." in call.raw
        assert THOUGHT.encode() not in call.raw
        assert "key-of-b" in str(call.headers)
        assert "key-of-a" not in str(call.headers) + call.raw.decode()
        [first] = on.carrier.to("a")
        assert "key-of-b" not in str(first.headers) + first.raw.decode()


@pytest.mark.case("1.7")
@pytest.mark.case("2.24")
@pytest.mark.parametrize("instruction", ["Weiter, bitte.", "続けて"])
@simulated.timed
async def test_the_instruction_is_the_operators(instruction: str) -> None:
    kind = "openai_chat"
    whole = Said(wires.WIRES[kind]([TEXT[len(HALF) :]]))
    async with node(kind, lambda call: whole, instruction=instruction) as on:
        await on.ask(wanted())
        [call] = on.carrier.to("b")
        assert wires.asked(kind, call.body).turns[-1] == ("user", instruction)


@pytest.mark.case("1.7b")
@pytest.mark.parametrize("again", ["", " ", "  "])
@simulated.timed
async def test_a_prefill_is_gone_on_from_just_there(again: str) -> None:
    """It is sent without the whitespace at its end, which is told again or not."""
    kind, model = PREFILLED
    rest = again + TEXT[len(HALF) :]
    async with node(kind, lambda call: Said(wires.WIRES[kind]([rest[:1], rest[1:]]))) as on:
        found = await on.ask(wanted(model))
        [call] = on.carrier.to("b")
        assert wires.asked(kind, call.body).turns[-1] == ("assistant", HALF.rstrip())
        assert found.choice().content == HALF + rest.removeprefix(" ")
        assert found.complete is not None
        assert found.complete.exact is True
        assert found.fallbacks[0].exact is True


@pytest.mark.case("1.7b")
@simulated.timed
async def test_after_a_prefill_nothing_is_taken_for_a_repetition() -> None:
    kind, model = PREFILLED
    again = TEXT[len(HALF) - 60 :]
    async with node(kind, lambda call: Said(wires.WIRES[kind]([again]))) as on:
        found = await on.ask(wanted(model))
        assert found.choice().content == HALF + again


@pytest.mark.case("1.7b")
@pytest.mark.case("2.24")
@simulated.timed
async def test_a_prefill_that_is_refused_is_done_without_once() -> None:
    kind, model = PREFILLED

    def refusing(call: carried.Call) -> Said:
        if wires.asked(kind, call.body).turns[-1][0] == "assistant":
            why = b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}'
            return Said([why], status=400, headers=(("content-type", "application/json"),))
        return Said(wires.WIRES[kind]([TEXT[len(HALF) - 30 :]]))

    async with node(kind, refusing) as on:
        found = await on.ask(wanted(model))
        assert found.choice().content == TEXT
        assert [one.error for one in found.attempts] == [
            "provider_interrupted",
            "provider_rejected",
        ]
        assert [turn[0] for turn in wires.asked(kind, on.carrier.to("b")[1].body).turns][-2:] == [
            "assistant",
            "user",
        ]
        [change] = found.fallbacks
        assert (change.at, change.trimmed, change.exact) == (len(HALF), 30, True)


@pytest.mark.parametrize("otherwise", ["restart", "error"])
@simulated.timed
async def test_what_a_filter_has_cut_off_is_told_anew_or_ends(otherwise: str) -> None:
    filtered = b'data: {"error":{"message":"no","code":"content_filter"}}\n\n'
    kinds = {"a": "openai_chat", "b": "openai_chat"}
    scripts: dict[str, carried.Vendor] = {
        "a": lambda call: Said([*BEGIN, filtered]),
        "b": lambda call: Said(wires.WIRES["openai_chat"](["Another answer."])),
    }
    async with carried.node(kinds, scripts, otherwise=otherwise) as on:
        found = await on.ask(wanted())
        if otherwise == "error":
            assert found.error is not None
            assert (found.error.code, on.carrier.to("b")) == ("provider_rejected", [])
            return
        assert found.choice().content == "Another answer."
        assert wires.written("openai_chat", on.carrier.to("b")[0].body) == "Which one?"
        assert len(on.carrier.calls) == 2


@simulated.timed
async def test_what_is_void_stays_so_when_the_next_one_fails_too() -> None:
    filtered = b'data: {"error":{"message":"no","code":"content_filter"}}\n\n'
    whole = Said(wires.WIRES["openai_chat"](["Another answer."]))
    answers = iter([Said(status=503), whole])
    kinds = {"a": "openai_chat", "b": "openai_chat"}
    scripts: dict[str, carried.Vendor] = {
        "a": lambda call: Said([*BEGIN, filtered]),
        "b": lambda call: next(answers),
    }
    async with carried.node(kinds, scripts, attempts=2) as on:
        found = await on.ask(wanted())
        assert found.choice().content == "Another answer."
        for call in on.carrier.to("b"):
            assert wires.written("openai_chat", call.body) == "Which one?"


NATIVE: dict[str, list[dict[str, Any]]] = {
    "anthropic": [{"type": "thinking", "thinking": "Hidden here.", "signature": "c2lnbmVk"}],
    "openai_responses": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ZW5jcnlwdGVk"}
    ],
    "openai_chat": [{"reasoning_content": "Hidden here."}],
    "google": [{"text": "Hidden here.", "thought": True, "thoughtSignature": "c2lnbmVk"}],
}
"""What an answer of a kind may demand back in the next request."""


@pytest.mark.case("2.24")
@pytest.mark.parametrize("shut", [False, True], ids=["asked and failed", "left alone"])
@pytest.mark.parametrize("following", wires.WIRES)
@pytest.mark.parametrize("kind", NATIVE)
@simulated.timed
async def test_what_a_provider_made_for_itself_is_shown_to_its_own_kind_alone(
    kind: str, following: str, shut: bool
) -> None:
    called = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        request.Message("user", "Who keeps the light?"),
        request.Message(
            "assistant",
            [*NATIVE[kind], {"type": "text", "text": "I look."}],
            tool_calls=[{**called, "extra_content": {"google": {"thoughtSignature": "c2ln"}}}],
        ),
        request.Message("tool", "Nobody.", tool_call_id="c"),
        request.Message("assistant", NATIVE[kind]),
        request.Message("user", "And now?"),
    ]
    asked = carried.asking("a/m", "b/n", messages=messages)
    scripts: dict[str, carried.Vendor] = {
        "a": lambda call: Said(status=401),
        "b": lambda call: Said(wires.WIRES[following](["Still nobody."])),
    }
    async with carried.node({"a": kind, "b": following}, scripts, breaker_failures=1) as on:
        if shut:
            await on.ask(carried.asking("a/m"))
        found = await on.ask(asked)
        assert found.choice().content == "Still nobody."
        assert len(on.carrier.to("a")) == 1
        [call] = on.carrier.to("b")
        own = following == kind
        for hidden in (b"Hidden here.", b"c2lnbmVk", b"ZW5jcnlwdGVk"):
            held = any(hidden.decode() in str(part) for part in NATIVE[kind])
            assert (hidden in call.raw) is (own and held)
        assert b"I look." in call.raw
        assert b"Nobody." in call.raw


@simulated.timed
async def test_who_cannot_take_a_request_is_passed_over() -> None:
    """Two answers at a time: Anthropic gives one. Whether the first one's breaker is open makes no
    difference to what is refused."""
    two = wires.WIRES["openai_chat"](["One."])
    second = (
        b'data: {"choices":[{"index":1,"delta":{"content":"Two."},"finish_reason":"stop"}]}\n\n'
    )
    answers = iter([Said(status=503), Said([*two[:2], second, *two[2:]])])
    scripts: dict[str, carried.Vendor] = {
        "a": lambda call: next(answers),
        "b": lambda call: Said(),
    }
    kinds = {"a": "openai_chat", "b": "anthropic"}
    async with carried.node(kinds, scripts, attempts=1, breaker_failures=1) as on:
        first = await on.ask(carried.asking("a/m", "b/n", n=2))
        assert first.error is not None
        assert first.error.code == "provider_overloaded"  # and not what keeps b from it
        found = await on.ask(carried.asking("a/m", "b/n", n=2))
        assert (found.choice(0).content, found.choice(1).content) == ("One.", "Two.")
        assert on.carrier.to("b") == []


@simulated.timed
async def test_one_that_was_passed_over_is_come_back_to() -> None:
    answers = iter([Said(status=401), Said(wires.WIRES["openai_chat"](["Here again."]))])
    scripts: dict[str, carried.Vendor] = {
        "a": lambda call: next(answers),
        "b": lambda call: Said(status=402),
    }
    kinds = {"a": "openai_chat", "b": "openai_chat"}
    async with carried.node(kinds, scripts, breaker_failures=1) as on:
        await on.ask(carried.asking("a/m"))
        found = await on.ask(carried.asking("a/m", "b/n"))
        assert found.choice().content == "Here again."
        assert [name for name, _ in on.carrier.times] == ["a", "b", "a"]
        assert [(call.provider, call.status) for call in found.calls] == [
            ("b", "failed"),
            ("a", "completed"),
        ]


@simulated.timed
async def test_a_prefill_that_was_refused_is_not_tried_again() -> None:
    kind, model = PREFILLED
    refused = Said(status=400, headers=(("content-type", "application/json"),))
    whole = Said(wires.WIRES[kind]([TEXT[len(HALF) :]]))
    answers = iter([refused, Said(status=529), whole])
    async with carried.node(
        {"a": "openai_chat", "b": kind},
        vendors(lambda call: next(answers)) | {"a": lambda call: Said(BEGIN, "cut")},
        attempts=3,
        calls=10,
        delay=0,
    ) as on:
        on.carrier.calls.clear()
        found = await on.ask(wanted(model))
        assert found.choice().content.startswith(HALF)
        last = [wires.asked(kind, call.body).turns[-1][0] for call in on.carrier.to("b")]
        assert last == ["assistant", "user", "user"]


@pytest.mark.case("1.7b")
@simulated.timed
async def test_where_all_fail_the_last_error_ends_it_and_what_was_read_stands() -> None:
    async with node("anthropic", lambda call: Said(status=529)) as on:
        found = await on.ask(wanted())
        assert found.error is not None
        assert found.error.code == "provider_overloaded"
        assert found.choice().content == HALF
        assert (found.fallbacks, len(found.attempts)) == ([], 2)
        # What each call has cost, as its provider told it.
        assert found.attempts[0].usage == events.Tokens(9, 300, 309)


async def continued_by(recording: recordings.Recording) -> bool:
    """Whether this recorded answer is whole, and stands behind the half."""
    kind = replaying.FORMATS[recording.expected["protocol"]]
    alone = await attempting.play(kind, [recording.wire])
    if alone.error is not None or not alone.text() or replaying.choices_of(recording) > 1:
        return False
    answer = Said(recordings.per_event(recording.wire))
    async with node(kind, lambda call: answer) as on:
        found = await on.ask(wanted())
        new = seams.rules(HALF, alone.text())
        assert found.choice().content == HALF + str(new)
        assert found.choice().reasoning == THOUGHT  # the next one's is about another's answer
        calls = {body.id for body in alone.said if isinstance(body, events.Chunk) and body.id}
        assert {call.id for call in found.choice().tool_calls.values()} == calls
        assert found.complete is not None
        assert found.complete.length == len((HALF + str(new)).encode())
        # What is on the second provider's account is told as that.
        usage = [body.tokens for body in alone.said if isinstance(body, events.Usage)]
        assert found.complete.usage == (usage[-1] if usage else None)
        return True


async def kinds_of(found: list[recordings.Recording]) -> set[str]:
    """The kinds of which a recording went on."""
    return {
        replaying.FORMATS[each.expected["protocol"]] for each in found if await continued_by(each)
    }


@simulated.timed
async def test_our_recordings_go_on_behind_another() -> None:
    assert await kinds_of(attempting.playable(attempting.FIXTURES)) == set(wires.WIRES)


@simulated.timed
async def test_the_shared_recordings_go_on_behind_another(shared: Path) -> None:
    found = attempting.playable(shared / "recordings")
    assert await kinds_of(found) >= set(wires.WIRES) - {"google_interactions"}


@pytest.mark.parametrize("mode", ["continue", "restart"])
@simulated.timed
async def test_an_answer_of_nothing_is_not_the_half_before_it(mode: str) -> None:
    """Half a tool call is taken back also where the whole next answer says nothing."""
    half = b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c",'
    half += b'"function":{"name":"f","arguments":"{"}}]}}]}\n\n'
    scripts: dict[str, carried.Vendor] = {
        "a": lambda call: Said([half], "cut"),
        "b": lambda call: Said(wires.WIRES["openai_chat"]([])),
    }
    kinds = {"a": "openai_chat", "b": "openai_chat"}
    async with carried.node(kinds, scripts, attempts=1, mode=mode) as on:
        found = await on.ask(wanted())
        assert found.complete is not None
        assert (found.choice().content, found.choice().tool_calls) == ("", {})
        assert len(found.fallbacks) == 1

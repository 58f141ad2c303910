"""Every kind of provider as the one that goes on: what it is sent, and what its answers bring.

Strategy: the first provider breaks off after half a text, with reasoning and words of its own that
are nobody else's. The next one is of each kind in turn: a script, whose request is looked at, or
a recorded answer, whose text must stand behind the half without a loss.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

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

"""The demo: what it was asked for is what it says, and its wire survives any cut."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.providers import said as told

from holdfast import errors, events, request
from holdfast.providers import demo, demo_text
from holdfast.testing import recordings


def wanted(prompt: str = "What is kelp?", **fields: Any) -> request.Request:
    fields = {"model": "demo", "messages": [request.Message("user", prompt)], **fields}
    return request.Request(**fields)


def script(options: str = "", model: str = "demo", **fields: Any) -> list[tuple[float, bytes]]:
    prompt = f"What is kelp?\n/demo {options}" if options else "What is kelp?"
    return list(demo.script(demo.plan(wanted(prompt, **fields), model)))


def play(options: str = "", model: str = "demo", **fields: Any) -> list[events.Body]:
    translator = demo.Translator(choices=fields.get("n", 1))
    wire = b"".join(data for _, data in script(options, model, **fields))
    out = translator.feed(wire) + translator.end()
    assert translator.done
    assert translator.finished
    return out


def pieces(said: list[events.Body], kind: str, choice: int = 0) -> list[str]:
    chunks = [body for body in said if isinstance(body, events.Chunk)]
    return [chunk.delta for chunk in chunks if (chunk.type, chunk.choice) == (kind, choice)]


def usage(said: list[events.Body]) -> events.Usage:
    assert isinstance(said[-1], events.Usage)
    return said[-1]


def test_without_options_it_is_a_pleasant_answer_of_natural_length() -> None:
    said = play()
    content = pieces(said, "content")
    assert 80 <= len(content) <= 160
    assert "".join(content).startswith("You asked: “What is kelp?”\n\n")
    assert "".join(content).count("\n\n") == 3
    assert told.finish(said) == events.Finish(0, "stop", "stop")
    assert usage(said).output_tokens == len(content)
    assert {delay for delay, _ in script()} == {1 / 30, 0.0}


def test_the_same_request_gives_the_same_bytes_and_another_prompt_others() -> None:
    assert script() == script()
    one = pieces(play("seed=1"), "content")
    assert one == pieces(play("seed=1"), "content")
    assert one != pieces(play("seed=2"), "content")
    other = demo.script(demo.plan(wanted("Why?"), "demo"))
    assert b"".join(data for _, data in other) != b"".join(data for _, data in script())


@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_tokens(count: int) -> None:
    said = play(f"tokens={count}")
    assert len(pieces(said, "content")) == count
    assert usage(said).output_tokens == count


def test_rate() -> None:
    assert [delay for delay, _ in script("rate=50 tokens=3")] == [0.02] * 3 + [0.0] * 3


def test_reasoning_comes_first() -> None:
    said = play("reasoning=20 tokens=2")
    kinds = [body.type for body in said if isinstance(body, events.Chunk)]
    assert kinds == ["reasoning"] * 20 + ["content"] * 2
    assert usage(said).reasoning_tokens == 20


def test_unicode() -> None:
    text = "".join(pieces(play("unicode=1 tokens=400"), "content"))
    assert all(ornament in text for ornament in demo_text.ORNAMENTS)


def test_behind_the_results_of_tools_it_answers() -> None:
    asked = wanted("Weather?\n/demo tool=1 tokens=3")
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    told = [
        request.Message("assistant", tool_calls=[call]),
        request.Message("tool", "Rain.", tool_call_id="c"),
    ]
    answered = msgspec.structs.replace(asked, messages=[*asked.messages, *told])
    again = msgspec.structs.replace(asked, messages=[*answered.messages, *asked.messages])
    assert [demo.plan(one, "demo").tool for one in (asked, answered, again)] == [1, 0, 1]


def test_tool_calls() -> None:
    tool = {"type": "function", "function": {"name": "depth"}}
    said = play("tool=2", tools=[{"type": "x"}, tool])
    calls = told.tool_calls(said)
    assert [call["name"] for call in calls] == ["depth", "depth"]
    assert len({call["id"] for call in calls}) == 2
    assert all(msgspec.json.decode(call["arguments"])["place"] for call in calls)
    assert pieces(said, "content") == []
    finish = told.finish(said)
    assert finish is not None
    assert finish.finish_reason == "tool_calls"
    assert len(pieces(play("tool=1 tokens=5"), "content")) == 5


@pytest.mark.parametrize(
    ("choice", "calls"),
    [
        ("required", ["depth"]),
        ({"type": "function", "function": {"name": "tide"}}, ["tide"]),
        ("auto", []),
        ("none", []),
        ({"type": "any"}, []),
        (None, []),
    ],
)
def test_a_call_that_is_demanded_is_made(choice: Any, calls: list[str]) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("depth", "tide")]
    said = play(tools=tools, tool_choice=choice)
    assert [call["name"] for call in told.tool_calls(said)] == calls
    assert bool(pieces(said, "content")) != bool(calls)
    assert len(told.tool_calls(play("tool=2", tools=tools, tool_choice=choice))) == 2


def test_refusal() -> None:
    said = play("refuse=1")
    assert "".join(pieces(said, "refusal")) == demo_text.REFUSAL
    assert pieces(said, "content") == []
    assert told.finish(said) == events.Finish(0, "refusal", "refusal")


@pytest.mark.parametrize("reason", demo.FINISHES)
def test_finish(reason: str) -> None:
    finish = told.finish(play(f"finish={reason}"))
    assert finish is not None
    assert finish.finish_reason == reason


def test_max_tokens_cuts_the_content() -> None:
    said = play("tokens=9", max_tokens=4)
    assert len(pieces(said, "content")) == 4
    assert told.finish(said) == events.Finish(0, "length", "length")
    assert told.finish(play("tokens=4", max_tokens=4)) == events.Finish(0, "stop", "stop")
    assert told.finish(play(max_tokens=4)) == events.Finish(0, "length", "length")


def test_choices_differ_and_take_turns() -> None:
    said = play("tokens=20 reasoning=1", n=3)
    texts = ["".join(pieces(said, "content", choice)) for choice in range(3)]
    assert len(set(texts)) == 3
    order = [body.choice for body in said if isinstance(body, events.Chunk)]
    assert order == [0, 1, 2] * 21
    assert [told.finish(said, choice) is not None for choice in range(3)] == [True] * 3
    assert usage(said).output_tokens == 63


@pytest.mark.parametrize("name", demo.ERRORS)
def test_an_error_at_a_place(name: str) -> None:
    played = script(f"tokens=9 error_at=3 error={name}")
    translator = demo.Translator(source="d")
    out = translator.feed(b"".join(data for _, data in played))
    assert len(pieces(out, "content")) == 3
    assert type(translator.error) is demo.ERRORS[name]
    assert str(translator.error).startswith("d: ")
    assert not translator.finished
    assert translator.feed(b"x\n") == []


def test_silence_at_a_place() -> None:
    played = demo.script(demo.plan(wanted("/demo stall_at=2"), "demo"))
    assert [next(played)[0] for _ in range(3)] == [1 / 30, 1 / 30, math.inf]


def test_the_end_of_the_connection_at_a_place() -> None:
    played = demo.script(demo.plan(wanted("/demo cut_at=2"), "demo"))
    assert [next(played)[0] for _ in range(2)]
    with pytest.raises(errors.Truncated):
        next(played)


def test_places_beyond_the_answer_are_never_reached() -> None:
    assert len(pieces(play("tokens=2 error_at=9 stall_at=9 cut_at=9"), "content")) == 2


@pytest.mark.parametrize("options", ["", "tokens=40 reasoning=9 unicode=1", "tool=2 tokens=3"])
@given(ahead=st.integers(0, 400))
def test_what_is_ahead_comes_at_once_and_the_rest_at_its_rate(options: str, ahead: int) -> None:
    plain = demo.plan(wanted(f"Why?\n/demo {options}", n=2), "demo")
    slow = list(demo.script(plain))
    fast = list(demo.script(msgspec.structs.replace(plain, ahead=ahead)))
    assert [data for _, data in fast] == [data for _, data in slow]
    said = 0
    for (delay, data), (usual, _) in zip(fast, slow, strict=True):
        assert delay == (0.0 if said < ahead else usual)
        told_now = demo.Translator().feed(data)
        said += sum(len(body.delta) for body in told_now if isinstance(body, events.Chunk))


@pytest.mark.parametrize("ahead", [0, 4, 9, 10_000])
@pytest.mark.parametrize("fault", ["error_at=3", "stall_at=3", "cut_at=3", "status=503"])
def test_what_is_ahead_fails_where_the_answer_fails(fault: str, ahead: int) -> None:
    plain = demo.plan(wanted(f"/demo tokens=9 {fault}"), "demo")
    played: list[list[bytes]] = []
    for plan in (plain, msgspec.structs.replace(plain, ahead=ahead)):
        seen = []
        try:
            for delay, data in demo.script(plan):
                seen.append(data if delay < math.inf else b"silence")
        except errors.Truncated:
            seen.append(b"cut")
        played.append(seen)
    assert played[0] == played[1]
    assert len(played[0]) in ((1,) if "status" in fault else (4, 13))


def test_a_refused_call() -> None:
    plan = demo.plan(wanted("/demo status=429"), "demo")
    assert demo.head(plan) == (429, {"content-type": "application/json"})
    ((_, body),) = demo.script(plan)
    assert msgspec.json.decode(body)["error"]["message"]


@pytest.mark.parametrize("model", demo.PRESETS)
def test_models_stand_for_options(model: str) -> None:
    plan = demo.plan(wanted(), model)
    for word in demo.PRESETS[model].split():
        name, _, value = word.partition("=")
        assert getattr(plan, name) == int(value)
    assert demo.plan(wanted("/demo rate=7"), "demo-fast").rate == 7


def test_options_may_stand_in_a_system_message_and_the_users_win() -> None:
    system = request.Message("system", "Be kind.\n  /demo tokens=5 rate=9")
    user = request.Message("user", [{"type": "text", "text": "Hi\n/demo rate=10"}, {"type": "x"}])
    plan = demo.plan(wanted(messages=[user, system, user]), "demo")
    assert (plan.tokens, plan.rate, plan.topic) == (5, 10, "Hi")
    earlier = request.Message("user", "/demo tokens=1")
    assert demo.plan(wanted(messages=[earlier, request.Message("user")]), "demo").tokens is None


def test_words_that_look_like_options_are_part_of_the_prompt() -> None:
    assert demo.plan(wanted("see /demo tokens=1 and /demons"), "demo").tokens is None
    assert demo.plan(wanted("/demons tokens=1"), "demo").topic == "/demons tokens=1"


@pytest.mark.parametrize("name", demo.INTEGERS)
def test_every_number_has_limits(name: str) -> None:
    low, high = demo.INTEGERS[name]
    for value in (low, high):
        assert getattr(demo.plan(wanted(f"/demo {name}={value}"), "demo"), name) == value
    for bad in (str(low - 1), str(high + 1), "", "x", "1.5", "٣", "9" * 50):
        with pytest.raises(errors.InvalidField, match=f"{name} is a whole number from {low}"):
            demo.plan(wanted(f"/demo {name}={bad}"), "demo")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("error=nothing", "error is one of timeout"),
        ("finish=", "finish is one of stop"),
        ("colour=red", "no option 'colour'; there are tokens"),
        ("x" * 1000, "no option"),
    ],
)
def test_bad_options_are_refused_by_name(options: str, words: str) -> None:
    with pytest.raises(errors.InvalidField, match=words) as caught:
        demo.plan(wanted(f"/demo {options}"), "demo")
    assert len(str(caught.value)) < 400


def test_a_plan_survives_its_journey() -> None:
    plan = demo.plan(wanted("/demo tokens=5 finish=length"), "demo")
    assert demo.unpack(demo.pack(plan)) == plan
    further = msgspec.structs.replace(plan, ahead=7)
    assert demo.unpack(demo.pack(further)) == further


def test_a_long_answer_is_made_piece_by_piece() -> None:
    played = demo.script(demo.plan(wanted("/demo tokens=200000"), "demo"))
    assert next(played)[1].startswith(b'["chunk",')


@given(st.integers(0, 5))
def test_the_cut_of_the_reads_makes_no_difference(seed: int) -> None:
    wire = b"".join(data for _, data in script("tokens=9 unicode=1 tool=1 reasoning=2", n=2))
    whole = demo.Translator(choices=2).feed(wire)
    for reads in (recordings.at_random(wire, seed), recordings.per_byte(wire)):
        translator = demo.Translator(choices=2)
        assert [body for read in reads for body in translator.feed(read)] == whole
        assert translator.done


@pytest.mark.parametrize(
    "line",
    [
        b"x",
        b"",
        b"[]",
        b'["chunk"]',
        b'["chunk", {"type": "noise"}]',
        b'["chunk", {"type": "content", "delta": "\xff"}]',
        b'["start", {}]',
        b'["heartbeat", {"timestamp": ""}]',
        b'["unknown", {}]',
        b"[" * 100_000,
        b'["chunk", {"type": "content", "delta": "%b"}]' % (b"x" * demo.MAX_LINE),
    ],
)
def test_what_cannot_be_read_is_malformed(line: bytes) -> None:
    translator = demo.Translator()
    assert translator.feed(line + b"\n") == []
    assert isinstance(translator.error, errors.ProviderMalformed)


def test_a_line_is_bounded_while_it_comes() -> None:
    translator = demo.Translator()
    translator.feed(b"x" * demo.MAX_LINE)
    assert translator.error is None
    translator.feed(b"x")
    assert isinstance(translator.error, errors.ProviderMalformed)

"""A character that the provider, or the network, cut in two arrives whole.

Strategy: answers of our own making, because no recording holds these cuts for certain. A gate
between the halves lets the test see that nothing of a half is told before the other one is
there. PROTOCOL 2.4 and 2.6.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.integration import harness, recording_expectations, replaying
from tests.integration.stepped_answer import SteppedAnswer

from holdfast.testing import recordings

LIMIT = 60.0
"""Seconds for one test; it takes less than one."""

WAVE = "\U0001f30a"
HIGH, LOW = "\ud83c", "\udf0a"
LOST = "\ufffd"


def frame(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> bytes:
    """One event; a half is written as its escape."""
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def text(content: str, index: int = 0) -> bytes:
    return frame({"content": content}, index=index)


DONE = b"data: [DONE]\n\n"
STOP = frame({}, "stop") + DONE


def recorded(*frames: bytes) -> recordings.Recording:
    return recordings.Recording("own", "answer", b"".join(frames), {"protocol": "chat"})


async def play(part: replaying.Part) -> harness.Response:
    async with asyncio.timeout(LIMIT), replaying.stage([part]) as on:
        answer = await replaying.play(on.server, part)
    assert answer.clean
    answer.body.decode()
    return answer


def whole(answer: harness.Response) -> recording_expectations.Values:
    """What was read, with the proof checked."""
    values = recording_expectations.read(answer)
    assert values["proof"] == recording_expectations.proof(values["text"])
    return values


def check_no_half(body: bytes) -> None:
    """Every delta is whole: no escape of a half, and no replacement for one."""
    assert b"\\ud8" not in body.lower()
    assert LOST not in body.decode()


@pytest.mark.parametrize("label", list(recordings.FRAGMENTATIONS))
async def test_a_pair_of_escapes_over_two_deltas_arrives_whole(label: str) -> None:
    found = recorded(text(f"sea {HIGH}"), text(f"{LOW} and {HIGH}"), text(LOW), STOP)
    part = replaying.Part(found, label, recordings.FRAGMENTATIONS[label](found.wire))
    answer = await play(part)
    check_no_half(answer.body)
    assert whole(answer)["text"] == f"sea {WAVE} and {WAVE}"


async def test_nothing_is_told_of_a_half_before_the_other_is_there() -> None:
    held = SteppedAnswer(recorded(text("sea"), text(HIGH), text(LOW), text("!"), STOP))
    async with asyncio.timeout(LIMIT), replaying.stage([held.part]) as on:
        reader = await harness.begin(on.server.port, held.part.request(flush_interval_ms=0))
        await reader.until(lambda reader: len(reader.blocks) == 1)
        await held.step(reader)
        assert held.given == 1
        await held.step(reader)
        assert held.given == 3  # the first half said nothing
        assert harness.said(bytes(reader.body))[-1].data["delta"] == WAVE
        while held.left:
            await held.step(reader)
        answer = await reader.rest()
    assert whole(answer)["text"] == f"sea{WAVE}!"


async def test_an_empty_delta_between_the_halves_changes_nothing() -> None:
    found = recorded(text(HIGH), text(""), frame({"role": "assistant"}), text(LOW), STOP)
    answer = await play(replaying.Part(found, "whole", (found.wire,)))
    check_no_half(answer.body)
    assert whole(answer)["text"] == WAVE


async def test_halves_wait_each_in_its_own_lane() -> None:
    """Reasoning, content of two choices, and the arguments of two calls at once."""

    def argue(index: int, arguments: str, **begin: str) -> bytes:
        name = {"name": begin["id"]} if begin else {}
        call = {"index": index, **begin, "function": {"arguments": arguments, **name}}
        return frame({"tool_calls": [call]})

    begun = [
        frame({"reasoning_content": f"hm {HIGH}"}),
        text(f"a{HIGH}"),
        text(f"b{HIGH}", 1),
        argue(0, f'"{HIGH}', id="f"),
        argue(1, f"[{HIGH}", id="g"),
    ]
    ended = [
        argue(1, f"{LOW}]"),
        argue(0, f'{LOW}"'),
        text(f"{LOW}b", 1),
        text(f"{LOW}a"),
        frame({"reasoning_content": LOW}),
        frame({}, "stop", 1),
    ]
    found = recorded(*begun, *ended, STOP)
    answer = await play(replaying.Part(found, "whole", (found.wire,)))
    check_no_half(answer.body)
    values = whole(answer)
    assert values["text"] == f"a{WAVE}a"
    assert values["reasoning"] == f"hm {WAVE}"
    assert values["tool calls"] == [["f", f'"{WAVE}"'], ["g", f"[{WAVE}]"]]
    second = harness.said(answer.body)[-1].data["choices"][1]
    assert [second["length"], second["sha256"]] == recording_expectations.proof(f"b{WAVE}b")


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([f"a{HIGH}"], f"a{LOST}"),
        ([LOW, "b"], f"{LOST}b"),
        ([HIGH, "b"], f"{LOST}b"),
        ([f"a{HIGH}{HIGH}", f"{LOW}b"], f"a{LOST}{WAVE}b"),
        ([LOW, HIGH, LOW, LOW], f"{LOST}{WAVE}{LOST}"),
        ([f"{HIGH}{LOW}"], WAVE),
    ],
)
@pytest.mark.parametrize("label", ["whole", "per byte"])
async def test_a_half_that_stays_alone_is_replaced(
    deltas: list[str], expected: str, label: str
) -> None:
    found = recorded(*map(text, deltas), STOP)
    answer = await play(replaying.Part(found, label, recordings.FRAGMENTATIONS[label](found.wire)))
    assert whole(answer)["text"] == expected
    assert b"\\ud8" not in answer.body.lower()


async def test_a_half_before_an_error_is_no_part_of_the_answer() -> None:
    broken = b'data: {"error":{"message":"no","type":"server_error"}}\n\n'
    found = recorded(text("a"), text(HIGH), broken)
    answer = await play(replaying.Part(found, "whole", (found.wire,)))
    check_no_half(answer.body)
    values = recording_expectations.read(answer)
    assert (values["text"], values["error"]) == ("a", "provider_failed")


@pytest.mark.parametrize("character", ["é", "海", WAVE, f"{WAVE}\u200d{WAVE}"])
async def test_raw_utf_8_cut_between_two_reads_arrives_whole(character: str) -> None:
    """Every place to cut in turn, the halves two reads apart."""
    event = b'data: {"choices":[{"delta":{"content":"<%b>"}}]}\n\n' % character.encode()
    begin = event.index(b"<") + 1
    body: list[bytes | asyncio.Event] = []
    for cut in range(1, len(character.encode())):
        body += [event[: begin + cut], event[begin + cut :]]
    found = recorded(STOP)
    answer = await play(replaying.Part(found, "cut", (*body, STOP)))
    check_no_half(answer.body)
    assert whole(answer)["text"] == f"<{character}>" * (len(body) // 2)


async def test_a_cut_in_raw_utf_8_waits_for_the_rest() -> None:
    event, gate = text("<>").replace(b"<>", f"<{WAVE}>".encode()), asyncio.Event()
    middle = event.index(b"<") + 3
    before = text("sea ")
    body = (before + event[:middle], gate, event[middle:] + STOP)
    part = replaying.Part(recorded(STOP), "held", body)
    async with asyncio.timeout(LIMIT), replaying.stage([part]) as on:
        reader = await harness.begin(on.server.port, part.request(flush_interval_ms=0))
        await reader.until(lambda reader: len(reader.blocks) == 2)
        gate.set()
        answer = await reader.rest()
    check_no_half(answer.body)
    assert whole(answer)["text"] == f"sea <{WAVE}>"
    assert [said.event for said in harness.said(answer.body)][:3] == ["start", "chunk", "chunk"]

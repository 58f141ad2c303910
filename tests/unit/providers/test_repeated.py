"""Frames that differ in their text alone: the short way to read them is as good as the long way.

Strategy: two translators read the same bytes, one that may learn and one that may not, and say the
same; whether the short way was taken shows in how many frames the fold was given.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from holdfast import events, sse
from holdfast.providers import failures, repeated, translator
from holdfast.providers.openai_chat import fold as chat

SOURCE = failures.Source("sim")


class Fold(chat.Fold):
    """Counts the frames that it is given."""

    def __init__(self, choices: int = 1) -> None:
        super().__init__(choices, SOURCE)
        self.taken = 0

    def take(self, frame: sse.Frame, out: list[events.Body]) -> None:
        self.taken += 1
        super().take(frame, out)


class Unlearned(Fold):
    """The long way alone."""

    def plain(self, data: bytes) -> events.Chunk | None:
        return None


def frame(text: str, **more: object) -> bytes:
    """One piece of an answer, spelt as OpenAI spells it."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more}
    return b"data: %b\n\n" % json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode()


def both(reads: list[bytes], choices: int = 1) -> int:
    """Reads them both ways, which say the same; how many frames the short way spared."""
    short, long = Fold(choices), Unlearned(choices)
    ways = translator.Translator(short, SOURCE), translator.Translator(long, SOURCE)
    for read in reads:
        said, expected = (way.feed(read) for way in ways)
        assert said == expected, read
        assert [way.done for way in ways] == [ways[1].done] * 2
        assert str(ways[0].error) == str(ways[1].error)
    assert ways[0].end() == ways[1].end()
    return long.taken - short.taken


def test_the_second_frame_of_a_kind_is_read_the_short_way() -> None:
    assert both([frame("a"), frame("b"), frame(" wörter 😀")]) == 2
    twice = (b'"content":"', b'"content":"","content":"')  # the last one counts
    assert both([frame("a").replace(*twice), frame("b").replace(*twice)]) == 1


def test_an_opening_that_looks_otherwise_is_no_hindrance() -> None:
    opening = frame("").replace(b'"content":""', b'"role":"assistant", "content":"Hi"')
    assert both([opening, frame("a"), frame("b"), frame("c")]) == 2


def test_several_frames_of_one_read_are_so_many_pieces() -> None:
    assert both([frame("a") + frame("b"), frame("c") + frame("d") + frame(""), frame("e")]) == 4


def test_a_filler_may_have_any_length() -> None:
    fillers = ["x", "", "abcdef", "Z" * 40]
    assert both([frame(f"{n}", obfuscation=one) for n, one in enumerate(fillers)]) == 3


@pytest.mark.parametrize(
    "text",
    [
        'a"b',
        "a\\b",
        "a\nb",
        "\u2028",
        "\x7f",
        "",
        "}}\n\ndata: {",
        '"},"logprobs":null',
    ],
)
def test_text_that_json_spells_otherwise_is_read_the_long_way(text: str) -> None:
    both([frame("a"), frame("b"), frame(text), frame("c")])


@pytest.mark.parametrize(
    "last",
    [
        frame("c").replace(b'"finish_reason":null', b'"finish_reason":"stop"'),
        frame("c").replace(b'"index":0', b'"index":1'),
        frame("c", usage={"prompt_tokens": 1, "completion_tokens": 2}),
        frame("c", error={"message": "no", "code": 500}),
        frame("c").replace(b'"content":"c"', b'"content":"c", "refusal":"no"'),
        frame("c").replace(b'"content":"c"', b'"content":"c\xff"'),
        frame("c").replace(b'"content":"c"', b'"content":"\\ud83d"'),
        b"data: [DONE]\n\n",
        b": ping\n\n" + frame("c"),
        b"event: error\n" + frame("c"),
        b"id: 7\n" + frame("c"),
        b'{"error":{"message": "no"}}\n',
        frame("c").replace(b"\n", b"\r\n"),
        frame("c")[:-1],
        frame("c")[:-20],
        b"\n",
        b"",
    ],
)
def test_what_is_otherwise_in_any_way_is_read_the_long_way(last: bytes) -> None:
    reads = [frame("a"), frame("b"), last, frame("d"), frame("e")]
    both(reads)
    both(reads, choices=2)


@pytest.mark.parametrize(
    "told",
    [
        # Where the text stands twice, or in another place too, or is not what counts.
        frame("c", id="c"),
        frame("a", usage={"prompt_tokens": 1, "completion_tokens": 2}),
        frame("a").replace(b'"content"', b'"reasoning"'),
        frame("a").replace(b'"logprobs":null', b'"logprobs":{"content":[1]}'),
        frame("a").replace(b'"index":0', b'"index":0, "usage":{}'),
        frame("a", citations=["https://a"]),
        frame("a", x_groq={"id": 1}),
        frame("a", error="").replace(b'"error":""', b'"error":"a"'),
    ],
)
def test_of_a_frame_that_says_more_nothing_is_learned(told: bytes) -> None:
    for said in ("a", "b", "c"):
        assert repeated.learn(told, events.Chunk("content", said), Fold().plain) is None
    again = told.replace(b'"a"', b'"z"')
    both([told, again, told, frame("a"), frame("b"), again])


def test_a_text_that_another_field_has_too_is_not_taken_for_it() -> None:
    """The place is where the format reads the text, and not where the bytes are found."""
    data = frame("a").replace(b'"content":"a"', b'"content":"\\u0061"').replace(b'"c"', b'"a"')
    assert repeated.learn(data, events.Chunk("content", "a"), Fold().plain) is None


@pytest.mark.parametrize("raw", [b"c\x01", b"c\n", b"c\t", b"\xff"])
def test_what_json_cannot_have_as_it_stands_is_mended_or_refused(raw: bytes) -> None:
    for odd in (frame("c"), frame("c", obfuscation="c")):
        reads = [frame("a", obfuscation="x"), frame("b", obfuscation="y"), frame("a"), frame("b")]
        last = odd.replace(b'"c"', b'"%b"' % raw)
        both([*reads, last, frame("d")])
        both([*reads[2:], *reads[:2], last, frame("d")])


@pytest.mark.parametrize("filler", [b'x"y', b"x\\", b'x","error":"no', b"x\x01", b"\xff"])
def test_a_filler_that_is_no_string_is_not_passed_over(filler: bytes) -> None:
    reads = [frame("a", obfuscation="x"), frame("b", obfuscation="y")]
    last = reads[1].replace(b'"y"', b'"%b"' % filler)
    assert both([*reads, last, frame("d")]) == 1


def test_after_an_end_or_an_error_nothing_is_said() -> None:
    for last in (b"data: [DONE]\n\n", b'data: {"error":{"message": "no"}}\n\n'):
        assert both([frame("a"), frame("b"), last, frame("c")]) == 1


def test_what_is_cut_anywhere_reads_the_same() -> None:
    whole = b"".join(frame(text) for text in ("one ", "two ", 'th"ree', "four ", "five "))
    for cut in range(1, len(whole)):
        both([frame("0 "), frame("00 "), whole[:cut], whole[cut:], frame("x")])


def test_whatever_comes_is_read_as_the_long_way_reads_it() -> None:
    chance = random.Random(5)
    letters = ["a", "Z", " ", '"', "\\", "\n", "{", "}", "é", "😀", "\u200b", ":", ",", "data: "]
    makers: list[Callable[[str], bytes]] = [
        frame,
        lambda text: frame(text, obfuscation="".join(chance.choices("xyz", k=3))),
        lambda text: frame(text).replace(b'"index":0', b'"index":1'),
        lambda text: frame(text, service_tier="x"),
    ]
    spared = 0
    for _ in range(400):
        make = chance.choice(makers)
        reads = list[bytes]()
        for _ in range(chance.randint(2, 12)):
            text = "".join(chance.choices(letters, k=chance.randint(0, 6)))
            other = chance.choice(makers) if chance.random() < 0.1 else make
            data = other(text if chance.random() < 0.5 else "plain ")
            if chance.random() < 0.1:
                place = chance.randrange(len(data))
                data = data[:place] + chance.choice([b"", b'"', b"\n", b"}"]) + data[place + 1 :]
            reads.append(data)
        if chance.random() < 0.3:
            whole = b"".join(reads)
            cuts = sorted(chance.choices(range(len(whole)), k=4))
            reads = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        spared += both(reads, choices=chance.choice([1, 1, 2]))
    assert spared > 300


def test_other_formats_are_always_read_the_long_way() -> None:
    never = repeated.Never()
    assert (never.calm, never.plain(b"{}")) == (False, None)


def test_an_answer_is_whole_whichever_way_it_was_read() -> None:
    reads = [frame(f"{number} ") for number in range(50)]
    end = frame("").replace(b'"finish_reason":null', b'"finish_reason":"stop"')
    assert both([*reads, end, b"data: [DONE]\n\n"]) == 49

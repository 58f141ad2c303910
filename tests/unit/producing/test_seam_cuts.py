"""An answer cut anywhere and gone on with in every way: what readers have in the end.

Strategy: a text is cut at every tenth place, and the new answer behaves in one of five ways; a test
for each says what comes of it. The new answer comes whole and in pieces of seeded sizes, which must
not matter. Of a text that does not repeat itself the end is always the text, but for overlaps that
are too short to be known and new answers that go on otherwise; of one that is nothing but a
repetition all that comes stays. Above all, an exact continuation never loses a character: 10,000
cuts at random.
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from holdfast import errors
from holdfast.producing import seam

PROSE = """The keeper climbed the ninety-one steps twice each night, once to light the lamp and \
once to trim it. Nobody had asked her to write anything down, but she did: the hour, the wind, \
the names of boats if she could read them. When the storm of that November took the telegraph \
line, her book was the only witness left on the whole coast.

It told, in a small and even hand, how the collier had come in far too close under the Point, had \
gone about, and then had waited with one lantern showing until it was day. "I kept the light," she \
wrote. "They kept their heads." What she did not write was how long a night can be, or how a sea \
sounds when you cannot see it; those who had been out there knew, and the others did not ask."""

EMOJI = """Our crew today: 👩‍🚀 flies, 👨🏽‍🔬 measures, 🧑‍🍳 cooks and 👩‍👩‍👧‍👦 wave \
from the pier. 🏳️‍🌈 over the harbour, 🇩🇪🇫🇷 on the ferry, ❤️‍🔥 in the engine room! At noon \
🐻‍❄️ came by (nobody believed it 😶‍🌫️), then 🏴‍☠️ for the children: 👍🏿👍🏻 from both. \
Keys 1️⃣ and 2️⃣ open the shed; 🧜🏼‍♀️ guards the third. We end with 🎉, two 🥁s, one 🪗 and \
far too much 🍰. Tomorrow 🚣🏾‍♂️ rows back alone, 🌊 permitting."""

SPELLED = """Việt Nam: tiếng nói của biển. Ångström và Zürich, spelled apart; café au lait, ñandú, \
Šanghaj, Łódź, Dvořák, naïveté. The é before this and the e after it are neighbours, and so \
are ö and o, ǖ and ü and u. Ṩ has two of them. Nothing of this is ever normalised."""

PILED = "\u0301x z\u0351\u036b\u0343a\u0321\u034d\u0317l\u0334\u033b\u031eg\u0335o\u0336 "
MARKS = PILED + unicodedata.normalize("NFD", SPELLED)

CJK = """秋夜漫长、灯塔的看守人把灯芯修了两次。风从北方来、海浪一层叠着一层、像没有读完的信。\
她在本子上写下时辰、风向和船名、字迹细小而端正。灯台守は毎晩九十一段の階段を二度のぼり、火をと\
もし、芯を切った。嵐が電線を奪った夜、彼女の帳面だけが沿岸でただ一つの証人になった。등대지기는\
 바다가 보이지 않을 때 어떤 소리를 내는지 적지 않았다. 아는 사람은 이미 알았고, 모르는 사람은 \
묻지 않았다。天亮以后、煤船慢慢离开了海角、只留下一盏小灯和一行字「我守着光、他们守着心。」"""

RTL = """שומרת המגדלור עלתה בכל לילה תשעים ואחת מדרגות, פעם להדליק ופעם לקצוץ את הפתיל. איש \
לא ביקש ממנה לכתוב, אבל היא כתבה: השעה, הרוח ושמות הסירות (12:45, רוח צפונית). في تلك الليلة \
قطعت العاصفة خط البرق، ولم يبق على الساحل كله شاهد سوى دفترها الصغير. كَتَبَتْ بِخَطٍّ \
دَقِيقٍ: «حفظتُ الضوء، وحفظوا رباطة جأشهم». ما لم تكتبه هو كم يطول الليل, and then a word of \
English, \u200fאז שוב עברית\u200e."""

TABLE = """| Station | Built | Height | Range | Keeper |
|:--------|------:|-------:|------:|--------|
| North Head | 1868 | 31 m | 22 nm | M. Oduya |
| Skerry | 1844 | 48 m | 18 nm | nobody |
| Old Point | 1791 | 19 m | 9 nm | the Hallorans |
| Breakwater | 1902 | 11 m | 6 nm | automatic |
| Low Light | 1868 | 12 m | 13 nm | automatic |

The two of 1868 were lit in the same night; see the *second* column."""

CODE = '''```python
def lit(hours: list[int], *, keeper: str | None = None) -> Iterator[Entry]:
    """The hours in which the lamp was lit."""
    for hour in hours:
        if keeper is None:
            yield Entry(hour)
        elif keeper in BOOK:
            for wind, boats in BOOK[keeper].items():
                if wind.hour == hour:
                    yield Entry(hour, wind, boats)
        else:
            raise KeyError(keeper)


class Entry(Struct):
    hour: int
    wind: Wind | None = None
    boats: tuple[str, ...] = ()
```'''

TEXTS = {
    "prose": PROSE,
    "emoji": EMOJI,
    "combining marks": MARKS,
    "CJK": CJK,
    "right to left": RTL,
    "a table": TABLE,
    "indented code": CODE,
    "under 64": "A lamp, a book, ninety-one steps and no telegraph.",
    "under 24": "Nobody. The lamp only.",
}
RUNS = {"laughter": "ha ha ha " * 45, "zeros": "0" * 400, "no width": "\u200d" * 400}
MIXED = {name: (f"{PROSE[:150]} ({run}", f".) {PROSE[150:400]}") for name, run in RUNS.items()}
"""As far as a run goes, and what follows it."""

OTHER = "\N{SNOWMAN}"  # in no text
Ending = str | Literal["diverged"]


def told(written: str, new: str, rng: random.Random | None = None) -> Ending:
    """What readers have in the end; the new answer comes whole, or in pieces of 1 to 12 code
    points."""
    joint = seam.Seam(written, prefilled=False)
    try:
        said = "".join(map(joint.take, [new] if rng is None else pieces(new, rng)))
        return written + said + joint.release()
    except errors.ContinuationDiverged:
        return "diverged"


def pieces(text: str, rng: random.Random) -> Iterator[str]:
    at = 0
    while at < len(text):
        size = rng.randint(1, 12)
        yield text[at : at + size]
        at += size


def cuts(text: str) -> range:
    return range(0, len(text) + 1, 10)


def both_ways(written: str, new: str, expected: Ending) -> None:
    seed = f"{len(written)} {len(new)}"
    assert told(written, new) == expected
    assert told(written, new, random.Random(seed)) == expected


ALL = TEXTS | RUNS | {name + " in prose": "".join(parts) for name, parts in MIXED.items()}


@pytest.mark.parametrize("text", ALL.values(), ids=ALL)
def test_one_that_goes_on_exactly_is_the_rest(text: str) -> None:
    for cut in cuts(text):
        both_ways(text[:cut], text[cut:], text)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_overlap_of_24_to_200_is_left_out(text: str) -> None:
    rng = random.Random(text)
    for cut in cuts(text):
        for size in {24, 200, *(rng.randint(24, 200) for _ in range(3))}:
            if size <= cut:
                both_ways(text[:cut], text[cut - size :], text)


@pytest.mark.parametrize("text", ALL.values(), ids=ALL)
def test_an_overlap_of_1_to_23_stays_doubled(text: str) -> None:
    for cut in cuts(text):
        for size in (1, 2, 7, 12, 22, 23):
            if size <= cut:
                both_ways(text[:cut], text[cut - size :], text[:cut] + text[cut - size :])


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_one_that_starts_over_and_goes_on_is_swallowed(text: str) -> None:
    for cut in cuts(text):
        # What is under 24 code points cannot be told from one that goes on with the same words.
        both_ways(text[:cut], text, text if cut >= seam.OVERLAP else text[:cut] + text)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_one_that_starts_over_and_tells_something_else_has_failed(text: str) -> None:
    rng = random.Random(text)
    for cut in cuts(text):
        for same in {1, 63, 64, cut - 1, rng.randint(0, cut)} & set(range(cut)):
            known = same >= seam.START
            for new in (text[:same] + OTHER + text[same + 1 :], text[:same]):
                both_ways(text[:cut], new, "diverged" if known else text[:cut] + new)


@pytest.mark.parametrize("text", RUNS.values(), ids=RUNS)
def test_of_a_text_that_only_repeats_itself_all_stays(text: str) -> None:
    for cut in cuts(text):
        overlaps = [text[cut - size :] for size in (24, 60, 199, 200) if size <= cut]
        other = text[: cut // 2] + OTHER + text[cut // 2 :]
        for new in [*overlaps, text, text[: cut // 2], other]:
            both_ways(text[:cut], new, text[:cut] + new)


@pytest.mark.parametrize(("before", "after"), MIXED.values(), ids=MIXED)
def test_an_overlap_is_left_out_where_it_is_more_than_a_run(before: str, after: str) -> None:
    text = before + after
    run = len(before) - before.rindex("(") - 1
    for cut in cuts(text):
        in_run = max(0, run - len(before) + cut) if cut <= len(before) else 0
        for size in {24, 60, 200, in_run, in_run + 1, in_run + 12}:
            if seam.OVERLAP <= size <= cut:
                stays = text[:cut] + text[cut - size :]
                both_ways(text[:cut], text[cut - size :], stays if size <= in_run else text)


def cut_anywhere(texts: list[str], times: int, rng: random.Random) -> None:
    for _ in range(times):
        text = rng.choice(texts)
        cut = rng.randint(0, len(text))
        assert told(text[:cut], text[cut:], rng) == text, (text[:20], cut)


def test_10_000_exact_continuations_lose_nothing() -> None:
    cut_anywhere(list(ALL.values()), 10_000, random.Random(24))


def test_nor_do_10_000_of_recorded_answers(shared: Path) -> None:
    files = sorted((shared / "recordings").rglob("*.expected.json"))
    said = [json.loads(path.read_bytes()).get("final_text") for path in files]
    texts = [text for text in said if text]
    assert len(texts) > 20
    cut_anywhere(texts, 10_000, random.Random(64))

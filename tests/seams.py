"""Texts that an answer may break off in, and what is to come of one that goes on.

Strategy: texts in the scripts, shapes and repetitions that a continuation could damage. The rules
of the seam are said once more in another way: over both texts whole, without a fold.
"""

from __future__ import annotations

import unicodedata

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

ALL = TEXTS | RUNS | {name + " in prose": "".join(parts) for name, parts in MIXED.items()}


def again(text: str) -> bool:
    return any(
        text == (text[:size] * len(text))[: len(text)] for size in range(1, len(text) // 2 + 1)
    )


def rules(written: str, new: str) -> str | None:
    """What of the new answer follows; None where it has gone on otherwise."""
    begin = written[: seam.START]
    repeats = again(begin) or again(written[: 2 * seam.START]) or begin in written[1:]
    if len(begin) == seam.START and new.startswith(begin) and not repeats:
        return new[len(written) :] if new.startswith(written) else None
    longest = min(seam.REACH, len(written), len(new))
    for size in range(longest, seam.OVERLAP - 1, -1):
        if written.endswith(new[:size]):
            stays = again(new[:size]) or written.endswith(2 * new[:size])
            return new if stays else new[size:]
    return new

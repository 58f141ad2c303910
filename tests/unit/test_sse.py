"""The event-stream parser and encoder.

Strategy: a table of small vectors, one or more for each rule of WHATWG HTML 9.2.6, each
fed whole, byte by byte, randomly cut and cut in two at every boundary; and a second, naive
parser written straight from the standard, against which random bytes are compared. What
the encoder writes is read back by the parser. Limits: test_sse_limits.py.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import random
import re
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast import errors, sse
from holdfast.testing import recordings


def frame(data: bytes | str, event: str = "message", id: str = "") -> sse.Frame:
    return sse.Frame(event, data.encode() if isinstance(data, str) else data, id)


def feed_all(parser: sse.Parser, reads: list[bytes]) -> list[sse.Frame]:
    return [found for read in reads for found in parser.feed(read)]


def parse(*reads: bytes) -> list[sse.Frame]:
    parser = sse.Parser()
    return feed_all(parser, list(reads)) + parser.finish()


def random_cut(data: bytes, rng: random.Random) -> list[bytes]:
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, 12)))
    return [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)])]


def fragmentations(data: bytes) -> Iterator[list[bytes]]:
    """Whole, per byte, ten random ones, and in two at each boundary (of a long one, at 300)."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    rng = random.Random(len(data))
    for _ in range(10):
        yield random_cut(data, rng)
    every = range(len(data) + 1)
    for cut in every if len(data) <= 2000 else rng.sample(every, 300):
        yield [data[:cut], data[cut:]]


BOM = b"\xef\xbb\xbf"
UNUSUAL = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
# (rule, bytes, events): an event is its data, or data, name and id
VECTORS: list[tuple[str, bytes, list[str | tuple[str, ...]]]] = [
    ("nothing", b"", []),
    ("one BOM is stripped", BOM + b"data:a\n\n", ["a"]),
    ("a second BOM is not", BOM + BOM + b"data:a\n\ndata:b\n\n", ["b"]),
    ("a BOM later is part of a name", b"\n" + BOM + b"data:a\n\ndata:b\n\n", ["b"]),
    ("a BOM in a value stays", b"data:" + BOM + b"\n\n", ["\ufeff"]),
    ("half a BOM is part of a name", BOM[:2] + b"data:a\n\ndata:b\n\n", ["b"]),
    ("a BOM alone", BOM, []),
    ("LF", b"data: a\ndata: b\n\n", ["a\nb"]),
    ("CR", b"data: a\rdata: b\r\r", ["a\nb"]),
    ("CRLF", b"data: a\r\ndata: b\r\n\r\n", ["a\nb"]),
    ("CR, CRLF", b"data: a\r\r\ndata: b\r\r\n", ["a", "b"]),
    ("LF, CR", b"data: a\n\rdata: b\n\r", ["a", "b"]),
    ("CRLF, CR", b"data: a\r\n\rdata: b\r\n", ["a"]),
    ("CRLF is one end", b"data: a\r\n", []),
    ("no other character ends a line", f"data: {UNUSUAL}\n\n".encode(), [UNUSUAL]),
    ("comments", b": x\n:\n::data: b\ndata: a\n:data: c\n\n", ["a"]),
    ("a comment block", b"data: a\n\n: ping\n\n: ping\n\ndata: b\n\n", ["a", "b"]),
    ("one space is removed", b"data:  a \n\n", [" a "]),
    ("a tab is no space", b"data:\ta\n\n", ["\ta"]),
    ("colons in a value", b"data: a: b\ndata::c\n\n", ["a: b\n:c"]),
    ("no colon, empty value", b"data\n\ndata\ndata\n\n", ["", "\n"]),
    ("case of names", b"Data: a\nDATA: b\nID: 1\nEvent: e\ndata: c\n\n", ["c"]),
    ("unknown names", b"dat: a\ndataa: b\n data: c\ndata : d\n{\nfoo\ndata: e\n\n", ["e"]),
    ("an empty data line", b"data:\n\ndata: \n\n", ["", ""]),
    ("the last LF alone is removed", b"data: a\ndata:\ndata:\n\n", ["a\n\n"]),
    ("empty data first", b"data:\ndata: a\n\n", ["\na"]),
    ("a name", b"data: a\nevent: e\n\ndata: b\n\n", [("a", "e"), "b"]),
    ("the last name wins", b"event: e\nevent:f\ndata: a\n\n", [("a", "f")]),
    ("an empty name is message", b"event: e\nevent:\ndata: a\n\n", ["a"]),
    ("a name without data is forgotten", b"event: e\n\ndata: a\n\n", ["a"]),
    ("an id persists", b"id: 1\ndata\n\ndata\n\n", [("", "message", "1"), ("", "message", "1")]),
    ("an id without data counts", b"id: 1\n\ndata: a\n\n", [("a", "message", "1")]),
    ("an id after the data", b"data: a\nid: 1\n\n", [("a", "message", "1")]),
    ("an empty id resets", b"id: 1\n\ndata: a\nid\n\ndata: b\n\n", ["a", "b"]),
    ("an id with NUL is ignored", b"id: 1\nid: 2\0\ndata: a\n\n", [("a", "message", "1")]),
    ("an id is text", b"id: \xe2\x82\xac\xff\ndata: a\n\n", [("a", "message", "€\ufffd")]),
    ("no blank line at the end", b"data: a\n\ndata: b\n", ["a"]),
    ("no end of the last line", b"data: a\n\ndata: b", ["a"]),
    ("blank lines", b"\n\r\n\rdata: a\n\n\n\n", ["a"]),
    ("NUL in data", b"data: \0\n\n", ["\0"]),
    ("UTF-8", "data: ß€🦭\n\n".encode(), ["ß€🦭"]),
    ("broken UTF-8", b"data: a\xffb\xe2\x82\n\n", ["a\ufffdb\ufffd"]),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "data", "events"), VECTORS, ids=[row[0] for row in VECTORS])
def test_rule(rule: str, data: bytes, events: list[str | tuple[str, ...]]) -> None:
    expected = [(item, "message", "") if isinstance(item, str) else item for item in events]
    expected = [item if len(item) == 3 else (*item, "") for item in expected]
    for reads in fragmentations(data):
        found = [(item.text, item.event, item.id) for item in parse(*reads)]
        assert found == expected, (rule, reads)


@pytest.mark.parametrize(
    ("data", "last_id", "retry_ms"),
    [
        (b"data: a\n\nid: 1\n\n", "1", None),
        (b"id: 1\n\nid: 2\ndata: b\n", "1", None),
        (b"id: 1\n\nid: 2", "1", None),
        (b"id: 1\n\nid: 2\0\n\n", "1", None),
        (b"id: 1\n\nid\n\n", "", None),
        (b"retry: 10\ndata: a\n\nretry:20\n\n", "", 20),
        (b"data: a\nretry: 30\n", "", 30),
        (b"retry: 40", "", None),
        (b"retry: 1234567890\nretry: 12345678901\n", "", 1234567890),
        (b"retry: 7\nretry: 8x\nretry: -8\nretry: +8\nretry: 8.0\n", "", 7),
        ("retry: 7\nretry:\nretry\nretry:  8\nretry: ٣\nretry: ²\n".encode(), "", 7),
    ],
)
def test_last_id_and_retry(data: bytes, last_id: str, retry_ms: int | None) -> None:
    for reads in fragmentations(data):
        parser = sse.Parser()
        feed_all(parser, reads)
        parser.finish()
        assert (parser.last_event_id, parser.retry_ms) == (last_id, retry_ms)


def test_published_vectors(shared: pathlib.Path) -> None:
    cases = json.loads((shared / "reference" / "sse_cases.json").read_text())
    assert len(cases) >= 51
    for case in cases:
        for reads in fragmentations(bytes.fromhex(case["hex"])):
            parser = sse.Parser()
            found = [
                {"type": item.event, "data": item.text, "lastEventId": item.id}
                for item in feed_all(parser, reads) + parser.finish()
            ]
            assert found == case["expected"], case["name"]
            assert parser.retry_ms == case["reconnection_time_ms"], case["name"]


def test_recorded_streams_that_no_provider_of_ours_speaks(shared: pathlib.Path) -> None:
    found = recordings.load_recordings(shared / "recordings" / "other-sse")
    assert len(found) == 4
    for recording in found:
        whole = parse(recording.wire)
        told = [(item.event, item.text, item.id) for item in whole]
        assert told == naive(recording.wire)[0], recording.name
        named = [item for item in whole if item.data != b"[DONE]"]
        assert recording.expected["events"] in (len(whole), len(named)), recording.name
        for cut in recordings.FRAGMENTATIONS.values():
            assert parse(*cut(recording.wire)) == whole, recording.name


def test_frame_is_a_value() -> None:
    value = frame(b"a\xff\xe2\x82b")
    assert value.text == "a\ufffd\ufffdb"
    assert all(type(item.data) is bytes for item in parse(b"data:a\n\ndata:a\ndata:b\n\n"))
    with pytest.raises(AttributeError):
        value.data = b""  # type: ignore[misc]
    assert msgspec.structs.replace(value, data=b"x") == frame("x")


def test_comments_are_counted_and_nothing_else() -> None:
    parser = sse.Parser()
    assert parser.feed(b": a\n:\n\ndata: :\nfoo\n{: \n:unfini") == []
    assert parser.comments == 2
    assert parser.feed(b"shed\n") == []
    assert parser.comments == 3


def test_id_is_committed_with_its_block() -> None:
    parser = sse.Parser()
    parser.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")
    assert parser.last_event_id == "1"
    assert parser.feed(b"\n") == [frame("b", id="2")]
    assert parser.last_event_id == "2"


@pytest.mark.parametrize(
    ("data", "frames", "last_id"),
    [
        (b"data: a", [frame("a")], ""),
        (b"data: a\n", [frame("a")], ""),
        (b"data: a\r", [frame("a")], ""),
        (b"data: a\r\n", [frame("a")], ""),
        (b"event: e\nid: 1\ndata: a\ndata: b", [frame("a\nb", "e", "1")], "1"),
        (b"data: a\n\n", [frame("a")], ""),
        (b"id: 1", [], "1"),
        (b": c", [], ""),
        (BOM[:2], [], ""),
        (BOM[:2] + b"data: a", [], ""),
        (b"", [], ""),
    ],
)
def test_flush(data: bytes, frames: list[sse.Frame], last_id: str) -> None:
    for reads in fragmentations(data):
        parser = sse.Parser()
        assert feed_all(parser, reads) + parser.finish(flush=True) == frames
        assert parser.last_event_id == last_id


@pytest.mark.parametrize("end", ["finish", "flush", "reset"])
@pytest.mark.parametrize(
    "left", [b"data: x\nid: 9\nevent: e\n", b"data: x\nid: 9", b"data: x\r", b""]
)
def test_next_response_begins_anew(left: bytes, end: str) -> None:
    parser = sse.Parser()
    parser.feed(b": c\nretry: 5\nid: 1\ndata: a\n\n" + left)
    if end == "reset":
        parser.reset()
    else:
        parser.finish(flush=end == "flush")
    last_id = "9" if end == "flush" and b"id" in left else "1"
    assert (parser.last_event_id, parser.retry_ms, parser.comments) == (last_id, 5, 1)
    assert parser.feed(BOM + b"data: b\n\n") == [frame("b", id=last_id)]
    assert parser.feed(b"\ndata: c\n\n") == [frame("c", id=last_id)]


# Random bytes

NOISE = st.one_of(
    st.binary(),
    st.lists(
        st.sampled_from(
            [
                *(b"data", b"data: ", b"event: e", b"id", b"id: 1", b"retry: 9", b":", b" "),
                *(b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"x"),
                *(BOM, BOM[:1], b"\xe2\x82", b"\xac", b"\xf0"),
            ]
        ),
        max_size=40,
    ).map(b"".join),
)
CUTS = st.lists(st.integers(0, 300), max_size=8)


def naive(data: bytes) -> tuple[list[tuple[str, str, str]], str, int | None]:
    """The standard's own algorithm, on text, without a thought for speed or limits."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    frames: list[tuple[str, str, str]] = []
    buffer, name, id, last_id, retry = "", "", "", "", None
    for line in re.split("\r\n|\r|\n", text)[:-1]:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            last_id = id
            if buffer:
                frames.append((name or "message", buffer.removesuffix("\n"), last_id))
            buffer, name = "", ""
        elif field == "data":
            buffer += value + "\n"
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            id = value
        elif field == "retry" and re.fullmatch("[0-9]{1,10}", value):
            retry = int(value)
    return frames, last_id, retry


def cut_at(data: bytes, cuts: list[int]) -> list[bytes]:
    return [data[a:b] for a, b in itertools.pairwise([0, *sorted(cuts), len(data) + 300])]


@given(NOISE, CUTS)
@example(b"data: a\r\n\r\n", [8])
def test_any_bytes_as_the_standard_reads_them(data: bytes, cuts: list[int]) -> None:
    parser = sse.Parser()
    found = feed_all(parser, cut_at(data, cuts))
    seen = [(item.event, item.text, item.id) for item in found]
    assert (seen, parser.last_event_id, parser.retry_ms) == naive(data)


def outcome(reads: list[bytes], max_line: int, max_event: int, flush: bool) -> tuple[object, ...]:
    parser = sse.Parser(max_line=max_line, max_event=max_event)
    frames: list[sse.Frame] = []
    failure = None
    try:
        for read in reads:
            frames += parser.feed(read)
        frames += parser.finish(flush=flush)
    except errors.SseError as error:
        failure = (type(error), error.message)
    return frames, failure, parser.last_event_id, parser.retry_ms, parser.comments


@given(NOISE, CUTS, st.integers(1, 24), st.integers(0, 12), st.booleans())
def test_cuts_change_nothing(
    data: bytes, cuts: list[int], max_line: int, more: int, flush: bool
) -> None:
    whole = outcome([data], max_line, max_line + more, flush)
    assert outcome(cut_at(data, cuts), max_line, max_line + more, flush) == whole
    single = [data[i : i + 1] for i in range(len(data))]
    assert outcome(single, max_line, max_line + more, flush) == whole


# The encoder


def test_block_order_and_bytes() -> None:
    assert sse.encode("a") == b"data: a\n\n"
    assert sse.encode(b"a\xff", event="e") == b"event: e\ndata: a\xff\n\n"
    assert sse.encode("a", retry_ms=0) == b"retry: 0\ndata: a\n\n"
    assert (
        sse.encode("a\nb\n", event="chunk", id="s:1-2", retry_ms=9_999_999_999)
        == b"event: chunk\nretry: 9999999999\ndata: a\ndata: b\ndata: \nid: s:1-2\n\n"
    )


def test_no_cut_shows_an_id_before_its_whole_event() -> None:
    """A client that commits an id at its line must have all data of the event by then."""
    block = sse.encode("a\nb", event="e", id="7", retry_ms=1)
    for cut in range(len(block)):
        parser = sse.Parser()
        parser.feed(block[:cut])
        assert parser.last_event_id == ""
        if b"id: 7" in block[:cut]:
            assert b"data: a\ndata: b\n" in block[:cut]


def test_empty_id_is_written_and_resets() -> None:
    assert sse.encode("a", id="") == b"data: a\nid: \n\n"
    frames = parse(sse.encode("a", id="1"), sse.encode("b", id=""))
    assert frames == [frame("a", id="1"), frame("b")]


def test_comment_is_one_line() -> None:
    assert sse.comment("ping") == b": ping\n"
    assert sse.comment("") == b": \n"
    reads = [sse.encode("a", id="1"), sse.comment("ping"), sse.encode("b")]
    assert parse(*reads) == [frame("a", id="1"), frame("b", id="1")]


@pytest.mark.case("4.1")
@pytest.mark.parametrize(
    "bad", ["\n", "\r", "\r\n", "a\0", "a\nb", "a\n\nevent: admin\ndata: x", "\ud83d"]
)
def test_one_line_values_refuse(bad: str) -> None:
    with pytest.raises(ValueError, match=r"cannot hold|surrogates"):
        sse.encode("a", event=bad)
    with pytest.raises(ValueError, match=r"cannot hold|surrogates"):
        sse.encode("a", id=bad)
    with pytest.raises(ValueError, match=r"cannot hold|surrogates"):
        sse.comment(bad)


@pytest.mark.case("4.1")
@pytest.mark.parametrize("data", ["\r", "a\rb", "a\r\nb", b"a\r", "\ud83d"])
def test_data_refuses(data: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"CR|surrogates"):
        sse.encode(data)


def test_empty_event_and_bad_retry_refused() -> None:
    with pytest.raises(ValueError, match="None"):
        sse.encode("a", event="")
    for retry_ms in (-1, 10**10):
        with pytest.raises(ValueError, match="retry_ms"):
            sse.encode("a", retry_ms=retry_ms)


LINE = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=40)
INJECTIONS = [
    "\n\nevent: admin\ndata:",
    "x\n\n: c\n\nid: 9\n\ndata: y\n\n",
    "\nid: 9",
    "\u2028\u2028event: admin\u2029data: x",
    "\x85\x0b\x0c\x1c\x1d\x1e",
    "\ufeffdata: x",
    " \n data: x",
    "\n",
    "",
]


@pytest.mark.case("4.1")
@given(
    st.one_of(st.text(), st.text(alphabet="\n :adtevni\u2028"), st.sampled_from(INJECTIONS)),
    st.none() | LINE.filter(bool),
    st.none() | LINE,
    st.none() | st.integers(0, 10**10 - 1),
    CUTS,
)
def test_round_trip(
    data: str, event: str | None, id: str | None, retry_ms: int | None, cuts: list[int]
) -> None:
    data = data.replace("\r", "")
    block = sse.encode(data, event=event, id=id, retry_ms=retry_ms)
    assert sse.encode(data.encode(), event=event, id=id, retry_ms=retry_ms) == block
    parser = sse.Parser()
    assert feed_all(parser, cut_at(block, cuts)) == [frame(data, event or "message", id or "")]
    assert parser.retry_ms == retry_ms


@pytest.mark.case("4.1")
@pytest.mark.parametrize("attack", INJECTIONS)
def test_injection_stays_data(attack: str) -> None:
    text = json.dumps({"delta": attack}, ensure_ascii=False)
    for data in (attack, text, "safe" + attack + "safe"):
        assert parse(sse.encode(data, event="chunk", id="1")) == [frame(data, "chunk", "1")]

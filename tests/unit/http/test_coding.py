"""Which coding a reader gets, and that whatever was written can be read whole at once."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import expander

from holdfast import errors, events
from holdfast.dialects import native
from holdfast.http import coding
from holdfast.telemetry import counts

LICENSE = Path(__file__).resolve().parents[3] / "LICENSE"
STREAM = events.stream_id("7Kq2mN9xVbT4wRsE8yUcHd3P6j")

ALL = coding.offered("gzip")
BOTH: tuple[coding.Name, ...] = ("gzip", "deflate")


# What a reader accepts

ACCEPTED = {
    # Nothing is said, or nothing that is known.
    (): "identity",
    ("",): "identity",
    ("identity",): "identity",
    ("compress",): "identity",
    ("snappy, lz4",): "identity",
    (" , ,,",): "identity",
    # One is named.
    ("gzip",): "gzip",
    ("GZip",): "gzip",
    ("x-gzip",): "gzip",
    ("deflate",): "deflate",
    ("br",): "br",
    ("zstd",): "zstd",
    ("snappy, deflate",): "deflate",
    # Several: our own order, where they are liked as well.
    ("deflate, gzip",): "gzip",
    ("gzip, deflate, br, zstd",): "gzip",
    ("br, zstd",): "zstd",
    ("br, deflate",): "deflate",
    # Weights go before our order.
    ("gzip;q=0.5, deflate",): "deflate",
    ("gzip;q=0.5, br;q=0.501",): "br",
    ("gzip; q=0.5 , deflate ;q=0.4",): "gzip",
    ("gzip;Q=0.1",): "gzip",
    ("gzip;q=1.000, br;q=0.999",): "gzip",
    # Zero is no.
    ("gzip;q=0",): "identity",
    ("gzip;q=0.000, deflate",): "deflate",
    ("gzip;q=0, *",): "zstd",
    # Whoever says no once means it.
    ("gzip;q=0, gzip",): "identity",
    ("gzip, x-gzip;q=0",): "identity",
    # All others.
    ("*",): "gzip",
    ("*;q=0",): "identity",
    ("*;q=0.5, deflate",): "deflate",
    ("deflate, *;q=0.1",): "deflate",
    ("gzip;q=0.1, *;q=0.5",): "zstd",
    # Plain text may be liked better, or not at all.
    ("identity, gzip;q=0.5",): "identity",
    ("identity;q=0.5, gzip;q=0.5",): "gzip",
    ("identity;q=0.5, gzip",): "gzip",
    ("identity;q=0, gzip;q=0.001",): "gzip",
    # Nobody is refused, even if there is nothing that he would take.
    ("identity;q=0",): "identity",
    ("identity;q=0, *;q=0",): "identity",
    ("snappy, identity;q=0",): "identity",
    # What is malformed accepts nothing, and takes nothing away from the rest.
    ("gzip;q=2",): "identity",
    ("gzip;q=-1",): "identity",
    ("gzip;q=",): "identity",
    ("gzip;q=0.1234",): "identity",
    ("gzip;q=1.001",): "identity",
    ("gzip;q=.5",): "identity",
    ("gzip;q=nan",): "identity",
    ("gzip;level=1",): "identity",
    ("gzip;q=1;q=1",): "identity",
    ("gzip;",): "identity",
    ("gzip q=1",): "identity",
    ("gzip;q=x, deflate",): "deflate",
    ("gzip;q=0.0000, *",): "zstd",
    ("gzip;level=9;q=1, *",): "zstd",
    ("gzip\x00, ;q=1, =, deflate;q=0.1",): "deflate",
    ("gz\xefp;q=1",): "identity",
    ("gzip;q=\u00b9",): "identity",
    # The field may stand there several times.
    ("snappy", "gzip"): "gzip",
    ("gzip;q=0.1", "deflate"): "deflate",
    ("gzip", "gzip;q=0"): "identity",
    ("", "br"): "br",
}


@pytest.mark.parametrize(("accepted", "chosen"), ACCEPTED.items())
def test_what_a_reader_accepts_decides(accepted: tuple[str, ...], chosen: str) -> None:
    assert coding.negotiated(accepted, ALL) == chosen


@pytest.mark.parametrize("accepted", [("gzip",), ("*",), ("gzip, deflate, br, zstd",)])
def test_where_nothing_is_offered_nothing_is_coded(accepted: tuple[str, ...]) -> None:
    assert coding.negotiated(accepted, ()) == "identity"


def test_what_is_not_offered_is_not_chosen() -> None:
    assert coding.negotiated(["br, zstd"], BOTH) == "identity"
    assert coding.negotiated(["br, zstd, gzip;q=0.1"], BOTH) == "gzip"


NAMES = ("gzip", "x-gzip", "deflate", "br", "zstd", "identity", "*", "snappy", "")
MEMBERS = st.builds(
    "{}{}".format,
    st.sampled_from(NAMES),
    st.sampled_from(("", ";q=0", ";q=0.5", "; q=1", ";q=7", ";;", ";x=1")),
)
LATIN = st.text(st.characters(max_codepoint=255), max_size=40)


@given(st.lists(st.one_of(LATIN, st.lists(MEMBERS, max_size=6).map(", ".join)), max_size=4))
def test_no_header_is_too_odd(accepted: list[str]) -> None:
    chosen = coding.negotiated(accepted, ALL)
    assert chosen == "identity" or chosen in ALL
    refused = rf"(^|,)\s*{chosen}\s*;\s*q=0(\.0*)?\s*(,|$)"
    assert chosen == "identity" or not re.search(refused, ",".join(accepted), re.IGNORECASE)


# What can be made here


@pytest.mark.parametrize("preferred", coding.ORDER)
def test_the_preferred_one_comes_first(preferred: coding.Name) -> None:
    found = coding.offered(preferred)
    assert found[0] == preferred
    assert sorted(found) == sorted(coding.ORDER)
    assert coding.negotiated(["br, gzip, deflate, zstd"], found) == preferred


@pytest.mark.parametrize(("name", "library"), [("br", "brotli"), ("zstd", "zstandard")])
def test_what_has_no_library_is_not_offered(
    monkeypatch: pytest.MonkeyPatch, name: coding.Name, library: str
) -> None:
    monkeypatch.setattr(coding, library, None)
    assert set(coding.offered("gzip")) == set(coding.ORDER) - {name}
    with pytest.raises(errors.SettingsError, match=f"{name} needs a library .*: pip install"):
        coding.offered(name)


def test_gzip_and_deflate_need_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "brotli", None)
    monkeypatch.setattr(coding, "zstandard", None)
    assert coding.offered("gzip") == BOTH


def test_each_has_a_name_among_the_metrics_and_a_coder() -> None:
    assert sorted(counts.ENCODINGS) == sorted(coding.ORDER)
    assert all(coding.coder(name, 6) is not None for name in coding.ORDER)
    assert coding.coder(counts.IDENTITY, 6) is None


# The bytes


def coder(name: str, level: int = 6) -> coding.Coder:
    found = coding.coder(name, level)
    assert found is not None
    return found


def pieces() -> Iterator[str]:
    """Of a text, about as long as tokens are."""
    text = " ".join(LICENSE.read_text(encoding="utf-8").split())
    for word in re.findall(r" ?\w+| ?\W", text):
        for at in range(0, len(word), 7):
            yield word[at : at + 7]


def frames(fold: native.Fold | native.PaddedFold, many: int = 600) -> list[bytes]:
    found = []
    for number, piece in zip(range(2, many + 2), pieces(), strict=False):
        data = b'{"type":"content","delta":%b}' % msgspec.json.encode(piece)
        found.append(fold.render(events.Event("chunk", data, 123_456, number, 0)))
    return found


FRAMES = frames(native.Fold(STREAM))
codings = pytest.mark.parametrize("name", coding.ORDER)


@pytest.mark.case("1.10")
@pytest.mark.parametrize("level", [1, 6, 9])
@codings
def test_whoever_has_the_bytes_of_an_event_has_the_event(name: str, level: int) -> None:
    made, reader = coder(name, level), expander.Expander(name)
    for frame in FRAMES:
        sent = made.code(frame)
        assert sent  # an empty chunk would end the body
        assert reader.feed(sent) == frame
        # Some readers wait for an empty block, whatever they could tell before.
        assert name not in BOTH or sent.endswith(b"\x00\x00\xff\xff")
    assert not reader.ended
    assert reader.feed(made.end()) == b""
    assert reader.ended


SIZES = (1, 2, 31, 32, 257, 4095, 4096, 4097, 70_000, 300_000)


@codings
def test_pieces_of_any_size_come_whole(name: str) -> None:
    """What cannot be made smaller, and what can, larger than any buffer of the library."""
    made, reader = coder(name), expander.Expander(name)
    random = bytes((number * number * 31 + number // 7) % 251 for number in range(300_000))
    for size in SIZES:
        for data in (b"a" * size, random[:size]):
            assert reader.feed(made.code(data)) == data
    assert reader.feed(made.end()) == b""
    assert reader.ended


@codings
def test_an_answer_without_a_word_ends_too(name: str) -> None:
    reader = expander.Expander(name)
    assert reader.feed(coder(name).end()) == b""
    assert reader.ended


@codings
@given(st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=12))
def test_any_bytes_come_back(name: str, written: list[bytes]) -> None:
    made, reader = coder(name), expander.Expander(name)
    assert [reader.feed(made.code(data)) for data in written] == written


@pytest.mark.case("4.23")
@codings
def test_two_answers_know_nothing_of_each_other(name: str) -> None:
    """Who has said something in one learns nothing from the length of another."""
    one, other, alone = coder(name), coder(name), coder(name)
    one.code(b"".join(FRAMES))
    assert other.code(FRAMES[0]) == alone.code(FRAMES[0])


# What it costs, and gives


@pytest.mark.parametrize("name", BOTH)
def test_a_context_is_small(name: str) -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        made = [coder(name) for _ in range(50)]
        for one in made:
            one.code(b"".join(FRAMES))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(made) < 15 * 1024


def saved(name: str, written: list[bytes]) -> float:
    made = coder(name)
    sent = sum(len(made.code(data)) for data in written)
    return 1 - sent / sum(map(len, written))


@pytest.mark.parametrize(
    ("name", "alone", "joined"),
    [("gzip", 0.75, 0.84), ("deflate", 0.75, 0.84), ("zstd", 0.7, 0.82), ("br", 0.7, 0.82)],
)
def test_most_of_an_answer_is_saved(name: str, alone: float, joined: float) -> None:
    five = [b"".join(FRAMES[at : at + 5]) for at in range(0, len(FRAMES), 5)]
    assert saved(name, FRAMES) > alone
    assert saved(name, five) > joined


@pytest.mark.case("4.24")
def test_coded_a_padded_token_would_show_through() -> None:
    """Why what is padded is not coded: all look alike, and would not any more."""
    padded = frames(native.PaddedFold(STREAM))[100:]  # the numbers have three digits
    made = coder("gzip")
    assert len({len(frame) for frame in padded}) <= 2
    assert len({len(made.code(frame)) for frame in padded}) > 8

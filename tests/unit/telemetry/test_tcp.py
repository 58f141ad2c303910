"""TCP figures: where the kernel has them, and what a response has of its socket's.

Strategy: the struct is written down here a second time, field by field as the kernel's header has
it, and laid out by ctypes: so a place that is off by a byte reads another field's number. What the
kernel itself gives is compared with `ss` in `tests/integration`.
"""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.telemetry import counts, tcp

BYTES = ("state", "ca_state", "retransmits", "probes", "backoff", "options", "scales", "flags")
WORDS = (
    *("rto", "ato", "snd_mss", "rcv_mss", "unacked", "sacked", "lost", "retrans", "fackets"),
    *("last_data_sent", "last_ack_sent", "last_data_recv", "last_ack_recv", "pmtu"),
    *("rcv_ssthresh", "rtt", "rttvar", "snd_ssthresh", "snd_cwnd", "advmss", "reordering"),
    *("rcv_rtt", "rcv_space", "total_retrans"),
)
U64, U32 = ctypes.c_uint64, ctypes.c_uint32


class TcpInfo(ctypes.Structure):
    """`struct tcp_info` of Linux 5.4."""

    _fields_ = [
        *((name, ctypes.c_uint8) for name in BYTES),
        *((name, U32) for name in WORDS),
        *((name, U64) for name in ("pacing_rate", "max_pacing_rate", "bytes_acked")),
        ("bytes_received", U64),
        *((name, U32) for name in ("segs_out", "segs_in", "notsent_bytes", "min_rtt")),
        *((name, U32) for name in ("data_segs_in", "data_segs_out")),
        *((name, U64) for name in ("delivery_rate", "busy_time", "rwnd_limited")),
        ("sndbuf_limited", U64),
        *((name, U32) for name in ("delivered", "delivered_ce")),
        *((name, U64) for name in ("bytes_sent", "bytes_retrans")),
        *((name, U32) for name in ("dsack_dups", "reord_seen", "rcv_ooopack", "snd_wnd")),
    ]


def whole() -> bytes:
    """One in which each field has a number of its own."""
    made = TcpInfo()
    for number, (name, of) in enumerate(TcpInfo._fields_):  # type: ignore[misc]
        setattr(made, name, number if of is ctypes.c_uint8 else 70_000 + number)
    return bytes(made)


# The struct


def test_each_figure_is_read_from_its_field() -> None:
    raw = whole()
    names = [name for name, *_ in TcpInfo._fields_]
    assert tcp.info(raw) == tcp.Info(
        *(70_000 + names.index(name) for name in ("rtt", "total_retrans", "dsack_dups"))
    )
    assert tcp.info(raw + bytes(80)) == tcp.info(raw)  # of a kernel that tells more


def test_a_struct_that_is_too_short_tells_nothing() -> None:
    raw = whole()
    assert TcpInfo.dsack_dups.offset + 4 == tcp.SIZE
    for size in range(len(raw) + 1):
        assert (tcp.info(raw[:size]) is None) == (size < tcp.SIZE)


@given(st.binary(max_size=400))
def test_no_bytes_make_it_fail(raw: bytes) -> None:
    found = tcp.info(raw)
    assert found is None or min(found.rtt_us, found.retransmissions, found.duplicates) >= 0


# A response's part


def test_a_response_has_what_came_since_its_begin() -> None:
    sums, begin = tcp.Sums(), tcp.Info(900, 40, 7)
    line = tcp.Line(begin)
    line.look(begin, sums)
    assert (line.rtt_us, line.retransmissions, line.packets_lost) == (900, 0, 0)
    line.look(tcp.Info(1100, 45, 9), sums)
    assert (line.rtt_us, line.retransmissions, line.packets_lost) == (1100, 5, 0)
    line.end(sums)
    assert (line.rtt_us, line.retransmissions, line.packets_lost) == (1100, 5, 3)
    assert sums.told() == {
        "sockets_seen": 2,
        "rtt_us": 2000,
        "rtt_count": 2,
        "retransmissions": 5,
        "packets_lost": 3,
    }


def test_a_round_trip_that_was_never_measured_is_none() -> None:
    sums, begin = tcp.Sums(), tcp.Info(0, 0, 0)
    line = tcp.Line(begin)
    line.look(begin, sums)
    assert (line.rtt_us, sums.sockets_seen, sums.rtt_count) == (None, 1, 0)
    line.look(tcp.Info(5, 0, 0), sums)
    line.look(tcp.Info(0, 0, 0), sums)
    assert (line.rtt_us, sums.rtt_us, sums.rtt_count) == (5, 5, 1)


def test_what_came_twice_was_not_lost() -> None:
    sums, line = tcp.Sums(), tcp.Line(tcp.Info(1, 0, 0))
    # The receiver has time until the next look; after that it changes nothing any more.
    for again, twice, lost in ((2, 0, 0), (2, 2, 0), (3, 2, 0), (5, 2, 1), (5, 3, 2), (6, 9, 2)):
        line.look(tcp.Info(1, again, twice), sums)
        assert (line.retransmissions, line.packets_lost) == (again, lost)
    line.look(tcp.Info(1, 15, 9), sums)
    for _ in range(2):
        line.end(sums)
        assert (sums.retransmissions, sums.packets_lost) == (15, line.packets_lost) == (15, 6)


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1), max_size=5))
def test_sums_are_those_of_all_lines_and_never_fall(lines: list[list[tuple[int, int]]]) -> None:
    sums, found = tcp.Sums(), list[tcp.Line]()
    for steps in lines:
        at = tcp.Info(0, 3, 2)
        found.append(tcp.Line(at))
        for again, twice in steps:
            at = tcp.Info(0, at.retransmissions + again, at.duplicates + twice)
            before = sums.told()
            found[-1].look(at, sums)
            assert all(now >= before[name] for name, now in sums.told().items())
        found[-1].end(sums)
    assert sums.retransmissions == sum(line.retransmissions for line in found)
    assert sums.packets_lost == sum(line.packets_lost for line in found)


@pytest.mark.parametrize("name", tcp.Sums().told())
def test_each_sum_is_one_of_the_counts(name: str) -> None:
    assert name in counts.Counts.__struct_fields__

"""What faults do to one direction, as a calculation: no socket, no clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from holdfast.testing import faults

ENDED = faults.HalfClose()
RESET = faults.Reset()

Told = list[tuple[float, bytes | faults.Cut | faults.HalfClose | faults.Reset]]


def play(line: faults.Line, now: float = 0.0, until: float = math.inf) -> Told:
    """Does all that a line says, at the moment it says, and tells when each act was."""
    told: Told = []
    while (due := line.due()) is not None and due <= until:
        now = max(now, due)
        act = line.take(now)
        told.append((now, bytes(act) if isinstance(act, memoryview) else act))
        assert len(told) < 10_000, "it does not end"
        if isinstance(act, faults.Cut | faults.Reset):
            break
    return told


def said(told: Told) -> bytes:
    return b"".join(act for _, act in told if isinstance(act, bytes))


def line(*chosen: faults.Fault, seed: str = "") -> faults.Line:
    return faults.Line(chosen, seed)


def test_without_faults_all_passes_at_once_as_it_came() -> None:
    plain = line()
    assert plain.due() is None
    plain.put(b"a", 1.0)
    plain.put(b"bc", 2.0)
    plain.end(3.0)
    assert plain.held == 3
    assert play(plain) == [(1.0, b"a"), (2.0, b"bc"), (3.0, ENDED)]
    assert (plain.held, plain.lost, plain.due()) == (0, 0, None)


def test_latency_delays_everything_and_the_end() -> None:
    late = line(faults.Latency(1.0), faults.Latency(0.5))
    late.put(b"a", 0.0)
    late.put(b"b", 0.25)
    late.end(0.5)
    assert play(late) == [(1.5, b"a"), (1.75, b"b"), (2.0, ENDED)]


def test_jitter_varies_within_its_bounds_and_nothing_overtakes() -> None:
    late = line(faults.Latency(1.0, jitter=0.5), seed="x")
    for number in range(100):
        late.put(b"%02d" % number, number / 100)
    told = play(late)
    assert said(told) == b"".join(b"%02d" % number for number in range(100))
    assert [at for at, _ in told] == sorted(at for at, _ in told)
    delays = [at - number / 100 for number, (at, _) in enumerate(told)]
    assert 0.5 <= min(delays) < max(delays) <= 1.5


def test_a_bandwidth_is_kept_to_and_flows() -> None:
    slow = line(faults.Bandwidth(1000.0), faults.Bandwidth(5000.0))
    slow.put(bytes(5000), 2.0)
    told = play(slow)
    assert told[-1][0] == pytest.approx(7.0)
    grain = 1000 * faults.GRAIN_SECONDS
    assert max(len(act) for _, act in told if isinstance(act, bytes)) == grain
    slow.put(bytes(100), 60.0)  # silence saves up nothing
    assert play(slow)[-1][0] == pytest.approx(60.1)


def test_a_bandwidth_below_a_byte_a_grain_still_flows() -> None:
    slow = line(faults.Bandwidth(0.5))
    slow.put(b"ab", 0.0)
    assert play(slow) == [(2.0, b"a"), (4.0, b"b")]


def test_slices_have_the_size_and_the_pause() -> None:
    sliced = line(faults.Slices(3, delay=1.0))
    sliced.put(b"abcdefgh", 0.0)
    assert play(sliced) == [(0.0, b"abc"), (1.0, b"def"), (2.0, b"gh")]


def test_slices_follow_the_bytes_however_they_were_read() -> None:
    def edges(reads: list[int]) -> set[int]:
        sliced = line(faults.Slices(10, variation=9), seed="s")
        for size in reads:
            sliced.put(bytes(size), 0.0)
        ends, at = set(), 0
        for _, act in play(sliced):
            assert isinstance(act, bytes)
            assert len(act) <= 19
            ends.add(at := at + len(act))
        return ends

    whole = edges([1000])
    assert len(whole) > 50
    assert whole <= edges([7] * 142 + [6])
    assert edges([70, 930]) == whole | {70}


@pytest.mark.parametrize("rst", [False, True])
def test_a_cut_comes_after_its_bytes_and_at_once(rst: bool) -> None:
    cut = faults.Cut(after=5, rst=rst)
    short = line(cut)
    short.put(b"abc", 0.0)
    short.put(b"defg", 1.0)
    assert play(short, now=1.0) == [(1.0, b"abc"), (1.0, b"de"), (1.0, cut)]
    assert line(faults.Cut()).due() == -math.inf


def test_the_nearest_edge_counts_and_the_first_of_equals() -> None:
    both = line(faults.Stall(after=9), faults.Cut(after=2), faults.HalfClose(after=2))
    both.put(b"abc", 0.0)
    assert play(both) == [(0.0, b"ab"), (0.0, faults.Cut(after=2))]


def test_what_is_stalled_waits_and_goes_on_later() -> None:
    stalled = line(faults.Stall(after=1))
    stalled.put(b"abc", 0.0)
    stalled.end(1.0)
    assert play(stalled) == [(0.0, b"a")]
    assert (stalled.held, stalled.lost) == (2, 0)
    stalled.set(())
    assert play(stalled, now=5.0) == [(5.0, b"bc"), (5.0, ENDED)]


def test_what_goes_down_is_lost_and_its_end_waits() -> None:
    down = line(faults.Down(after=1))
    down.put(b"abc", 0.0)
    assert play(down) == [(0.0, b"a")]
    down.put(b"def", 1.0)
    down.end(2.0)
    assert play(down) == []
    assert (down.held, down.lost) == (0, 5)
    down.set(())
    assert play(down, now=5.0) == [(5.0, ENDED)]


def test_what_waits_when_a_line_goes_down_is_lost() -> None:
    late = line(faults.Latency(9.0))
    late.put(b"abc", 0.0)
    late.set((faults.Down(),))
    assert (late.held, late.lost, late.due()) == (0, 3, None)


def test_a_half_close_ends_one_direction_and_loses_the_rest() -> None:
    half = line(faults.HalfClose(after=2))
    half.put(b"abc", 0.0)
    assert play(half) == [(0.0, b"ab"), (0.0, faults.HalfClose(after=2))]
    half.put(b"d", 1.0)
    assert (half.held, half.lost, half.due()) == (0, 2, None)
    half.set(())  # what was ended stays ended
    half.put(b"e", 2.0)
    assert (half.lost, half.due()) == (3, None)
    half.end(3.0)
    assert play(half) == [(3.0, ENDED)]


@pytest.mark.parametrize("before", [(), (faults.HalfClose(),)])
def test_a_reset_is_passed_on(before: tuple[faults.Fault, ...]) -> None:
    reset = line(*before)
    play(reset)
    reset.end(1.0)
    play(reset)
    reset.end(2.0, rst=True)  # the receiver of the other direction is gone
    assert play(reset) == [(2.0, RESET)]


def test_a_reset_comes_after_what_was_sent_before_it() -> None:
    late = line(faults.Latency(1.0))
    late.put(b"a", 0.0)
    late.end(0.0, rst=True)
    assert play(late) == [(1.0, b"a"), (1.0, RESET)]


def test_bytes_count_from_where_the_faults_were_set() -> None:
    short = line()
    short.put(b"abc", 0.0)
    play(short)
    short.set((faults.Cut(after=2),))
    short.put(b"def", 0.0)
    assert play(short) == [(0.0, b"de"), (0.0, faults.Cut(after=2))]


def test_a_seed_repeats_itself_and_another_one_differs() -> None:
    def run(seed: str) -> Told:
        chosen = (faults.Latency(1.0, jitter=0.5), faults.Slices(10, variation=9, delay=0.1))
        found = line(*chosen, seed=seed)
        for number in range(20):
            found.put(bytes(50), number / 10)
        return play(found)

    assert run("a") == run("a") != run("b")


def test_a_seeded_choice_depends_on_seed_and_number_alone() -> None:
    def draw(dice: random.Random) -> faults.Faults:
        return faults.Faults(down=(faults.Cut(after=dice.randrange(10_000)),))

    first, again = faults.seeded(1, draw), faults.seeded(1, draw)
    forth = [first(number) for number in range(50)]
    back = [again(number) for number in reversed(range(50))]
    assert forth == back[::-1]
    assert len(set(forth)) > 40
    assert faults.seeded(2, draw)(0) != forth[0]


@pytest.mark.parametrize(
    "build",
    [
        lambda: faults.Latency(-1.0),
        lambda: faults.Latency(1.0, jitter=-1.0),
        lambda: faults.Bandwidth(0.0),
        lambda: faults.Slices(0),
        lambda: faults.Slices(2, variation=2),
        lambda: faults.Slices(2, delay=-1.0),
        lambda: faults.Cut(after=-1),
        lambda: faults.Stall(after=-1),
    ],
)
def test_what_makes_no_sense_is_refused(build: Callable[[], faults.Fault]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        build()

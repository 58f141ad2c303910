"""What the kernel knows of a reader's TCP connection, and what a response adds to the sums of it.

Strategy: Linux's `struct tcp_info` (include/uapi/linux/tcp.h) only ever grows at its end, so three
numbers of it are read at fixed places; one that is too short, of a kernel before 4.19, tells
nothing. What the kernel counts runs on from one response to the next on the same socket: so a
response has what came since its own first look. What is lost of its last bytes after its end is in
no figure. Sums are kept as it is looked, so they cost nothing to tell.

How many packets were lost no field says. `tcpi_lost` are those of the last window that the kernel
holds for lost at this moment, 0 again once they are repaired. What is sent again is held for lost,
but for that of which the receiver tells that it came twice (DSACK, RFC 2883): until the next look,
or the end, it has time for that. A receiver that never tells makes it too much, a network that
doubles packets too little.
"""

from __future__ import annotations

import struct

import msgspec

SIZE = 220
"""Bytes of the struct that are needed."""

_RTT, _RETRANSMISSIONS, _DUPLICATES = 68, 100, 216
_number = struct.Struct("=I").unpack_from


class Info(msgspec.Struct, frozen=True, gc=False):
    """`rtt_us` is `tcpi_rtt`, smoothed by the kernel, 0 before it has measured one. Segments since
    the socket was opened: `retransmissions` (`tcpi_total_retrans`) were sent again, of them
    `duplicates` (`tcpi_dsack_dups`) in vain."""

    rtt_us: int
    retransmissions: int
    duplicates: int


def info(raw: bytes) -> Info | None:
    """What a `struct tcp_info` says; None where it is too short."""
    if len(raw) < SIZE:
        return None
    places = (_RTT, _RETRANSMISSIONS, _DUPLICATES)
    return Info(*(_number(raw, place)[0] for place in places))


class Sums:
    """Of all responses, by the names that `counts` has for them."""

    __slots__ = ("packets_lost", "retransmissions", "rtt_count", "rtt_us", "sockets_seen")

    def __init__(self) -> None:
        self.sockets_seen = self.rtt_us = self.rtt_count = 0
        self.retransmissions = self.packets_lost = 0

    def told(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


class Line:
    """What one response has had of its socket; `rtt_us` is the last, None before one is known."""

    __slots__ = ("_begin", "_seen", "packets_lost", "retransmissions", "rtt_us")

    def __init__(self, begin: Info) -> None:
        self._begin = self._seen = begin
        self.rtt_us: int | None = None
        self.retransmissions = self.packets_lost = 0

    def look(self, now: Info, sums: Sums) -> None:
        """Takes what the socket says now."""
        self._lose(now.duplicates, sums)
        self._seen = now
        again = now.retransmissions - self._begin.retransmissions
        sums.sockets_seen += 1
        sums.retransmissions += again - self.retransmissions
        self.retransmissions = again
        if now.rtt_us:
            self.rtt_us = now.rtt_us
            sums.rtt_us += now.rtt_us
            sums.rtt_count += 1

    def end(self, sums: Sums) -> None:
        """There is no next look."""
        self._lose(self._seen.duplicates, sums)

    def _lose(self, duplicates: int, sums: Sums) -> None:
        """Of what was sent again by the last look, all but so many. It never falls: what is told
        later than that changes nothing any more."""
        lost = self.retransmissions - (duplicates - self._begin.duplicates)
        if lost > self.packets_lost:
            sums.packets_lost += lost - self.packets_lost
            self.packets_lost = lost

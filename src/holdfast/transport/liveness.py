"""Has the kernel find out that the other side of a socket is gone without a word.

Strategy: a silent connection is probed. To a provider, bytes that nobody acknowledges have a time
limit as well; either way the socket is lost after about a minute, and whoever holds it is told as
of any end. To a reader they have none here: Linux counts for such a limit also the time in which a
slow one takes its bytes through a window smaller than our next packet. What leaves towards readers
is looked at by ourselves, see `connections` and `http.server.protocol`.
"""

from __future__ import annotations

import socket

# Seconds.
KEEPALIVE_IDLE = 30
KEEPALIVE_INTERVAL = 10
KEEPALIVE_PROBES = 3
USER_TIMEOUT = 60


def probe(sock: socket.socket | None) -> None:
    """For sockets to readers; None and other families are left alone."""
    _set(
        sock,
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    )


def watch(sock: socket.socket | None) -> None:
    """The same and more, for sockets to providers."""
    probe(sock)
    _set(sock, ("TCP_USER_TIMEOUT", USER_TIMEOUT * 1000))  # milliseconds


def _set(sock: socket.socket | None, *options: tuple[str, int]) -> None:
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in options:
        option = getattr(socket, name, None)  # not every system has each
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

"""Has the kernel find out that the other side of a socket is gone without a word.

Strategy: a silent connection is probed, and bytes that nobody acknowledges have a time limit;
either way the socket is lost after about a minute, and whoever holds it is told as of any end.
"""

from __future__ import annotations

import socket

# Seconds.
KEEPALIVE_IDLE = 30
KEEPALIVE_INTERVAL = 10
KEEPALIVE_PROBES = 3
USER_TIMEOUT = 60


def watch(sock: socket.socket | None) -> None:
    """For sockets to providers and to readers; None and other families are left alone."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", USER_TIMEOUT * 1000),  # milliseconds
    ):
        option = getattr(socket, name, None)  # not every system has each
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

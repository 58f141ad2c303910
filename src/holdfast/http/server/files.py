"""How many sockets the open files of this process allow.

Strategy: a socket that cannot be opened fails somewhere in the middle of something else, so what
is taken from clients stays below what the process may open. `connection_limit` says what the
book's limit of open event streams (`holdfast.connections`) may be at most, and `socket_limit` what
the server takes beside them. Where the process is ours, `raise_file_limit` comes first.
"""

from __future__ import annotations

import resource

RESERVED_FILES = 256
"""File descriptors that are not for connections: the log, listeners, libraries."""

SPARE_SOCKETS = 128
"""Sockets beside those of open event streams: other requests, and readers to be sent away."""


def raise_file_limit() -> None:
    """Takes as many open files as this process may have; a shell's default is often 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def connection_limit(wanted: int) -> int:
    """The setting, and never over (open files - 256) / 2: a relayed stream takes two."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, (files - RESERVED_FILES) // 2))


def socket_limit(connections: int) -> int:
    """Sockets that are taken from clients where so many event streams are, and never over half
    of the open files: with few of those the log needs the rest."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_SOCKETS
    return wanted if files == resource.RLIM_INFINITY else max(1, min(wanted, files // 2))

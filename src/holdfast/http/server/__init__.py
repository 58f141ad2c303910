"""The server: the side of the sockets, below every call.

`serving` listens, accepts, and drains at the end; `protocol` is one client's socket: it reads
requests and hands them to the application; `framing` says which of them are not taken, `door` which
sockets may stay while all places are taken, and `files` how many places there are. The application
knows none of them: it meets its socket as `http.sockets` has it, and runs without it.
"""

from __future__ import annotations

from holdfast.http.server.files import connection_limit, raise_file_limit, socket_limit
from holdfast.http.server.serving import Server, config, listen, resolved

__all__ = [
    "Server",
    "config",
    "connection_limit",
    "listen",
    "raise_file_limit",
    "resolved",
    "socket_limit",
]

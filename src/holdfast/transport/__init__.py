"""HTTP/1.1 exchanges that we begin: from the socket to a sink without an await.

Strategy: what decides does no I/O (`request`, `response`, `tls`, `pool`, `proxies`), what
moves bytes decides nothing (`connection`), and `transport` puts them together. Every network
read goes through TLS and the parser on to a synchronous `Sink` in the same call.

    transport = Transport(tls=tls_context(ca_file), proxies=Proxies(https="http://proxy:3128"))
    exchange = await transport.open(Request("POST", url, headers, body), sink)

Error texts name host and port, never the path, the query, a header's value or the body.
"""

from __future__ import annotations

from holdfast.transport.exchange import Exchange, Sink
from holdfast.transport.proxies import Proxies
from holdfast.transport.reads import Pace
from holdfast.transport.request import Place, Request
from holdfast.transport.response import MAX_HEAD, MAX_INTERIM
from holdfast.transport.tls import tls_context
from holdfast.transport.transport import CONNECT_TIMEOUT, KEEP_ALIVE, MAX_IDLE, Transport

__all__ = [
    "CONNECT_TIMEOUT",
    "KEEP_ALIVE",
    "MAX_HEAD",
    "MAX_IDLE",
    "MAX_INTERIM",
    "Exchange",
    "Pace",
    "Place",
    "Proxies",
    "Request",
    "Sink",
    "Transport",
    "tls_context",
]

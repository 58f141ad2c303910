"""Which requests are not taken, although the parser can read them.

Strategy: two servers in a row must not read one request in two ways. llhttp refuses most of
what was ever used for that: two lengths, a length beside chunks, bare line feeds, folded
fields, blanks before a colon. The rest is here, a pure function from a request's head to what is
wrong with it; it is asked before anything else looks at the request.
"""

from __future__ import annotations

import http
import re
from collections.abc import Iterable
from typing import NamedTuple

from holdfast.http import headers

MAX_HEAD = 64 * 1024
"""Bytes of a request's head; what one network read brings beyond is looked at still."""

MAX_FIELDS = 100
"""Header fields of a request."""

_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]*|\[[0-9A-Za-z.:%]+\])(?::[0-9]{0,5})?")


class Refusal(NamedTuple):
    status: int
    why: str


MALFORMED = Refusal(400, "This is no HTTP/1.1 request.")
TOO_LARGE = Refusal(
    431, f"The head of a request may have {MAX_HEAD >> 10} KiB and {MAX_FIELDS} fields."
)
_VERSION = Refusal(505, "HTTP/1.1 and HTTP/1.0 are spoken here.")
_TARGET = Refusal(400, "A request's target has no fragment.")
_HOSTS = Refusal(400, "A request has one Host: a name or an address, with or without a port.")
_CALLERS = Refusal(400, "A request has one Authorization: whose it is cannot be told otherwise.")
_CODING = Refusal(400, "A body comes as it is or in chunks, and in HTTP/1.0 not in chunks.")
_UPGRADE = Refusal(400, "A request that asks for another protocol has no body here.")


def refusal(
    version: str, target: bytes, fields: Iterable[tuple[bytes, bytes]], upgrade: bool
) -> Refusal | None:
    """What is wrong with a head; None where it may be taken. Field names are in lower case;
    `upgrade`: the parser takes what follows for another protocol's, and would lose a body."""
    if version not in ("1.1", "1.0"):
        return _VERSION
    if b"#" in target:
        return _TARGET
    hosts, callers, body = [], 0, False
    for name, value in fields:
        if name == b"host":
            hosts.append(value)
        elif name == b"authorization":
            callers += 1
        elif name == b"transfer-encoding":
            # The parser undoes chunks and leaves any coding below them in the body.
            if value.strip().lower() != b"chunked" or version == "1.0":
                return _CODING
            body = True
        elif name == b"content-length":
            body = body or value.strip(b" \t0") != b""
    # One that is missing leaves no choice, and no browser leaves it out.
    if len(hosts) > 1 or any(_HOST.fullmatch(host.strip()) is None for host in hosts):
        return _HOSTS
    if callers > 1:
        return _CALLERS
    return _UPGRADE if upgrade and body else None


def answer(refusal: Refusal) -> bytes:
    """The whole response to it, which no application makes."""
    fields = (
        *headers.ALWAYS,
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(refusal.why)),
        (b"connection", b"close"),
    )
    said = [b"%b: %b\r\n" % field for field in fields]
    first = f"HTTP/1.1 {refusal.status} {http.HTTPStatus(refusal.status).phrase}\r\n"
    return b"".join([first.encode(), *said, b"\r\n", refusal.why.encode()])

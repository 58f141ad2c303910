"""How much is taken from a client.

Strategy: a request body is read with a limit, so that one over it is refused before it is
held, and it comes as it is: what would have to be unpacked first is refused, as a few bytes can
stand for any number of them. Header values that are echoed or stored have a shape. The limit of
connections is the book's (`holdfast.connections`); `connection_limit` says what it may be at
most here, and `socket_limit` what the server takes beside them.
"""

from __future__ import annotations

import re
import resource

from starlette.requests import Request

from holdfast import errors

RESERVED_FILES = 256
"""File descriptors that are not for connections: the log, listeners, libraries."""

SPARE_SOCKETS = 128
"""Sockets beside those of open event streams: other requests, and readers to be sent away."""

_TOKEN = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}", re.ASCII)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


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


async def body(request: Request, limit: int) -> bytes:
    """The whole body; raises `errors.BodyTooLarge` over `limit` bytes, and
    `errors.UnsupportedEncoding` for one that is packed."""
    codings = request.headers.getlist("content-encoding")
    if any(coding.strip().lower() not in ("", "identity") for coding in codings):
        raise errors.UnsupportedEncoding("A request body comes without a `Content-Encoding`.")
    refusal = errors.BodyTooLarge(f"The body may have {limit} bytes at most.")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise refusal
    # Not a list of what came: a body that comes byte by byte would hold forty times its size.
    held = bytearray()
    async for part in request.stream():
        if len(held) + len(part) > limit:
            raise refusal
        held += part
    return bytes(held)


def token(request: Request, header: str) -> str | None:
    """A header value that is stored and echoed; raises `errors.InvalidField`."""
    return _shaped(request, header, _TOKEN, "1 to 128 letters, digits or ._:@/+=-")


def key(request: Request, header: str) -> str | None:
    """A header value that is only compared; raises `errors.InvalidField`."""
    return _shaped(request, header, _KEY, "1 to 255 visible ASCII characters")


def _shaped(request: Request, header: str, shape: re.Pattern[str], said: str) -> str | None:
    value = request.headers.get(header)
    if value is not None and shape.fullmatch(value) is None:
        raise errors.InvalidField(f"`{header}` takes {said}.")
    return value

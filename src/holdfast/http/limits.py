"""How much is taken from a client.

Strategy: a request body is read with a limit, so that one over it is refused before it is
held; header values that are echoed or stored have a shape. The limit of connections is the
book's (`holdfast.connections`); `connection_limit` says what it may be at most here.
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
    """Sockets that are taken from clients where so many event streams are."""
    return connections + SPARE_SOCKETS


async def body(request: Request, limit: int) -> bytes:
    """The whole body; raises `errors.BodyTooLarge` over `limit` bytes."""
    refusal = errors.BodyTooLarge(f"The body may have {limit} bytes at most.")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise refusal
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise refusal
        parts.append(part)
    return b"".join(parts)


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

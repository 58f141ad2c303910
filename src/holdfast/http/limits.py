"""How much is taken of a request.

Strategy: a request body is read with a limit, so that one over it is refused before it is
held, and it comes as it is: what would have to be unpacked first is refused, as a few bytes can
stand for any number of them. Header values that are echoed or stored have a shape. The head's own
limits are the `server`'s.
"""

from __future__ import annotations

import re

from starlette.requests import Request

from holdfast import errors
from holdfast.http import shared, sockets

_TOKEN = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}", re.ASCII)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_WHOLE = re.compile(r"\d{1,16}", re.ASCII)


BODIES = 64 * 1024 * 1024
"""Bytes of all bodies together that are read; or twice what one may have, if that is more."""


class Body:
    """One that comes; `line` is there on our own server."""

    __slots__ = ("_line", "over", "tenant")

    def __init__(self, tenant: str, line: sockets.Socket | None) -> None:
        self.tenant, self._line = tenant, line
        self.over = False
        """There is no room for it any more."""

    def end(self) -> None:
        self.over = True
        if self._line is not None:
            self._line.cut()  # nothing more may come of it


async def body(request: Request, limit: int, bodies: shared.Shared[Body], tenant: str) -> bytes:
    """The whole body, which counts as this tenant's among all that come. Raises
    `errors.BodyTooLarge` over `limit` bytes, `errors.UnsupportedEncoding` for one that is packed,
    and `errors.Overloaded` where all together are too large."""
    codings = request.headers.getlist("content-encoding")
    if any(coding.strip().lower() not in ("", "identity") for coding in codings):
        raise errors.UnsupportedEncoding("A request body comes without a `Content-Encoding`.")
    refusal = errors.BodyTooLarge(f"The body may have {limit} bytes at most.")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise refusal
    # Not a list of what came: a body that comes byte by byte would hold forty times its size.
    held, line = bytearray(), sockets.socket_of(request.scope)
    one = Body(tenant, line)
    if line is not None:
        line.reads()
    try:
        async for part in request.stream():
            if len(held) + len(part) > limit:
                raise refusal
            held += part
            ended = bodies.put(one, len(held))
            for other in ended:
                if other is not one:
                    other.end()
            if one.over or one in ended:
                raise errors.Overloaded("The bodies that come are too large together.")
    finally:
        bodies.drop(one)
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


def whole(request: Request, name: str) -> int | None:
    """A whole number of the query; None where it is not there. Raises `errors.InvalidField`."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if _WHOLE.fullmatch(text) is None:
        raise errors.InvalidField(f"`{name}` takes a whole number.")
    return int(text)

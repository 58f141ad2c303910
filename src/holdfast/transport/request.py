"""A request as a value, and as the bytes that go over the wire.

Strategy: what cannot be sent cannot be made, so that no later layer has to ask. The URL is
taken apart once, when the value is made: everything after reads `place`. No I/O.
"""

from __future__ import annotations

import functools
import re

import msgspec

USER_AGENT = "holdfast"

_PORTS = (80, 443)
_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
_OURS = ("accept-encoding", "connection", "content-length", "host", "transfer-encoding")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_URL = re.compile(
    r"(https?)://((?:[\w-]{1,63}\.)*[\w-]{1,63}\.?|\[[\da-fA-F:.]+\])(?::(\d{1,5}))?"
    r"(/[!\"$->@-~]*)?(\?[!\"$-~]*)?(?:#[!-~]*)?",
    re.ASCII,
)


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a request goes. `host` is a name or an address, one of IPv6 without brackets;
    `target` is path and query."""

    secure: bool
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and port as a URL has them: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.secure] else f"{host}:{self.port}"


class Request(msgspec.Struct, frozen=True, dict=True):
    """One request; a bad one cannot exist: `ValueError`, which never quotes url or values.

    `url` is absolute, http or https, in ASCII (percent-encoded), without userinfo; a fragment
    is not sent. `headers` may not hold those that the transport writes: Host, Connection,
    Accept-Encoding and the body's length. HEAD and CONNECT, whose responses end in another
    way, are not spoken.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def __post_init__(self) -> None:
        if self.method not in _METHODS:
            raise ValueError(f"the method must be one of {', '.join(_METHODS)}")
        if self.place.port > 65535:
            raise _bad_url()
        for name, value in self.headers:
            if not _NAME.fullmatch(name):
                raise ValueError("a header name holds a character that is not allowed there")
            if name.lower() in _OURS:
                raise ValueError(f"the header {name} is written by the transport itself")
            if not _VALUE.fullmatch(value):
                raise ValueError(f"the value of {name} holds a character that is not ASCII text")

    def __repr__(self) -> str:
        """Without path, headers and body: they hold keys and prompts."""
        return f"Request({self.method} {self.place.host}:{self.place.port})"

    @functools.cached_property
    def place(self) -> Place:
        """The url, taken apart."""
        found = _URL.fullmatch(self.url)
        if found is None:
            raise _bad_url()
        scheme, host, port, path, query = found.groups()
        secure = scheme == "https"
        target = (path or "/") + (query or "")
        return Place(secure, host.strip("[]"), int(port or _PORTS[secure]), target)

    def encode(
        self,
        *,
        keep: bool = True,
        absolute: bool = False,
        hop: tuple[tuple[str, str], ...] = (),
    ) -> bytes:
        """The request as it goes over the wire.

        Without `keep` it asks the other side to close the connection after its response. A
        proxy that passes on plain http wants the `absolute` url in the first line; `hop` are
        headers for it alone.
        """
        place = self.place
        authority = place.authority
        target = f"http://{authority}{place.target}" if absolute else place.target
        lines = [f"{self.method} {target} HTTP/1.1", f"Host: {authority}"]
        lines += [f"{name}: {value}" for name, value in (*hop, *self.headers)]
        if not any(name.lower() == "user-agent" for name, _ in self.headers):
            lines.append(f"User-Agent: {USER_AGENT}")
        lines.append("Accept-Encoding: identity")
        if not keep:
            lines.append("Connection: close")
        if self.body or self.method.startswith("P"):
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + self.body


def _bad_url() -> ValueError:
    return ValueError(
        "the url must be http(s)://host[:port][/path][?query] in visible ASCII, "
        "with no user name or password"
    )

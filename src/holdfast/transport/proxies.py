"""Which proxy a request goes through, and how one is asked for a tunnel; no I/O.

Strategy: the settings are parsed once, when the value is made, and what cannot be used is
refused there. `no` is read as Go's `golang.org/x/net/http/httpproxy` reads NO_PROXY, because
that is the most exact of the conventions that are around.
"""

from __future__ import annotations

import base64
import functools
import ipaddress
import re
from urllib import parse

import msgspec

from holdfast import errors
from holdfast.transport.request import USER_AGENT

_URL = re.compile(
    r"(?:(https?)://)?(?:([!-.0-?A-~]*)@)?"
    r"((?:[\w-]{1,63}\.)*[\w-]{1,63}\.?|\[[\da-f:.]+\])(?::(\d{1,5}))?/?",
    re.ASCII | re.IGNORECASE,
)
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n")
_PORTS = {"http": 80, "https": 443}

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxy(msgspec.Struct, frozen=True, gc=False):
    """One proxy; `secure` is TLS with the proxy itself. `authorization` is the value of
    Proxy-Authorization, "" without credentials."""

    secure: bool
    host: str
    port: int
    authorization: str = ""

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("Proxy-Authorization", self.authorization),) if self.authorization else ()


class Proxies(msgspec.Struct, frozen=True, dict=True):
    """The proxies for http and for https targets, and which targets need none.

    `http` and `https` are urls, `[http[s]://][user:password@]host[:port]`. Each of `no` is
    `*`, or an address, a range of addresses (CIDR), or a name; an address and a name may have a
    port. `example.com` and `*.example.com`, `.example.com` differ: only the first means the
    name itself too. `localhost` and loopback addresses are always reached without a proxy.
    Raises SettingsError for a url that cannot be used, and never quotes it.
    """

    http: str | None = None
    https: str | None = None
    no: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Here, so that what cannot be used is refused when it is set and not when it is needed.
        _parsed("http", self.http)
        _parsed("https", self.https)

    def __repr__(self) -> str:
        """Without credentials."""
        return f"Proxies(http={self._chosen[0]}, https={self._chosen[1]}, no={self.no})"

    @functools.cached_property
    def _chosen(self) -> tuple[Proxy | None, Proxy | None]:
        return _parsed("http", self.http), _parsed("https", self.https)

    @functools.cached_property
    def _exceptions(self) -> tuple[_Exception, ...]:
        found = (_exception(entry.strip().lower()) for entry in self.no)
        return tuple(each for each in found if each is not None)

    def choose(self, secure: bool, host: str, port: int) -> Proxy | None:
        """The proxy to a target; None is the direct way. `host` is without brackets."""
        proxy = self._chosen[secure]
        if proxy is None:
            return None
        host = host.lower().rstrip(".")
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return None
        if any(each.matches(host, address, port) for each in self._exceptions):
            return None
        return proxy


class _Exception(msgspec.Struct, frozen=True):
    """One entry of `no`: `suffix` with its dot, "" for everything; `bare` if it means the name
    without the dot too; `port` 0 is any."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    suffix: str = ""
    bare: bool = False
    port: int = 0

    def matches(self, host: str, address: _Address | None, port: int) -> bool:
        if self.port not in (0, port):
            return False
        if self.network is not None:
            return address is not None and address in self.network
        if not self.suffix:
            return True
        if address is not None:
            return False
        return host.endswith(self.suffix) or (self.bare and host == self.suffix[1:])


def _exception(entry: str) -> _Exception | None:
    """None for an entry that says nothing."""
    if entry == "*":
        return _Exception()
    if "/" in entry:
        try:
            return _Exception(network=ipaddress.ip_network(entry, strict=False))
        except ValueError:
            return None
    host, _, port = entry.rpartition(":")
    if (host.count(":") and not host.endswith("]")) or not port.isdecimal():
        host, port = entry, "0"  # an IPv6 address, or nothing with a port
    host = host.removeprefix("[").removesuffix("]")
    address = _address(host)
    if address is not None:
        return _Exception(network=ipaddress.ip_network(address), port=int(port))
    if host.startswith("*."):
        host = host[1:]
    if not host.strip("."):
        return None
    bare = not host.startswith(".")
    return _Exception(suffix=f".{host}" if bare else host, bare=bare, port=int(port))


def _address(host: str) -> _Address | None:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _parsed(name: str, url: str | None) -> Proxy | None:
    if not url:
        return None
    scheme = url.partition("://")[0].lower() if "://" in url else "http"
    if scheme.startswith("socks"):
        raise errors.SettingsError(
            f"The proxy for {name} is a SOCKS proxy, which is not spoken: name an HTTP proxy."
        )
    found = _URL.fullmatch(url)
    if found is None or not 0 < int(found[4] or _PORTS[scheme]) < 65536:
        raise errors.SettingsError(
            f"The proxy for {name} must be [http[s]://][user:password@]host[:port]."
        )
    user = found[2]
    authorization = ""
    if user is not None:
        account, _, password = user.partition(":")
        pair = f"{parse.unquote(account)}:{parse.unquote(password)}".encode()
        authorization = "Basic " + base64.b64encode(pair).decode("ascii")
    host, port = found[3].strip("[]"), int(found[4] or _PORTS[scheme])
    return Proxy(scheme == "https", host, port, authorization)


def connect(proxy: Proxy, host: str, port: int) -> bytes:
    """The head that asks a proxy for a tunnel (RFC 9110, 9.3.6)."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", f"User-Agent: {USER_AGENT}"]
    lines += [f"{name}: {value}" for name, value in proxy.headers]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"


class Answer:
    """A proxy's answer to `connect`, as far as its bytes have come: heads of at most
    `max_head` bytes together, those of status 1xx skipped."""

    def __init__(self, max_head: int) -> None:
        self._max_head = max_head
        self._held = bytearray()
        self._read = 0

    def feed(self, data: bytes | memoryview) -> int | None:
        """The status once its head is complete. Raises ProtocolViolation for what is no HTTP/1.1
        head, a head over the limit, and bytes that stand after a head that opens the tunnel:
        on the other side of it nobody speaks unasked."""
        room = self._max_head - self._read
        self._read += len(data)
        self._held += data[:room]
        while (at := self._held.find(b"\r\n\r\n")) >= 0:
            found = _STATUS.match(self._held)
            if found is None:
                raise errors.ProtocolViolation("It does not answer as an HTTP proxy does.")
            status = int(found[1])
            del self._held[: at + 4]
            if status >= 200:
                if status < 300 and (self._held or len(data) > room):
                    raise errors.ProtocolViolation("The proxy's answer goes on after its head.")
                return status
            if status < 100 or status == 101:
                raise errors.ProtocolViolation(f"The proxy's answer has status {status}.")
        if self._read >= self._max_head:
            raise errors.ProtocolViolation(f"The proxy's head is over {self._max_head} bytes.")
        if b"\n" in self._held and _STATUS.match(self._held) is None:
            raise errors.ProtocolViolation("It does not answer as an HTTP proxy does.")
        return None

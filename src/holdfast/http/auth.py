"""From a request to who calls.

Strategy: the gate (`holdfast.access`) decides; here is what a request brings to it. A node without
keys is for programs of its own machine: a request that came from elsewhere, or through a name that
somebody may have pointed at this machine (DNS rebinding), or from a page of another origin, is
refused, since nothing else would keep a web page from asking at the cost of whoever opened it. So
is what a proxy says that it passes on.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Collection

from starlette.requests import Request

from holdfast import errors
from holdfast.access import gate, principal
from holdfast.http import sockets

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?", re.ASCII)

PASSED_ON = frozenset(("forwarded", "via", "x-real-ip"))
"""Fields that a proxy adds, and those that begin with `x-forwarded-`."""

HINT = "make a key with `holdfast keys create`, and send it as `Authorization: Bearer KEY`."


async def principal_of(
    access: gate.Gate | None,
    request: Request,
    origins: Collection[str],
    signed: str | None,
    *,
    any_key: bool = False,
) -> principal.Principal:
    """Who calls. `origins` are those whose pages may ask; for the others see `gate.Gate.admit`.
    Raises what that raises, and `errors.Forbidden` for what a node without keys refuses."""
    if access is None:
        return principal.ANYBODY
    asked = gate.Asked(
        request.method,
        request.scope["path"],
        request.headers,
        request.query_params,
        request.client.host if request.client else None,
    )
    found = await access.admit(asked, signed, any_key=any_key)
    if not found.tenant and found.stream is None:
        line = sockets.socket_of(request.scope)
        _check_local(asked, origins, within=line is not None and line.within)
    return found


def _check_local(asked: gate.Asked, origins: Collection[str], *, within: bool) -> None:
    """Raises `errors.Forbidden` for who is not a program of this machine. `within`: see
    `sockets.Socket.within`."""
    if asked.client is not None and not within and not _loopback(asked.client):
        raise errors.Forbidden(f"Without keys only this machine is served; {HINT}")
    if any(name in PASSED_ON or name.startswith("x-forwarded-") for name in asked.headers):
        raise errors.Forbidden(f"Without keys nothing is served that a proxy passes on; {HINT}")
    host = asked.headers.get("host", "")
    found = _HOST.fullmatch(host)
    if host and (found is None or not _own(found[1])):
        raise errors.Forbidden(f"Without keys `Host` is to be localhost; {HINT}")
    origin = asked.headers.get("origin")
    if origin is not None and asked.method not in ("GET", "HEAD"):
        same = origin.partition("://")[2] == host
        if not same and origin not in origins and "*" not in origins:
            raise errors.Forbidden(
                f"Without keys only pages of server.cors_origins may ask; or {HINT}"
            )


@functools.lru_cache(1024)
def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


@functools.lru_cache(1024)
def _own(name: str) -> bool:
    """Whether a browser cannot have been led here by this name: an address, a name of this machine,
    or one without a dot, which no public name server has."""
    bare = name.strip("[]").rstrip(".").lower()
    if "." not in bare and ":" not in bare:
        return True
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return bare.endswith(".localhost")
    return True

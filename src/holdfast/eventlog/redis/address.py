"""Where Redis is: what a URL says, and the way from there to an open connection.

    redis://[user:password@]host[:port][,host[:port] …][/database]    rediss:// with TLS
    redis+sentinel://[user:password@]host[:port][,…]/service[/database]
    redis+unix:///path/of/a/socket

Strategy: several hosts are servers of one cluster, of which one that answers suffices; whether it
is a cluster is for the server to say. Behind Sentinel every new connection asks first who is the
primary now; a Sentinel may not have heard of a failover yet, so the server itself is asked too.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import SplitResult, unquote

import msgspec
from redis import exceptions
from redis.asyncio import connection as driver
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from holdfast import errors

PORT, SENTINEL_PORT = 6379, 26379
CONNECT_SECONDS = 2.0
ASK_SECONDS = 1.0
"""For a Sentinel to say who is the primary; then the next one is asked."""

Server = tuple[str, int]

_HOST = re.compile(r"(?:\[([^][/]+)\]|([^][:/]+))(?::(\d+))?", re.ASCII)
"""A name or an address, one with colons in brackets, and maybe a port."""


class Address(msgspec.Struct, frozen=True):
    """What a URL says. `hosts` are Sentinels where there is a `service`."""

    hosts: tuple[Server, ...]
    user: str | None = None
    password: str | None = None
    database: int = 0
    tls: bool = False
    service: str | None = None
    path: str | None = None

    def __repr__(self) -> str:
        """Without the password."""
        if self.path is not None:
            return self.path
        return ",".join(f"{host}:{port}" for host, port in self.hosts)

    def connection(self, server: Server) -> driver.AbstractConnection:
        """A connection to one server, not open yet; it tries once, and is closed by who has it."""
        usual: dict[str, Any] = {
            "db": self.database,
            "username": self.user,
            "password": self.password,
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": None,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "client_name": "holdfast",
            "driver_info": None,
        }
        if self.path is not None:
            return driver.UnixDomainSocketConnection(path=self.path, **usual)
        kind = driver.SSLConnection if self.tls else driver.Connection
        return kind(host=server[0], port=server[1], **usual)

    async def open(self, server: Server) -> driver.AbstractConnection:
        """An open connection to this server. Raises redis-py's errors and OSError."""
        connection = self.connection(server)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def primary(self) -> driver.AbstractConnection:
        """An open connection to who takes writes now: who Sentinels say, if it says so too. Raises
        redis-py's errors and OSError."""
        if self.service is None:
            return await self.open(self.hosts[0])
        why: Exception = exceptions.ConnectionError(f"no Sentinel of {self} knows {self.service!r}")
        tried = set[Server]()
        for host in self.hosts:
            server = await self._told(host, self.service)
            if server is None or server in tried:
                continue
            tried.add(server)
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await self._open_primary(server)
            except TimeoutError:
                why = exceptions.ConnectionError(f"{server[0]}:{server[1]} does not answer")
            except (exceptions.RedisError, OSError) as error:
                why = error
        raise why

    async def _open_primary(self, server: Server) -> driver.AbstractConnection:
        connection = await self.open(server)
        try:
            await connection.send_command("ROLE")
            role = await connection.read_response()
            if role[0] != b"master":
                raise exceptions.ConnectionError(f"{server[0]}:{server[1]} is no primary")
        except exceptions.NoPermissionError:
            pass  # then Sentinel is believed
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _told(self, sentinel: Server, service: str) -> Server | None:
        """None from one that does not know, or does not answer."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._ask(sentinel, service)
        except (exceptions.RedisError, OSError, TimeoutError):
            return None

    async def _ask(self, sentinel: Server, service: str) -> Server | None:
        bare = msgspec.structs.replace(self, user=None, password=None, database=0)
        connection = await bare.open(sentinel)
        try:
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
            found = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        return (found[0].decode(), int(found[1])) if found else None


def parse(parts: SplitResult) -> Address:
    """Reads a URL. Raises `errors.SettingsError`, which does not repeat it: it may hold a
    password."""
    service = None
    if parts.scheme.endswith("+unix"):
        if parts.netloc or len(parts.path) < 2:
            raise errors.SettingsError("A Redis log on a socket reads redis+unix:///path.")
        return Address((("localhost", 0),), path=unquote(parts.path))
    path = unquote(parts.path).strip("/").split("/") if parts.path.strip("/") else []
    sentinel = parts.scheme.endswith("+sentinel")
    if sentinel:
        service = path.pop(0) if path else None
    whose, _, where = parts.netloc.rpartition("@")
    user, _, password = whose.partition(":")
    try:
        hosts = tuple(_server(one, SENTINEL_PORT if sentinel else PORT) for one in where.split(","))
        database = int(path.pop(0)) if path else 0
        if path or database < 0 or (sentinel and not service) or parts.query or parts.fragment:
            raise ValueError
    except ValueError:
        raise errors.SettingsError(
            "A Redis log reads redis://host:6379/0, redis://host1,host2 (a cluster) or "
            "redis+sentinel://host1,host2/service, each maybe with user:password@, and rediss "
            "for TLS."
        ) from None
    tls = parts.scheme.startswith(("rediss", "valkeys"))
    return Address(hosts, unquote(user) or None, unquote(password) or None, database, tls, service)


def _server(text: str, port: int) -> Server:
    """Raises ValueError."""
    found = _HOST.fullmatch(text)
    if found is None:
        raise ValueError(text)
    bracketed, plain, number = found.groups()
    port = int(number or port)
    if not 0 < port < 65536:
        raise ValueError(text)
    return bracketed or plain, port

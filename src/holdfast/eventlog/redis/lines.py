"""The lines to all servers of a log: who has a key is asked, and asked again where it has moved.

Strategy: a single primary gets everything. In a cluster each key has its primary; what is asked
together goes to each of them as one pipeline, and what a server says belongs elsewhere is asked
there. Each server has two links, so that many reads do not hold up a tick. Their number grows
with the servers and never with the readers. Who is no primary any more is left by all of them: it
would be read for ever and tell nothing new.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis import crc, exceptions
from redis.asyncio import connection as driver

from holdfast import errors, supervisor
from holdfast.eventlog.redis import address, link

SLOTS = 16_384
MAX_SERVERS = 1_000
TRIES, BETWEEN = 10, 0.05
"""How often a key that moves is looked for, and the seconds between two looks."""

AGAIN_SECONDS = 0.1
"""Until a read that failed is asked for once more."""

OLDEST = (7, 0)
"""The oldest Redis that has all commands; every Valkey has them."""

WRITE, READ = "write", "read"

_PRIMARY: address.Server = ("", 0)
"""Of the links to the only one, wherever it is."""


class Keyed(NamedTuple):
    """A command, and the key that says which server is asked."""

    key: bytes
    words: link.Command


class Lines:
    """`start` finds out what is there; `tasks` own what runs."""

    def __init__(self, where: address.Address, tasks: supervisor.Supervisor) -> None:
        self._where, self._tasks = where, tasks
        self._links: dict[tuple[address.Server, str], link.Link] = {}
        self._slots: list[address.Server] = []
        self._stale = False
        self._knowing: address.Server | None = None  # who knows better than `_slots`
        self._learning = asyncio.Lock()
        self._heard: tuple[address.Server | None, asyncio.WriteTransport] | None = None

    @property
    def spread(self) -> bool:
        """Whether keys are on several primaries, so that no script may touch two streams."""
        return bool(self._slots)

    @property
    def broken(self) -> int:
        """How many connections have broken so far: another server may answer now."""
        return sum(one.broken for one in self._links.values())

    @property
    def servers(self) -> list[address.Server]:
        """Of a cluster, each primary once; else what the URL names."""
        return list(dict.fromkeys(self._slots)) or [self._where.hosts[0]]

    async def start(self) -> None:
        """Raises `errors.LogUnavailable`, and `errors.SettingsError` for a server that is too
        old."""
        failure: errors.LogUnavailable | None = None
        several = len(self._where.hosts) > 1 and self._where.service is None
        for server in self._where.hosts if several else (None,):
            try:
                (info,) = await self._link(server, WRITE).ask([("INFO", "everything")])
            except errors.LogUnavailable as error:
                failure = error
                continue
            told = said(self._checked(info))
            _check_version(told)
            if told.get("cluster_enabled") == "1":
                await self._learn(server)
            elif several:
                raise errors.SettingsError(f"Several hosts are a cluster; {self._where!r} is none.")
            return
        raise failure or errors.LogUnavailable("Redis cannot be reached.")

    async def ask(self, commands: Sequence[Keyed], lane: str = WRITE) -> list[Any]:
        """Their replies, in order. Raises `errors.LogUnavailable`: some may have been done. What is
        read changes nothing, and is asked for once more: a connection that was cut is no reason to
        send all readers away. A server that stands still is waited for once."""
        if lane is READ:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            try:
                return await self._ask(commands, lane)
            except errors.LogUnavailable:
                if loop.time() - begun > link.PATIENCE / 2:
                    raise
                await asyncio.sleep(AGAIN_SECONDS)
        return await self._ask(commands, lane)

    async def each(self, words: link.Command) -> list[Any]:
        """What each primary answers; a refusal is a `ResponseError` among them. Raises
        `errors.LogUnavailable`."""
        some = self.servers if self._slots else [None]
        found = await asyncio.gather(*(self._link(one, WRITE).ask([words]) for one in some))
        return [reply for replies in found for reply in replies]

    async def _ask(self, commands: Sequence[Keyed], lane: str) -> list[Any]:
        if not self._slots:
            one = self._link(None, lane)
            return [self._checked(reply) for reply in await one.ask([c.words for c in commands])]
        replies: list[Any] = [None] * len(commands)
        left = list(range(len(commands)))
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(BETWEEN)
            if self._stale:
                await self._learn()
            await self._ask_all(commands, left, replies, lane)
            left = [i for i in left if _moved(replies[i])]
            if not left:
                return [self._checked(reply) for reply in replies]
        raise errors.LogUnavailable(f"Redis: {_reason(replies[left[0]])}.")

    async def _ask_all(
        self, commands: Sequence[Keyed], which: Sequence[int], replies: list[Any], lane: str
    ) -> None:
        """Asks each server for its part, and puts the replies where they belong."""
        parts: dict[tuple[address.Server, bool], list[int]] = {}
        for i in which:
            server = self._slots[crc.key_slot(commands[i].key)]
            asked = _sent(exceptions.AskError, replies[i], server[0])
            parts.setdefault((asked or server, asked is not None), []).append(i)
        calls = []
        for (server, asking), part in parts.items():
            words = [commands[i].words for i in part]
            if asking:
                words = [word for one in words for word in (("ASKING",), one)]
            calls.append(self._link(server, lane).ask(words))
        found = await asyncio.gather(*calls, return_exceptions=True)
        failure = None
        for ((server, asking), part), got in zip(parts.items(), found, strict=True):
            if isinstance(got, BaseException):
                failure, self._stale = got, True
                continue
            for i, reply in zip(part, got[1::2] if asking else got, strict=True):
                replies[i] = reply
                if _moved(reply) and _sent(exceptions.AskError, reply, server[0]) is None:
                    self._stale = True
                    self._knowing = _sent(exceptions.MovedError, reply, server[0]) or self._knowing
        if failure is not None:
            raise failure

    async def _learn(self, first: address.Server | None = None) -> None:
        """Which primary has which keys: from who has got some lately, as the others may not have
        heard of it. Raises `errors.LogUnavailable`."""
        async with self._learning:
            if self._slots and not self._stale:
                return
            failure: Exception = errors.LogUnavailable("Redis: no server of the cluster answers.")
            first, self._knowing = first or self._knowing, None
            known = [first] if first is not None else []
            for server in dict.fromkeys((*known, *self._slots, *self._where.hosts)):
                try:
                    (found,) = await self._link(server, READ).ask([("CLUSTER", "SLOTS")])
                    slots = _map(self._checked(found), server[0])
                except errors.LogUnavailable as error:
                    failure = error
                    continue
                self._slots, self._stale = slots, False
                return
            raise failure

    def _link(self, server: address.Server | None, lane: str) -> link.Link:
        """To this server; None is the primary, wherever it is."""
        key = (server or _PRIMARY, lane)
        found = self._links.get(key)
        if found is None:
            if len(self._links) >= 2 * MAX_SERVERS:
                raise errors.LogUnavailable(f"Redis: there are over {MAX_SERVERS} servers.")
            name = f"{server[0]}:{server[1]}" if server else repr(self._where)
            found = self._links[key] = link.Link(
                name, functools.partial(self._dial, server), functools.partial(self._leave, server)
            )
            self._tasks.service(found.run(), f"redis {name}, {lane}")
        return found

    def _leave(self, server: address.Server | None) -> None:
        """It is no primary any more."""
        for (where, _), one in self._links.items():
            if where == (server or _PRIMARY):
                one.leave()
        if self._heard is not None and self._heard[0] == server:
            self._heard[1].abort()

    async def _dial(self, server: address.Server | None) -> driver.AbstractConnection:
        return await (self._where.primary() if server is None else self._where.open(server))

    async def listener(self, number: int) -> driver.AbstractConnection:
        """An open connection of one's own, for hints; another `number`, another server, where
        there are some. Raises redis-py's errors and OSError."""
        server = self.servers[number % len(self.servers)] if self._slots else None
        connection = await self._dial(server)
        self._heard = (server, link.wire(connection))
        return connection

    def _checked(self, reply: Any) -> Any:
        if isinstance(reply, exceptions.ResponseError):
            raise errors.LogUnavailable(f"Redis at {self._where!r} refuses: {_reason(reply)}.")
        return reply


def said(info: bytes) -> dict[str, str]:
    """The lines of INFO."""
    pairs = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in pairs if colon}


def _check_version(said: dict[str, str]) -> None:
    if "valkey_version" in said:
        return
    version = said.get("redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST:
        raise errors.SettingsError(
            f"This is Redis {version or '?'}; the log needs Redis 7.0, or Valkey."
        )


def _map(found: Sequence[Any], host: str) -> list[address.Server]:
    """From CLUSTER SLOTS to the primary of each slot. Raises `errors.LogUnavailable` where a
    slot has none."""
    slots: list[address.Server | None] = [None] * SLOTS
    for first, last, primary, *_ in found:
        server = ((primary[0] or b"").decode() or host, int(primary[1]))
        slots[first : last + 1] = [server] * (last + 1 - first)
    known = [server for server in slots if server is not None]
    if len(known) < SLOTS:
        raise errors.LogUnavailable("Redis: the cluster has slots without a server.")
    return known


_PASSING = (exceptions.AskError, exceptions.TryAgainError, exceptions.ClusterDownError)
"""To be asked again, here or elsewhere; an `AskError` is a `MovedError` too."""


def _moved(reply: object) -> bool:
    """Whether the same is to be asked again."""
    return isinstance(reply, _PASSING)


def _sent(kind: type[exceptions.AskError], reply: object, host: str) -> address.Server | None:
    """Where a reply sends us, with ASK for this once and with MOVED from now on; `host` is who
    says so, and meant where it names none."""
    if type(reply) is kind:
        return reply.host or host, reply.port
    return None


def _reason(refusal: exceptions.ResponseError) -> str:
    """In the server's words: redis-py takes the first one away."""
    code = getattr(refusal, "status_code", None)
    return f"{code} {refusal}" if code else str(refusal)

